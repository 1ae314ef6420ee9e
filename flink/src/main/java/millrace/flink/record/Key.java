package millrace.flink.record;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * What Flink keys by: the stored form of a key of a Go stage. (A byte array itself has no equality
 * by content, so that Flink refuses it as a key.)
 */
public final class Key {
  private static final VarHandle WORD =
      MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
  private static final long SEED = 0x2545F4914F6CDD1DL;
  private static final long PRIME = 0x9E3779B97F4A7C15L;

  private byte[] data;
  private int offset;
  private int length;

  /** A key of its own bytes, which must not change. */
  public Key(byte[] bytes) {
    look(bytes, 0, bytes.length);
  }

  /** Makes the key a view of bytes that somebody else owns. */
  void look(byte[] bytes, int from, int count) {
    data = bytes;
    offset = from;
    length = count;
  }

  /** The bytes. They are not copied if the key is all of its array. */
  public byte[] bytes() {
    return offset == 0 && length == data.length
        ? data
        : Arrays.copyOfRange(data, offset, offset + length);
  }

  /**
   * The hash by which Flink assigns key groups: never to change, stored state is found by it. Keys
   * that are numbers differ in few bits, so that all of them are mixed.
   */
  @Override
  public int hashCode() {
    long hash = SEED ^ length;
    int at = offset;
    int end = offset + length;
    for (; end - at >= Long.BYTES; at += Long.BYTES) {
      hash = mix(hash, (long) WORD.get(data, at));
    }
    if (at < end) {
      long rest = 0;
      for (; at < end; at++) {
        rest = rest << Byte.SIZE | data[at] & 0xff;
      }
      hash = mix(hash, rest);
    }
    return (int) (hash >>> 32);
  }

  private static long mix(long hash, long word) {
    hash = (hash ^ word) * PRIME;
    return (hash ^ hash >>> 32) * PRIME;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Key k
        && Arrays.equals(data, offset, offset + length, k.data, k.offset, k.offset + k.length);
  }

  @Override
  public String toString() {
    StringBuilder text = new StringBuilder("key ");
    for (byte b : bytes()) {
      text.append(String.format("%02x", b));
    }
    return text.toString();
  }
}
