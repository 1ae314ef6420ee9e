package millrace.flink.worker;

import java.io.EOFException;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One session with the worker, over a Unix socket: that of a chain in one subtask. One request is
 * in flight at a time, and its reply is read whole before the next. It is used by one thread, but
 * for {@link #expired}.
 */
public final class Connection implements AutoCloseable {
  /** The version of the protocol. */
  public static final int PROTOCOL = 1;

  private static final Logger LOG = LoggerFactory.getLogger(Connection.class);
  private static final int OK = 64;
  private static final int ERROR = 65;
  private static final int RESULT = 66;
  private static final int READ = 67;
  private static final int HEADER = 5;
  private static final int MOST = 256 << 20;
  private static final int KEPT = 4 << 20;

  private final SocketChannel channel;
  private final long timeoutNanos;
  private final Request request = new Request();
  private ByteBuffer in = allocate(64 << 10).limit(0);
  private volatile long deadlineNanos;
  private volatile boolean waiting;
  private volatile boolean expired;

  private Connection(SocketChannel channel, Duration timeout) {
    this.channel = channel;
    this.timeoutNanos = timeout.toNanos();
  }

  private static ByteBuffer allocate(int bytes) {
    return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  /** Connects to the socket that a worker listens on. */
  static Connection open(Path socket, Duration timeout) throws IOException {
    SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX);
    try {
      channel.connect(UnixDomainSocketAddress.of(socket));
      return new Connection(channel, timeout);
    } catch (IOException e) {
      channel.close();
      throw new WorkerException("connect to the worker at " + socket, e);
    }
  }

  /** Who a session is of. */
  public record Hello(
      String job,
      byte[] program,
      String chain,
      int subtask,
      int parallelism,
      int maxParallelism,
      long restoredFrom) {}

  /** Says who the session is of. */
  public void hello(Hello h, Session session) throws IOException {
    request.begin(Request.HELLO).u32(PROTOCOL).string(h.job).bytes(h.program).string(h.chain);
    request.u32(h.subtask).u32(h.parallelism).u32(h.maxParallelism).i64(h.restoredFrom);
    expectOk(session);
  }

  /** Sends stored state, some keys at a time. */
  public final class Loader {
    private static final int FULL = 1 << 20;

    private final String stage;
    private final Session session;
    private final Request load = new Request();
    private int countAt;
    private int count;

    private Loader(String stage, Session session) {
      this.stage = stage;
      this.session = session;
    }

    /** Adds a key with its value. */
    public void add(byte[] key, byte[] value) throws IOException {
      if (count == 0) {
        load.begin(Request.LOAD).string(stage);
        countAt = load.size();
        load.u32(0);
      }
      load.bytes(key).bytes(value);
      count++;
      if (load.size() > FULL) {
        flush();
      }
    }

    /** Sends what has been added. */
    public void flush() throws IOException {
      if (count == 0) {
        return;
      }
      ByteBuffer frame = load.end();
      frame.putInt(countAt, count);
      count = 0;
      exchange(frame, session);
    }
  }

  /** Begins to send the state of a stage. */
  public Loader load(String stage, Session session) {
    return new Loader(stage, session);
  }

  /** Says that all state is there. */
  public void start(Session session) throws IOException {
    request.begin(Request.START);
    expectOk(session);
  }

  /** Sends a batch and hands what it comes to to the session. */
  public void batch(Request batch, long processingTime, Session session) throws IOException {
    exchange(batch.endBatch(processingTime).end(), session);
  }

  /** Asks for everything that has changed since the last time. */
  public void snapshot(long checkpoint, boolean last, Session session) throws IOException {
    exchange(request.begin(Request.SNAPSHOT).i64(checkpoint).u8(last ? 1 : 0).end(), session);
  }

  private void expectOk(Session session) throws IOException {
    exchange(request.end(), session);
  }

  /** Ends the session. A worker that has gone need not be told. */
  @Override
  public void close() {
    try (channel) {
      if (channel.isOpen()) {
        channel.write(request.begin(Request.CLOSE).end());
      }
    } catch (IOException e) {
      LOG.debug("The worker has gone before its session was closed", e);
    }
  }

  /** Whether the worker owes an answer for too long; the connection is closed if so. */
  boolean expired(long nowNanos) {
    if (!waiting || nowNanos - deadlineNanos < 0) {
      return false;
    }
    expired = true;
    try {
      channel.close();
    } catch (IOException e) {
      // The thread that waits is told all the same.
    }
    return true;
  }

  private void exchange(ByteBuffer frame, Session session) throws IOException {
    deadlineNanos = System.nanoTime() + timeoutNanos;
    waiting = true;
    try {
      write(frame);
      while (!reply(session)) {
        deadlineNanos = System.nanoTime() + timeoutNanos;
      }
    } catch (WorkerException e) {
      throw e;
    } catch (BufferUnderflowException e) {
      throw new WorkerException("the worker sent a malformed frame", e);
    } catch (IOException e) {
      throw new WorkerException(
          expired
              ? "the worker has not answered for " + Duration.ofNanos(timeoutNanos).toMillis() + " ms"
              : "the worker has gone",
          e);
    } finally {
      waiting = false;
    }
  }

  private void write(ByteBuffer frame) throws IOException {
    while (frame.hasRemaining()) {
      channel.write(frame);
    }
  }

  /** Reads one frame of a reply, and reports whether it was the last. */
  private boolean reply(Session session) throws IOException {
    need(HEADER);
    int length = in.getInt();
    if (length < 1 || length > MOST) {
      throw new WorkerException("the worker sent a frame of " + length + " bytes");
    }
    need(length);
    int end = in.position() + length;
    int type = in.get();
    int limit = in.limit();
    in.limit(end);
    boolean last =
        switch (type) {
          case OK -> true;
          case ERROR -> throw new WorkerException(string());
          case RESULT -> result(session);
          case READ -> {
            byte[] value = session.read(string(), bytes());
            write(request.begin(Request.VALUE).optional(value).end());
            yield false;
          }
          default -> throw new WorkerException("the worker sent a frame of type " + type);
        };
    if (in.position() != end) {
      throw new WorkerException("the worker sent a frame of type " + type + " with more than belongs to it");
    }
    in.limit(limit);
    return last;
  }

  private boolean result(Session session) throws IOException {
    boolean more = in.get() != 0;
    long watermark = in.getLong();
    boolean idle = in.get() != 0;
    for (int n = in.getInt(); n > 0; n--) {
      int edge = in.getShort() & 0xffff;
      session.output(edge, in);
    }
    for (int stages = in.getInt(); stages > 0; stages--) {
      String stage = string();
      for (int n = in.getInt(); n > 0; n--) {
        byte[] key = bytes();
        session.write(stage, key, in.get() != 0 ? bytes() : null);
      }
    }
    for (int n = in.getInt(); n > 0; n--) {
      session.counter(string(), in.getLong());
    }
    if (!more) {
      session.finished(watermark, idle);
    }
    return !more;
  }

  private String string() {
    return new String(bytes(), StandardCharsets.UTF_8);
  }

  private byte[] bytes() {
    int length = in.getInt();
    if (length < 0 || length > in.remaining()) {
      throw new BufferUnderflowException();
    }
    byte[] bytes = new byte[length];
    in.get(bytes);
    return bytes;
  }

  /** Reads until so many bytes are there. */
  private void need(int bytes) throws IOException {
    if (in.remaining() >= bytes) {
      return;
    }
    if (in.capacity() < bytes || in.capacity() > KEPT && bytes < KEPT && in.remaining() < KEPT) {
      in = allocate(Math.max(64 << 10, Integer.highestOneBit(bytes) << 1)).put(in).flip();
    }
    in.compact();
    try {
      while (in.position() < bytes) {
        if (channel.read(in) < 0) {
          throw new EOFException("the worker has closed the connection");
        }
      }
    } finally {
      in.flip();
    }
  }
}
