package millrace.flink.worker;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The worker process of a job in this TaskManager. All sessions of the job share it; it is started
 * for the first and ended after the last.
 *
 * <p>Its standard input is its lifeline: it ends when that ends, so that none survives a
 * TaskManager, however that ends.
 */
public final class Worker {
  private static final Logger LOG = LoggerFactory.getLogger(Worker.class);
  private static final Map<String, Worker> RUNNING = new HashMap<>();
  private static final Duration START = Duration.ofSeconds(30);
  private static final Duration STOP = Duration.ofSeconds(10);
  private static final int WATCH_MS = 500;

  private final String job;
  private final Path folder;
  private final Process process;
  private final List<Connection> connections = new ArrayList<>();
  private int sessions;

  private Worker(String job, Path folder, Process process) {
    this.job = job;
    this.folder = folder;
    this.process = process;
  }

  /**
   * Opens a session with the worker of a job, which is started if none runs. Each is to be
   * closed.
   *
   * @param temporary a folder for temporary files
   * @param timeout how long the worker may take for an answer
   * @param arguments what it is started with, besides its socket: the same for a whole job
   */
  public static Lease acquire(
      String job, Path temporary, Duration timeout, List<String> arguments) throws IOException {
    Worker worker;
    synchronized (RUNNING) {
      worker = RUNNING.get(job);
      if (worker == null || !worker.process.isAlive()) {
        worker = start(job, temporary, arguments);
        RUNNING.put(job, worker);
      }
      worker.sessions++;
    }
    try {
      Connection connection = Connection.open(worker.folder.resolve("socket"), timeout);
      synchronized (worker.connections) {
        worker.connections.add(connection);
      }
      return new Lease(worker, connection);
    } catch (IOException e) {
      worker.release();
      throw e;
    }
  }

  /** A session with a worker, until it is closed. */
  public static final class Lease implements AutoCloseable {
    private final Worker worker;
    private final Connection connection;
    private boolean closed;

    private Lease(Worker worker, Connection connection) {
      this.worker = worker;
      this.connection = connection;
    }

    /** The connection, which nobody else uses. */
    public Connection connection() {
      return connection;
    }

    /** The process id of the worker. */
    public long pid() {
      return worker.process.pid();
    }

    @Override
    public void close() {
      if (closed) {
        return;
      }
      closed = true;
      synchronized (worker.connections) {
        worker.connections.remove(connection);
      }
      connection.close();
      worker.release();
    }
  }

  private static Worker start(String job, Path temporary, List<String> arguments)
      throws IOException {
    Path binary = Binary.extract(temporary);
    Path own = Binary.privateFolder(temporary);
    sweep(own);
    Path folder = Files.createTempDirectory(own, "worker-" + ProcessHandle.current().pid() + "-");
    Process process;
    try {
      List<String> command = new ArrayList<>();
      command.addAll(
          List.of(binary.toString(), "worker", "--socket", folder.resolve("socket").toString()));
      command.addAll(arguments);
      process = new ProcessBuilder(command).directory(folder.toFile()).start();
    } catch (IOException e) {
      remove(folder);
      throw new WorkerException("start " + binary, e);
    }
    Worker worker = new Worker(job, folder, process);
    worker.thread("log", worker::log);
    try {
      worker.awaitReady();
    } catch (IOException e) {
      worker.stop();
      throw e;
    }
    worker.thread("watch", worker::watch);
    LOG.info("Started the worker of job {}, process {}", job, process.pid());
    return worker;
  }

  private void awaitReady() throws IOException {
    CompletableFuture<String> line = new CompletableFuture<>();
    thread(
        "ready",
        () -> {
          try (BufferedReader out = process.inputReader(StandardCharsets.UTF_8)) {
            line.complete(out.readLine());
            while (out.readLine() != null) {
              // Nothing else is expected there, but it must not block the worker.
            }
          } catch (IOException e) {
            line.completeExceptionally(e);
          }
        });
    try {
      String said = line.get(START.toMillis(), TimeUnit.MILLISECONDS);
      if (!"ready".equals(said)) {
        throw new WorkerException("the worker ended, or said " + said + ", before it was ready");
      }
    } catch (TimeoutException e) {
      throw new WorkerException("the worker was not ready after " + START, e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new WorkerException("interrupted", e);
    } catch (ExecutionException e) {
      throw new WorkerException("the worker ended before it was ready", e.getCause());
    }
  }

  private void thread(String what, Runnable run) {
    Thread t = new Thread(run, "millrace worker " + process.pid() + " " + what);
    t.setDaemon(true);
    t.start();
  }

  /** What the worker logs goes to Flink's log. */
  private void log() {
    try (BufferedReader err =
        new BufferedReader(
            new InputStreamReader(process.getErrorStream(), StandardCharsets.UTF_8))) {
      for (String line = err.readLine(); line != null; line = err.readLine()) {
        LOG.info("worker {}: {}", process.pid(), line);
      }
    } catch (IOException e) {
      LOG.debug("The log of worker {} has ended", process.pid(), e);
    }
  }

  /** Ends connections whose worker hangs, and with them the wait of the task. */
  private void watch() {
    try {
      while (!process.waitFor(WATCH_MS, TimeUnit.MILLISECONDS)) {
        long now = System.nanoTime();
        boolean hangs = false;
        synchronized (connections) {
          for (Connection c : connections) {
            hangs |= c.expired(now);
          }
        }
        if (hangs) {
          LOG.error("Worker {} of job {} hangs: it is killed", process.pid(), job);
          process.destroyForcibly();
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private void release() {
    synchronized (RUNNING) {
      if (--sessions > 0) {
        return;
      }
      RUNNING.remove(job, this);
    }
    stop();
  }

  private void stop() {
    try {
      process.getOutputStream().close();
    } catch (IOException e) {
      LOG.debug("Worker {} has gone already", process.pid(), e);
    }
    boolean interrupted = Thread.interrupted();
    try {
      if (!process.waitFor(STOP.toMillis(), TimeUnit.MILLISECONDS)) {
        LOG.warn("Worker {} of job {} did not end: it is killed", process.pid(), job);
        process.destroyForcibly();
      }
    } catch (InterruptedException e) {
      interrupted = true;
      process.destroyForcibly();
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    remove(folder);
  }

  /** Removes what workers left whose TaskManager was killed together with them. */
  private static void sweep(Path own) throws IOException {
    try (DirectoryStream<Path> folders = Files.newDirectoryStream(own, "worker-*")) {
      for (Path folder : folders) {
        String pid = folder.getFileName().toString().split("-")[1];
        if (ProcessHandle.of(Long.parseLong(pid)).isEmpty()) {
          remove(folder);
        }
      }
    }
  }

  private static void remove(Path folder) {
    try (DirectoryStream<Path> files = Files.newDirectoryStream(folder)) {
      for (Path file : files) {
        Files.deleteIfExists(file);
      }
      Files.deleteIfExists(folder);
    } catch (IOException e) {
      LOG.debug("{} is gone already, or stays", folder, e);
    }
  }
}
