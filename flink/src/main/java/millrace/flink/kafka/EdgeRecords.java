package millrace.flink.kafka;

import java.util.List;
import java.util.Optional;
import java.util.Properties;
import millrace.flink.record.EdgeRecord;
import org.apache.flink.connector.kafka.lineage.DefaultKafkaDatasetFacet;
import org.apache.flink.connector.kafka.lineage.DefaultKafkaDatasetIdentifier;
import org.apache.flink.connector.kafka.lineage.KafkaDatasetFacet;
import org.apache.flink.connector.kafka.lineage.KafkaDatasetFacetProvider;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * Makes records of a topic of what leaves on an edge. Their timestamp is when they are written, not
 * the time of the event: a broker's retention goes by it, and would delete what comes of old events
 * at once.
 */
public final class EdgeRecords
    implements KafkaRecordSerializationSchema<EdgeRecord>, KafkaDatasetFacetProvider {
  private static final long serialVersionUID = 1;

  private final String topic;

  /** Records of this topic. */
  public EdgeRecords(String topic) {
    this.topic = topic;
  }

  @Override
  public ProducerRecord<byte[], byte[]> serialize(
      EdgeRecord r, KafkaSinkContext context, Long timestamp) {
    return new ProducerRecord<>(topic, r.keyLength == 0 ? null : r.key(), r.payload());
  }

  /** The sink asks for the topics, whose lingering transactions it ends after a restart. */
  @Override
  public Optional<KafkaDatasetFacet> getKafkaDatasetFacet() {
    return Optional.of(
        new DefaultKafkaDatasetFacet(
            DefaultKafkaDatasetIdentifier.ofTopics(List.of(topic)), new Properties()));
  }
}
