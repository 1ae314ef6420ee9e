package millrace.flink.kafka;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.List;
import millrace.flink.record.EdgeRecord;
import org.junit.jupiter.api.Test;

/** What becomes of records that leave for topics. */
class EdgeRecordsTest {
  private static EdgeRecord record(byte[] key, byte[] payload) {
    ByteBuffer in =
        ByteBuffer.allocate(8 + key.length + payload.length).order(ByteOrder.LITTLE_ENDIAN);
    in.putInt(key.length).put(key).putInt(payload.length).put(payload).flip();
    EdgeRecord r = new EdgeRecord();
    r.time = 1_000;
    r.readKey(in);
    r.readPayload(in);
    return r;
  }

  @Test
  void aTopicOfTheEdge() {
    var made = EdgeRecords.of("t").serialize(record(new byte[] {1}, new byte[] {2, 3}), null, 5L);
    assertEquals("t", made.topic());
    assertArrayEquals(new byte[] {1}, made.key());
    assertArrayEquals(new byte[] {2, 3}, made.value());
    assertNull(made.timestamp(), "a broker would delete old ones at once");
    assertNull(EdgeRecords.of("t").serialize(record(new byte[0], new byte[0]), null, 5L).key());
  }

  @Test
  void aTopicOfTheRecord() {
    byte[] name = "größe".getBytes(StandardCharsets.UTF_8);
    ByteBuffer payload =
        ByteBuffer.allocate(2 + name.length + 2).order(ByteOrder.LITTLE_ENDIAN);
    payload.putShort((short) name.length).put(name).put((byte) 8).put((byte) 9);
    var made = EdgeRecords.named(List.of()).serialize(record(new byte[] {1}, payload.array()), null, 5L);
    assertEquals("größe", made.topic());
    assertArrayEquals(new byte[] {1}, made.key());
    assertArrayEquals(new byte[] {8, 9}, made.value());
  }
}
