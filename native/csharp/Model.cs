// Model.cs: the interface of Mlp and DoubleMlp to the worker, and the lookup of a row by name in a table.

// A network with its parameters and data. The worker checks arguments, and calls Reserve before work on more rows.
interface IModel {
  void Reserve(int rows);

  void Outputs(int first, int count);

  double LossAndGradient(int first, int count);

  void Train(int first, int count, int batchSize, double rate);

  // Name the entries of the outputs or of the gradient that timed passes add to their checksum. Each probe lies in
  // range; Reserve comes first.
  void SetProbes(bool forward, int[] probes);

  double TimedPass(bool forward, int first, int count, int probe);

  void Reset();

  // Write theta, the last gradient, or the last outputs, (count, m_L), to an array of their size.

  void WriteTheta(byte[] to);

  void WriteGradient(byte[] to);

  void WriteOutputs(int count, byte[] to);
}

interface INamed {
  string Name { get; }
}

static class Named {
  // Return the row with this name, or null.
  public static T Find<T>(T[] table, string name) where T : class, INamed {
    foreach (T row in table)
      if (row.Name == name) return row;
    return null;
  }
}
