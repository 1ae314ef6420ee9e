package millrace.flink;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import millrace.flink.kafka.AnnouncedSource;
import millrace.flink.kafka.RawRecords;
import millrace.flink.kafka.TopicSink;
import millrace.flink.operator.Chain;
import millrace.flink.operator.Factory;
import millrace.flink.record.EdgeKeySelector;
import millrace.flink.record.EdgeRecord;
import millrace.flink.record.SourceElement;
import millrace.flink.record.Types;
import millrace.flink.reference.GeneratorSource;
import millrace.flink.reference.ResultSink;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.KafkaSourceBuilder;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.DataStreamUtils;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.kafka.clients.consumer.OffsetResetStrategy;

/** Makes the graph of a job of its plan. */
final class Graph {
  private static final String UID = "millrace-";

  private final StreamExecutionEnvironment env;
  private final Plan plan;
  private final Options options;

  /** By chain: the operator whose side outputs are the edges that leave it. */
  private final Map<String, SingleOutputStreamOperator<EdgeRecord>> heads = new HashMap<>();

  private Graph(StreamExecutionEnvironment env, Plan plan, Options options) {
    this.env = env;
    this.plan = plan;
    this.options = options;
  }

  /** Adds all operators of a plan to an environment. */
  static void build(StreamExecutionEnvironment env, Plan plan, Options options) {
    Graph graph = new Graph(env, plan, options);
    if (plan.kafka() != null) {
      graph.source();
    }
    List<Plan.ChainPlan> waiting = new ArrayList<>(plan.chains());
    while (!waiting.isEmpty()) {
      Plan.ChainPlan next =
          waiting.stream()
              .filter(graph::ready)
              .findFirst()
              .orElseThrow(() -> new IllegalArgumentException("the plan's chains form a cycle"));
      waiting.remove(next);
      graph.chain(next);
    }
    graph.sinks();
  }

  private boolean ready(Plan.ChainPlan chain) {
    return chain.inputs().stream()
        .map(i -> plan.edge(i.edge()).from())
        .allMatch(from -> heads.containsKey(from) || generated(from));
  }

  private boolean generated(String from) {
    return plan.kafka() == null && from.equals(Chain.SOURCE);
  }

  private Chain spec(String name, List<String> stages) {
    return new Chain(
        plan.job(), plan.program(), name, stages, plan.outputsOf(name), options.settings());
  }

  private void source() {
    Plan.KafkaInput input = plan.kafka();
    Properties properties = new Properties();
    properties.putAll(input.properties());
    KafkaSourceBuilder<SourceElement> builder =
        KafkaSource.<SourceElement>builder()
            .setTopics(input.topics())
            .setProperties(properties)
            .setStartingOffsets(start(input.start()))
            .setDeserializer(new RawRecords());
    if (input.group() != null && !input.group().isEmpty()) {
      builder.setGroupId(input.group());
    }
    if (options.bounded()) {
      builder.setBounded(OffsetsInitializer.latest());
    }
    SingleOutputStreamOperator<EdgeRecord> decoded =
        env.fromSource(
                new AnnouncedSource(builder.build()),
                WatermarkStrategy.noWatermarks(),
                "kafka",
                Types.SOURCE_ELEMENT)
            .uid(UID + "kafka")
            .transform(
                Chain.SOURCE,
                Types.EDGE_RECORD,
                Factory.source(spec(Chain.SOURCE, List.of(Chain.SOURCE))))
            .uid(UID + Chain.SOURCE);
    heads.put(Chain.SOURCE, decoded);
  }

  @SuppressWarnings("deprecation") // Kafka's clients have no other name for it, which Flink takes
  private static OffsetsInitializer start(String at) {
    return switch (at) {
      case "stored" -> OffsetsInitializer.committedOffsets(OffsetResetStrategy.EARLIEST);
      case "earliest" -> OffsetsInitializer.earliest();
      case "latest" -> OffsetsInitializer.latest();
      default -> OffsetsInitializer.timestamp(Long.parseLong(at));
    };
  }

  /** The records of an edge. */
  private DataStream<EdgeRecord> stream(Plan.Edge edge) {
    if (!generated(edge.from())) {
      return heads.get(edge.from()).getSideOutput(Chain.tag(edge.id()));
    }
    return env.fromSource(
            new GeneratorSource(
                options.events(),
                options.rate(),
                options.latency(),
                edge.id(),
                edge.key().offset(),
                edge.key().length()),
            WatermarkStrategy.noWatermarks(),
            "generator-" + edge.to(),
            Types.EDGE_RECORD)
        .uid(UID + "generator-" + edge.to());
  }

  private DataStream<EdgeRecord> union(List<Plan.Edge> edges) {
    return edges.stream().map(this::stream).reduce(DataStream::union).orElseThrow();
  }

  private void chain(Plan.ChainPlan chain) {
    List<Plan.Edge> inputs = chain.inputs().stream().map(i -> plan.edge(i.edge())).toList();
    List<String> names = chain.stages().stream().map(Plan.StagePlan::name).toList();
    SingleOutputStreamOperator<EdgeRecord> head =
        union(inputs)
            .keyBy(new EdgeKeySelector(), Types.KEY)
            .transform(chain.name(), Types.EDGE_RECORD, Factory.keyed(spec(chain.name(), names)))
            .uid(chain.stages().get(0).uid());
    heads.put(chain.name(), spread(head, chain));
    SingleOutputStreamOperator<EdgeRecord> tail = head;
    for (Plan.StagePlan stage : chain.stages().subList(1, chain.stages().size())) {
      tail =
          DataStreamUtils.reinterpretAsKeyedStream(tail, new EdgeKeySelector(), Types.KEY)
              .transform(stage.name(), Types.EDGE_RECORD, Factory.state(stage.name()))
              .uid(stage.uid());
      spread(tail, chain);
    }
  }

  private SingleOutputStreamOperator<EdgeRecord> spread(
      SingleOutputStreamOperator<EdgeRecord> operator, Plan.ChainPlan chain) {
    return chain.parallelism() == 0
        ? operator
        : operator.setParallelism(Math.min(chain.parallelism(), env.getParallelism()));
  }

  private void sinks() {
    Map<String, List<Plan.Edge>> byTarget = new LinkedHashMap<>();
    for (Plan.Edge e : plan.edges()) {
      byTarget.computeIfAbsent(e.to(), t -> new ArrayList<>()).add(e);
    }
    byTarget.forEach(
        (to, edges) -> {
          if (to.equals(Plan.RESULT)) {
            union(edges)
                .transform(
                    Plan.RESULT,
                    org.apache.flink.api.common.typeinfo.Types.VOID,
                    new ResultSink(options.latency()))
                .uid(UID + Plan.RESULT);
          } else if (to.equals(Plan.TOPICS)) {
            union(edges).sinkTo(topic(to, null)).name(to).uid(UID + "sink-" + to);
          } else if (to.startsWith(Plan.TOPIC)) {
            String topic = to.substring(Plan.TOPIC.length());
            union(edges).sinkTo(topic(to, topic)).name(to).uid(UID + "sink-" + to);
          }
        });
  }

  /** The sink of an edge: for one topic, or for those that records name if that is null. */
  private KafkaSink<EdgeRecord> topic(String to, String topic) {
    Plan.SinkPlan sink = plan.sinks() == null ? null : plan.sinks().get(to);
    if (sink == null) {
      throw new IllegalArgumentException("the plan has no sink " + to);
    }
    if (topic != null) {
      return TopicSink.of(plan.job(), topic, sink.properties(), TopicSink.NAMING);
    }
    List<String> topics = sink.topics() == null ? List.of() : sink.topics();
    return TopicSink.named(plan.job(), topics, sink.properties());
  }
}
