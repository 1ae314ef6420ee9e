package millrace.flink;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.apache.flink.api.common.JobExecutionResult;
import org.apache.flink.api.common.JobID;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.runtime.execution.ExecutionState;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * Runs a reference job in this process and prints what it took, as the plain Java jobs do that it
 * is compared to: {@code make bench-flink-host} runs both in turns.
 */
public final class Local {
  private Local() {}

  /** What is set alike for both. */
  static Configuration configuration(Path folder, String backend, long checkpointMs) {
    Configuration c = new Configuration();
    c.setString("state.backend.type", backend);
    if (checkpointMs > 0) {
      c.setString("execution.checkpointing.interval", checkpointMs + " ms");
      c.setString("execution.checkpointing.incremental", "true");
      c.setString("execution.checkpointing.dir", "file://" + folder + "/checkpoints");
      c.setString("execution.checkpointing.savepoint-dir", "file://" + folder + "/savepoints");
    }
    c.setString("state.backend.rocksdb.timer-service.factory", "ROCKSDB");
    c.setString("io.tmp.dirs", folder.toString());
    c.setString("taskmanager.memory.managed.size", "512m");
    c.setString("taskmanager.memory.network.min", "64m");
    c.setString("taskmanager.memory.network.max", "64m");
    for (String host :
        List.of("rest.address", "rest.bind-address", "jobmanager.bind-host",
            "taskmanager.bind-host", "jobmanager.rpc.address", "taskmanager.host")) {
      c.setString(host, "127.0.0.1");
    }
    c.setString("rest.bind-port", "0");
    return c;
  }

  /** Starts a cluster in this process. */
  static MiniCluster start(Configuration c, int managers, int slots) throws Exception {
    MiniCluster cluster =
        new MiniCluster(
            new MiniClusterConfiguration.Builder()
                .setConfiguration(c)
                .setNumTaskManagers(managers)
                .setNumSlotsPerTaskManager(slots)
                .build());
    cluster.start();
    return cluster;
  }

  /** Waits until every task of a job runs. */
  static void awaitRunning(MiniCluster cluster, JobID job) throws Exception {
    while (true) {
      var vertices =
          StreamSupport.stream(
                  cluster.getExecutionGraph(job).get().getAllExecutionVertices().spliterator(),
                  false)
              .map(v -> v.getExecutionState())
              .toList();
      if (vertices.contains(ExecutionState.FAILED)) {
        return; // the job's result says why
      }
      if (!vertices.isEmpty()
          && Set.of(ExecutionState.RUNNING, ExecutionState.FINISHED).containsAll(vertices)) {
        return;
      }
      Thread.sleep(5);
    }
  }

  private static double cpuSeconds() throws IOException {
    String[] stat = Files.readString(Path.of("/proc/self/stat")).replaceFirst(".*\\) ", "").split(" ");
    double ticks = 0;
    for (int i = 11; i < 15; i++) { // of this process and of those it has waited for
      ticks += Long.parseLong(stat[i]);
    }
    return ticks / 100;
  }

  /** Runs {@code --backend B --ckpt MS --parallelism P} and the options of a job. */
  public static void main(String[] arguments) throws Exception {
    List<String> rest = new ArrayList<>(List.of(arguments));
    String backend = take(rest, "--backend", "hashmap");
    long checkpointMs =
        Long.parseLong(take(rest, "--ckpt", backend.equals("hashmap") ? "0" : "2000"));
    Options options = Options.parse(rest.toArray(String[]::new));
    Path folder = Files.createTempDirectory("millrace-local");
    Configuration c = configuration(folder, backend, checkpointMs);
    StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(c);
    Main.prepare(env, Plan.make(options.plan()), options);
    if (checkpointMs == 0) {
      env.getCheckpointConfig().disableCheckpointing();
    }
    double before;
    double elapsed;
    JobExecutionResult result;
    double millionEvents = options.events() / 1e6;
    try (MiniCluster cluster = start(c, 1, env.getParallelism())) {
      JobID job = cluster.submitJob(env.getStreamGraph()).get().getJobID();
      awaitRunning(cluster, job);
      before = cpuSeconds();
      long began = System.nanoTime();
      result =
          cluster.requestJobResult(job).get().toJobExecutionResult(Local.class.getClassLoader());
      elapsed = (System.nanoTime() - began) / 1e9;
    }
    double cpu = cpuSeconds() - before;
    String report = Main.report(result);
    System.out.println(
        String.format(
            Locale.ROOT,
            "{\"cpu_s_per_M\":%.3f,\"events_per_s\":%.0f,\"rss_peak_mb\":%d,%s",
            cpu / millionEvents,
            options.events() / elapsed,
            peakMb(),
            report.substring(1)));
    remove(folder);
    System.exit(0);
  }

  private static String take(List<String> arguments, String name, String otherwise) {
    int at = arguments.indexOf(name);
    if (at < 0) {
      return otherwise;
    }
    arguments.remove(at);
    return arguments.remove(at);
  }

  private static long peakMb() throws IOException {
    try (Stream<String> lines = Files.lines(Path.of("/proc/self/status"))) {
      return lines
          .filter(l -> l.startsWith("VmHWM"))
          .mapToLong(l -> Long.parseLong(l.replaceAll("[^0-9]", "")) / 1024)
          .sum();
    }
  }

  /** Removes a folder. */
  static void remove(Path folder) throws IOException {
    try (Stream<Path> all = Files.walk(folder)) {
      for (Path path : all.sorted(Comparator.reverseOrder()).toList()) {
        Files.deleteIfExists(path);
      }
    }
  }
}
