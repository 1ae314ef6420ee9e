package millrace.flink.kafka;

import java.io.IOException;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import millrace.flink.record.SourceElement;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.ReaderOutput;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceEvent;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.KafkaSourceEnumState;
import org.apache.flink.connector.kafka.source.split.KafkaPartitionSplit;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/**
 * A KafkaSource that says which partitions each subtask reads, before it hands out their records:
 * the chain that reads the source keeps a watermark for each. A subtask that reads none is told so
 * too, once that is known: until then the others must not go on without it.
 */
public final class AnnouncedSource
    implements Source<SourceElement, KafkaPartitionSplit, KafkaSourceEnumState> {
  private static final long serialVersionUID = 1;

  private final KafkaSource<SourceElement> kafka;

  /** Announces what this source reads. */
  public AnnouncedSource(KafkaSource<SourceElement> kafka) {
    this.kafka = kafka;
  }

  @Override
  public Boundedness getBoundedness() {
    return kafka.getBoundedness();
  }

  @Override
  public SplitEnumerator<KafkaPartitionSplit, KafkaSourceEnumState> createEnumerator(
      SplitEnumeratorContext<KafkaPartitionSplit> context) {
    return new Enumerator(kafka.createEnumerator(context), context);
  }

  @Override
  public SplitEnumerator<KafkaPartitionSplit, KafkaSourceEnumState> restoreEnumerator(
      SplitEnumeratorContext<KafkaPartitionSplit> context, KafkaSourceEnumState state)
      throws Exception {
    return new Enumerator(kafka.restoreEnumerator(context, state), context);
  }

  @Override
  public SimpleVersionedSerializer<KafkaPartitionSplit> getSplitSerializer() {
    return kafka.getSplitSerializer();
  }

  @Override
  public SimpleVersionedSerializer<KafkaSourceEnumState> getEnumeratorCheckpointSerializer() {
    return kafka.getEnumeratorCheckpointSerializer();
  }

  @Override
  public SourceReader<SourceElement, KafkaPartitionSplit> createReader(SourceReaderContext context)
      throws Exception {
    return new Reader(kafka.createReader(context));
  }

  /** Tells a reader that it has been assigned all that there is for it. */
  private static final class AllAssigned implements SourceEvent {
    private static final long serialVersionUID = 1;
  }

  /** Assigns, and tells readers when that is done. */
  private static final class Enumerator
      implements SplitEnumerator<KafkaPartitionSplit, KafkaSourceEnumState> {
    private static final long LOOK_MS = 100;

    private final SplitEnumerator<KafkaPartitionSplit, KafkaSourceEnumState> kafka;
    private final SplitEnumeratorContext<KafkaPartitionSplit> context;
    private final Set<Integer> told = new HashSet<>();

    Enumerator(
        SplitEnumerator<KafkaPartitionSplit, KafkaSourceEnumState> kafka,
        SplitEnumeratorContext<KafkaPartitionSplit> context) {
      this.kafka = kafka;
      this.context = context;
    }

    @Override
    public void start() {
      kafka.start();
      // When Kafka has said which partitions there are, they are assigned in the same step.
      context.callAsync(() -> true, (ok, error) -> tell(), LOOK_MS, LOOK_MS);
    }

    private void tell() {
      Set<Integer> readers = context.registeredReaders().keySet();
      if (told.containsAll(readers) || !discovered()) {
        return;
      }
      for (int reader : readers) {
        if (told.add(reader)) {
          context.sendEventToSourceReader(reader, new AllAssigned());
        }
      }
    }

    private boolean discovered() {
      try {
        return kafka.snapshotState(-1).initialDiscoveryFinished();
      } catch (Exception e) {
        throw new IllegalStateException("Kafka's source does not say what it has assigned", e);
      }
    }

    @Override
    public void addReader(int reader) {
      kafka.addReader(reader);
      told.remove(reader);
    }

    @Override
    public void handleSplitRequest(int reader, String host) {
      kafka.handleSplitRequest(reader, host);
    }

    @Override
    public void addSplitsBack(List<KafkaPartitionSplit> splits, int reader) {
      kafka.addSplitsBack(splits, reader);
    }

    @Override
    public void handleSourceEvent(int reader, SourceEvent event) {
      kafka.handleSourceEvent(reader, event);
    }

    @Override
    public KafkaSourceEnumState snapshotState(long checkpoint) throws Exception {
      return kafka.snapshotState(checkpoint);
    }

    @Override
    public void notifyCheckpointComplete(long checkpoint) throws Exception {
      kafka.notifyCheckpointComplete(checkpoint);
    }

    @Override
    public void notifyCheckpointAborted(long checkpoint) throws Exception {
      kafka.notifyCheckpointAborted(checkpoint);
    }

    @Override
    public void close() throws IOException {
      kafka.close();
    }
  }

  /** Reads, and announces. */
  private static final class Reader implements SourceReader<SourceElement, KafkaPartitionSplit> {
    private final SourceReader<SourceElement, KafkaPartitionSplit> kafka;
    private final TreeSet<String> assigned = new TreeSet<>();
    private final CompletableFuture<Void> complete = new CompletableFuture<>();
    private boolean news;

    Reader(SourceReader<SourceElement, KafkaPartitionSplit> kafka) {
      this.kafka = kafka;
    }

    @Override
    public void start() {
      kafka.start();
    }

    @Override
    public InputStatus pollNext(ReaderOutput<SourceElement> output) throws Exception {
      if (news) {
        news = false;
        output.collect(SourceElement.assigned(assigned.toArray(String[]::new)));
        return InputStatus.MORE_AVAILABLE;
      }
      return kafka.pollNext(output);
    }

    @Override
    public List<KafkaPartitionSplit> snapshotState(long checkpoint) {
      return kafka.snapshotState(checkpoint);
    }

    @Override
    public CompletableFuture<Void> isAvailable() {
      if (news) {
        return CompletableFuture.completedFuture(null);
      }
      return complete.isDone()
          ? kafka.isAvailable()
          : CompletableFuture.anyOf(kafka.isAvailable(), complete).thenApply(first -> null);
    }

    @Override
    public void addSplits(List<KafkaPartitionSplit> splits) {
      assigned.addAll(
          splits.stream()
              .map(s -> s.getTopic() + "/" + s.getPartition())
              .collect(Collectors.toList()));
      news = true;
      kafka.addSplits(splits);
    }

    @Override
    public void notifyNoMoreSplits() {
      kafka.notifyNoMoreSplits();
    }

    @Override
    public void handleSourceEvents(SourceEvent event) {
      if (event instanceof AllAssigned) {
        news |= assigned.isEmpty();
        complete.complete(null);
      } else {
        kafka.handleSourceEvents(event);
      }
    }

    @Override
    public void notifyCheckpointComplete(long checkpoint) throws Exception {
      kafka.notifyCheckpointComplete(checkpoint);
    }

    @Override
    public void notifyCheckpointAborted(long checkpoint) throws Exception {
      kafka.notifyCheckpointAborted(checkpoint);
    }

    @Override
    public void close() throws Exception {
      kafka.close();
    }
  }
}
