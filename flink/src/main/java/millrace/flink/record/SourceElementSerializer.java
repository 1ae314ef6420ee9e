package millrace.flink.record;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * Writes {@link SourceElement}s. The source and the chain that reads it run in one task, so that it
 * is used only if somebody has switched chaining off.
 */
public final class SourceElementSerializer extends TypeSerializerSingleton<SourceElement> {
  /** The only instance that is needed. */
  public static final SourceElementSerializer INSTANCE = new SourceElementSerializer();

  @Override
  public boolean isImmutableType() {
    return true;
  }

  @Override
  public SourceElement createInstance() {
    return SourceElement.assigned(new String[0]);
  }

  @Override
  public SourceElement copy(SourceElement from) {
    return from;
  }

  @Override
  public SourceElement copy(SourceElement from, SourceElement reuse) {
    return from;
  }

  @Override
  public int getLength() {
    return -1;
  }

  @Override
  public void serialize(SourceElement e, DataOutputView to) throws IOException {
    to.writeInt(e.assigned() == null ? -1 : e.assigned().length);
    if (e.assigned() != null) {
      for (String partition : e.assigned()) {
        to.writeUTF(partition);
      }
      return;
    }
    to.writeUTF(e.topic());
    to.writeInt(e.partition());
    to.writeLong(e.offset());
    to.writeLong(e.timestamp());
    writeBytes(e.key(), to);
    writeBytes(e.value(), to);
  }

  private static void writeBytes(byte[] bytes, DataOutputView to) throws IOException {
    to.writeInt(bytes == null ? -1 : bytes.length);
    if (bytes != null) {
      to.write(bytes);
    }
  }

  private static byte[] readBytes(DataInputView from) throws IOException {
    int length = from.readInt();
    if (length < 0) {
      return null;
    }
    byte[] bytes = new byte[length];
    from.readFully(bytes);
    return bytes;
  }

  @Override
  public SourceElement deserialize(DataInputView from) throws IOException {
    int assigned = from.readInt();
    if (assigned >= 0) {
      String[] partitions = new String[assigned];
      for (int i = 0; i < assigned; i++) {
        partitions[i] = from.readUTF();
      }
      return SourceElement.assigned(partitions);
    }
    return SourceElement.raw(
        from.readUTF(),
        from.readInt(),
        from.readLong(),
        from.readLong(),
        readBytes(from),
        readBytes(from));
  }

  @Override
  public SourceElement deserialize(SourceElement reuse, DataInputView from) throws IOException {
    return deserialize(from);
  }

  @Override
  public void copy(DataInputView from, DataOutputView to) throws IOException {
    serialize(deserialize(from), to);
  }

  @Override
  public TypeSerializerSnapshot<SourceElement> snapshotConfiguration() {
    return new Snapshot();
  }

  /** What Flink keeps of the serializer beside stored bytes. */
  public static final class Snapshot extends SimpleTypeSerializerSnapshot<SourceElement> {
    /** Flink makes it by reflection. */
    public Snapshot() {
      super(() -> INSTANCE);
    }
  }
}
