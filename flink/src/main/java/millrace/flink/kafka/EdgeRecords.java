package millrace.flink.kafka;

import millrace.flink.record.EdgeRecord;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Makes records of a topic of what leaves on an edge: key, payload and time are the record's. */
public final class EdgeRecords implements KafkaRecordSerializationSchema<EdgeRecord> {
  private static final long serialVersionUID = 1;

  private final String topic;

  /** Records of this topic. */
  public EdgeRecords(String topic) {
    this.topic = topic;
  }

  @Override
  public ProducerRecord<byte[], byte[]> serialize(
      EdgeRecord r, KafkaSinkContext context, Long timestamp) {
    return new ProducerRecord<>(
        topic, null, r.time >= 0 ? r.time : null, r.keyLength == 0 ? null : r.key(), r.payload());
  }
}
