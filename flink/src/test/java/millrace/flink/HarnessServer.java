package millrace.flink;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.Channels;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Supplier;
import millrace.flink.operator.ChainHarness;
import millrace.flink.record.Key;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.runtime.state.StateBackend;

/**
 * Lets Go tests use Flink's operator test harness, over a Unix socket: a connection is a subtask of
 * a chain, which looks like a worker to the test ({@link HarnessSubtask}), or belongs to the job
 * that subtasks are of. {@code engine/flink/flinktest/host.go} is the other side.
 */
final class HarnessServer implements AutoCloseable {
  static final int OK = 64;
  static final int ERROR = 65;
  static final int RESULT = 66;
  private static final int HOST = 10;
  private static final int GROUP = 11;
  private static final int SUBTASK = 12;
  private static final int GROUPED = 80;

  /** What has run of a stage. */
  static final class Coverage {
    /** How many subtasks were opened. */
    int subtasks;

    /** How many of them had state from the checkpoint of another number of subtasks. */
    int rescaled;
  }

  private final ServerSocketChannel listener;
  private final Supplier<StateBackend> backend;
  private final Map<String, HarnessJob> jobs = new ConcurrentHashMap<>();
  private final Map<String, Coverage> coverage = new ConcurrentHashMap<>();

  HarnessServer(Path socket, Supplier<StateBackend> backend) throws IOException {
    this.backend = backend;
    listener = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
    listener.bind(UnixDomainSocketAddress.of(socket));
    thread("accept", this::accept);
  }

  /** What has run, by stage. */
  Map<String, Coverage> coverage() {
    return coverage;
  }

  /** Notes that a stage was opened. */
  void opened(String stage, boolean rescaled) {
    coverage.compute(
        stage,
        (name, was) -> {
          Coverage c = was == null ? new Coverage() : was;
          c.subtasks++;
          c.rescaled += rescaled ? 1 : 0;
          return c;
        });
  }

  private static void thread(String what, Runnable run) {
    Thread t = new Thread(run, "harness " + what);
    t.setDaemon(true);
    t.start();
  }

  private void accept() {
    try {
      while (true) {
        SocketChannel channel = listener.accept();
        thread("connection", () -> serve(new Peer(channel)));
      }
    } catch (ClosedChannelException e) {
      // The tests are over.
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  private void serve(Peer peer) {
    try (peer) {
      try {
        answer(peer);
      } catch (EOFException | ClosedChannelException e) {
        // The test has ended, or has lost its sessions on purpose.
      } catch (Exception | LinkageError e) {
        peer.error(e);
      }
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  private void answer(Peer peer) throws Exception {
    ByteBuffer first = peer.read();
    int type = first.get();
    String binary = string(first);
    switch (type) {
      case HOST -> host(peer, binary);
      case SUBTASK -> {
        Plan plan = Plan.parse(string(first));
        peer.write(OK, ByteBuffer.allocate(0));
        try (var subtask =
            new HarnessSubtask(this, jobs.get(binary), Path.of(binary), plan, backend.get())) {
          subtask.serve(peer);
        }
      }
      default -> throw new IOException("a first frame of type " + type);
    }
  }

  /** Answers questions about keys for as long as a job is there. */
  private void host(Peer peer, String binary) throws IOException {
    jobs.put(binary, new HarnessJob());
    try {
      peer.write(OK, ByteBuffer.allocate(0));
      while (true) {
        ByteBuffer in = peer.read();
        if (in.get() != GROUP) {
          throw new IOException("want GROUP");
        }
        int group =
            KeyGroupRangeAssignment.assignToKeyGroup(
                new Key(bytes(in)), ChainHarness.MAX_PARALLELISM);
        peer.write(GROUPED, little(Integer.BYTES).putInt(group).flip());
      }
    } finally {
      jobs.remove(binary);
    }
  }

  static ByteBuffer little(int bytes) {
    return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  static byte[] bytes(ByteBuffer in) {
    byte[] bytes = new byte[in.getInt()];
    in.get(bytes);
    return bytes;
  }

  static String string(ByteBuffer in) {
    return new String(bytes(in), StandardCharsets.UTF_8);
  }

  @Override
  public void close() throws IOException {
    listener.close();
  }

  /** The test's end of a connection. */
  static final class Peer implements AutoCloseable {
    private final SocketChannel channel;
    private final DataInputStream in;

    Peer(SocketChannel channel) {
      this.channel = channel;
      this.in = new DataInputStream(new BufferedInputStream(Channels.newInputStream(channel)));
    }

    /** A frame: its type and what follows. */
    ByteBuffer read() throws IOException {
      byte[] frame = new byte[Integer.reverseBytes(in.readInt())];
      in.readFully(frame);
      return ByteBuffer.wrap(frame).order(ByteOrder.LITTLE_ENDIAN);
    }

    void write(int type, ByteBuffer body) throws IOException {
      ByteBuffer frame = little(Integer.BYTES + 1 + body.remaining());
      frame.putInt(1 + body.remaining()).put((byte) type).put(body).flip();
      while (frame.hasRemaining()) {
        channel.write(frame);
      }
    }

    /** Says why a session is over. */
    void error(Throwable e) {
      StringBuilder text = new StringBuilder();
      for (Throwable t = e; t != null; t = t.getCause()) {
        text.append(text.isEmpty() ? "" : ": ").append(t);
      }
      StackTraceElement[] trace = e.getStackTrace();
      text.append(trace.length == 0 ? "" : " at " + trace[0]);
      byte[] utf8 = text.toString().getBytes(StandardCharsets.UTF_8);
      try {
        write(ERROR, little(Integer.BYTES + utf8.length).putInt(utf8.length).put(utf8).flip());
      } catch (IOException gone) {
        // Nobody is there to hear it.
      }
    }

    @Override
    public void close() throws IOException {
      channel.close();
    }
  }
}
