package millrace.flink.record;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** Writes {@link Key}s to Flink's state. The form is part of savepoints. */
public final class KeySerializer extends TypeSerializerSingleton<Key> {
  /** The only instance that is needed. */
  public static final KeySerializer INSTANCE = new KeySerializer();

  @Override
  public boolean isImmutableType() {
    return true;
  }

  @Override
  public Key createInstance() {
    return new Key(new byte[0]);
  }

  @Override
  public Key copy(Key from) {
    return from;
  }

  @Override
  public Key copy(Key from, Key reuse) {
    return from;
  }

  @Override
  public int getLength() {
    return -1;
  }

  @Override
  public void serialize(Key key, DataOutputView to) throws IOException {
    byte[] bytes = key.bytes();
    to.writeInt(bytes.length);
    to.write(bytes);
  }

  @Override
  public Key deserialize(DataInputView from) throws IOException {
    byte[] bytes = new byte[from.readInt()];
    from.readFully(bytes);
    return new Key(bytes);
  }

  @Override
  public Key deserialize(Key reuse, DataInputView from) throws IOException {
    return deserialize(from);
  }

  @Override
  public void copy(DataInputView from, DataOutputView to) throws IOException {
    int length = from.readInt();
    to.writeInt(length);
    to.write(from, length);
  }

  @Override
  public TypeSerializerSnapshot<Key> snapshotConfiguration() {
    return new Snapshot();
  }

  /** What Flink keeps of the serializer beside stored bytes. */
  public static final class Snapshot extends SimpleTypeSerializerSnapshot<Key> {
    /** Flink makes it by reflection. */
    public Snapshot() {
      super(() -> INSTANCE);
    }
  }
}
