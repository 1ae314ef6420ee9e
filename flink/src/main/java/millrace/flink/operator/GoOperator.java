package millrace.flink.operator;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import millrace.flink.record.EdgeRecord;
import millrace.flink.worker.Connection;
import millrace.flink.worker.Request;
import millrace.flink.worker.Session;
import millrace.flink.worker.Worker;
import org.apache.flink.runtime.execution.Environment;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.BoundedOneInput;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.operators.StreamOperatorParameters;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.watermarkstatus.WatermarkStatus;
import org.apache.flink.util.OutputTag;

/**
 * The head of a chain of Go stages: collects its input into batches, has the worker fold them, and
 * sends on what comes of it. The state lives in the worker; before each barrier what has changed is
 * written to Flink's state.
 *
 * <p>Everything happens in the task's thread, timers included.
 *
 * @param <T> what it reads
 */
abstract class GoOperator<T> extends AbstractStreamOperator<EdgeRecord>
    implements OneInputStreamOperator<T, EdgeRecord>, BoundedOneInput {
  private static final long serialVersionUID = 1;
  private static final int BATCH_BYTES = 1 << 20;
  private static final long TICK_MS = 200;
  private static final int SOCKET_PATH_BYTES = 100;

  /** What the operator runs. */
  protected final Chain chain;

  private final transient Request batch = new Request().beginBatch();
  private final transient Replies replies;
  private transient Worker.Lease lease;
  private transient Connection connection;
  private transient long restoredFrom;
  private transient long exchanges;
  private transient long exchangesWhenArmed;
  private transient long exchangesAtTick;
  private transient boolean armed;
  private transient boolean ended;

  GoOperator(StreamOperatorParameters<EdgeRecord> parameters, Chain chain) {
    super(parameters);
    this.chain = chain;
    this.replies = new Replies();
  }

  /** Hands all stored state of a stage of this subtask to a visitor. */
  protected abstract void eachStored(String stage, StageState.Visitor visitor) throws IOException;

  /** The stored value of a key. */
  protected abstract byte[] readStored(String stage, byte[] key) throws IOException;

  /** Stores a value, or deletes it if it is null. */
  protected abstract void writeStored(String stage, byte[] key, byte[] value) throws IOException;

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    restoredFrom = context.getRestoredCheckpointId().orElse(0);
  }

  @Override
  public void open() throws Exception {
    super.open();
    Environment environment = getContainingTask().getEnvironment();
    Duration timeout = Duration.ofMillis(chain.settings().workerTimeoutMs());
    lease =
        Worker.acquire(
            environment.getJobID().toString(),
            temporary(environment),
            timeout,
            chain.settings().workerArguments());
    connection = lease.connection();
    var task = getRuntimeContext().getTaskInfo();
    connection.hello(
        new Connection.Hello(
            chain.job(),
            chain.program(),
            chain.name(),
            task.getIndexOfThisSubtask(),
            task.getNumberOfParallelSubtasks(),
            task.getMaxNumberOfParallelSubtasks(),
            restoredFrom),
        replies);
    for (String stage : chain.stages()) {
      Connection.Loader loader = connection.load(stage, replies);
      eachStored(stage, loader::add);
      loader.flush();
    }
    connection.start(replies);
    getProcessingTimeService().registerTimer(now() + TICK_MS, this::tick);
  }

  /** A folder for temporary files in which the name of a socket is not too long. */
  private static Path temporary(Environment environment) {
    Path path = Path.of(environment.getTaskManagerInfo().getTmpDirectories()[0]).toAbsolutePath();
    String longest = path + "/millrace-flink-xxxxxxxxxx/worker-4194304-1234567890123456789/socket";
    return longest.length() <= SOCKET_PATH_BYTES ? path : Path.of("/tmp");
  }

  private long now() {
    return getProcessingTimeService().getCurrentProcessingTime();
  }

  /** The batch that is being collected. After something was added, call {@link #added}. */
  protected final Request batch() {
    return batch;
  }

  /** Sends the batch if it is full, and sees to it that it will be sent if not. */
  protected final void added() throws IOException {
    if (batch.items() >= chain.settings().batchRecords() || batch.size() >= BATCH_BYTES) {
      exchange();
    } else if (!armed) {
      arm();
    }
  }

  private void arm() {
    armed = true;
    exchangesWhenArmed = exchanges;
    // A timer for a time fires in the millisecond after it.
    getProcessingTimeService()
        .registerTimer(now() + chain.settings().batchIntervalMs() - 1, this::fire);
  }

  /** Sends what has waited for long enough. A batch that was begun since waits once more. */
  private void fire(long time) throws IOException {
    armed = false;
    if (batch.items() == 0) {
      return;
    }
    if (exchanges == exchangesWhenArmed) {
      exchange();
    } else {
      arm();
    }
  }

  /** Tells the worker the time when there is nothing else to tell. */
  private void tick(long time) throws IOException {
    if (exchanges == exchangesAtTick) {
      exchange();
    }
    exchangesAtTick = exchanges;
    getProcessingTimeService().registerTimer(now() + TICK_MS, this::tick);
  }

  /** Sends the batch and everything that comes of it. */
  protected final void exchange() throws IOException {
    exchanges++;
    connection.batch(batch, now(), replies);
    batch.beginBatch();
  }

  @Override
  public void prepareSnapshotPreBarrier(long checkpoint) throws Exception {
    if (batch.items() > 0) {
      exchange();
    }
    connection.snapshot(checkpoint, ended, replies);
  }

  @Override
  public void endInput() throws Exception {
    exchange();
    ended = true;
  }

  @Override
  public void close() throws Exception {
    GoStateOperator.forget(getContainingTask());
    if (lease != null) {
      lease.close();
    }
    super.close();
  }

  /** State is keyed, but by the worker: Flink needs no key for a record. */
  @Override
  public boolean hasKeyContext1() {
    return false;
  }

  /** What comes back from the worker. */
  private final class Replies implements Session {
    private final EdgeRecord record = new EdgeRecord();
    private final StreamRecord<EdgeRecord> element = new StreamRecord<>(record);
    private final OutputTag<EdgeRecord>[] tags = tags(chain.outputs());
    private final Map<String, AtomicLong> counters = new HashMap<>();
    private long emitted = Long.MIN_VALUE;
    private boolean idle;

    @Override
    public void output(int edge, ByteBuffer in) throws IOException {
      OutputTag<EdgeRecord> tag = edge < tags.length ? tags[edge] : null;
      if (tag == null) {
        throw new IOException("edge " + edge + " does not leave chain " + chain.name());
      }
      record.edge = edge;
      record.readKey(in);
      record.time = in.getLong();
      record.watermark = in.getLong();
      record.stamped = true;
      record.readPayload(in);
      output.collect(tag, element);
    }

    @Override
    public void write(String stage, byte[] key, byte[] value) throws IOException {
      writeStored(stage, key, value);
    }

    @Override
    public byte[] read(String stage, byte[] key) throws IOException {
      return readStored(stage, key);
    }

    @Override
    public void counter(String name, long value) {
      AtomicLong counter = counters.get(name);
      if (counter == null) {
        AtomicLong made = new AtomicLong();
        counters.put(name, made);
        getMetricGroup().addGroup("millrace").gauge(name, made::get);
        counter = made;
      }
      counter.set(value);
    }

    @Override
    public void finished(long watermark, boolean nowIdle) {
      if (idle && (!nowIdle || watermark > emitted)) {
        idle = false;
        output.emitWatermarkStatus(WatermarkStatus.ACTIVE);
      }
      if (watermark > emitted) {
        emitted = watermark;
        output.emitWatermark(new Watermark(watermark));
      }
      if (nowIdle && !idle) {
        idle = true;
        output.emitWatermarkStatus(WatermarkStatus.IDLE);
      }
    }
  }

  @SuppressWarnings({"unchecked", "rawtypes"})
  private static OutputTag<EdgeRecord>[] tags(List<Integer> edges) {
    int most = edges.stream().mapToInt(e -> e + 1).max().orElse(0);
    OutputTag<EdgeRecord>[] tags = new OutputTag[most];
    for (int edge : edges) {
      tags[edge] = Chain.tag(edge);
    }
    return tags;
  }
}
