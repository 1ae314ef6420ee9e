import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;

/** Counts numbers by their last digit, in RocksDB, with a checkpoint each 200 ms. */
public class CountJob {
  public static void main(String[] arguments) throws Exception {
    Configuration configuration = new Configuration();
    configuration.setString("state.backend.type", "rocksdb");
    StreamExecutionEnvironment flink = StreamExecutionEnvironment.getExecutionEnvironment(configuration);
    flink.enableCheckpointing(200);
    flink.fromSequence(1, Long.parseLong(arguments[0]))
        .keyBy(n -> n % 10, Types.LONG)
        .reduce(Long::sum)
        .sinkTo(new DiscardingSink<>());
    flink.execute("count");
  }
}
