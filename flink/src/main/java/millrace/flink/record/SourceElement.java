package millrace.flink.record;

/**
 * What the Kafka source hands to the chain that decodes it: a record as it lies in Kafka, or the
 * news which partitions the subtask reads from now on.
 *
 * @param assigned all partitions that are read from now on, as "topic/partition"; null for a record
 * @param topic the record's topic
 * @param partition the record's partition
 * @param offset its offset
 * @param timestamp its Kafka timestamp in milliseconds
 * @param key its key, or null
 * @param value its value, or null
 */
public record SourceElement(
    String[] assigned,
    String topic,
    int partition,
    long offset,
    long timestamp,
    byte[] key,
    byte[] value) {

  /** The news of what is assigned. */
  public static SourceElement assigned(String[] partitions) {
    return new SourceElement(partitions, null, 0, 0, 0, null, null);
  }

  /** A record. */
  public static SourceElement raw(
      String topic, int partition, long offset, long timestamp, byte[] key, byte[] value) {
    return new SourceElement(null, topic, partition, offset, timestamp, key, value);
  }
}
