package millrace.flink.record;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** Writes {@link EdgeRecord}s to Flink's network buffers and to unaligned checkpoints. */
public final class EdgeRecordSerializer extends TypeSerializerSingleton<EdgeRecord> {
  /** The only instance that is needed. */
  public static final EdgeRecordSerializer INSTANCE = new EdgeRecordSerializer();

  private static final int HEADER = 4;

  @Override
  public boolean isImmutableType() {
    return false;
  }

  @Override
  public EdgeRecord createInstance() {
    return new EdgeRecord();
  }

  @Override
  public EdgeRecord copy(EdgeRecord from) {
    return from.copy();
  }

  @Override
  public EdgeRecord copy(EdgeRecord from, EdgeRecord reuse) {
    from.copyTo(reuse);
    return reuse;
  }

  @Override
  public int getLength() {
    return -1;
  }

  @Override
  public void serialize(EdgeRecord r, DataOutputView to) throws IOException {
    to.writeInt(r.edge << 1 | (r.stamped ? 1 : 0));
    to.writeLong(r.time);
    to.writeLong(r.watermark);
    to.writeLong((long) r.keyOffset << 48 | (long) r.keyLength << 32 | r.length);
    to.writeShort(r.payloadOffset);
    to.write(r.data, 0, r.length);
  }

  @Override
  public EdgeRecord deserialize(DataInputView from) throws IOException {
    return deserialize(new EdgeRecord(), from);
  }

  @Override
  public EdgeRecord deserialize(EdgeRecord r, DataInputView from) throws IOException {
    int edge = from.readInt();
    r.edge = edge >>> 1;
    r.stamped = (edge & 1) != 0;
    r.time = from.readLong();
    r.watermark = from.readLong();
    long lengths = from.readLong();
    r.keyOffset = (int) (lengths >>> 48);
    r.keyLength = (int) (lengths >>> 32) & 0xffff;
    r.payloadOffset = from.readUnsignedShort();
    r.reserve((int) lengths);
    from.readFully(r.data, 0, r.length);
    return r;
  }

  @Override
  public void copy(DataInputView from, DataOutputView to) throws IOException {
    to.write(from, HEADER + 2 * Long.BYTES);
    long lengths = from.readLong();
    to.writeLong(lengths);
    to.write(from, Short.BYTES + (int) lengths);
  }

  @Override
  public TypeSerializerSnapshot<EdgeRecord> snapshotConfiguration() {
    return new Snapshot();
  }

  /** What Flink keeps of the serializer beside stored bytes. */
  public static final class Snapshot extends SimpleTypeSerializerSnapshot<EdgeRecord> {
    /** Flink makes it by reflection. */
    public Snapshot() {
      super(() -> INSTANCE);
    }
  }
}
