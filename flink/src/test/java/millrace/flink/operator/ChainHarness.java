package millrace.flink.operator;

import java.io.IOException;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import millrace.flink.record.EdgeKeySelector;
import millrace.flink.record.EdgeRecord;
import millrace.flink.record.EdgeRecordSerializer;
import millrace.flink.record.Key;
import millrace.flink.record.Types;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.runtime.state.StateBackend;
import org.apache.flink.streaming.api.operators.AbstractStreamOperatorFactory;
import org.apache.flink.streaming.api.operators.OneInputStreamOperatorFactory;
import org.apache.flink.streaming.api.operators.StreamOperator;
import org.apache.flink.streaming.api.operators.StreamOperatorParameters;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.tasks.StreamTask;
import org.apache.flink.streaming.util.AbstractStreamOperatorTestHarness;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;

/**
 * A subtask of a chain in Flink's operator test harness: one harness for the head, and one for the
 * state of each stage that is chained to it.
 */
public final class ChainHarness implements AutoCloseable {
  /** The number of key groups. */
  public static final int MAX_PARALLELISM = 128;

  /** By stage, the head first. */
  private final Map<String, Harness> stages = new LinkedHashMap<>();

  private final Chain chain;
  private final Harness head;
  private final int subtask;
  private final int parallelism;
  private long mark = Long.MIN_VALUE;

  /** Flink's harness of one stage. */
  private static final class Harness
      extends KeyedOneInputStreamOperatorTestHarness<Key, EdgeRecord, EdgeRecord> {
    Harness(
        AbstractStreamOperatorFactory<EdgeRecord> factory,
        StateBackend backend,
        int parallelism,
        int subtask)
        throws Exception {
      super(factory, new EdgeKeySelector(), Types.KEY, MAX_PARALLELISM, parallelism, subtask);
      setStateBackend(backend);
      getExecutionConfig().enableObjectReuse();
      setup(EdgeRecordSerializer.INSTANCE);
    }

    StateAccess state() throws Exception {
      return new StateAccess(new StageState(getOperator().getKeyedStateBackend()));
    }
  }

  /** The state of a stage in Flink. */
  private record StateAccess(StageState state) {
    Map<Key, byte[]> all() throws IOException {
      Map<Key, byte[]> all = new HashMap<>();
      state.each((key, value) -> all.put(new Key(key.clone()), value.clone()));
      return all;
    }
  }

  /** Flink gives the operators of a chain one task; each harness makes one of its own. */
  private static final class InTaskOf extends AbstractStreamOperatorFactory<EdgeRecord>
      implements OneInputStreamOperatorFactory<EdgeRecord, EdgeRecord> {
    private static final long serialVersionUID = 1;

    private final transient StreamTask<?, ?> task;
    private final Factory<EdgeRecord> factory;

    InTaskOf(StreamTask<?, ?> task, Factory<EdgeRecord> factory) {
      this.task = task;
      this.factory = factory;
    }

    @Override
    public <S extends StreamOperator<EdgeRecord>> S createStreamOperator(
        StreamOperatorParameters<EdgeRecord> p) {
      return factory.createStreamOperator(
          new StreamOperatorParameters<>(
              task,
              p.getStreamConfig(),
              p.getOutput(),
              p::getProcessingTimeService,
              p.getOperatorEventDispatcher(),
              p.getMailboxExecutor()));
    }

    @Override
    @SuppressWarnings("rawtypes")
    public Class<? extends StreamOperator> getStreamOperatorClass(ClassLoader loader) {
      return factory.getStreamOperatorClass(loader);
    }
  }

  /** Makes the harnesses of a chain's subtask. */
  public ChainHarness(Chain chain, StateBackend backend, int parallelism, int subtask)
      throws Exception {
    this.chain = chain;
    this.subtask = subtask;
    this.parallelism = parallelism;
    head = new Harness(Factory.keyed(chain), backend, parallelism, subtask);
    StreamTask<?, ?> task = head.getOperator().getContainingTask();
    for (String stage : chain.stages()) {
      stages.put(
          stage,
          stage.equals(chain.name())
              ? head
              : new Harness(
                  new InTaskOf(task, Factory.state(stage)), backend, parallelism, subtask));
    }
  }

  /** Gives all stages the state of a checkpoint by so many subtasks: what is this one's of it. */
  public void restore(long checkpoint, Map<String, OperatorSubtaskState[]> taken) throws Exception {
    for (var stage : stages.entrySet()) {
      OperatorSubtaskState[] parts = taken.get(stage.getKey());
      OperatorSubtaskState all =
          parts.length == 1 ? parts[0] : AbstractStreamOperatorTestHarness.repackageState(parts);
      stage.getValue().setRestoredCheckpointId(checkpoint);
      stage
          .getValue()
          .initializeState(
              AbstractStreamOperatorTestHarness.repartitionOperatorState(
                  all, MAX_PARALLELISM, parts.length, parallelism, subtask));
    }
  }

  /** Gives all stages the state of nobody, and then these values. */
  public void seed(Map<String, Map<Key, byte[]>> values) throws Exception {
    for (var stage : stages.entrySet()) {
      stage.getValue().initializeEmptyState();
      StageState state = stage.getValue().state().state();
      for (var value : values.getOrDefault(stage.getKey(), Map.of()).entrySet()) {
        state.write(value.getKey().bytes(), value.getValue());
      }
    }
  }

  /** Opens the operators as Flink does, the head last. */
  public void open() throws Exception {
    for (Harness stage : stages.values()) {
      if (stage != head) {
        stage.open();
      }
    }
    head.open();
  }

  /** Moves processing time. What waits for company in a batch has waited for long enough then. */
  public void processingTime(long time) throws Exception {
    head.setProcessingTime(time);
  }

  /** Sends a record. */
  public void record(EdgeRecord record) throws Exception {
    head.processElement(new StreamRecord<>(record));
  }

  /** Sends a watermark. */
  public void watermark(long time) throws Exception {
    mark = Math.max(mark, time);
    head.processWatermark(new Watermark(time));
  }

  /** Sends the last watermark again: the worker learns what time it is. */
  public void nudge() throws Exception {
    head.processWatermark(new Watermark(mark));
  }

  /**
   * Takes a checkpoint. Stages are not told that it is complete: RocksDB's next would refer to files
   * of this one, which only a checkpoint coordinator brings together.
   */
  public Map<String, OperatorSubtaskState> checkpoint(long id) throws Exception {
    head.prepareSnapshotPreBarrier(id);
    Map<String, OperatorSubtaskState> parts = new HashMap<>();
    for (var stage : stages.entrySet()) {
      parts.put(stage.getKey(), stage.getValue().snapshot(id, id));
    }
    return parts;
  }

  /** What Flink's state has, by stage. */
  public Map<String, Map<Key, byte[]>> state() throws Exception {
    Map<String, Map<Key, byte[]>> all = new HashMap<>();
    for (var stage : stages.entrySet()) {
      all.put(stage.getKey(), stage.getValue().state().all());
    }
    return all;
  }

  /** Takes a record that was emitted on an edge, null if there is none. */
  public EdgeRecord taken(int edge) {
    var queue = head.getSideOutput(Chain.tag(edge));
    StreamRecord<EdgeRecord> next = queue == null ? null : queue.poll();
    return next == null ? null : next.getValue();
  }

  /** Takes the watermarks that were emitted: the last of them, Long.MIN_VALUE if there is none. */
  public long takenWatermark() {
    long last = Long.MIN_VALUE;
    for (Object o = head.getOutput().poll(); o != null; o = head.getOutput().poll()) {
      if (!(o instanceof Watermark next)) {
        throw new IllegalStateException("chain " + chain.name() + " has emitted " + o);
      }
      if (next.getTimestamp() <= last) {
        throw new IllegalStateException(
            "chain " + chain.name() + " has emitted watermark " + next + " after " + last);
      }
      last = next.getTimestamp();
    }
    return last;
  }

  @Override
  public void close() throws Exception {
    head.close();
    for (Harness stage : stages.values()) {
      if (stage != head) {
        stage.close();
      }
    }
  }
}
