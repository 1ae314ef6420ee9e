package millrace.flink.operator;

import java.io.Serializable;
import millrace.flink.record.EdgeRecord;
import millrace.flink.record.SourceElement;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.AbstractStreamOperatorFactory;
import org.apache.flink.streaming.api.operators.ChainingStrategy;
import org.apache.flink.streaming.api.operators.OneInputStreamOperatorFactory;
import org.apache.flink.streaming.api.operators.StreamOperator;
import org.apache.flink.streaming.api.operators.StreamOperatorParameters;

/**
 * Makes the operators of a job, in the TaskManagers.
 *
 * @param <T> what the operator reads
 */
public final class Factory<T> extends AbstractStreamOperatorFactory<EdgeRecord>
    implements OneInputStreamOperatorFactory<T, EdgeRecord> {
  private static final long serialVersionUID = 1;

  /** Makes an operator. */
  private interface Constructor extends Serializable {
    AbstractStreamOperator<EdgeRecord> make(StreamOperatorParameters<EdgeRecord> parameters);
  }

  private final Class<?> type;
  private final Constructor constructor;

  private Factory(Class<?> type, ChainingStrategy strategy, Constructor constructor) {
    this.type = type;
    this.constructor = constructor;
    setChainingStrategy(strategy);
  }

  /** The head of a chain of keyed stages. */
  public static Factory<EdgeRecord> keyed(Chain chain) {
    return new Factory<>(
        GoKeyedOperator.class, ChainingStrategy.HEAD, p -> new GoKeyedOperator(p, chain));
  }

  /** The chain that reads the source. */
  public static Factory<SourceElement> source(Chain chain) {
    return new Factory<>(
        GoSourceOperator.class, ChainingStrategy.ALWAYS, p -> new GoSourceOperator(p, chain));
  }

  /** The state of a stage that is chained to another. */
  public static Factory<EdgeRecord> state(String stage) {
    return new Factory<>(
        GoStateOperator.class, ChainingStrategy.ALWAYS, p -> new GoStateOperator(p, stage));
  }

  @Override
  @SuppressWarnings("unchecked")
  public <S extends StreamOperator<EdgeRecord>> S createStreamOperator(
      StreamOperatorParameters<EdgeRecord> parameters) {
    return (S) constructor.make(parameters);
  }

  @Override
  @SuppressWarnings("rawtypes")
  public Class<? extends StreamOperator> getStreamOperatorClass(ClassLoader loader) {
    return type.asSubclass(StreamOperator.class);
  }
}
