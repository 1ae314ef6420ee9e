package millrace.flink.worker;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.DataInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import millrace.flink.record.EdgeRecord;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** A connection with a peer that answers as a script says, byte by byte. */
@Timeout(60)
class ConnectionTest {
  @TempDir Path folder;

  private ServerSocketChannel server;
  private final Heard heard = new Heard();

  /** Notes what a session is told. */
  private static final class Heard implements Session {
    final List<String> list = new ArrayList<>();

    @Override
    public void output(int edge, ByteBuffer in) {
      EdgeRecord r = new EdgeRecord();
      r.readKey(in);
      r.time = in.getLong();
      r.watermark = in.getLong();
      r.readPayload(in);
      list.add(
          "output " + edge + " " + new String(r.key()) + " " + r.time + " " + r.watermark + " "
              + new String(r.payload()));
    }

    @Override
    public void write(String stage, byte[] key, byte[] value) {
      list.add(
          "write " + stage + " " + new String(key) + " "
              + (value == null ? "deleted" : new String(value)));
    }

    @Override
    public byte[] read(String stage, byte[] key) {
      list.add("read " + stage + " " + new String(key));
      return new String(key).equals("none") ? null : "stored".getBytes(StandardCharsets.UTF_8);
    }

    @Override
    public void counter(String name, long value) {
      list.add("counter " + name + " " + value);
    }

    @Override
    public void finished(long watermark, boolean idle) {
      list.add("finished " + watermark + " " + idle);
    }
  }

  /** Puts a frame together. */
  private static final class Frame {
    private final ByteBuffer b = ByteBuffer.allocate(1 << 22).order(ByteOrder.LITTLE_ENDIAN);

    Frame(int type) {
      b.putInt(0).put((byte) type);
    }

    Frame u8(int v) {
      b.put((byte) v);
      return this;
    }

    Frame u16(int v) {
      b.putShort((short) v);
      return this;
    }

    Frame u32(int v) {
      b.putInt(v);
      return this;
    }

    Frame i64(long v) {
      b.putLong(v);
      return this;
    }

    Frame text(String v) {
      byte[] bytes = v.getBytes(StandardCharsets.UTF_8);
      b.putInt(bytes.length).put(bytes);
      return this;
    }

    byte[] end() {
      b.putInt(0, b.position() - 4);
      byte[] bytes = new byte[b.position()];
      b.flip().get(bytes);
      return bytes;
    }
  }

  @BeforeEach
  void listen() throws IOException {
    server = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
    server.bind(UnixDomainSocketAddress.of(folder.resolve("socket")));
  }

  @AfterEach
  void close() throws IOException {
    server.close();
  }

  /** Answers each request with a reply, in pieces of a size, and returns the requests. */
  private CompletableFuture<List<byte[]>> answer(int piece, byte[]... replies) {
    return CompletableFuture.supplyAsync(
        () -> {
          List<byte[]> requests = new ArrayList<>();
          try (SocketChannel peer = server.accept();
              DataInputStream in = new DataInputStream(Channels.newInputStream(peer));
              OutputStream out = Channels.newOutputStream(peer)) {
            for (byte[] reply : replies) {
              byte[] request = new byte[Integer.reverseBytes(in.readInt())];
              in.readFully(request);
              requests.add(request);
              for (int at = 0; at < reply.length; at += piece) {
                out.write(reply, at, Math.min(piece, reply.length - at));
              }
            }
            return requests;
          } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
          }
        });
  }

  private Connection connect() throws IOException {
    return Connection.open(folder.resolve("socket"), Duration.ofSeconds(30));
  }

  private static byte[] ok() {
    return new Frame(64).end();
  }

  @Test
  void sendsRequestsInTheFormsOfTheProtocol() throws Exception {
    var requests = answer(100, ok(), ok(), ok());
    try (Connection c = connect()) {
      c.hello(
          new Connection.Hello("job", new byte[] {7, 8}, "chain", 1, 2, 128, 42), heard);
      var loader = c.load("s", heard);
      loader.add(new byte[] {1}, new byte[] {2, 3});
      loader.add(new byte[] {4}, new byte[0]);
      loader.flush();
      loader.flush(); // nothing is left
      c.start(heard);
      List<byte[]> got = requests.get();
      byte[] hello =
          new Frame(1).u32(1).text("job").u32(2).u8(7).u8(8).text("chain").u32(1).u32(2).u32(128)
              .i64(42).end();
      assertArrayEquals(body(hello), got.get(0));
      byte[] load =
          new Frame(2).text("s").u32(2).u32(1).u8(1).u32(2).u8(2).u8(3).u32(1).u8(4).u32(0).end();
      assertArrayEquals(body(load), got.get(1));
      assertArrayEquals(new byte[] {3}, got.get(2));
    }
  }

  private static byte[] body(byte[] frame) {
    return java.util.Arrays.copyOfRange(frame, 4, frame.length);
  }

  @Test
  void sendsBatches() throws Exception {
    byte[] done = new Frame(66).u8(0).i64(Long.MIN_VALUE).u8(0).u32(0).u32(0).u32(0).end();
    var requests = answer(100, done);
    try (Connection c = connect()) {
      EdgeRecord r = new EdgeRecord();
      r.reserve(3);
      r.data[2] = 9;
      r.edge = 5;
      r.time = 10;
      r.watermark = 6;
      Request batch = new Request().beginBatch();
      batch.record(r);
      r.stamped = true;
      batch.record(r);
      batch.watermark(77);
      batch.assigned(new String[] {"t/0", "t/1"});
      batch.raw(
          1, millrace.flink.record.SourceElement.raw("t", 1, 3, 4, null, new byte[] {1, 2}));
      c.batch(batch, 1000, heard);
      byte[] want =
          new Frame(4).i64(1000).u32(5)
              .u8(0).u16(5).u8(0).i64(10).u32(3).u8(0).u8(0).u8(9)
              .u8(0).u16(5).u8(1).i64(10).i64(6).u32(3).u8(0).u8(0).u8(9)
              .u8(1).i64(77)
              .u8(3).u16(2).text("t/0").text("t/1")
              .u8(2).u16(1).i64(3).i64(4).u8(0).u8(1).u32(2).u8(1).u8(2)
              .end();
      assertArrayEquals(body(want), requests.get().get(0));
    }
    assertEquals(List.of("finished " + Long.MIN_VALUE + " false"), heard.list);
  }

  @Test
  void readsWhateverComesInWhateverPieces() throws Exception {
    byte[] first =
        new Frame(66).u8(1).i64(0).u8(0)
            .u32(1).u16(3).text("key").i64(5).i64(4).text("payload")
            .u32(1).text("s").u32(2).text("a").u8(1).text("state").text("b").u8(0)
            .u32(0).end();
    byte[] second =
        new Frame(66).u8(0).i64(99).u8(1).u32(0).u32(0).u32(1).text("late").i64(12).end();
    byte[] both = new byte[first.length + second.length];
    System.arraycopy(first, 0, both, 0, first.length);
    System.arraycopy(second, 0, both, first.length, second.length);
    List<String> want =
        List.of("output 3 key 5 4 payload", "write s a state", "write s b deleted",
            "counter late 12", "finished 99 true");
    for (int piece : new int[] {1, 7, 1000}) {
      heard.list.clear();
      var requests = answer(piece, both);
      try (Connection c = connect()) {
        c.snapshot(8, true, heard);
      }
      assertArrayEquals(body(new Frame(5).i64(8).u8(1).end()), requests.get().get(0));
      assertEquals(want, heard.list);
    }
  }

  @Test
  void answersWhatTheWorkerReadsBack() throws Exception {
    byte[] done = new Frame(66).u8(0).i64(1).u8(0).u32(0).u32(0).u32(0).end();
    var requests =
        answer(100, new Frame(67).text("s").text("k").end(),
            new Frame(67).text("s").text("none").end(), done);
    try (Connection c = connect()) {
      c.batch(new Request().beginBatch(), 0, heard);
    }
    assertEquals(List.of("read s k", "read s none", "finished 1 false"), heard.list);
    assertArrayEquals(body(new Frame(7).u8(1).text("stored").end()), requests.get().get(1));
    assertArrayEquals(body(new Frame(7).u8(0).end()), requests.get().get(2));
  }

  @Test
  void largeRepliesAreReadWhole() throws Exception {
    String large = "x".repeat(3 << 20);
    byte[] done =
        new Frame(66).u8(0).i64(1).u8(0).u32(1).u16(0).text("k").i64(0).i64(0).text(large).u32(0)
            .u32(0).end();
    answer(1 << 16, done, ok());
    try (Connection c = connect()) {
      c.batch(new Request().beginBatch(), 0, heard);
      c.start(heard);
    }
    assertEquals("output 0 k 0 0 " + large, heard.list.get(0));
  }

  @Test
  void theWorkersErrorsAreThrown() throws Exception {
    answer(100, new Frame(65).text("stage profile, key 7: boom").end());
    try (Connection c = connect()) {
      var e = assertThrows(WorkerException.class, () -> c.start(heard));
      assertEquals("stage profile, key 7: boom", e.getMessage());
    }
  }

  @Test
  void aWorkerThatGoesIsNoticed() throws Exception {
    answer(100, new byte[] {5, 0});
    try (Connection c = connect()) {
      var e = assertThrows(WorkerException.class, () -> c.start(heard));
      assertTrue(e.getMessage().contains("gone"), e.getMessage());
    }
  }

  @Test
  void malformedRepliesAreRefused() throws Exception {
    byte[] tooLong = new Frame(66).u8(0).i64(1).u8(0).u32(0).u32(0).u32(0).u8(1).end();
    byte[] tooShort = new Frame(66).u8(0).i64(1).u8(0).u32(0).u32(0).end();
    byte[] longText = new Frame(65).u32(1 << 30).end();
    byte[] unknown = new Frame(99).end();
    byte[] huge = ByteBuffer.allocate(5).order(ByteOrder.LITTLE_ENDIAN).putInt(1 << 30).array();
    for (byte[] reply : new byte[][] {tooLong, tooShort, longText, unknown, huge}) {
      answer(100, reply);
      try (Connection c = connect()) {
        assertThrows(WorkerException.class, () -> c.start(heard));
      }
    }
  }

  @Test
  void aWorkerThatHangsIsNoticed() throws Exception {
    var never = new CompletableFuture<Void>();
    CompletableFuture.runAsync(
        () -> {
          try (SocketChannel peer = server.accept()) {
            never.join();
          } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
          }
        });
    try (Connection c = Connection.open(folder.resolve("socket"), Duration.ofMillis(200))) {
      assertEquals(false, c.expired(System.nanoTime() + Duration.ofHours(1).toNanos()));
      CompletableFuture.runAsync(
          () -> {
            while (!c.expired(System.nanoTime())) {
              Thread.onSpinWait();
            }
          });
      var e = assertThrows(WorkerException.class, () -> c.start(heard));
      assertEquals("the worker has not answered for 200 ms", e.getMessage());
    } finally {
      never.complete(null);
    }
  }
}
