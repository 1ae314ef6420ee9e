package millrace.flink.operator;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import millrace.flink.record.EdgeRecord;
import millrace.flink.record.SourceElement;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.StreamOperatorParameters;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.watermarkstatus.WatermarkStatus;

/**
 * Runs the chain that reads the source: the worker decodes Kafka's records, gives each the
 * watermark of its own partition, and says where the watermark of this subtask stands.
 *
 * <p>Its state is kept by partition, and goes where Kafka's partitions go: every subtask is given
 * all of it, and keeps what belongs to the partitions that it is assigned.
 */
public final class GoSourceOperator extends GoOperator<SourceElement> {
  private static final long serialVersionUID = 1;

  private final transient Map<String, byte[]> stored = new TreeMap<>();
  private transient ListState<Tuple3<String, Boolean, byte[]>> state;
  private transient Map<String, Map<Integer, Integer>> numbers = Map.of();
  private transient Set<String> assigned = Set.of();

  GoSourceOperator(StreamOperatorParameters<EdgeRecord> parameters, Chain chain) {
    super(parameters, chain);
  }

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    state =
        context
            .getOperatorStateStore()
            .getUnionListState(
                new ListStateDescriptor<>(
                    "partitions",
                    Types.TUPLE(Types.STRING, Types.BOOLEAN, Types.PRIMITIVE_ARRAY(Types.BYTE))));
    Map<String, byte[]> owned = new HashMap<>();
    for (Tuple3<String, Boolean, byte[]> partition : state.get()) {
      (partition.f1 ? owned : stored).put(partition.f0, partition.f2);
    }
    stored.putAll(owned); // what its reader has stored is newer than what others kept for it
  }

  /** Subtask 0 keeps what nobody may have been assigned yet. */
  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    super.snapshotState(context);
    boolean first = getRuntimeContext().getTaskInfo().getIndexOfThisSubtask() == 0;
    List<Tuple3<String, Boolean, byte[]>> list = new ArrayList<>();
    stored.forEach(
        (partition, value) -> {
          boolean own = assigned.contains(partition);
          if (own || first) {
            list.add(Tuple3.of(partition, own, value));
          }
        });
    state.update(list);
  }

  @Override
  public void processElement(StreamRecord<SourceElement> element) throws Exception {
    SourceElement e = element.getValue();
    if (e.assigned() != null) {
      assign(e.assigned());
      return;
    }
    Map<Integer, Integer> ofTopic = numbers.get(e.topic());
    Integer number = ofTopic == null ? null : ofTopic.get(e.partition());
    if (number == null) {
      throw new IllegalStateException(
          "a record of " + e.topic() + "/" + e.partition() + ", which is not assigned");
    }
    batch().raw(number, e);
    added();
  }

  private void assign(String[] partitions) throws IOException {
    Map<String, Map<Integer, Integer>> made = new HashMap<>();
    for (int i = 0; i < partitions.length; i++) {
      int slash = partitions[i].lastIndexOf('/');
      made.computeIfAbsent(partitions[i].substring(0, slash), t -> new HashMap<>())
          .put(Integer.parseInt(partitions[i].substring(slash + 1)), i);
    }
    numbers = made;
    assigned = Set.of(partitions);
    batch().assigned(partitions);
    exchange();
  }

  /** The source has no watermarks of its own, but one at its end. */
  @Override
  public void processWatermark(Watermark mark) throws Exception {
    if (mark.getTimestamp() == Long.MAX_VALUE) {
      batch().watermark(mark.getTimestamp());
      exchange();
    }
  }

  /** The worker says what is idle. */
  @Override
  public void processWatermarkStatus(WatermarkStatus status) {}

  @Override
  protected void eachStored(String stage, StageState.Visitor visitor) throws IOException {
    for (Map.Entry<String, byte[]> partition : stored.entrySet()) {
      visitor.visit(partition.getKey().getBytes(StandardCharsets.UTF_8), partition.getValue());
    }
  }

  @Override
  protected byte[] readStored(String stage, byte[] key) {
    return stored.get(new String(key, StandardCharsets.UTF_8));
  }

  @Override
  protected void writeStored(String stage, byte[] key, byte[] value) {
    String partition = new String(key, StandardCharsets.UTF_8);
    if (value == null) {
      stored.remove(partition);
    } else {
      stored.put(partition, value);
    }
  }
}
