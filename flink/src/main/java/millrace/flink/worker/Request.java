package millrace.flink.worker;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import millrace.flink.record.EdgeRecord;
import millrace.flink.record.SourceElement;

/**
 * A frame for the worker, as it is put together: its length, its type and a body. flink/PROTOCOL.md
 * has the forms.
 */
public final class Request {
  static final int HELLO = 1;
  static final int LOAD = 2;
  static final int START = 3;
  static final int BATCH = 4;
  static final int SNAPSHOT = 5;
  static final int CLOSE = 6;
  static final int VALUE = 7;

  private static final int HEADER = 5;
  private static final int COUNT_AT = HEADER + Long.BYTES;
  private static final int KEPT = 4 << 20;

  private ByteBuffer buffer = allocate(64 << 10);
  private int items;

  private static ByteBuffer allocate(int bytes) {
    return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  /** Begins a frame of a type anew. */
  Request begin(int type) {
    if (buffer.capacity() > KEPT) {
      buffer = allocate(64 << 10);
    }
    buffer.clear();
    buffer.putInt(0).put((byte) type);
    items = 0;
    return this;
  }

  /** Begins a BATCH without items. */
  public Request beginBatch() {
    begin(BATCH);
    buffer.putLong(0).putInt(0);
    return this;
  }

  /** How many items the batch has. */
  public int items() {
    return items;
  }

  /** How many bytes the frame has so far. */
  public int size() {
    return buffer.position();
  }

  private ByteBuffer room(int bytes) {
    if (buffer.remaining() < bytes) {
      long least = (long) buffer.position() + bytes;
      ByteBuffer larger = allocate((int) Math.min(Integer.MAX_VALUE, Math.max(least, 2L * buffer.capacity())));
      larger.put(buffer.flip());
      buffer = larger;
    }
    return buffer;
  }

  Request u8(int v) {
    room(1).put((byte) v);
    return this;
  }

  Request u32(int v) {
    room(Integer.BYTES).putInt(v);
    return this;
  }

  Request i64(long v) {
    room(Long.BYTES).putLong(v);
    return this;
  }

  Request bytes(byte[] v) {
    room(Integer.BYTES + v.length).putInt(v.length).put(v);
    return this;
  }

  Request string(String v) {
    return bytes(v.getBytes(StandardCharsets.UTF_8));
  }

  /** Adds a record to the batch. */
  public void record(EdgeRecord r) {
    int payload = r.length - r.payloadOffset;
    ByteBuffer b = room(32 + payload);
    b.put((byte) 0).putShort((short) r.edge).put((byte) (r.stamped ? 1 : 0)).putLong(r.time);
    if (r.stamped) {
      b.putLong(r.watermark);
    }
    b.putInt(payload).put(r.data, r.payloadOffset, payload);
    items++;
  }

  /** Adds a watermark to the batch. */
  public void watermark(long watermark) {
    room(9).put((byte) 1).putLong(watermark);
    items++;
  }

  /** Adds a record of Kafka's to the batch; partition is its number in the last assignment. */
  public void raw(int partition, SourceElement e) {
    room(19).put((byte) 2).putShort((short) partition).putLong(e.offset()).putLong(e.timestamp());
    optional(e.key());
    optional(e.value());
    items++;
  }

  /** Adds the news of which partitions are read from now on. */
  public void assigned(String[] partitions) {
    room(3).put((byte) 3).putShort((short) partitions.length);
    for (String partition : partitions) {
      string(partition);
    }
    items++;
  }

  Request optional(byte[] v) {
    if (v == null) {
      return u8(0);
    }
    return u8(1).bytes(v);
  }

  /** Ends a batch, with the processing time that it comes at. */
  Request endBatch(long processingTime) {
    buffer.putLong(HEADER, processingTime).putInt(COUNT_AT, items);
    return this;
  }

  /** The frame's bytes, ready to be sent. */
  ByteBuffer end() {
    buffer.putInt(0, buffer.position() - Integer.BYTES);
    return buffer.flip();
  }
}
