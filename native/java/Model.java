// Model.java: the interface of Mlp and DoubleMlp to the worker, and the lookup of a row by name in their tables.

import java.nio.ByteBuffer;
import java.util.List;

// A network with its parameters and data. The worker checks arguments, and calls `reserve` before work on more rows.
interface Model {
  void reserve(int rows);

  void outputs(int first, int count);

  double lossAndGradient(int first, int count);

  void train(int first, int count, int batchSize, double rate);

  // Name the entries of the outputs or of the gradient that timed passes add to their checksum. Each probe lies in range;
  // `reserve` comes first.
  void setProbes(boolean forward, int[] probes);

  double timedPass(boolean forward, int first, int count, int probe);

  void reset();

  // Write theta, the last gradient, or the last outputs, (count, m_L). The buffer has their size and byte order.

  void writeTheta(ByteBuffer to);

  void writeGradient(ByteBuffer to);

  void writeOutputs(int count, ByteBuffer to);

  interface Named {
    String name();

    // Return the row with this name, or null.
    static <T extends Named> T find(List<T> table, String name) {
      return table.stream().filter(row -> row.name().equals(name)).findFirst().orElse(null);
    }
  }
}
