package millrace.flink.reference;

import org.apache.flink.api.common.accumulators.Accumulator;

/** How often rows took how long, in steps of 20 microseconds up to 400 ms. */
public final class Latencies implements Accumulator<Long, long[]> {
  private static final long serialVersionUID = 1;
  private static final int STEPS = 20_000;
  private static final long STEP_NANOS = 20_000;

  private long[] counts = new long[STEPS];

  @Override
  public void add(Long nanos) {
    counts[(int) Math.max(0, Math.min(STEPS - 1, nanos / STEP_NANOS))]++;
  }

  @Override
  public long[] getLocalValue() {
    return counts;
  }

  @Override
  public void resetLocal() {
    counts = new long[STEPS];
  }

  @Override
  public void merge(Accumulator<Long, long[]> other) {
    long[] more = other.getLocalValue();
    for (int i = 0; i < counts.length; i++) {
      counts[i] += more[i];
    }
  }

  @Override
  public Latencies clone() {
    Latencies copy = new Latencies();
    copy.counts = counts.clone();
    return copy;
  }

  /** The latency that a share of all rows stays below, in milliseconds. */
  public static double quantile(long[] counts, double share) {
    long all = 0;
    for (long n : counts) {
      all += n;
    }
    long below = 0;
    for (int i = 0; i < counts.length; i++) {
      below += counts[i];
      if (below >= share * all) {
        return (i + 1) * STEP_NANOS / 1e6;
      }
    }
    return STEPS * STEP_NANOS / 1e6;
  }
}
