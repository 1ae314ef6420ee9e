package millrace.flink.record;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.Random;
import java.util.Set;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.junit.jupiter.api.Test;

/** What goes through Flink's serializers comes out as it was. */
class SerializerTest {
  private static byte[] bytes(Random random, int most) {
    byte[] b = new byte[random.nextInt(most)];
    random.nextBytes(b);
    return b;
  }

  private static EdgeRecord record(Random random) {
    byte[] key = bytes(random, 300);
    byte[] payload = bytes(random, 2000);
    ByteBuffer in =
        ByteBuffer.allocate(8 + key.length + payload.length).order(ByteOrder.LITTLE_ENDIAN);
    in.putInt(key.length).put(key).putInt(payload.length).put(payload).flip();
    EdgeRecord r = new EdgeRecord();
    r.edge = random.nextInt(1 << 16);
    r.stamped = random.nextBoolean();
    r.time = random.nextLong();
    r.watermark = random.nextLong();
    r.readKey(in);
    r.readPayload(in);
    assertArrayEquals(key, r.key());
    assertArrayEquals(payload, r.payload());
    return r;
  }

  /** By value, into a used object, and copied without being read. */
  private static <T> T roundTrip(TypeSerializer<T> serializer, T value, T used) throws IOException {
    DataOutputSerializer out = new DataOutputSerializer(1 << 16);
    serializer.serialize(value, out);
    DataOutputSerializer copied = new DataOutputSerializer(1 << 16);
    serializer.copy(new DataInputDeserializer(out.getCopyOfBuffer()), copied);
    assertArrayEquals(out.getCopyOfBuffer(), copied.getCopyOfBuffer());
    DataInputDeserializer in = new DataInputDeserializer(out.getCopyOfBuffer());
    T read = serializer.deserialize(in);
    assertEquals(0, in.available());
    if (used != null) {
      T reused = serializer.deserialize(used, new DataInputDeserializer(out.getCopyOfBuffer()));
      assertEquals(read, reused);
    }
    return read;
  }

  @Test
  void edgeRecords() throws IOException {
    Random random = new Random(1);
    EdgeRecord used = new EdgeRecord();
    for (int i = 0; i < 500; i++) {
      EdgeRecord r = record(random);
      assertEquals(r, roundTrip(EdgeRecordSerializer.INSTANCE, r, used));
      assertEquals(r, EdgeRecordSerializer.INSTANCE.copy(r));
      assertEquals(r, EdgeRecordSerializer.INSTANCE.copy(r, used));
    }
  }

  @Test
  void aKeyInsideThePayload() throws IOException {
    EdgeRecord r = new EdgeRecord();
    r.reserve(15);
    new Random(2).nextBytes(r.data);
    r.keyOffset = 3;
    r.keyLength = 8;
    assertEquals(r, roundTrip(EdgeRecordSerializer.INSTANCE, r, new EdgeRecord()));
    assertEquals(15, r.payload().length);
  }

  @Test
  void aKeyThatIsTooLongIsRefused() {
    ByteBuffer in = ByteBuffer.allocate(1 << 17).order(ByteOrder.LITTLE_ENDIAN);
    in.putInt(0, EdgeRecord.MAX_KEY_LENGTH + 1);
    assertThrows(IllegalArgumentException.class, () -> new EdgeRecord().readKey(in));
  }

  @Test
  void keys() throws Exception {
    Random random = new Random(3);
    EdgeKeySelector selector = new EdgeKeySelector();
    for (int i = 0; i < 500; i++) {
      EdgeRecord r = record(random);
      Key own = new Key(r.key());
      Key view = selector.getKey(r);
      assertEquals(own, view);
      assertEquals(own.hashCode(), view.hashCode());
      assertEquals(own, roundTrip(KeySerializer.INSTANCE, view, own));
    }
    assertNotEquals(new Key(new byte[] {1}), new Key(new byte[] {1, 0}));
  }

  /** Stored state is found by the hash: it must stay what it is. */
  @Test
  void theHashOfAKeyIsFixed() {
    assertEquals(625341585, new Key(new byte[0]).hashCode());
    assertEquals(1150207709, new Key(new byte[] {0, 0, 0, 0, 0, 1, 74, 30}).hashCode());
    assertEquals(-855850145, new Key("user-17/a".getBytes(StandardCharsets.UTF_8)).hashCode());
  }

  @Test
  void keysThatAreNumbersHaveHashesOfTheirOwn() {
    Set<Integer> hashes = new HashSet<>();
    for (long user = 0; user < 100_000; user++) {
      hashes.add(new Key(ByteBuffer.allocate(8).putLong(user).array()).hashCode());
    }
    assertTrue(hashes.size() > 99_900, "only " + hashes.size() + " hashes");
  }

  @Test
  void sourceElements() throws IOException {
    SourceElement assigned = SourceElement.assigned(new String[] {"a/0", "täglich/17"});
    SourceElement read =
        roundTrip(SourceElementSerializer.INSTANCE, assigned, null);
    assertArrayEquals(assigned.assigned(), read.assigned());
    for (byte[] value : new byte[][] {null, {}, {1, 2}}) {
      SourceElement raw = SourceElement.raw("t", 3, 1L << 40, -1, value, value);
      read = roundTrip(SourceElementSerializer.INSTANCE, raw, null);
      assertEquals(raw.topic() + raw.partition() + raw.offset() + raw.timestamp(),
          read.topic() + read.partition() + read.offset() + read.timestamp());
      assertArrayEquals(value, read.key());
      assertArrayEquals(value, read.value());
    }
  }
}
