package millrace.flink.kafka;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
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

  private static final VarHandle LENGTH =
      MethodHandles.byteArrayViewVarHandle(short[].class, ByteOrder.LITTLE_ENDIAN);

  private final String topic;
  private final List<String> topics;

  private EdgeRecords(String topic, List<String> topics) {
    this.topic = topic;
    this.topics = List.copyOf(topics);
  }

  /** Records of this topic. */
  public static EdgeRecords of(String topic) {
    return new EdgeRecords(topic, List.of(topic));
  }

  /**
   * Records whose payload begins with the name of their topic, which is one of these, after its
   * length in two bytes.
   */
  public static EdgeRecords named(List<String> topics) {
    return new EdgeRecords(null, topics);
  }

  @Override
  public ProducerRecord<byte[], byte[]> serialize(
      EdgeRecord r, KafkaSinkContext context, Long timestamp) {
    byte[] key = r.keyLength == 0 ? null : r.key();
    if (topic != null) {
      return new ProducerRecord<>(topic, key, r.payload());
    }
    int name = (short) LENGTH.get(r.data, r.payloadOffset) & 0xffff;
    int at = r.payloadOffset + Short.BYTES;
    return new ProducerRecord<>(
        new String(r.data, at, name, StandardCharsets.UTF_8),
        key,
        Arrays.copyOfRange(r.data, at + name, r.length));
  }

  /** The sink asks for the topics, whose lingering transactions it ends after a restart. */
  @Override
  public Optional<KafkaDatasetFacet> getKafkaDatasetFacet() {
    return topics.isEmpty()
        ? Optional.empty()
        : Optional.of(
            new DefaultKafkaDatasetFacet(
                DefaultKafkaDatasetIdentifier.ofTopics(topics), new Properties()));
  }
}
