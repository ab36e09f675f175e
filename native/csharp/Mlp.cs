// Mlp.cs: the network in float: products, forward, output delta, backward, update. Nothing here checks an argument or
// reads a clock, and a step allocates nothing. Functions.cs has the activations and losses. The build generates
// DoubleMlp.cs from this file with sed, as it does DoubleFunctions.cs.
//
// A matrix is an array of row arrays. Each index is checked; where a loop ends at the length of an array, the compiler
// may leave out the checks of that array.

using System;

sealed class Mlp : IModel {
  // ---- The two products of a step. ----------------------------------------------------------------------------------

  // C += A B. A: (m, k), or (k, m) and read transposed; B: (k, n), C: (m, n).
  static void AddProduct(int m, int k, float[][] A, bool transposed, float[][] B, float[][] C) {
    int i = 0;
    for (; i + 4 <= m; i += 4) {
      int p = 0;
      for (; p + 4 <= k; p += 4) AddFourRows(A, transposed, i, p, B, C);
      for (; p < k; p++) AddRowToFour(A, transposed, i, p, B[p], C);
    }
    for (; i < m; i++) {
      int p = 0;
      for (; p + 4 <= k; p += 4) AddRows(A, transposed, i, p, B, C[i]);
      for (; p < k; p++) AddRow(At(A, transposed, i, p), B[p], C[i]);
    }
  }

  static float At(float[][] A, bool transposed, int i, int p) {
    return transposed ? A[p][i] : A[i][p];
  }

  // Rows i .. i + 3 of C += A[i][p .. p + 4) B[p .. p + 4): each row of B serves four rows of C.
  static void AddFourRows(float[][] A, bool transposed, int i, int p, float[][] B, float[][] C) {
    float a00 = At(A, transposed, i, p), a01 = At(A, transposed, i, p + 1);
    float a02 = At(A, transposed, i, p + 2), a03 = At(A, transposed, i, p + 3);
    float a10 = At(A, transposed, i + 1, p), a11 = At(A, transposed, i + 1, p + 1);
    float a12 = At(A, transposed, i + 1, p + 2), a13 = At(A, transposed, i + 1, p + 3);
    float a20 = At(A, transposed, i + 2, p), a21 = At(A, transposed, i + 2, p + 1);
    float a22 = At(A, transposed, i + 2, p + 2), a23 = At(A, transposed, i + 2, p + 3);
    float a30 = At(A, transposed, i + 3, p), a31 = At(A, transposed, i + 3, p + 1);
    float a32 = At(A, transposed, i + 3, p + 2), a33 = At(A, transposed, i + 3, p + 3);
    float[] b0 = B[p], b1 = B[p + 1], b2 = B[p + 2], b3 = B[p + 3];
    float[] c0 = C[i], c1 = C[i + 1], c2 = C[i + 2], c3 = C[i + 3];
    for (int j = 0; j < b0.Length; j++) {
      float b0j = b0[j], b1j = b1[j], b2j = b2[j], b3j = b3[j];
      c0[j] += a00 * b0j + a01 * b1j + a02 * b2j + a03 * b3j;
      c1[j] += a10 * b0j + a11 * b1j + a12 * b2j + a13 * b3j;
      c2[j] += a20 * b0j + a21 * b1j + a22 * b2j + a23 * b3j;
      c3[j] += a30 * b0j + a31 * b1j + a32 * b2j + a33 * b3j;
    }
  }

  // The same from a single row of B.
  static void AddRowToFour(float[][] A, bool transposed, int i, int p, float[] b, float[][] C) {
    float a0 = At(A, transposed, i, p), a1 = At(A, transposed, i + 1, p);
    float a2 = At(A, transposed, i + 2, p), a3 = At(A, transposed, i + 3, p);
    float[] c0 = C[i], c1 = C[i + 1], c2 = C[i + 2], c3 = C[i + 3];
    for (int j = 0; j < b.Length; j++) {
      float bj = b[j];
      c0[j] += a0 * bj;
      c1[j] += a1 * bj;
      c2[j] += a2 * bj;
      c3[j] += a3 * bj;
    }
  }

  // Row i of C, c, from four rows of B.
  static void AddRows(float[][] A, bool transposed, int i, int p, float[][] B, float[] c) {
    float a0 = At(A, transposed, i, p), a1 = At(A, transposed, i, p + 1);
    float a2 = At(A, transposed, i, p + 2), a3 = At(A, transposed, i, p + 3);
    float[] b0 = B[p], b1 = B[p + 1], b2 = B[p + 2], b3 = B[p + 3];
    for (int j = 0; j < c.Length; j++) c[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j];
  }

  // This loop and that of Scale are written out: each turn costs more than its sum, because Mono asks at each whether
  // the collector waits.
  static void AddRow(float a, float[] b, float[] c) {
    int j = 0;
    for (; j + 4 <= c.Length; j += 4) {
      c[j] += a * b[j];
      c[j + 1] += a * b[j + 1];
      c[j + 2] += a * b[j + 2];
      c[j + 3] += a * b[j + 3];
    }
    for (; j < c.Length; j++) c[j] += a * b[j];
  }

  // sum_j a[j] b[j] in eight partial sums: in a single sum, every addition would wait for the one before it.
  static float Dot(float[] a, float[] b) {
    float s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0, sum = 0;
    int j = 0;
    for (; j + 8 <= a.Length; j += 8) {
      s0 += a[j] * b[j];
      s1 += a[j + 1] * b[j + 1];
      s2 += a[j + 2] * b[j + 2];
      s3 += a[j + 3] * b[j + 3];
      s4 += a[j + 4] * b[j + 4];
      s5 += a[j + 5] * b[j + 5];
      s6 += a[j + 6] * b[j + 6];
      s7 += a[j + 7] * b[j + 7];
    }
    for (; j < a.Length; j++) sum += a[j] * b[j];
    return sum + s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7;
  }

  // c[i .. i + 4) = the products of a with four rows of B. The four sums do not wait for each other.
  static void FourDots(float[] a, float[][] B, int i, float[] c) {
    float[] b0 = B[i], b1 = B[i + 1], b2 = B[i + 2], b3 = B[i + 3];
    float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (int j = 0; j < a.Length; j++) {
      float aj = a[j];
      s0 += aj * b0[j];
      s1 += aj * b1[j];
      s2 += aj * b2[j];
      s3 += aj * b3[j];
    }
    c[i] = s0;
    c[i + 1] = s1;
    c[i + 2] = s2;
    c[i + 3] = s3;
  }

  // b <- alpha a.
  static void Scale(float alpha, float[] a, float[] b) {
    int j = 0;
    for (; j + 4 <= b.Length; j += 4) {
      b[j] = alpha * a[j];
      b[j + 1] = alpha * a[j + 1];
      b[j + 2] = alpha * a[j + 2];
      b[j + 3] = alpha * a[j + 3];
    }
    for (; j < b.Length; j++) b[j] = alpha * a[j];
  }

  // ---- The network and its workspace. -------------------------------------------------------------------------------

  sealed class Layer {
    public readonly int inputs, outputs; // m_{l-1}, m_l
    public readonly Functions.Activation f;
    public readonly float p; // parameter of f
    public readonly float[][] W, dW; // (inputs, outputs)
    public readonly float[] b, db; // (outputs)
    public float[][] Z, A, delta; // (capacity, outputs)

    public Layer(int inputs, int outputs, Functions.Activation f) {
      this.inputs = inputs;
      this.outputs = outputs;
      this.f = f;
      p = (float)f.Parameter;
      W = Rows(inputs, outputs);
      dW = Rows(inputs, outputs);
      b = new float[outputs];
      db = new float[outputs];
    }

    public void Reserve(int rows) {
      Z = Rows(rows, outputs);
      A = Rows(rows, outputs);
      delta = Rows(rows, outputs);
    }
  }

  readonly Layer[] layers;
  readonly Layer last;
  readonly Functions.Loss lossFunction;
  readonly double l2;
  readonly byte[] start; // theta at init
  readonly float[][] x, y; // (rows, m_0), (rows, m_L)
  readonly int[] order; // row numbers
  float[][] X, T; // (capacity, m_0), (capacity, m_L): references to the rows of x and y that a step uses
  float[][] probedRows; // of a timed call: the array that holds each probed entry, and its index there
  int[] probedColumns;

  // Make a network with its data, arrays of raw numbers. theta: W_1 row by row, b_1, W_2, ...
  public Mlp(Setup setup, byte[] theta, byte[] x, byte[] y, int[] order) {
    layers = new Layer[setup.Activations.Length];
    for (int l = 0; l < layers.Length; l++)
      layers[l] = new Layer(setup.Sizes[l], setup.Sizes[l + 1], Functions.Activation.Find(setup.Activations[l]));
    last = layers[layers.Length - 1];
    lossFunction = Named.Find(Functions.Losses, setup.Loss);
    l2 = setup.L2;
    start = theta;
    Reset();
    this.x = Rows(setup.Rows, layers[0].inputs);
    this.y = Rows(setup.Rows, last.outputs);
    Read(x, 0, this.x);
    Read(y, 0, this.y);
    this.order = order;
    Reserve(1);
  }

  static float[][] Rows(int count, int width) {
    var rows = new float[count][];
    for (int n = 0; n < count; n++) rows[n] = new float[width];
    return rows;
  }

  // Make room for `rows` rows: the only allocation of X, T, Z, A and delta.
  public void Reserve(int rows) {
    if (X != null && rows <= X.Length) return;
    foreach (Layer layer in layers) layer.Reserve(rows);
    X = new float[rows][];
    T = new float[rows][];
  }

  // Copy rows from or to raw numbers; return the place after them, in bytes.

  static int Read(byte[] from, int at, params float[][] rows) {
    foreach (float[] row in rows) {
      Buffer.BlockCopy(from, at, row, 0, row.Length * sizeof(float));
      at += row.Length * sizeof(float);
    }
    return at;
  }

  static int Write(byte[] to, int at, int count, params float[][] rows) {
    for (int n = 0; n < count; n++) {
      Buffer.BlockCopy(rows[n], 0, to, at, rows[n].Length * sizeof(float));
      at += rows[n].Length * sizeof(float);
    }
    return at;
  }

  public void Reset() {
    int at = 0;
    foreach (Layer layer in layers) at = Read(start, Read(start, at, layer.W), layer.b);
  }

  public void WriteTheta(byte[] to) {
    int at = 0;
    foreach (Layer layer in layers) at = Write(to, Write(to, at, layer.inputs, layer.W), 1, layer.b);
  }

  public void WriteGradient(byte[] to) {
    int at = 0;
    foreach (Layer layer in layers) at = Write(to, Write(to, at, layer.inputs, layer.dW), 1, layer.db);
  }

  public void WriteOutputs(int count, byte[] to) {
    Write(to, 0, count, last.A);
  }

  // ---- The step on B rows: X: (B, m_0), T: (B, m_L); Z, A, delta of layer l: (B, m_l). ------------------------------

  // Z_l = A_{l-1} W_l + b_l, A_l = f_l(Z_l) for l = 1 .. L.
  void Forward(int B) {
    float[][] A_below = X;
    foreach (Layer layer in layers) {
      float[][] Z = layer.Z, A = layer.A;
      for (int n = 0; n < B; n++) Array.Copy(layer.b, Z[n], layer.outputs);
      AddProduct(B, layer.inputs, A_below, false, layer.W, Z);
      for (int n = 0; n < B; n++) layer.f.Value(Z[n], A[n], layer.p);
      A_below = A;
    }
  }

  // delta_L = dR/dZ_L.
  void OutputDelta(int B) {
    float scale = lossFunction.Derivative / B;
    for (int n = 0; n < B; n++) {
      float[] y = last.A[n], t = T[n], delta = last.delta[n];
      for (int j = 0; j < delta.Length; j++) delta[j] = scale * (y[j] - t[j]);
      if (lossFunction.Fuses == null) last.f.Derivative(last.Z[n], y, delta, last.p);
    }
  }

  // From delta_L down: dW and db of every layer. W and b do not change.
  void Backward(int B) {
    float l2 = (float)this.l2;
    for (int l = layers.Length - 1; l >= 0; l--) {
      Layer layer = layers[l];
      float[][] A_below = l > 0 ? layers[l - 1].A : X, delta = layer.delta, dW = layer.dW;
      float[] db = layer.db;

      for (int i = 0; i < layer.inputs; i++) Scale(l2, layer.W[i], dW[i]);
      AddProduct(layer.inputs, B, A_below, true, delta, dW);

      Array.Clear(db, 0, db.Length);
      for (int n = 0; n < B; n++) AddRow(1, delta[n], db);

      if (l > 0) Propagate(layer, layers[l - 1], B);
    }
  }

  // delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T), from a layer to the one below.
  static void Propagate(Layer layer, Layer below, int B) {
    for (int n = 0; n < B; n++) {
      float[] delta = layer.delta[n], delta_below = below.delta[n];
      int i = 0;
      for (; i + 4 <= delta_below.Length; i += 4) FourDots(delta, layer.W, i, delta_below);
      for (; i < delta_below.Length; i++) delta_below[i] = Dot(delta, layer.W[i]);
      below.f.Derivative(below.Z[n], below.A[n], delta_below, below.p);
    }
  }

  // theta <- theta - rate * gradient.
  void Update(float rate) {
    foreach (Layer layer in layers) {
      for (int i = 0; i < layer.inputs; i++) AddRow(-rate, layer.dW[i], layer.W[i]);
      AddRow(-rate, layer.db, layer.b);
    }
  }

  // R of the last forward pass.
  double Loss(int B) {
    double loss = 0, squares = 0;
    for (int n = 0; n < B; n++) loss += lossFunction.Value(last.Z[n], last.A[n], T[n]);
    foreach (Layer layer in layers)
      foreach (float[] row in layer.W)
        for (int j = 0; j < row.Length; j++) squares += (double)row[j] * row[j];
    return loss / B + l2 / 2 * squares;
  }

  // ---- The functions that Worker calls, and the minibatch. ----------------------------------------------------------

  // Compute the outputs of rows [first, first + count) into A of the last layer.
  public void Outputs(int first, int count) {
    Array.Copy(x, first, X, 0, count);
    Forward(count);
  }

  // Return R of rows [first, first + count), and compute its gradient.
  public double LossAndGradient(int first, int count) {
    Array.Copy(y, first, T, 0, count);
    Outputs(first, count);
    OutputDelta(count);
    Backward(count);
    return Loss(count);
  }

  // Set X and T to the rows that order[first .. first + B) names.
  void Gather(int first, int B) {
    for (int n = 0; n < B; n++) {
      int row = order[first + n];
      X[n] = x[row];
      T[n] = y[row];
    }
  }

  // Take one step for each minibatch of order[first .. first + count).
  public void Train(int first, int count, int batchSize, double rate) {
    int end = first + count;
    for (int at = first; at < end; at += batchSize) {
      int B = Math.Min(batchSize, end - at);
      Gather(at, B);
      Forward(B);
      OutputDelta(B);
      Backward(B);
      Update((float)rate);
    }
  }

  // Find the array and the index of each probe, so that a timed pass only reads one number.
  public void SetProbes(bool forward, int[] probes) {
    probedRows = new float[probes.Length][];
    probedColumns = new int[probes.Length];
    for (int p = 0; p < probes.Length; p++) {
      int entry = probes[p], l = 0;
      while (!forward && entry >= (layers[l].inputs + 1) * layers[l].outputs)
        entry -= (layers[l].inputs + 1) * layers[l++].outputs;
      Layer layer = forward ? last : layers[l];
      int row = entry / layer.outputs;
      probedRows[p] = forward ? layer.A[row] : row < layer.inputs ? layer.dW[row] : layer.db;
      probedColumns[p] = entry % layer.outputs;
    }
  }

  // Do one pass of the command `time`; return its addend to the checksum.
  public double TimedPass(bool forward, int first, int count, int probe) {
    if (forward) {
      Outputs(first, count);
      return probedRows[probe][probedColumns[probe]];
    }
    return LossAndGradient(first, count) + probedRows[probe][probedColumns[probe]];
  }
}
