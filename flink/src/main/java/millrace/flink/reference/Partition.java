package millrace.flink.reference;

import java.io.IOException;
import java.io.Serializable;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.connector.source.SourceSplit;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/** One of the generator's two partitions, and how far it has been read. */
final class Partition implements SourceSplit, Serializable {
  private static final long serialVersionUID = 1;

  final int number;

  /** The event that comes next. */
  long next;

  /** The largest time so far. */
  long largest;

  Partition(int number, long next, long largest) {
    this.number = number;
    this.next = next;
    this.largest = largest;
  }

  /** The watermark before the next event. */
  long watermark() {
    return largest == Long.MIN_VALUE ? Long.MIN_VALUE : largest - Events.MOST_DELAY_MS - 1;
  }

  @Override
  public String splitId() {
    return Integer.toString(number);
  }

  /** The stored form of partitions. */
  static final class Serializer implements SimpleVersionedSerializer<List<Partition>> {
    @Override
    public int getVersion() {
      return 1;
    }

    @Override
    public byte[] serialize(List<Partition> list) {
      ByteBuffer to = ByteBuffer.allocate(list.size() * 20);
      list.forEach(p -> to.putInt(p.number).putLong(p.next).putLong(p.largest));
      return to.array();
    }

    @Override
    public List<Partition> deserialize(int version, byte[] bytes) throws IOException {
      List<Partition> list = new ArrayList<>();
      for (ByteBuffer from = ByteBuffer.wrap(bytes); from.hasRemaining(); ) {
        list.add(new Partition(from.getInt(), from.getLong(), from.getLong()));
      }
      return list;
    }
  }

  /** The stored form of one. */
  static final class SplitSerializer implements SimpleVersionedSerializer<Partition> {
    private static final Serializer LIST = new Serializer();

    @Override
    public int getVersion() {
      return LIST.getVersion();
    }

    @Override
    public byte[] serialize(Partition partition) {
      return LIST.serialize(List.of(partition));
    }

    @Override
    public Partition deserialize(int version, byte[] bytes) throws IOException {
      return LIST.deserialize(version, bytes).get(0);
    }
  }
}
