package millrace.flink.kafka;

import java.util.List;
import java.util.Map;
import java.util.Properties;
import millrace.flink.record.EdgeRecord;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.kafka.clients.producer.ProducerConfig;

/** Sinks that write each record to a topic exactly once. */
public final class TopicSink {
  /** As long as a broker allows it by default: what is not committed by then is lost. */
  private static final String TRANSACTION_TIMEOUT_MS = "900000";

  /**
   * Names of transactions are used again, so that a broker has few of them, and what a restart finds
   * open is ended by their list. It needs to know the topics.
   */
  public static final TransactionNamingStrategy NAMING = TransactionNamingStrategy.POOLING;

  private TopicSink() {}

  /** A sink of a job for one topic. Properties are those of Kafka's producer. */
  public static KafkaSink<EdgeRecord> of(
      String job, String topic, Map<String, String> properties, TransactionNamingStrategy naming) {
    return sink(job + "-" + topic, EdgeRecords.of(topic), properties, naming);
  }

  /** A sink of a job for records that name their topic, which is one of these if there are any. */
  public static KafkaSink<EdgeRecord> named(
      String job, List<String> topics, Map<String, String> properties) {
    return sink(
        job + "-topics",
        EdgeRecords.named(topics),
        properties,
        topics.isEmpty() ? TransactionNamingStrategy.INCREMENTING : NAMING);
  }

  private static KafkaSink<EdgeRecord> sink(
      String name,
      EdgeRecords records,
      Map<String, String> properties,
      TransactionNamingStrategy naming) {
    Properties all = new Properties();
    all.put(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, TRANSACTION_TIMEOUT_MS);
    all.putAll(properties);
    return KafkaSink.<EdgeRecord>builder()
        .setKafkaProducerConfig(all)
        .setBootstrapServers(all.getProperty(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG))
        .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
        .setTransactionalIdPrefix("millrace-" + name)
        .setTransactionNamingStrategy(naming)
        .setRecordSerializer(records)
        .build();
  }
}
