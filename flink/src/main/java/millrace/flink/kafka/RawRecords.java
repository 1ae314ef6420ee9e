package millrace.flink.kafka;

import millrace.flink.record.SourceElement;
import millrace.flink.record.Types;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** Takes Kafka's records as they are: what they mean is known in Go. */
public final class RawRecords implements KafkaRecordDeserializationSchema<SourceElement> {
  private static final long serialVersionUID = 1;

  @Override
  public void deserialize(ConsumerRecord<byte[], byte[]> r, Collector<SourceElement> out) {
    out.collect(
        SourceElement.raw(
            r.topic(), r.partition(), r.offset(), r.timestamp(), r.key(), r.value()));
  }

  @Override
  public TypeInformation<SourceElement> getProducedType() {
    return Types.SOURCE_ELEMENT;
  }
}
