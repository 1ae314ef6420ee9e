package millrace.flink;

import java.util.HashMap;
import java.util.Map;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;

/** The checkpoints of a job whose operators run in harnesses: the newest two. */
final class HarnessJob {
  private final Map<Long, Map<String, OperatorSubtaskState[]>> checkpoints = new HashMap<>();

  /** Keeps a subtask's part of a checkpoint. */
  synchronized void add(
      long checkpoint, int parallelism, int subtask, Map<String, OperatorSubtaskState> parts) {
    checkpoints.keySet().removeIf(id -> id < checkpoint - 1);
    var all = checkpoints.computeIfAbsent(checkpoint, id -> new HashMap<>());
    parts.forEach(
        (stage, part) ->
            all.computeIfAbsent(stage, s -> new OperatorSubtaskState[parallelism])[subtask] = part);
  }

  /** The parts of a checkpoint by all subtasks, by stage. */
  synchronized Map<String, OperatorSubtaskState[]> get(long checkpoint) {
    var all = checkpoints.get(checkpoint);
    if (all == null) {
      throw new IllegalArgumentException("there is no checkpoint " + checkpoint);
    }
    return Map.copyOf(all);
  }
}
