package millrace.flink;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import millrace.flink.worker.Binary;
import millrace.flink.worker.Connection;

/**
 * What Flink has to know of a job, as {@code millrace worker --plan} prints it. flink/PROTOCOL.md
 * says what the fields mean.
 */
@JsonIgnoreProperties(ignoreUnknown = true)
record Plan(
    int protocol,
    String job,
    byte[] program,
    KafkaInput kafka,
    List<ChainPlan> chains,
    List<Edge> edges,
    Map<String, SinkPlan> sinks) {
  static final String RESULT = "result";
  static final String TOPIC = "topic:";
  static final String TOPICS = "topics";

  /** A source in Kafka. */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record KafkaInput(
      Map<String, String> properties, List<String> topics, String start, String group) {}

  /** A chain of stages. */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record ChainPlan(String name, List<StagePlan> stages, List<Input> inputs, int parallelism) {}

  /** An operator of Flink's. */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record StagePlan(String name, String uid) {}

  /** An edge that a chain reads. */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record Input(int edge) {}

  /** A way of records, from a chain to a chain, a topic or the result. */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record Edge(int id, String from, String to, KeyPart key) {}

  /** Where the key is in a record that Flink's own source makes. */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record KeyPart(int offset, int length) {}

  /** How records leave for a topic, or for these topics. */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record SinkPlan(Map<String, String> properties, List<String> topics) {}

  /** The edges that leave a chain. */
  List<Integer> outputsOf(String chain) {
    return edges.stream().filter(e -> e.from.equals(chain)).map(Edge::id).toList();
  }

  /** An edge by its number. */
  Edge edge(int id) {
    return edges.stream()
        .filter(e -> e.id == id)
        .findFirst()
        .orElseThrow(() -> new IllegalArgumentException("the plan has no edge " + id));
  }

  /** Asks the binary for a plan. */
  static Plan make(List<String> arguments) throws IOException, InterruptedException {
    List<String> command = new ArrayList<>();
    command.add(Binary.extract(Path.of(System.getProperty("java.io.tmpdir"))).toString());
    command.addAll(List.of("worker", "--plan"));
    command.addAll(arguments);
    Process process =
        new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    process.getOutputStream().close();
    String json = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    if (process.waitFor() != 0) {
      throw new IOException(String.join(" ", command) + " ended with " + process.exitValue());
    }
    return parse(json);
  }

  /** Reads a plan. */
  static Plan parse(String json) throws IOException {
    Plan plan = new ObjectMapper().readValue(json, Plan.class);
    if (plan.protocol != Connection.PROTOCOL) {
      throw new IOException(
          "the millrace binary speaks protocol " + plan.protocol + ", this jar " + Connection.PROTOCOL);
    }
    return plan;
  }
}
