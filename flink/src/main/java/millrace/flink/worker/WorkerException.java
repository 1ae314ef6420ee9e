package millrace.flink.worker;

import java.io.IOException;

/**
 * A worker that could not be started, has gone, does not answer, does not keep to the protocol, or
 * says that it cannot go on. Flink restarts the job, with a new worker if this one has gone.
 */
public final class WorkerException extends IOException {
  private static final long serialVersionUID = 1;

  /** An error that is the worker's own. */
  public WorkerException(String message) {
    super(message);
  }

  /** An error of the connection to it. */
  public WorkerException(String message, Throwable cause) {
    super(message, cause);
  }
}
