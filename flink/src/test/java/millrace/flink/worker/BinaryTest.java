package millrace.flink.worker;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The binary of the jar as a file. */
class BinaryTest {
  @TempDir Path temporary;
  private String own;

  @BeforeEach
  void fromTheJar() {
    own = System.clearProperty("millrace.binary");
  }

  @AfterEach
  void asBefore() {
    if (own != null) {
      System.setProperty("millrace.binary", own);
    }
  }

  @Test
  void isTheSameFileForAll() throws Exception {
    List<Path> files =
        IntStream.range(0, 8)
            .parallel()
            .mapToObj(
                i -> {
                  try {
                    return Binary.extract(temporary);
                  } catch (IOException e) {
                    throw new java.io.UncheckedIOException(e);
                  }
                })
            .distinct()
            .toList();
    assertEquals(1, files.size());
    assertTrue(Files.isExecutable(files.get(0)));
    try (Stream<Path> all = Files.list(files.get(0).getParent())) {
      assertEquals(2, all.count(), "the binary and the lock, whoever comes next uses them");
    }
  }

  @Test
  void aDamagedFileIsReplaced() throws Exception {
    Path file = Binary.extract(temporary);
    byte[] good = Files.readAllBytes(file);
    Files.write(file, new byte[] {1, 2, 3});
    Files.write(file.resolveSibling("part"), new byte[] {4}); // of a writer that was killed
    assertArrayEquals(good, Files.readAllBytes(Binary.extract(temporary)));
  }

  @Test
  void aFolderThatOthersCanWriteIsRefused() throws Exception {
    Path folder = Binary.extract(temporary).getParent();
    Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString("rwxrwxrwx"));
    assertThrows(IOException.class, () -> Binary.extract(temporary));
  }
}
