package millrace.flink;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.flink.api.common.JobExecutionResult;
import org.apache.flink.api.common.JobID;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.SavepointFormatType;
import org.apache.flink.runtime.jobgraph.SavepointRestoreSettings;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.graph.StreamGraph;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The reference jobs on a small cluster: what they come to is what they come to in one Go process,
 * whatever happens on the way.
 */
@Timeout(300)
class JobTest {
  @TempDir Path folder;

  /** A graph of a job. */
  private StreamGraph graph(Configuration c, String... options) throws Exception {
    Options parsed = Options.parse(options);
    StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(c);
    Main.prepare(env, Plan.make(parsed.plan()), parsed);
    return env.getStreamGraph();
  }

  /** What one Go process makes of the same events. */
  private static String want(String job, long events) throws Exception {
    Process p =
        new ProcessBuilder(
                System.getProperty("millrace.binary"), "job", job, "--events",
                Long.toString(events), "--state", "memory", "--json")
            .redirectError(ProcessBuilder.Redirect.DISCARD)
            .start();
    String json = new String(p.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertTrue(p.waitFor(2, TimeUnit.MINUTES));
    return field(json, "rows_out") + " " + field(json, "checksum");
  }

  private static String field(String json, String name) {
    return json.replaceAll("(?s).*\"" + name + "\": ?\"?([0-9a-f]+).*", "$1");
  }

  private static String of(JobExecutionResult result) {
    String json = Main.report(result);
    return field(json, "rows_out") + " " + field(json, "checksum");
  }

  private static JobExecutionResult await(MiniCluster cluster, JobID job) throws Exception {
    return cluster
        .requestJobResult(job)
        .get()
        .toJobExecutionResult(JobTest.class.getClassLoader());
  }

  @ParameterizedTest
  @CsvSource({
    "J1,hashmap", "J2,rocksdb", "J4,hashmap", "J5,hashmap", "J6,rocksdb", "J1,rocksdb",
    "J4,rocksdb", "J6,hashmap", "J2,hashmap"
  })
  void comesToTheSame(String job, String backend) throws Exception {
    Configuration c = Local.configuration(folder, backend, 300);
    try (MiniCluster cluster = Local.start(c, 1, 2)) {
      StreamGraph g = graph(c, "--job", job, "--events", "200000", "--parallelism", "2");
      JobID id = cluster.submitJob(g).get().getJobID();
      assertEquals(want(job, 200_000), of(await(cluster, id)));
    }
  }

  /** Workers are killed while the job runs; unaligned checkpoints have records in flight. */
  @ParameterizedTest
  @CsvSource({"J4,hashmap,false", "J6,rocksdb,false", "J2,rocksdb,true"})
  void workersAreKilled(String job, String backend, boolean unaligned) throws Exception {
    Configuration c = Local.configuration(folder, backend, 200);
    c.setString("execution.checkpointing.unaligned.enabled", Boolean.toString(unaligned));
    c.setString("restart-strategy.type", "fixed-delay");
    c.setString("restart-strategy.fixed-delay.attempts", "100");
    c.setString("restart-strategy.fixed-delay.delay", "50 ms");
    try (MiniCluster cluster = Local.start(c, 1, 2)) {
      StreamGraph g =
          graph(c, "--job", job, "--events", "120000", "--rate", "10000", "--parallelism", "2");
      JobID id = cluster.submitJob(g).get().getJobID();
      for (int kills = 0; kills < 3; kills++) {
        Local.awaitRunning(cluster, id);
        Thread.sleep(800);
        List<ProcessHandle> workers = ProcessHandle.current().children().toList();
        assertEquals(1, workers.size(), "one worker serves all subtasks");
        workers.get(0).destroyForcibly();
        workers.get(0).onExit().join();
      }
      assertEquals(want(job, 120_000), of(await(cluster, id)));
    }
    assertEquals(List.of(), ProcessHandle.current().children().toList());
  }

  @ParameterizedTest
  @CsvSource({"J1,hashmap,1,2", "J2,hashmap,2,1", "J4,rocksdb,2,3", "J6,rocksdb,3,1"})
  void savepointsRestoreAtAnotherParallelism(String job, String backend, int from, int to)
      throws Exception {
    Configuration c = Local.configuration(folder, backend, 300);
    List<String> options =
        new ArrayList<>(List.of("--job", job, "--events", "60000", "--rate", "10000"));
    try (MiniCluster cluster = Local.start(c, 1, 3)) {
      options.addAll(List.of("--parallelism", Integer.toString(from)));
      JobID id =
          cluster.submitJob(graph(c, options.toArray(String[]::new))).get().getJobID();
      Local.awaitRunning(cluster, id);
      Thread.sleep(1000);
      String savepoint =
          cluster
              .stopWithSavepoint(
                  id, folder.resolve("savepoints").toUri().toString(), false,
                  SavepointFormatType.CANONICAL)
              .get(Duration.ofMinutes(1).toSeconds(), TimeUnit.SECONDS);
      options.set(options.size() - 1, Integer.toString(to));
      StreamGraph again = graph(c, options.toArray(String[]::new));
      again.setSavepointRestoreSettings(SavepointRestoreSettings.forPath(savepoint));
      JobID restored = cluster.submitJob(again).get().getJobID();
      assertEquals(want(job, 60_000), of(await(cluster, restored)));
    }
  }

  @Test
  void everyStageIsAnOperatorWithItsOwnName() throws Exception {
    StreamGraph g = graph(new Configuration(), "--job", "J2", "--parallelism", "2");
    List<String> uids =
        g.getStreamNodes().stream().map(n -> n.getTransformationUID()).sorted().toList();
    assertEquals(
        List.of("millrace-generator-viewed", "millrace-pairs", "millrace-result",
            "millrace-viewed"),
        uids);
  }
}
