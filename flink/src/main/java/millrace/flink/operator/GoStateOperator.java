package millrace.flink.operator;

import java.util.HashMap;
import java.util.Map;
import java.util.WeakHashMap;
import millrace.flink.record.EdgeRecord;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.operators.StreamOperatorParameters;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Keeps the state of a stage that is chained to another: a name, a uid and keyed state of its own,
 * so that savepoints outlive changes of the chain. What the stage computes is computed in the
 * session of the chain's head, in the same task, which reads and writes this state.
 */
public final class GoStateOperator extends AbstractStreamOperator<EdgeRecord>
    implements OneInputStreamOperator<EdgeRecord, EdgeRecord> {
  private static final long serialVersionUID = 1;

  /** By task: the states of its chain. Flink opens the operators of a task tail first. */
  private static final Map<Object, Map<String, StageState>> OF_TASK = new WeakHashMap<>();

  private final String stage;

  GoStateOperator(StreamOperatorParameters<EdgeRecord> parameters, String stage) {
    super(parameters);
    this.stage = stage;
  }

  @Override
  public void open() throws Exception {
    super.open();
    StageState state = new StageState(getKeyedStateBackend());
    synchronized (OF_TASK) {
      OF_TASK.computeIfAbsent(getContainingTask(), t -> new HashMap<>()).put(stage, state);
    }
  }

  /** The state of a stage that is chained in a task. */
  static StageState of(Object task, String stage) {
    synchronized (OF_TASK) {
      StageState state = OF_TASK.getOrDefault(task, Map.of()).get(stage);
      if (state == null) {
        throw new IllegalStateException(
            "stage " + stage + " is not in the task of its chain: leave"
                + " pipeline.operator-chaining.enabled at true");
      }
      return state;
    }
  }

  /** The state must not be found any more once the task ends. */
  static void forget(Object task) {
    synchronized (OF_TASK) {
      OF_TASK.remove(task);
    }
  }

  @Override
  public boolean hasKeyContext1() {
    return false;
  }

  @Override
  public void processElement(StreamRecord<EdgeRecord> element) {
    throw new IllegalStateException("records do not pass stage " + stage);
  }
}
