package millrace.flink.reference;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.util.List;
import millrace.flink.record.EdgeRecord;
import org.apache.flink.api.common.accumulators.LongCounter;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Adds up what the rows of a reference job come to: how many there are, and the sum of their
 * hashes. Both are accumulators of the job, and part of its checkpoints.
 */
public final class ResultSink extends AbstractStreamOperator<Void>
    implements OneInputStreamOperator<EdgeRecord, Void> {
  /** The accumulator of how many rows there are. */
  public static final String ROWS = "rows";

  /** The accumulator of the sum of the hashes of all rows. */
  public static final String SUM = "sum";

  /** The accumulator of how long rows took, if the source says when events were made. */
  public static final String LATENCY = "latency";

  private static final long serialVersionUID = 1;

  private static final VarHandle WORD =
      MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

  /** Rows of the first seconds are not timed: the JVM is still compiling. */
  private static final long WARM_UP_NANOS = 10_000_000_000L;

  private final boolean timed;
  private transient long timedFrom;
  private transient ListState<Tuple2<Long, Long>> state;
  private transient LongCounter rows;
  private transient LongCounter sum;
  private transient Latencies latencies;

  /**
   * A sink.
   *
   * @param timed whether the time of a row is when its event was made
   */
  public ResultSink(boolean timed) {
    this.timed = timed;
  }

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    state =
        context
            .getOperatorStateStore()
            .getListState(
                new ListStateDescriptor<>("sums", Types.TUPLE(Types.LONG, Types.LONG)));
    rows = new LongCounter();
    sum = new LongCounter();
    for (Tuple2<Long, Long> part : state.get()) {
      rows.add(part.f0);
      sum.add(part.f1);
    }
    getRuntimeContext().addAccumulator(ROWS, rows);
    getRuntimeContext().addAccumulator(SUM, sum);
    if (timed) {
      timedFrom = System.nanoTime() + WARM_UP_NANOS;
      latencies = new Latencies();
      getRuntimeContext().addAccumulator(LATENCY, latencies);
    }
  }

  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    super.snapshotState(context);
    state.update(
        List.of(Tuple2.of(rows.getLocalValuePrimitive(), sum.getLocalValuePrimitive())));
  }

  @Override
  public void processElement(StreamRecord<EdgeRecord> element) {
    EdgeRecord r = element.getValue();
    rows.add((long) WORD.get(r.data, r.payloadOffset));
    sum.add((long) WORD.get(r.data, r.payloadOffset + Long.BYTES));
    if (timed && r.time > timedFrom) {
      latencies.add(System.nanoTime() - r.time);
    }
  }
}
