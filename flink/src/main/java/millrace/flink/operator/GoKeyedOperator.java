package millrace.flink.operator;

import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import millrace.flink.record.EdgeRecord;
import org.apache.flink.streaming.api.operators.StreamOperatorParameters;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/** The head of a chain of stages that are keyed. */
public final class GoKeyedOperator extends GoOperator<EdgeRecord> {
  private static final long serialVersionUID = 1;

  private final transient Map<String, StageState> states = new HashMap<>();

  GoKeyedOperator(StreamOperatorParameters<EdgeRecord> parameters, Chain chain) {
    super(parameters, chain);
  }

  @Override
  public void open() throws Exception {
    for (String stage : chain.stages()) {
      states.put(
          stage,
          stage.equals(chain.name())
              ? new StageState(getKeyedStateBackend())
              : GoStateOperator.of(getContainingTask(), stage));
    }
    super.open();
  }

  @Override
  public void processElement(StreamRecord<EdgeRecord> element) throws Exception {
    batch().record(element.getValue());
    added();
  }

  /** The worker says when the watermark goes on: after everything that comes of it. */
  @Override
  public void processWatermark(Watermark mark) throws Exception {
    batch().watermark(mark.getTimestamp());
    exchange();
  }

  private StageState state(String stage) throws IOException {
    StageState state = states.get(stage);
    if (state == null) {
      throw new IOException("stage " + stage + " is not in chain " + chain.name());
    }
    return state;
  }

  @Override
  protected void eachStored(String stage, StageState.Visitor visitor) throws IOException {
    state(stage).each(visitor);
  }

  @Override
  protected byte[] readStored(String stage, byte[] key) throws IOException {
    return state(stage).read(key);
  }

  @Override
  protected void writeStored(String stage, byte[] key, byte[] value) throws IOException {
    state(stage).write(key, value);
  }
}
