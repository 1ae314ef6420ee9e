package millrace.flink.reference;

import millrace.flink.record.EdgeRecord;

/**
 * The generator of the reference jobs: event i is a function of i only, the same here, in Go
 * (reference/generator.go) and in the plain Java jobs that Flink is measured by.
 */
final class Events {
  /** The bytes of an event: user (8, big-endian), item (4), value (2), type (1). */
  static final int BYTES = 15;

  static final int PARTITIONS = 2;

  /** How much older an event may be than one before it, in milliseconds. */
  static final long MOST_DELAY_MS = 5000;

  private static final long GAMMA = 0x9E3779B97F4A7C15L;
  private static final long SEED = 42;
  private static final int USERS = 100_000;
  private static final int ITEMS = 50_000;
  private static final long BEGIN = 1_700_000_100_000L;
  private static final long SLOT = 600_000;
  private static final long[] CUMULATED = new long[ITEMS];
  private static final int[] GUIDE = new int[1 << 16];

  static {
    double[] sums = new double[ITEMS];
    double s = 0;
    for (int k = 1; k <= ITEMS; k++) {
      double x = 3.0;
      for (int i = 0; i < 60; i++) {
        double x2 = x * x;
        double x4 = x2 * x2;
        double x8 = x4 * x4;
        double x9 = x8 * x;
        double x10 = x9 * x;
        x = x - (x10 - k) / (10.0 * x9);
      }
      s = s + 1.0 / (k * x);
      sums[k - 1] = s;
    }
    for (int k = 0; k < ITEMS; k++) {
      CUMULATED[k] = (long) Math.floor(sums[k] / s * 9007199254740992.0);
    }
    int at = 0;
    for (int i = 0; i < GUIDE.length; i++) {
      while (CUMULATED[at] <= (long) i << 37) {
        at++;
      }
      GUIDE[i] = at;
    }
  }

  private Events() {}

  private static long mix(long z) {
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return z ^ (z >>> 31);
  }

  private static long draw(long n) {
    return mix(SEED + (n + 1) * GAMMA);
  }

  private static int item(long b) {
    long r = b >>> 11;
    int at = GUIDE[(int) (r >>> 37)];
    while (CUMULATED[at] <= r) {
      at++;
    }
    return at;
  }

  /** Makes a record event i: its payload and its time. */
  static void generate(long i, EdgeRecord r) {
    long a = draw(4 * i);
    long c = draw(4 * i + 2);
    long d = draw(4 * i + 3);
    long n = a >>> 33;
    long bit = i & 1;
    long user =
        (a & 0xffff) % 100 < 2
            ? n % (USERS / 2) * 2 + bit
            : (n % (USERS / 10) * 5 + i / SLOT % 5) * 2 + bit;
    int t = (int) ((c >>> 33) % 100);
    r.reserve(BYTES);
    byte[] to = r.data;
    for (int k = 0; k < Long.BYTES; k++) {
      to[k] = (byte) (user >>> 56 - 8 * k);
    }
    int item = item(draw(4 * i + 1));
    for (int k = 0; k < Integer.BYTES; k++) {
      to[8 + k] = (byte) (item >>> 8 * k);
    }
    int value = (int) ((d & 0xffff) % 1000);
    to[12] = (byte) value;
    to[13] = (byte) (value >>> 8);
    to[14] = (byte) (t < 70 ? 0 : t < 90 ? 1 : t < 97 ? 2 : 3);
    r.payloadOffset = 0;
    r.time = BEGIN + i - (d >>> 33) % MOST_DELAY_MS;
  }
}
