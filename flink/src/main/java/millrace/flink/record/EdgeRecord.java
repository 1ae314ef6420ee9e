package millrace.flink.record;

import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * A record on its way from one chain to another, or to a sink: the bytes that Go has encoded, the
 * key that Flink partitions by, and the time and watermark that travel with it.
 *
 * <p>Objects are reused: whoever keeps a record beyond the call that it is given in takes a {@link
 * #copy}.
 */
public final class EdgeRecord {
  /** The most bytes that a key may have. */
  public static final int MAX_KEY_LENGTH = 0xffff;

  private static final byte[] NOTHING = {};

  /** The number of the edge in the plan. */
  public int edge;

  /** Whether {@link #watermark} is known. */
  public boolean stamped;

  /** The event time, in milliseconds. */
  public long time;

  /** Where the source's watermark stood before the source record that caused this one. */
  public long watermark;

  /** Holds the key and the payload, which may overlap. */
  public byte[] data = NOTHING;

  /** Where in {@link #data} the key begins. */
  public int keyOffset;

  /** How many bytes the key has. */
  public int keyLength;

  /** Where in {@link #data} the payload begins. It reaches to {@link #length}. */
  public int payloadOffset;

  /** How many bytes of {@link #data} are used. */
  public int length;

  /** Makes room for so many bytes of key and payload. What was in it is lost. */
  public void reserve(int bytes) {
    if (data.length < bytes) {
      data = new byte[Math.max(bytes, Math.min(2 * data.length, Integer.MAX_VALUE / 2))];
    }
    length = bytes;
  }

  /** Takes key and payload from a buffer's next bytes, each after its length. */
  public void readKey(ByteBuffer in) {
    keyLength = in.getInt();
    if (keyLength < 0 || keyLength > MAX_KEY_LENGTH) {
      throw new IllegalArgumentException(
          "a key of " + keyLength + " bytes, want at most " + MAX_KEY_LENGTH);
    }
    keyOffset = 0;
    payloadOffset = keyLength;
    if (data.length < keyLength) {
      data = new byte[2 * keyLength];
    }
    in.get(data, 0, keyLength);
  }

  /** Takes the payload, after its length, once {@link #readKey} has taken the key. */
  public void readPayload(ByteBuffer in) {
    int bytes = in.getInt();
    length = payloadOffset + bytes;
    if (data.length < length) {
      data = Arrays.copyOf(data, Math.max(length, 2 * data.length));
    }
    in.get(data, payloadOffset, bytes);
  }

  /** The key, copied. */
  public byte[] key() {
    return Arrays.copyOfRange(data, keyOffset, keyOffset + keyLength);
  }

  /** The payload, copied. */
  public byte[] payload() {
    return Arrays.copyOfRange(data, payloadOffset, length);
  }

  /** How many bytes the payload has. */
  public int payloadLength() {
    return length - payloadOffset;
  }

  /** The record as another object. */
  public EdgeRecord copy() {
    EdgeRecord to = new EdgeRecord();
    copyTo(to);
    return to;
  }

  /** Makes another object the same record. */
  public void copyTo(EdgeRecord to) {
    to.edge = edge;
    to.stamped = stamped;
    to.time = time;
    to.watermark = watermark;
    to.keyOffset = keyOffset;
    to.keyLength = keyLength;
    to.payloadOffset = payloadOffset;
    to.reserve(length);
    System.arraycopy(data, 0, to.data, 0, length);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof EdgeRecord r
        && edge == r.edge
        && stamped == r.stamped
        && time == r.time
        && watermark == r.watermark
        && Arrays.equals(key(), r.key())
        && Arrays.equals(payload(), r.payload());
  }

  @Override
  public int hashCode() {
    return 31 * Arrays.hashCode(payload()) + Long.hashCode(time);
  }
}
