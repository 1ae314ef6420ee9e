package millrace.flink.operator;

import java.io.IOException;
import java.util.Iterator;
import java.util.stream.Stream;
import millrace.flink.record.Key;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeutils.base.array.BytePrimitiveArraySerializer;
import org.apache.flink.runtime.state.KeyedStateBackend;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;

/** The keyed state of a stage in Flink: for each key the bytes that Go has encoded. */
final class StageState {
  private static final String NAME = "state";

  private final KeyedStateBackend<Key> backend;
  private final ValueState<byte[]> state;

  StageState(KeyedStateBackend<Key> backend) throws Exception {
    this.backend = backend;
    this.state =
        backend.getPartitionedState(
            VoidNamespace.INSTANCE,
            VoidNamespaceSerializer.INSTANCE,
            new ValueStateDescriptor<>(NAME, BytePrimitiveArraySerializer.INSTANCE));
  }

  /** Takes a key with its value. */
  interface Visitor {
    void visit(byte[] key, byte[] value) throws IOException;
  }

  /** Visits all keys of this subtask. */
  void each(Visitor visitor) throws IOException {
    try (Stream<Key> keys = backend.getKeys(NAME, VoidNamespace.INSTANCE)) {
      for (Iterator<Key> i = keys.iterator(); i.hasNext(); ) {
        Key key = i.next();
        backend.setCurrentKey(key);
        byte[] value = state.value();
        if (value != null) {
          visitor.visit(key.bytes(), value);
        }
      }
    }
  }

  byte[] read(byte[] key) throws IOException {
    backend.setCurrentKey(new Key(key));
    return state.value();
  }

  void write(byte[] key, byte[] value) throws IOException {
    backend.setCurrentKey(new Key(key));
    if (value == null) {
      state.clear();
    } else {
      state.update(value);
    }
  }
}
