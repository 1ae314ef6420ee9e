package millrace.flink.record;

import java.util.Objects;
import org.apache.flink.api.common.serialization.SerializerConfig;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeutils.TypeSerializer;

/**
 * The types of what crosses operators, for Flink: each has one serializer.
 *
 * @param <T> the type
 */
public final class Types<T> extends TypeInformation<T> {
  /** {@link Key}s. */
  public static final TypeInformation<Key> KEY = new Types<>(Key.class, KeySerializer.INSTANCE);

  /** {@link EdgeRecord}s. */
  public static final TypeInformation<EdgeRecord> EDGE_RECORD =
      new Types<>(EdgeRecord.class, EdgeRecordSerializer.INSTANCE);

  /** {@link SourceElement}s. */
  public static final TypeInformation<SourceElement> SOURCE_ELEMENT =
      new Types<>(SourceElement.class, SourceElementSerializer.INSTANCE);

  private static final long serialVersionUID = 1;

  private final Class<T> type;
  private final TypeSerializer<T> serializer;

  private Types(Class<T> type, TypeSerializer<T> serializer) {
    this.type = type;
    this.serializer = serializer;
  }

  @Override
  public boolean isBasicType() {
    return false;
  }

  @Override
  public boolean isTupleType() {
    return false;
  }

  @Override
  public int getArity() {
    return 1;
  }

  @Override
  public int getTotalFields() {
    return 1;
  }

  @Override
  public Class<T> getTypeClass() {
    return type;
  }

  @Override
  public boolean isKeyType() {
    return type == Key.class;
  }

  @Override
  public TypeSerializer<T> createSerializer(SerializerConfig config) {
    return serializer;
  }

  @Override
  public String toString() {
    return type.getSimpleName();
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Types<?> t && type == t.type;
  }

  @Override
  public int hashCode() {
    return Objects.hash(type);
  }

  @Override
  public boolean canEqual(Object other) {
    return other instanceof Types;
  }
}
