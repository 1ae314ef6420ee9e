package millrace.flink;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import millrace.flink.operator.Chain;

/** The options that a job is started with. */
final class Options {
  private static final Set<String> FLAGS = Set.of("latency", "bounded");
  private static final Set<String> NAMES =
      Set.of(
          "config",
          "job",
          "events",
          "rate",
          "parallelism",
          "checkpoint-interval",
          "batch-records",
          "batch-interval",
          "buffer-timeout",
          "worker-timeout",
          "memory-limit");

  private final Map<String, String> values = new TreeMap<>();

  /** Reads {@code --name value} pairs, or {@code --name=value}. */
  static Options parse(String... arguments) {
    Options options = new Options();
    for (int i = 0; i < arguments.length; i++) {
      String[] parts = arguments[i].split("=", 2);
      String name = parts[0].replaceFirst("^--", "");
      if (!arguments[i].startsWith("--") || !NAMES.contains(name) && !FLAGS.contains(name)) {
        throw new IllegalArgumentException(
            arguments[i] + ": want one of --" + String.join(", --", options.names()));
      }
      if (parts.length == 2) {
        options.values.put(name, parts[1]);
      } else if (FLAGS.contains(name)) {
        options.values.put(name, "true");
      } else if (i + 1 < arguments.length) {
        options.values.put(name, arguments[++i]);
      } else {
        throw new IllegalArgumentException("--" + name + ": want a value");
      }
    }
    options.settings(); // refuses what is out of bounds
    return options;
  }

  private List<String> names() {
    List<String> all = new ArrayList<>(NAMES);
    all.addAll(FLAGS);
    all.sort(null);
    return all;
  }

  /** What the plan is made of. */
  List<String> plan() {
    List<String> arguments = new ArrayList<>();
    for (String name : List.of("config", "job")) {
      if (values.containsKey(name)) {
        arguments.add("--" + name);
        arguments.add(values.get(name));
      }
    }
    return arguments;
  }

  /** How the worker is used. */
  Chain.Settings settings() {
    Chain.Settings d = Chain.Settings.DEFAULT;
    return new Chain.Settings(
        (int) number("batch-records", d.batchRecords()),
        number("batch-interval", d.batchIntervalMs()),
        number("worker-timeout", d.workerTimeoutMs()),
        values.getOrDefault("memory-limit", d.memoryLimit()));
  }

  /** How many subtasks an operator has; 0 leaves it to Flink. */
  int parallelism() {
    return (int) number("parallelism", 0);
  }

  /** The time between checkpoints in milliseconds; 0 leaves it to Flink's configuration. */
  long checkpointIntervalMs() {
    return number("checkpoint-interval", 0);
  }

  /** How long Flink keeps records in a network buffer, in milliseconds; -1 leaves it to Flink. */
  long bufferTimeoutMs() {
    return number("buffer-timeout", -1);
  }

  /** How many events a reference job has. */
  long events() {
    return number("events", 1_000_000);
  }

  /** How many events a second each partition of a reference job has, 0 without a bound. */
  long rate() {
    return number("rate", 0);
  }

  /** Whether a reference job measures how long its rows take. */
  boolean latency() {
    return Boolean.parseBoolean(values.get("latency"));
  }

  /** Whether the job ends where the topics end when it is started. */
  boolean bounded() {
    return Boolean.parseBoolean(values.get("bounded"));
  }

  private long number(String name, long otherwise) {
    String value = values.get(name);
    if (value == null) {
      return otherwise;
    }
    try {
      return Long.parseLong(value);
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException("--" + name + ": want a number, got " + value, e);
    }
  }
}
