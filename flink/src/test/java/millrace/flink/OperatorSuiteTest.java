package millrace.flink;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.apache.flink.runtime.state.hashmap.HashMapStateBackend;
import org.apache.flink.state.rocksdb.EmbeddedRocksDBStateBackend;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * The operators' own tests, in Go: their scripts of events and answers and their property tests,
 * with {@code GoKeyedOperator} in Flink's operator test harness as two more of the engines that
 * have to agree at every step, on hashmap and RocksDB, with checkpoints that go on with other
 * numbers of subtasks on the way.
 *
 * <p>{@code -Dmillrace.operators=./recommend/heat} runs the tests of that folder only.
 */
@Timeout(1800)
class OperatorSuiteTest {
  private static final String HARNESS = "millrace/engine/harness";
  private static final String RAPID = "pgregory.net/rapid";

  /** A job with every stage of a server. Nobody is asked at these addresses. */
  private static final String ALL_STAGES =
      """
      kafka: {brokers: ["127.0.0.1:1"], topics: [{topic: user-events}]}
      redis: {addresses: ["127.0.0.1:1"]}
      publish: {enabled: true}
      cohort_preferences: true
      """;

  @TempDir private Path folder;

  @Test
  void operatorsPassTheirTestsInFlinksHarness() throws Exception {
    try (var hashmap = new HarnessServer(folder.resolve("hashmap"), HashMapStateBackend::new);
        var rocksdb =
            new HarnessServer(
                folder.resolve("rocksdb"), () -> new EmbeddedRocksDBStateBackend(true))) {
      String some = System.getProperty("millrace.operators", "");
      if (!some.isEmpty()) {
        test(List.of(some.split(" ")), List.of());
        return;
      }
      List<List<String>> packages = packages();
      test(named(packages.stream().filter(p -> !p.contains(RAPID))), List.of());
      test(named(packages.stream().filter(p -> p.contains(RAPID))), List.of("-rapid.checks=2"));
      demandAll(hashmap);
      demandAll(rocksdb);
    }
  }

  /** The packages with operators' tests, each with what these import. */
  private List<List<String>> packages() throws Exception {
    String imports = "{{.ImportPath}} {{join .TestImports \" \"}} {{join .XTestImports \" \"}}";
    return go(List.of("list", "-f", imports, "./..."))
        .lines()
        .map(line -> Arrays.asList(line.split(" +")))
        .filter(words -> words.indexOf(HARNESS) > 0)
        .toList();
  }

  private static List<String> named(Stream<List<String>> packages) {
    return packages.map(p -> p.get(0)).filter(name -> !name.equals(HARNESS)).toList();
  }

  private void test(List<String> packages, List<String> flags) throws Exception {
    List<String> arguments = new ArrayList<>(List.of("test", "-count=1", "-vet=off"));
    arguments.addAll(packages);
    arguments.addAll(flags);
    go(arguments);
  }

  /** Runs the go command at the root of the module, and returns what it prints. */
  private String go(List<String> arguments) throws Exception {
    List<String> command = new ArrayList<>();
    command.add(System.getenv().getOrDefault("GO", "go"));
    command.addAll(arguments);
    File said = folder.resolve("go.log").toFile();
    ProcessBuilder go =
        new ProcessBuilder(command)
            .directory(Path.of("..").toRealPath().toFile())
            .redirectErrorStream(true)
            .redirectOutput(said);
    go.environment().put("MILLRACE_FLINK_HARNESS", folder.toString());
    Process process = go.start();
    try {
      int code = process.waitFor();
      String text = Files.readString(said.toPath());
      assertEquals(0, code, text);
      return text;
    } finally {
      process.descendants().forEach(ProcessHandle::destroy);
      process.destroy();
    }
  }

  /** Every stage of a server was there, and has gone on with another number of subtasks. */
  private void demandAll(HarnessServer server) throws Exception {
    Path config = Files.writeString(folder.resolve("millrace.yaml"), ALL_STAGES);
    for (Plan.ChainPlan chain : Plan.make(List.of("--config", config.toString())).chains()) {
      for (Plan.StagePlan stage : chain.stages()) {
        var of = server.coverage().get(stage.name());
        assertNotNull(of, "no test has run stage " + stage.name());
        assertTrue(of.rescaled > 0, "stage " + stage.name() + " was never rescaled");
      }
    }
  }
}
