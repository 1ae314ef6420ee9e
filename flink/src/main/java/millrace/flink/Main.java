package millrace.flink;

import java.util.Locale;
import millrace.flink.reference.Latencies;
import millrace.flink.reference.ResultSink;
import org.apache.flink.api.common.JobExecutionResult;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExecutionOptions;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** What {@code flink run millrace-flink.jar} runs. docs/flink.md says how to use it. */
public final class Main {
  private static final long CHECKPOINT_INTERVAL_MS = 10_000;
  private static final long BUFFER_TIMEOUT_MS = 2;
  private static final int MAX_PARALLELISM = 128;

  private Main() {}

  /** Runs a job until it ends. */
  public static void main(String[] arguments) throws Exception {
    Options options = Options.parse(arguments);
    Plan plan = Plan.make(options.plan());
    StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment();
    prepare(env, plan, options);
    if (plan.kafka() != null && !options.bounded()) {
      env.executeAsync("millrace-" + plan.job());
      return;
    }
    JobClient job = env.executeAsync("millrace-" + plan.job());
    System.out.println("Job " + job.getJobID());
    System.out.println(report(job.getJobExecutionResult().get()));
  }

  /** Lays a plan out in an environment. What Flink's configuration says is left as it is. */
  static void prepare(StreamExecutionEnvironment env, Plan plan, Options options) {
    Configuration own = new Configuration();
    var given = env.getConfiguration();
    own.set(PipelineOptions.OBJECT_REUSE, true); // every operator of the job knows of it
    if (given.getOptional(PipelineOptions.MAX_PARALLELISM).isEmpty()) {
      own.set(PipelineOptions.MAX_PARALLELISM, MAX_PARALLELISM);
    }
    env.configure(own);
    if (options.bufferTimeoutMs() >= 0
        || given.getOptional(ExecutionOptions.BUFFER_TIMEOUT).isEmpty()) {
      env.setBufferTimeout(
          options.bufferTimeoutMs() >= 0 ? options.bufferTimeoutMs() : BUFFER_TIMEOUT_MS);
    }
    if (options.checkpointIntervalMs() > 0
        || given.getOptional(CheckpointingOptions.CHECKPOINTING_INTERVAL).isEmpty()) {
      long interval = options.checkpointIntervalMs();
      env.enableCheckpointing(interval > 0 ? interval : CHECKPOINT_INTERVAL_MS);
    }
    env.getCheckpointConfig().setCheckpointingConsistencyMode(CheckpointingMode.EXACTLY_ONCE);
    if (options.parallelism() > 0) {
      env.setParallelism(options.parallelism());
    }
    Graph.build(env, plan, options);
  }

  /** What a job came to, as JSON. */
  static String report(JobExecutionResult result) {
    StringBuilder json = new StringBuilder();
    json.append(
        String.format(
            Locale.ROOT,
            "{\"elapsed_s\":%.3f",
            result.getNetRuntime() / 1e3));
    Long rows = result.getAccumulatorResult(ResultSink.ROWS);
    Long sum = result.getAccumulatorResult(ResultSink.SUM);
    if (rows != null && sum != null) {
      json.append(String.format(",\"rows_out\":%d,\"checksum\":\"%016x\"", rows, sum));
    }
    long[] latencies = result.getAccumulatorResult(ResultSink.LATENCY);
    if (latencies != null) {
      json.append(
          String.format(
              Locale.ROOT,
              ",\"latency_ms_p50\":%.2f,\"latency_ms_p99\":%.2f",
              Latencies.quantile(latencies, 0.5),
              Latencies.quantile(latencies, 0.99)));
    }
    return json.append('}').toString();
  }
}
