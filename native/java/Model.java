// Model.java: what Mlp and DoubleMlp have in common for the worker, and tables with a name in each row.

import java.nio.ByteBuffer;
import java.util.List;

// A network with its parameters and data. Arguments have been checked; `reserve` comes before work on more rows.
interface Model {
  void reserve(int rows);

  void outputs(int first, int count);

  double lossAndGradient(int first, int count);

  void train(int first, int count, int batchSize, double rate);

  double timedPass(boolean forward, int first, int count);

  void reset();

  // Into a buffer of the right size and byte order: theta; the last gradient; the last outputs, (count, m_L).

  void writeTheta(ByteBuffer to);

  void writeGradient(ByteBuffer to);

  void writeOutputs(int count, ByteBuffer to);

  interface Named {
    String name();

    // The row of a name; null where there is none.
    static <T extends Named> T find(List<T> table, String name) {
      return table.stream().filter(row -> row.name().equals(name)).findFirst().orElse(null);
    }
  }
}
