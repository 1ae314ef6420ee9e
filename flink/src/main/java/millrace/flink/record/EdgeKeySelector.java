package millrace.flink.record;

import org.apache.flink.api.java.functions.KeySelector;

/**
 * The key of a record. It hands out the same object again and again: Flink's partitioner only takes
 * its hash.
 */
public final class EdgeKeySelector implements KeySelector<EdgeRecord, Key> {
  private static final long serialVersionUID = 1;

  private transient Key key;

  @Override
  public Key getKey(EdgeRecord r) {
    if (key == null) {
      key = new Key(r.data);
    }
    key.look(r.data, r.keyOffset, r.keyLength);
    return key;
  }
}
