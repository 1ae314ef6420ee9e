package millrace.flink;

import java.util.Map;
import millrace.flink.kafka.TopicSink;
import millrace.flink.record.Types;
import millrace.flink.reference.GeneratorSource;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * A job without Go: generated events into a topic, by the same sink. It tells what is Flink's and
 * Kafka's doing when something is missing.
 */
public final class SinkControl {
  private SinkControl() {}

  /** Takes the bootstrap server, the topic, how many events, how many a second, and the naming. */
  public static void main(String[] arguments) throws Exception {
    StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment();
    env.getConfig().enableObjectReuse();
    env.fromSource(
            new GeneratorSource(
                Long.parseLong(arguments[2]), Long.parseLong(arguments[3]), false, 0, 0, 8),
            WatermarkStrategy.noWatermarks(),
            "generator",
            Types.EDGE_RECORD)
        .uid("generator")
        .sinkTo(
            TopicSink.of(
                "control",
                arguments[1],
                Map.of("bootstrap.servers", arguments[0], "transaction.timeout.ms", arguments[5]),
                TransactionNamingStrategy.valueOf(arguments[4])))
        .uid("sink");
    env.execute("control");
  }
}
