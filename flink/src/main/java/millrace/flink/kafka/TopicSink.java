package millrace.flink.kafka;

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

  private TopicSink() {}

  /** A sink of a job for a topic. Properties are those of Kafka's producer. */
  public static KafkaSink<EdgeRecord> of(
      String job, String topic, Map<String, String> properties, TransactionNamingStrategy naming) {
    Properties all = new Properties();
    all.put(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, TRANSACTION_TIMEOUT_MS);
    all.putAll(properties);
    return KafkaSink.<EdgeRecord>builder()
        .setKafkaProducerConfig(all)
        .setBootstrapServers(all.getProperty(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG))
        .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
        .setTransactionalIdPrefix("millrace-" + job + "-" + topic)
        .setTransactionNamingStrategy(naming)
        .setRecordSerializer(new EdgeRecords(topic))
        .build();
  }
}
