// Worker.java: the worker protocol: commands from stdin, replies to stdout, the clock. Setup.java reads the files,
// Mlp.java has the network.

import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Collectors;

final class Worker {
  private interface Command {
    String answer(String[] words) throws IOException;
  }

  // usage: the name of the command, then one word for each argument.
  private record Row(String usage, Command command) {}

  private final Path workdir;
  private final Map<String, Row> commands;
  private Setup setup;
  private Model model; // null until an init succeeds

  private Worker(Path workdir) {
    this.workdir = workdir;
    commands = List.of(
            new Row("hello", words -> hello()),
            new Row("init", words -> init()),
            new Row("forward FIRST COUNT", this::forward),
            new Row("gradient FIRST COUNT", this::gradient),
            new Row("train FIRST COUNT BATCH RATE", this::train),
            new Row("time forward|gradient FIRST COUNT REPEATS PROBES", this::time),
            new Row("theta", words -> theta()),
            new Row("reset", words -> reset()))
        .stream().collect(Collectors.toMap(row -> row.usage.split(" ")[0], row -> row));
  }

  // Blocks of random sizes, so that arrays have other places in each process: memory layout alone changes step times.
  private static final byte[][] SCATTERED =
      new Random().ints(2048, 0, 256).mapToObj(size -> new byte[size]).toArray(byte[][]::new);

  public static void main(String[] words) throws IOException {
    final PrintStream replies = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
    System.setOut(System.err); // so that a stray print is not taken for a reply
    if (words.length != 1) {
      System.err.println("usage: java Worker WORKDIR");
      System.exit(2);
    }
    final Worker worker = new Worker(Path.of(words[0]));
    for (String line = readLine(System.in); line != null; line = readLine(System.in)) {
      if (line.isBlank()) continue;
      replies.print(worker.answer(line.strip()) + "\n");
      replies.flush();
      if (line.strip().equals("quit")) return;
    }
  }

  // Return the next line, or null at the end of input. A BufferedReader would end it at a carriage return too.
  private static String readLine(InputStream input) throws IOException {
    final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    for (int next = input.read(); next != '\n'; next = input.read()) {
      if (next < 0) return bytes.size() > 0 ? bytes.toString(StandardCharsets.UTF_8) : null;
      bytes.write(next);
    }
    return bytes.toString(StandardCharsets.UTF_8);
  }

  private String answer(String line) {
    if (line.equals("quit")) return "ok";
    final String[] words = line.split("\\s+");
    try {
      final Row row = commands.get(words[0]);
      if (row == null) throw new Refusal("unknown command '" + words[0] + "'");
      if (words.length != row.usage.split(" ").length)
        throw new Refusal("'" + line + "': the command is '" + row.usage + "'");
      final String fields = row.command.answer(words);
      return fields.isEmpty() ? "ok" : "ok\t" + fields;
    } catch (Refusal refusal) {
      return "error\t" + field("message", refusal.getMessage()) + "\t" + field("kind", refusal.kind);
    } catch (IOException | RuntimeException | OutOfMemoryError error) {
      return "error\t" + field("message", error.toString());
    }
  }

  private static String field(String key, Object value) {
    return key + "=" + value.toString()
        .replace("%", "%25").replace("\t", "%09").replace("\n", "%0A").replace("\r", "%0D");
  }

  private static String fields(String... words) {
    final StringBuilder line = new StringBuilder();
    for (int i = 0; i < words.length; i += 2) line.append(i == 0 ? "" : "\t").append(field(words[i], words[i + 1]));
    return line.toString();
  }

  // ---- The commands. ------------------------------------------------------------------------------------------------

  private static String hello() {
    return fields("protocol", "1", "name", "java", "language", "Java",
        "compiler", System.getProperty("java.vm.name") + " " + System.getProperty("java.runtime.version"),
        "flags", String.join(" ", ManagementFactory.getRuntimeMXBean().getInputArguments()),
        "activations", Mlp.ACTIVATIONS.stream().filter(f -> f.derivative() != null).map(Model.Named::name)
            .collect(Collectors.joining(",")),
        "losses", Mlp.LOSSES.stream().map(Model.Named::name).collect(Collectors.joining(",")),
        "arithmetic", "native", "deterministic", "yes", "clock", "System.nanoTime");
  }

  private String init() throws IOException {
    final Setup next = Setup.read(workdir);
    final ByteBuffer theta = Setup.readArray(workdir, "theta.bin", next.parameters(), next.width());
    final ByteBuffer x = Setup.readArray(workdir, "x.bin", (long) next.rows() * next.inputs(), next.width());
    final ByteBuffer y = Setup.readArray(workdir, "y.bin", (long) next.rows() * next.outputs(), next.width());
    final int[] order = Setup.readEntries(workdir, "order.bin", next.order(), next.rows());
    model = next.isDouble() ? new DoubleMlp(next, theta, x, y, order) : new Mlp(next, theta, x, y, order);
    setup = next;
    return "threads=1";
  }

  private String forward(String[] words) throws IOException {
    final int first = first(words[1], words[2], false), count = count(words[2]);
    model.reserve(count);
    model.outputs(first, count);
    final ByteBuffer outputs = buffer((long) count * setup.outputs());
    model.writeOutputs(count, outputs);
    return written("outputs.bin", outputs);
  }

  private String gradient(String[] words) throws IOException {
    final int first = first(words[1], words[2], false), count = count(words[2]);
    model.reserve(count);
    final double loss = model.lossAndGradient(first, count);
    final ByteBuffer gradient = buffer(setup.parameters());
    model.writeGradient(gradient);
    return written("gradient.bin", gradient) + "loss=" + loss;
  }

  private String train(String[] words) {
    final int first = first(words[1], words[2], true), count = count(words[2]);
    final int batchSize = (int) Math.min(atLeastOne("BATCH", words[3]), count);
    final double rate = Refusal.number(words[4]);
    if (!(rate > 0 && rate < Double.POSITIVE_INFINITY))
      throw new Refusal("RATE = " + words[4] + ": must be finite and above 0");
    model.reserve(batchSize);
    final long start = System.nanoTime();
    model.train(first, count, batchSize, rate);
    return seconds(start);
  }

  private String time(String[] words) throws IOException {
    final boolean forward = words[1].equals("forward");
    if (!forward && !words[1].equals("gradient"))
      throw new Refusal("'" + words[1] + "': must be forward or gradient");
    final int first = first(words[2], words[3], false), count = count(words[3]);
    final long repeats = atLeastOne("REPEATS", words[4]), places = setup.rows() - count + 1;
    final long entries = forward ? (long) count * setup.outputs() : setup.parameters();
    final int[] probes = Setup.readEntries(workdir, "probes.bin", atLeastOne("PROBES", words[5]), entries);
    model.reserve(count);
    model.setProbes(forward, probes);
    double checksum = 0;
    final long start = System.nanoTime();
    int p = 0;
    for (long r = 0, at = first % places; r < repeats; r++, at = (at + count) % places) {
      checksum += model.timedPass(forward, (int) at, count, p);
      p = p + 1 < probes.length ? p + 1 : 0;
    }
    return seconds(start) + "\tchecksum=" + checksum;
  }

  private String theta() throws IOException {
    needModel();
    final ByteBuffer theta = buffer(setup.parameters());
    model.writeTheta(theta);
    return written("theta_out.bin", theta);
  }

  private String reset() {
    needModel();
    model.reset();
    return "";
  }

  // ---- Checks and replies that several commands share. --------------------------------------------------------------

  private void needModel() {
    if (model == null) throw new Refusal("no network yet: init comes first");
  }

  // Return FIRST, after a check that COUNT >= 1 and that [FIRST, FIRST+COUNT) lies within the rows or entries of order.
  private int first(String first, String count, boolean ofOrder) {
    needModel();
    final long from = whole("FIRST", first), length = atLeastOne("COUNT", count);
    final int end = ofOrder ? setup.order() : setup.rows();
    if (from < 0 || length > end || from > end - length)
      throw new Refusal("FIRST = " + from + ", COUNT = " + length + ": must lie within the " + end
          + (ofOrder ? " entries of order" : " rows"));
    return (int) from;
  }

  private static int count(String word) {
    return Integer.parseInt(word); // `first` checked it
  }

  private static long atLeastOne(String what, String word) {
    final long value = whole(what, word);
    if (value < 1) throw new Refusal(what + " = " + word + ": must be at least 1");
    return value;
  }

  private static long whole(String what, String word) {
    try {
      return Long.parseLong(word);
    } catch (NumberFormatException error) {
      throw new Refusal(what + " = " + word + ": must be an integer");
    }
  }

  private static String seconds(long start) {
    return "seconds=" + (System.nanoTime() - start) * 1e-9;
  }

  private ByteBuffer buffer(long items) {
    return ByteBuffer.allocate(Math.toIntExact(items * setup.width())).order(ByteOrder.LITTLE_ENDIAN);
  }

  private String written(String name, ByteBuffer numbers) throws IOException {
    Files.write(workdir.resolve(name), numbers.array());
    return "";
  }
}
