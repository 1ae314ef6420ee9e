package millrace.flink;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import millrace.flink.operator.Chain;
import millrace.flink.operator.Factory;
import millrace.flink.record.EdgeKeySelector;
import millrace.flink.record.EdgeRecord;
import millrace.flink.record.EdgeRecordSerializer;
import millrace.flink.record.Key;
import millrace.flink.record.Types;
import millrace.flink.worker.WorkerException;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.state.rocksdb.EmbeddedRocksDBStateBackend;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The operator with the real worker, in Flink's own harness. */
@Timeout(120)
class OperatorTest {
  private static final int MAX_PARALLELISM = 128;

  private final List<AutoCloseable> opened = new ArrayList<>();

  /** One subtask of the first chain of a reference job. */
  private final class Subtask implements AutoCloseable {
    final KeyedOneInputStreamOperatorTestHarness<Key, EdgeRecord, EdgeRecord> harness;
    final Chain chain;

    Subtask(String job, int subtask, int parallelism, boolean rocks, Chain.Settings settings)
        throws Exception {
      Plan plan = Plan.make(List.of("--job", job));
      Plan.ChainPlan first = plan.chains().get(0);
      chain =
          new Chain(
              plan.job(),
              plan.program(),
              first.name(),
              first.stages().stream().map(Plan.StagePlan::name).toList(),
              plan.outputsOf(first.name()),
              settings);
      harness =
          new KeyedOneInputStreamOperatorTestHarness<>(
              Factory.keyed(chain), new EdgeKeySelector(), Types.KEY, MAX_PARALLELISM, parallelism,
              subtask);
      if (rocks) {
        harness.setStateBackend(new EmbeddedRocksDBStateBackend(true));
      }
      harness.getExecutionConfig().enableObjectReuse();
      harness.setup(EdgeRecordSerializer.INSTANCE);
      opened.add(this);
    }

    Subtask(String job, int subtask, int parallelism, boolean rocks) throws Exception {
      this(job, subtask, parallelism, rocks, Chain.Settings.DEFAULT);
    }

    Subtask open() throws Exception {
      harness.open();
      return this;
    }

    void send(long user, long time) throws Exception {
      harness.processElement(new StreamRecord<>(event(user, time)));
    }

    OperatorSubtaskState checkpoint(long id) throws Exception {
      harness.prepareSnapshotPreBarrier(id);
      return harness.snapshot(id, id);
    }

    /** How many rows have come out, and the sum of their hashes. */
    List<Long> rows() {
      long rows = 0;
      long sum = 0;
      for (int edge : chain.outputs()) {
        var out = harness.getSideOutput(Chain.tag(edge));
        for (StreamRecord<EdgeRecord> r : out == null ? List.<StreamRecord<EdgeRecord>>of() : out) {
          ByteBuffer b = ByteBuffer.wrap(r.getValue().payload()).order(ByteOrder.LITTLE_ENDIAN);
          rows += b.getLong();
          sum += b.getLong();
        }
      }
      return List.of(rows, sum);
    }

    List<Long> watermarks() {
      return harness.getOutput().stream()
          .filter(o -> o instanceof Watermark)
          .map(o -> ((Watermark) o).getTimestamp())
          .toList();
    }

    @Override
    public void close() throws Exception {
      harness.close();
    }
  }

  private static EdgeRecord event(long user, long time) {
    EdgeRecord r = new EdgeRecord();
    r.reserve(15);
    ByteBuffer.wrap(r.data).putLong(user);
    r.keyLength = Long.BYTES;
    r.time = time;
    r.stamped = true;
    r.watermark = Long.MIN_VALUE;
    return r;
  }

  private static long mix(long z) {
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return z ^ (z >>> 31);
  }

  /** The hash of a row, as the definition of the jobs has it. */
  private static long hash(long tag, long... fields) {
    long x = tag;
    for (long f : fields) {
      x = mix((x ^ f) + 0x9E3779B97F4A7C15L);
    }
    return x;
  }

  @AfterEach
  void close() throws Exception {
    for (AutoCloseable s : opened) {
      s.close();
    }
    opened.clear();
    assertEquals(List.of(), workers(), "workers outlive their sessions");
  }

  private static List<ProcessHandle> workers() {
    return ProcessHandle.current().children().filter(ProcessHandle::isAlive).toList();
  }

  @Test
  void recordsAreBatchedByNumberAndByTime() throws Exception {
    Subtask s = new Subtask("J1", 0, 1, false, new Chain.Settings(3, 5, 60_000, "")).open();
    s.send(1, 10);
    s.send(2, 11);
    assertEquals(List.of(0L, 0L), s.rows(), "two records wait for a third");
    s.send(1, 12);
    long three = hash(1, 1, 1) + hash(1, 2, 1) + hash(1, 1, 2);
    assertEquals(List.of(3L, three), s.rows());
    s.send(1, 13);
    s.harness.setProcessingTime(100);
    s.harness.setProcessingTime(200); // the batch was begun after the timer was set
    assertEquals(List.of(4L, three + hash(1, 1, 3)), s.rows());
  }

  @Test
  void outputsComeBeforeTheWatermarkThatMadeThem() throws Exception {
    Subtask s = new Subtask("J6", 0, 1, false).open();
    s.send(7, 1_000_000);
    s.harness.processWatermark(new Watermark(1_000_000));
    assertEquals(List.of(0L, 0L), s.rows());
    long end = 1_000_000 + 1_800_000;
    s.harness.processWatermark(new Watermark(end - 1));
    assertEquals(List.of(1L, hash(6, 7, 1_000_000, end, 1, 0)), s.rows());
    assertEquals(List.of(1_000_000L, end - 1), s.watermarks());
    s.harness.processWatermark(new Watermark(Long.MAX_VALUE));
    assertEquals(Long.MAX_VALUE, s.watermarks().get(2), "the end of the input");
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void stateIsRestored(boolean rocks) throws Exception {
    Subtask first = new Subtask("J1", 0, 1, rocks).open();
    for (int i = 0; i < 5000; i++) {
      first.send(i % 100, i);
    }
    OperatorSubtaskState one = first.checkpoint(1);
    first.send(3, 1);
    OperatorSubtaskState two = first.checkpoint(2);
    assertEquals(5001, first.rows().get(0), "a checkpoint sends what waits");
    first.close();

    for (int again = 0; again < 2; again++) {
      Subtask restored = new Subtask("J1", 0, 1, rocks);
      restored.harness.initializeState(again == 0 ? one : two);
      restored.open();
      restored.send(3, 1);
      restored.send(1000, 1);
      restored.checkpoint(3);
      assertEquals(List.of(2L, hash(1, 3, 51 + again) + hash(1, 1000, 1)), restored.rows());
      restored.close();
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void stateMovesToOtherSubtasks(boolean rocks) throws Exception {
    Subtask first = new Subtask("J6", 0, 1, rocks).open();
    long want = 0;
    for (int user = 0; user < 500; user++) {
      first.send(user, 1000 + user);
      want += hash(6, user, 1000 + user, 1000 + user + 1_800_000, 1, 0);
    }
    OperatorSubtaskState state = first.checkpoint(1);
    first.close();

    List<OperatorSubtaskState> parts = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      Subtask s = new Subtask("J6", i, 3, rocks);
      s.harness.initializeState(
          KeyedOneInputStreamOperatorTestHarness.repartitionOperatorState(
              state, MAX_PARALLELISM, 1, 3, i));
      s.open();
      parts.add(s.checkpoint(2));
      s.close();
    }
    OperatorSubtaskState all =
        KeyedOneInputStreamOperatorTestHarness.repackageState(
            parts.toArray(OperatorSubtaskState[]::new));
    long rows = 0;
    long sum = 0;
    for (int i = 0; i < 2; i++) {
      Subtask s = new Subtask("J6", i, 2, rocks);
      s.harness.initializeState(
          KeyedOneInputStreamOperatorTestHarness.repartitionOperatorState(
              all, MAX_PARALLELISM, 3, 2, i));
      s.open();
      s.harness.processWatermark(new Watermark(Long.MAX_VALUE)); // timers are in the state
      assertNotEquals(0, s.rows().get(0));
      rows += s.rows().get(0);
      sum += s.rows().get(1);
    }
    assertEquals(List.of(500L, want), List.of(rows, sum));
  }

  /** With hardly any memory most keys are read back from Flink's state. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void stateIsReadBackWhenMemoryIsShort(boolean rocks) throws Exception {
    Subtask s =
        new Subtask("J1", 0, 1, rocks, new Chain.Settings(1024, 1, 60_000, "1KiB")).open();
    long want = 0;
    for (int round = 1; round <= 3; round++) {
      for (int user = 0; user < 3000; user++) {
        s.send(user, round);
        want += hash(1, user, round);
      }
      s.checkpoint(round);
    }
    assertEquals(List.of(9000L, want), s.rows());
  }

  @Test
  void theWorkersErrorFailsTheTask() throws Exception {
    Subtask s = new Subtask("J1", 0, 1, false).open();
    EdgeRecord short14 = event(1, 1);
    short14.length = 14;
    s.harness.processElement(new StreamRecord<>(short14));
    var e = assertThrows(WorkerException.class, () -> s.harness.prepareSnapshotPreBarrier(1));
    assertFalse(e.getMessage().contains("gone"), e.getMessage());
  }

  @Test
  void aWorkerThatIsKilledFailsTheTaskAndTheNextHasANewOne() throws Exception {
    Subtask s = new Subtask("J1", 0, 1, false).open();
    s.send(1, 1);
    ProcessHandle worker = workers().get(0);
    assertTrue(worker.destroyForcibly());
    worker.onExit().join();
    assertThrows(WorkerException.class, () -> s.harness.prepareSnapshotPreBarrier(1));
    Subtask next = new Subtask("J1", 0, 1, false).open();
    next.send(1, 1);
    next.checkpoint(1);
    assertEquals(1, next.rows().get(0));
  }

  @Test
  void aWorkerThatHangsIsKilled() throws Exception {
    Subtask s = new Subtask("J1", 0, 1, false, new Chain.Settings(1024, 1, 700, "")).open();
    s.send(1, 1);
    ProcessHandle worker = workers().get(0);
    new ProcessBuilder("kill", "-STOP", Long.toString(worker.pid())).start().waitFor();
    var e = assertThrows(WorkerException.class, () -> s.harness.prepareSnapshotPreBarrier(1));
    assertEquals("the worker has not answered for 700 ms", e.getMessage());
    worker.onExit().join();
  }

  @Test
  void subtasksShareAWorkerAndLeaveNothing() throws Exception {
    Subtask a = new Subtask("J1", 0, 2, false);
    Subtask b = new Subtask("J1", 1, 2, false);
    a.open();
    Path folder = Path.of(a.harness.getEnvironment().getTaskManagerInfo().getTmpDirectories()[0]);
    b.open();
    // Each harness has a job of its own, so each has a worker.
    assertEquals(
        a.harness.getEnvironment().getJobID().equals(b.harness.getEnvironment().getJobID()) ? 1 : 2,
        workers().size());
    a.close();
    b.close();
    String own = "worker-" + ProcessHandle.current().pid() + "-";
    try (Stream<Path> users = Files.list(folder)) {
      for (Path user : users.filter(p -> p.toString().contains("millrace-flink-")).toList()) {
        try (Stream<Path> left = Files.list(user)) {
          assertEquals(List.of(), left.filter(p -> p.toString().contains(own)).toList());
        }
      }
    }
  }
}
