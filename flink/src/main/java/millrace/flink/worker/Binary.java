package millrace.flink.worker;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFileAttributes;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/**
 * The millrace binary that the jar carries, laid out as a file that can be run. It is named by its
 * content, so that processes that are killed leave nothing behind that the next would not use.
 */
public final class Binary {
  private static final String RESOURCE = "/binary/millrace";

  private Binary() {}

  /** The binary as a file in the private folder of this user below a folder for temporary files. */
  public static Path extract(Path temporary) throws IOException {
    String own = System.getProperty("millrace.binary", "");
    if (!own.isEmpty()) {
      return Path.of(own);
    }
    byte[] content = content();
    String hash = hash(content);
    Path folder = privateFolder(temporary);
    Path file = folder.resolve("millrace-" + hash);
    // Whoever holds the lock writes; one that is killed meanwhile is followed by the next.
    synchronized (Binary.class) {
      try (FileChannel channel =
              FileChannel.open(
                  folder.resolve("lock"), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
          var lock = channel.lock()) {
        if (!Files.exists(file) || !hash(Files.readAllBytes(file)).equals(hash)) {
          Path part = folder.resolve("part");
          Files.write(part, content);
          Files.setPosixFilePermissions(part, PosixFilePermissions.fromString("rwx------"));
          Files.move(part, file, StandardCopyOption.ATOMIC_MOVE);
        }
      }
    }
    return file;
  }

  /** A folder that only this user can use: what lies in it is run. */
  static Path privateFolder(Path temporary) throws IOException {
    String us = Files.getOwner(Path.of("/proc/self")).getName();
    Path folder = temporary.resolve("millrace-flink-" + us);
    try {
      Files.createDirectory(
          folder,
          PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
    } catch (FileAlreadyExistsException e) {
      var attributes =
          Files.readAttributes(
              folder,
              PosixFileAttributes.class,
              LinkOption.NOFOLLOW_LINKS);
      if (!attributes.isDirectory()
          || !attributes.owner().getName().equals(us)
          || !PosixFilePermissions.toString(attributes.permissions()).equals("rwx------")) {
        throw new IOException(folder + " is not a folder of " + us + " alone (rwx------)");
      }
    }
    return folder;
  }

  private static byte[] content() throws IOException {
    try (InputStream in = Binary.class.getResourceAsStream(RESOURCE)) {
      if (in == null) {
        throw new IOException("the jar carries no millrace binary: build it by `make flink`");
      }
      return in.readAllBytes();
    }
  }

  private static String hash(byte[] content) {
    try {
      byte[] sum = MessageDigest.getInstance("SHA-256").digest(content);
      return HexFormat.of().formatHex(sum, 0, 16);
    } catch (NoSuchAlgorithmException e) {
      throw new UncheckedIOException(new IOException(e));
    }
  }
}
