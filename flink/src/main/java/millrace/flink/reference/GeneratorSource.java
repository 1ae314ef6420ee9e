package millrace.flink.reference;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import millrace.flink.record.EdgeRecord;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.ReaderOutput;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/**
 * The source of the reference jobs: generated events in two partitions, keyed and encoded as Go
 * does it.
 */
public final class GeneratorSource
    implements Source<EdgeRecord, Partition, List<Partition>> {
  private static final long serialVersionUID = 1;

  private final long events;
  private final long perSecond;
  private final boolean latency;
  private final int edge;
  private final int keyOffset;
  private final int keyLength;

  /**
   * A source of so many events.
   *
   * @param perSecond how many a second at most in each partition, or 0
   * @param latency whether an event's time is when it was made ({@code System.nanoTime})
   * @param edge the edge that they go on
   */
  public GeneratorSource(
      long events, long perSecond, boolean latency, int edge, int keyOffset, int keyLength) {
    this.events = events;
    this.perSecond = perSecond;
    this.latency = latency;
    this.edge = edge;
    this.keyOffset = keyOffset;
    this.keyLength = keyLength;
  }

  @Override
  public Boundedness getBoundedness() {
    return Boundedness.BOUNDED;
  }

  @Override
  public SourceReader<EdgeRecord, Partition> createReader(SourceReaderContext context) {
    return new Reader(context);
  }

  @Override
  public SplitEnumerator<Partition, List<Partition>> createEnumerator(
      SplitEnumeratorContext<Partition> context) {
    List<Partition> all = new ArrayList<>();
    for (int i = 0; i < Events.PARTITIONS; i++) {
      all.add(new Partition(i, i, Long.MIN_VALUE));
    }
    return restoreEnumerator(context, all);
  }

  @Override
  public SplitEnumerator<Partition, List<Partition>> restoreEnumerator(
      SplitEnumeratorContext<Partition> context, List<Partition> unassigned) {
    return new Assigner(context, new ArrayList<>(unassigned));
  }

  @Override
  public SimpleVersionedSerializer<Partition> getSplitSerializer() {
    return new Partition.SplitSerializer();
  }

  @Override
  public SimpleVersionedSerializer<List<Partition>> getEnumeratorCheckpointSerializer() {
    return new Partition.Serializer();
  }

  /** Gives each partition to the reader whose number fits. */
  private record Assigner(SplitEnumeratorContext<Partition> context, List<Partition> unassigned)
      implements SplitEnumerator<Partition, List<Partition>> {
    @Override
    public void start() {}

    @Override
    public void handleSplitRequest(int subtask, String host) {}

    @Override
    public void addSplitsBack(List<Partition> partitions, int subtask) {
      unassigned.addAll(partitions);
    }

    @Override
    public void addReader(int subtask) {
      List<Partition> own =
          unassigned.stream()
              .filter(p -> p.number % context.currentParallelism() == subtask)
              .collect(Collectors.toList());
      unassigned.removeAll(own);
      own.forEach(p -> context.assignSplit(p, subtask));
      context.signalNoMoreSplits(subtask);
    }

    @Override
    public List<Partition> snapshotState(long checkpoint) {
      return new ArrayList<>(unassigned);
    }

    @Override
    public void close() {}
  }

  /** Reads its partitions in turns, an event of each. */
  private final class Reader implements SourceReader<EdgeRecord, Partition> {
    private static final long WATERMARK_NANOS = 200_000_000;
    private static final int LOOK = 256;

    private final List<Partition> partitions = new ArrayList<>();
    private final EdgeRecord record = new EdgeRecord();
    private final SourceReaderContext context;
    private final CompletableFuture<Void> complete = CompletableFuture.completedFuture(null);
    private CompletableFuture<Void> assigned = new CompletableFuture<>();
    private boolean all;
    private int turn;
    private long emitted;
    private long began;
    private long nextWatermark;

    Reader(SourceReaderContext context) {
      this.context = context;
    }

    @Override
    public void start() {}

    @Override
    public InputStatus pollNext(ReaderOutput<EdgeRecord> output) {
      if (!all) {
        return InputStatus.NOTHING_AVAILABLE;
      }
      if (emitted % LOOK == 0) {
        watermark(output);
      }
      for (int tries = partitions.size(); tries > 0; tries--) {
        Partition p = partitions.get(turn++ % partitions.size());
        if (p.next < events) {
          if (perSecond > 0 && early(p)) {
            return InputStatus.NOTHING_AVAILABLE;
          }
          emit(p, output);
          return InputStatus.MORE_AVAILABLE;
        }
      }
      return InputStatus.END_OF_INPUT;
    }

    private void emit(Partition p, ReaderOutput<EdgeRecord> output) {
      Events.generate(p.next, record);
      record.stamped = true;
      record.watermark = p.watermark();
      p.largest = Math.max(p.largest, record.time);
      p.next += Events.PARTITIONS;
      record.edge = edge;
      record.keyOffset = keyOffset;
      record.keyLength = keyLength;
      if (latency) {
        record.time = System.nanoTime();
        record.watermark = Long.MIN_VALUE;
      }
      emitted++;
      output.collect(record);
    }

    private boolean early(Partition p) {
      long now = System.nanoTime();
      if (began == 0) {
        began = now;
      }
      long due = began + (long) (emitted * 1e9 / (perSecond * partitions.size()));
      if (now >= due) {
        return false;
      }
      turn--;
      assigned = new CompletableFuture<>();
      assigned.completeOnTimeout(null, Math.max(1, due - now), TimeUnit.NANOSECONDS);
      return true;
    }

    private void watermark(ReaderOutput<EdgeRecord> output) {
      long now = System.nanoTime();
      if (latency || now < nextWatermark) {
        return;
      }
      nextWatermark = now + WATERMARK_NANOS;
      long least = Long.MAX_VALUE;
      for (Partition p : partitions) {
        least = p.next < events ? Math.min(least, p.watermark()) : least;
      }
      if (least != Long.MAX_VALUE && least != Long.MIN_VALUE) {
        output.emitWatermark(new Watermark(least));
      }
    }

    @Override
    public List<Partition> snapshotState(long checkpoint) {
      return partitions.stream()
          .map(p -> new Partition(p.number, p.next, p.largest))
          .collect(Collectors.toList());
    }

    @Override
    public CompletableFuture<Void> isAvailable() {
      return all && perSecond == 0 ? complete : assigned;
    }

    @Override
    public void addSplits(List<Partition> more) {
      partitions.addAll(more);
    }

    @Override
    public void notifyNoMoreSplits() {
      all = true;
      assigned.complete(null);
    }

    @Override
    public void close() {}
  }
}
