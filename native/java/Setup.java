// Setup.java: the files of WORKDIR: network.txt, parsed and checked, and arrays of raw numbers.

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

// The contents of network.txt. sizes: m_0 .. m_L; activations: f_1 .. f_L; order: the number of its entries.
record Setup(int[] sizes, List<String> activations, String loss, double l2, boolean isDouble, int rows, int order) {

  static Setup read(Path workdir) throws IOException {
    final Lines lines = Lines.read(workdir);
    final int[] sizes = lines.words("sizes").stream().mapToInt(word -> positive("sizes", word)).toArray();
    if (sizes.length < 2) throw bad("sizes", lines.words("sizes"), "must be at least 2 numbers");
    final Setup setup = new Setup(sizes, lines.activations(sizes.length - 2), lines.word("loss"), l2(lines.word("l2")),
        isDouble(lines.word("dtype")), positive("rows", lines.word("rows")), positive("order", lines.word("order")));
    positive("threads", lines.word("threads")); // checked, then ignored: the network uses one thread
    setup.checkFunctions();
    return setup;
  }

  int width() {
    return isDouble ? Double.BYTES : Float.BYTES;
  }

  int inputs() {
    return sizes[0];
  }

  int outputs() {
    return sizes[sizes.length - 1];
  }

  long parameters() {
    try {
      long sum = 0;
      for (int l = 1; l < sizes.length; l++)
        sum = Math.addExact(sum, Math.multiplyExact(sizes[l - 1] + 1L, (long) sizes[l]));
      return sum;
    } catch (ArithmeticException overflow) {
      throw Refusal.unsupported("sizes " + Arrays.toString(sizes) + ": too many parameters to count");
    }
  }

  // Read a file that holds exactly `items` numbers of `width` bytes.
  static ByteBuffer readArray(Path workdir, String name, long items, int width) throws IOException {
    if (items > Integer.MAX_VALUE / width)
      throw Refusal.unsupported(name + ": " + items + " numbers do not fit in a Java array");
    final long expected = items * width, got;
    final Path file = workdir.resolve(name);
    try {
      got = Files.size(file);
    } catch (NoSuchFileException missing) {
      throw new Refusal(name + " is missing: must have " + expected + " bytes");
    }
    if (got != expected) throw new Refusal(name + " has " + got + " bytes: must be " + expected);
    return ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
  }

  // Read the numbers of entries, counted from 0, of something that has `end` entries.
  static int[] readEntries(Path workdir, String name, long length, long end) throws IOException {
    final ByteBuffer file = readArray(workdir, name, length, Long.BYTES);
    final int[] entries = new int[(int) length];
    for (int i = 0; i < length; i++) {
      final long entry = file.getLong();
      if (entry < 0 || entry >= end)
        throw new Refusal(name + ": entry " + i + " is " + entry + ": must lie in [0, " + end + ")");
      entries[i] = Math.toIntExact(entry);
    }
    return entries;
  }

  // Check the names against the tables of Mlp; those of DoubleMlp have the same names.
  private void checkFunctions() {
    final Mlp.Loss lossFunction = Model.Named.find(Mlp.LOSSES, loss);
    if (lossFunction == null) throw Refusal.unsupported("no loss '" + loss + "'");
    final int last = activations.size() - 1;
    for (int l = 0; l <= last; l++) {
      final String name = activations.get(l);
      final boolean fuses = lossFunction.fuses() != null && l == last;
      if (fuses && !name.equals(lossFunction.fuses()))
        throw new Refusal("network.txt: output_activation = " + name + ": " + loss + " fuses " + lossFunction.fuses());
      final Mlp.Activation f = Mlp.Activation.find(name);
      if (f == null || (!fuses && f.derivative() == null))
        throw Refusal.unsupported("no activation '" + name + "' for layer " + (l + 1));
    }
  }

  private static int positive(String key, String word) {
    try {
      final int value = Integer.parseInt(word);
      if (value >= 1) return value;
    } catch (NumberFormatException tooLargeOrNone) {
      // reported below
    }
    throw bad(key, word, "must be an integer from 1 to " + Integer.MAX_VALUE);
  }

  private static double l2(String word) {
    final double value = Refusal.number(word);
    if (value >= 0 && value < Double.POSITIVE_INFINITY) return value;
    throw bad("l2", word, "must be finite, at least 0");
  }

  private static boolean isDouble(String dtype) {
    if (!dtype.equals("float32") && !dtype.equals("float64")) throw Refusal.unsupported("no dtype '" + dtype + "'");
    return dtype.equals("float64");
  }

  private static Refusal bad(String key, Object value, String rule) {
    return new Refusal("network.txt: " + key + " = " + value + ": " + rule);
  }

  // The lines of network.txt: from each key to the words after it.
  private record Lines(Map<String, List<String>> byKey) {

    static Lines read(Path workdir) throws IOException {
      final Map<String, List<String>> byKey = new HashMap<>();
      try {
        final byte[] text = Files.readAllBytes(workdir.resolve("network.txt"));
        for (String line : new String(text, StandardCharsets.UTF_8).split("\n")) {
          final List<String> words = List.of(line.strip().split("\\s+"));
          byKey.put(words.get(0), words.subList(1, words.size()));
        }
      } catch (NoSuchFileException missing) {
        throw new Refusal("network.txt is missing");
      }
      return new Lines(byKey);
    }

    List<String> words(String key) {
      final List<String> words = byKey.get(key);
      if (words == null) throw new Refusal("network.txt has no line " + key);
      return words;
    }

    String word(String key) {
      final List<String> words = words(key);
      if (words.size() != 1) throw bad(key, words, "must be one word");
      return words.get(0);
    }

    // Return f_1 .. f_L: the activations of the hidden layers, then the output activation.
    List<String> activations(int hidden) {
      final List<String> names = new ArrayList<>(words("activations"));
      if (names.size() != hidden) throw bad("activations", names, "must be " + hidden + " names, one a hidden layer");
      names.add(word("output_activation"));
      return names;
    }
  }
}
