package millrace.flink;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import millrace.flink.operator.Chain;
import millrace.flink.operator.ChainHarness;
import millrace.flink.record.EdgeRecord;
import millrace.flink.record.Key;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.runtime.state.StateBackend;

/**
 * A subtask of a chain that a Go test talks to as if it were a worker: HELLO, LOAD, START, BATCH,
 * SNAPSHOT and CLOSE of flink/PROTOCOL.md, but records of a BATCH have their key behind the
 * payload. What comes is given to the operator in Flink's harness, what the operator emits goes
 * back.
 */
final class HarnessSubtask implements AutoCloseable {
  private static final int HELLO = 1;
  private static final int LOAD = 2;
  private static final int START = 3;
  private static final int BATCH = 4;
  private static final int SNAPSHOT = 5;
  private static final int CLOSE = 6;

  /** Few enough that batches fill. */
  private static final Chain.Settings SETTINGS = new Chain.Settings(5, 1, 60_000, "");

  private final HarnessServer server;
  private final HarnessJob job;
  private final Path binary;
  private final Plan plan;
  private final StateBackend backend;
  private final Map<String, Map<Key, byte[]>> loaded = new HashMap<>();
  private Map<String, Map<Key, byte[]>> told = new HashMap<>();
  private Chain chain;
  private int subtask;
  private int parallelism;
  private long restoredFrom;
  private ChainHarness harness;

  HarnessSubtask(
      HarnessServer server, HarnessJob job, Path binary, Plan plan, StateBackend backend) {
    this.server = server;
    this.job = job;
    this.binary = binary;
    this.plan = plan;
    this.backend = backend;
  }

  /** Answers until the test ends. */
  void serve(HarnessServer.Peer peer) throws Exception {
    while (true) {
      ByteBuffer in = peer.read();
      int type = in.get();
      switch (type) {
        case HELLO -> hello(in);
        case LOAD -> load(in);
        case START -> start();
        case BATCH -> batch(in);
        case SNAPSHOT -> snapshot(in);
        case CLOSE -> close();
        default -> throw new IOException("a frame of type " + type);
      }
      if (type == BATCH || type == SNAPSHOT) {
        peer.write(HarnessServer.RESULT, result(type == SNAPSHOT));
      } else {
        peer.write(HarnessServer.OK, ByteBuffer.allocate(0));
      }
    }
  }

  private void hello(ByteBuffer in) {
    in.getInt(); // the plan has the protocol's version
    HarnessServer.string(in);
    byte[] program = HarnessServer.bytes(in);
    String name = HarnessServer.string(in);
    subtask = in.getInt();
    parallelism = in.getInt();
    in.getInt();
    restoredFrom = in.getLong();
    Plan.ChainPlan of =
        plan.chains().stream().filter(c -> c.name().equals(name)).findFirst().orElseThrow();
    List<String> stages = of.stages().stream().map(Plan.StagePlan::name).toList();
    chain = new Chain(plan.job(), program, name, stages, plan.outputsOf(name), SETTINGS);
  }

  private void load(ByteBuffer in) {
    var stage = loaded.computeIfAbsent(HarnessServer.string(in), s -> new HashMap<>());
    for (int n = in.getInt(); n > 0; n--) {
      stage.put(new Key(HarnessServer.bytes(in)), HarnessServer.bytes(in));
    }
  }

  /** Begins with the state that was loaded, or with that of a checkpoint, which must be the same. */
  private void start() throws Exception {
    harness = new ChainHarness(chain, backend, parallelism, subtask);
    boolean rescaled = false;
    if (restoredFrom == 0) {
      harness.seed(loaded);
    } else {
      var taken = job.get(restoredFrom);
      rescaled = taken.get(chain.name()).length != parallelism;
      harness.restore(restoredFrom, taken);
    }
    told = harness.state();
    for (String stage : chain.stages()) {
      var want = loaded.getOrDefault(stage, Map.of());
      var got = told.get(stage);
      if (!same(want, got)) {
        throw new IllegalStateException(
            "stage %s, subtask %d of %d: Flink has restored %s, want %s"
                .formatted(stage, subtask, parallelism, got.keySet(), want.keySet()));
      }
      server.opened(stage, rescaled);
    }
    synchronized (HarnessServer.class) { // the property is the process's
      String was = System.setProperty("millrace.binary", binary.toString());
      try {
        harness.open();
      } finally {
        if (was == null) {
          System.clearProperty("millrace.binary");
        } else {
          System.setProperty("millrace.binary", was);
        }
      }
    }
  }

  private static boolean same(Map<Key, byte[]> a, Map<Key, byte[]> b) {
    return a.keySet().equals(b.keySet())
        && a.entrySet().stream().allMatch(e -> Arrays.equals(e.getValue(), b.get(e.getKey())));
  }

  private void batch(ByteBuffer in) throws Exception {
    long now = in.getLong();
    harness.processingTime(now);
    int items = in.getInt();
    for (int n = 0; n < items; n++) {
      switch (in.get()) {
        case 0 -> harness.record(record(in));
        case 1 -> harness.watermark(in.getLong());
        default -> throw new IOException("an item of an unknown kind");
      }
    }
    if (items == 0) {
      harness.nudge();
    }
    harness.processingTime(now);
  }

  private static EdgeRecord record(ByteBuffer in) {
    EdgeRecord r = new EdgeRecord();
    r.edge = in.getShort() & 0xffff;
    r.stamped = in.get() != 0;
    r.time = in.getLong();
    r.watermark = r.stamped ? in.getLong() : Long.MIN_VALUE;
    byte[] payload = HarnessServer.bytes(in);
    byte[] key = HarnessServer.bytes(in);
    r.reserve(key.length + payload.length);
    System.arraycopy(key, 0, r.data, 0, key.length);
    System.arraycopy(payload, 0, r.data, key.length, payload.length);
    r.keyLength = key.length;
    r.payloadOffset = key.length;
    return r;
  }

  private void snapshot(ByteBuffer in) throws Exception {
    long checkpoint = in.getLong();
    Map<String, OperatorSubtaskState> parts = harness.checkpoint(checkpoint);
    job.add(checkpoint, parallelism, subtask, parts);
  }

  /** What was emitted, and after a checkpoint what has changed in Flink's state. */
  private ByteBuffer result(boolean withState) throws Exception {
    Output out = new Output();
    out.u8(0).i64(harness.takenWatermark()).u8(0);
    Output records = new Output();
    int count = 0;
    for (int edge : chain.outputs()) {
      for (EdgeRecord r = harness.taken(edge); r != null; r = harness.taken(edge)) {
        records.u16(edge).bytes(r.key()).i64(r.time).i64(r.watermark).bytes(r.payload());
        count++;
      }
    }
    out.u32(count).raw(records);
    if (!withState) {
      return out.u32(0).u32(0).done();
    }
    var now = harness.state();
    out.u32(now.size());
    for (var stage : now.entrySet()) {
      var before = told.get(stage.getKey());
      Output writes = new Output();
      count = 0;
      for (var value : stage.getValue().entrySet()) {
        if (!Arrays.equals(value.getValue(), before.get(value.getKey()))) {
          writes.bytes(value.getKey().bytes()).u8(1).bytes(value.getValue());
          count++;
        }
      }
      for (Key key : before.keySet()) {
        if (!stage.getValue().containsKey(key)) {
          writes.bytes(key.bytes()).u8(0);
          count++;
        }
      }
      out.string(stage.getKey()).u32(count).raw(writes);
    }
    told = now;
    return out.u32(0).done();
  }

  @Override
  public void close() throws Exception {
    if (harness != null) {
      ChainHarness h = harness;
      harness = null;
      h.close();
    }
  }

  /** The body of a frame. */
  private static final class Output {
    private final ByteArrayOutputStream to = new ByteArrayOutputStream();

    Output u8(int v) {
      to.write(v);
      return this;
    }

    Output u16(int v) {
      return u8(v & 0xff).u8(v >> Byte.SIZE);
    }

    Output u32(int v) {
      return u16(v & 0xffff).u16(v >>> Short.SIZE);
    }

    Output i64(long v) {
      return u32((int) v).u32((int) (v >>> Integer.SIZE));
    }

    Output bytes(byte[] v) {
      u32(v.length).to.writeBytes(v);
      return this;
    }

    Output string(String v) {
      return bytes(v.getBytes(StandardCharsets.UTF_8));
    }

    Output raw(Output v) {
      to.writeBytes(v.to.toByteArray());
      return this;
    }

    ByteBuffer done() {
      return ByteBuffer.wrap(to.toByteArray());
    }
  }
}
