package millrace.flink.operator;

import java.io.Serializable;
import java.util.List;
import millrace.flink.record.EdgeRecord;
import millrace.flink.record.Types;
import org.apache.flink.util.OutputTag;

/**
 * A head stage and those that are chained to it, which run in one Go session: what an operator has
 * to know.
 *
 * @param job the job's name
 * @param program what the worker makes the job of
 * @param name the head's name, or {@link #SOURCE}
 * @param stages the stages, the head first; the source has none but itself
 * @param outputs the numbers of the edges that leave the chain
 * @param settings how the worker is used
 */
public record Chain(
    String job,
    byte[] program,
    String name,
    List<String> stages,
    List<Integer> outputs,
    Settings settings)
    implements Serializable {
  /** The name of the chain that reads the source. */
  public static final String SOURCE = "source";

  /** How records of an edge leave the operator. */
  public static OutputTag<EdgeRecord> tag(int edge) {
    return new OutputTag<>("edge-" + edge, Types.EDGE_RECORD);
  }

  /**
   * How the worker is used.
   *
   * @param batchRecords how many records are sent to it at once, at most
   * @param batchIntervalMs how long a record waits for others, in milliseconds
   * @param workerTimeoutMs how long the worker may take for an answer, in milliseconds
   * @param memoryLimit how much memory live state may take in each worker, such as 1GiB: the rest
   *     is read back from Flink's state when it is needed. Empty is no limit
   */
  public record Settings(
      int batchRecords, long batchIntervalMs, long workerTimeoutMs, String memoryLimit)
      implements Serializable {
    /** What is good for most. */
    public static final Settings DEFAULT = new Settings(1024, 1, 60_000, "");

    /** What the worker is started with. */
    public List<String> workerArguments() {
      return memoryLimit.isEmpty() ? List.of() : List.of("--memory-limit", memoryLimit);
    }

    /** Says which setting is out of bounds. */
    public Settings {
      if (batchRecords < 1 || batchRecords > 1 << 20) {
        throw new IllegalArgumentException("batch-records: want 1 to 1048576, got " + batchRecords);
      }
      if (batchIntervalMs < 1 || batchIntervalMs > 60_000) {
        throw new IllegalArgumentException(
            "batch-interval: want 1 to 60000, got " + batchIntervalMs);
      }
      if (workerTimeoutMs < 100) {
        throw new IllegalArgumentException(
            "worker-timeout: want at least 100, got " + workerTimeoutMs);
      }
      if (!memoryLimit.isEmpty() && !memoryLimit.matches("[0-9.]+ ?([KMGT]i?)?B?")) {
        throw new IllegalArgumentException(
            "memory-limit: want a size such as 512MiB or 1GiB, got " + memoryLimit);
      }
    }
  }
}
