package millrace.flink.record;

import java.util.Arrays;

/**
 * What Flink keys by: the stored form of a key of a Go stage. (A byte array itself has no equality
 * by content, so that Flink refuses it as a key.)
 */
public final class Key {
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

  /** The hash by which Flink assigns key groups: never to change, stored state is found by it. */
  @Override
  public int hashCode() {
    int hash = 1;
    for (int i = offset, end = offset + length; i < end; i++) {
      hash = 31 * hash + data[i];
    }
    return hash;
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
