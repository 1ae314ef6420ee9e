package millrace.flink.worker;

import java.io.IOException;
import java.nio.ByteBuffer;

/** What a session with the worker needs of its operator. All calls come in the task's thread. */
public interface Session {
  /**
   * A record leaves the chain.
   *
   * @param in at the record's key, time, watermark and payload, which this call takes
   */
  void output(int edge, ByteBuffer in) throws IOException;

  /** A key of a stage has a new value, or none if it is null. */
  void write(String stage, byte[] key, byte[] value) throws IOException;

  /** The stored value of a key of a stage, null if there is none. */
  byte[] read(String stage, byte[] key) throws IOException;

  /** A counter of the worker's stands at this value. */
  void counter(String name, long value);

  /**
   * What a request came to, after all of its outputs and writes.
   *
   * @param watermark what to emit, or Long.MIN_VALUE
   * @param idle whether nothing is to be expected for now
   */
  void finished(long watermark, boolean idle);
}
