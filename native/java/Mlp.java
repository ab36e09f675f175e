// Mlp.java: the network in float: activations, losses, forward, output delta, backward, update. Nothing here checks an
// argument or reads a clock, and a step allocates nothing. Lower-case z, a, y, t are single rows. The build generates
// DoubleMlp.java from this file with sed, because Java's generics take no primitive types.
//
// A matrix is an array of row arrays. HotSpot vectorizes a loop that reads and writes several rows at the same j. With
// one flat array and an offset for each row, it does not: it cannot prove that the rows do not overlap.

import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.List;

final class Mlp implements Model {

  // ---- Activations: a = f(z) for one row, z = Z_l[n] and a = A_l[n]; p: the parameter. ------------------------------

  private static void identity(float[] z, float[] a, float p) {
    System.arraycopy(z, 0, a, 0, a.length);
  }

  private static void sigmoid(float[] z, float[] a, float p) {
    for (int j = 0; j < a.length; j++) a[j] = (float) (1 / (1 + Math.exp(-z[j])));
  }

  private static void tanh(float[] z, float[] a, float p) {
    for (int j = 0; j < a.length; j++) a[j] = (float) Math.tanh(z[j]);
  }

  // In these comparisons, NaN stays NaN.

  private static void relu(float[] z, float[] a, float p) {
    for (int j = 0; j < a.length; j++) a[j] = z[j] < 0 ? 0 : z[j];
  }

  private static void leakyRelu(float[] z, float[] a, float p) {
    for (int j = 0; j < a.length; j++) a[j] = z[j] > 0 ? z[j] : p * z[j];
  }

  private static void elu(float[] z, float[] a, float p) {
    for (int j = 0; j < a.length; j++) a[j] = z[j] > 0 ? z[j] : p * (float) Math.expm1(z[j]);
  }

  // log(1 + exp(z)), without overflow.
  private static void softplus(float[] z, float[] a, float p) {
    for (int j = 0; j < a.length; j++)
      a[j] = (float) ((z[j] < 0 ? 0 : z[j]) + Math.log1p(Math.exp(-Math.abs(z[j]))));
  }

  private static void hardSigmoid(float[] z, float[] a, float p) {
    for (int j = 0; j < a.length; j++) a[j] = z[j] <= -2 ? 0 : z[j] >= 2 ? 1 : z[j] / 4 + 0.5f;
  }

  private static void hardTanh(float[] z, float[] a, float p) {
    for (int j = 0; j < a.length; j++) a[j] = z[j] < -1 ? -1 : z[j] > 1 ? 1 : z[j];
  }

  private static void softmax(float[] z, float[] a, float p) {
    final float top = largest(z);
    float sum = 0;
    for (int j = 0; j < a.length; j++) sum += a[j] = (float) Math.exp(z[j] - top);
    for (int j = 0; j < a.length; j++) a[j] /= sum;
  }

  private static float largest(float[] z) {
    float top = z[0];
    for (int j = 1; j < z.length; j++) top = z[j] > top ? z[j] : top;
    return top;
  }

  // Derivatives: delta <- f'(z) delta, where a = f(z).

  private static void identityDerivative(float[] z, float[] a, float[] delta, float p) {}

  private static void sigmoidDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < a.length; j++) delta[j] *= a[j] * (1 - a[j]);
  }

  private static void tanhDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < a.length; j++) delta[j] *= 1 - a[j] * a[j];
  }

  private static void reluDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < a.length; j++) delta[j] = a[j] > 0 ? delta[j] : 0;
  }

  private static void leakyReluDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < a.length; j++) delta[j] = z[j] > 0 ? delta[j] : p * delta[j];
  }

  // p exp(z) = p (exp(z) - 1) + p = a + p.
  private static void eluDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < a.length; j++) delta[j] = z[j] > 0 ? delta[j] : (a[j] + p) * delta[j];
  }

  private static void softplusDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < a.length; j++) delta[j] *= (float) (1 / (1 + Math.exp(-z[j])));
  }

  private static void hardSigmoidDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < a.length; j++) delta[j] = Math.abs(z[j]) < 2 ? delta[j] / 4 : 0;
  }

  private static void hardTanhDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < a.length; j++) delta[j] = Math.abs(z[j]) < 1 ? delta[j] : 0;
  }

  private interface RowFunction {
    void apply(float[] z, float[] a, float p);
  }

  private interface RowDerivative {
    void apply(float[] z, float[] a, float[] delta, float p);
  }

  // derivative: null where the activation needs a loss that fuses it.
  // parameter: in the table, if none is given; NaN: it takes none.
  record Activation(String name, RowFunction value, RowDerivative derivative, double parameter) implements Named {

    Activation(String name, RowFunction value, RowDerivative derivative) {
      this(name, value, derivative, Double.NaN);
    }

    // Return the row of "name" or "name(parameter)", with its parameter; null if there is none such.
    static Activation find(String text) {
      final int at = text.indexOf('(');
      final Activation row = Named.find(ACTIVATIONS, at < 0 ? text : text.substring(0, at));
      if (row == null || at < 0) return row;
      final double parameter = text.endsWith(")") ? Refusal.number(text.substring(at + 1, text.length() - 1)) : Double.NaN;
      if (!Double.isFinite(parameter) || Double.isNaN(row.parameter)) return null;
      return new Activation(row.name, row.value, row.derivative, parameter);
    }
  }

  static final List<Activation> ACTIVATIONS = List.of(
      new Activation("identity", Mlp::identity, Mlp::identityDerivative),
      new Activation("sigmoid", Mlp::sigmoid, Mlp::sigmoidDerivative),
      new Activation("tanh", Mlp::tanh, Mlp::tanhDerivative),
      new Activation("relu", Mlp::relu, Mlp::reluDerivative),
      new Activation("leaky_relu", Mlp::leakyRelu, Mlp::leakyReluDerivative, 0.01),
      new Activation("elu", Mlp::elu, Mlp::eluDerivative, 1),
      new Activation("softplus", Mlp::softplus, Mlp::softplusDerivative),
      new Activation("hard_sigmoid", Mlp::hardSigmoid, Mlp::hardSigmoidDerivative),
      new Activation("hard_tanh", Mlp::hardTanh, Mlp::hardTanhDerivative),
      new Activation("softmax", Mlp::softmax, null));

  // ---- Losses: L of one row, from z = Z_L[n], y = A_L[n] and the targets t. -----------------------------------------

  private static double squaredError(float[] z, float[] y, float[] t) {
    double sum = 0;
    for (int j = 0; j < y.length; j++) sum += (y[j] - t[j]) * (y[j] - t[j]);
    return sum;
  }

  private static double halfSquaredError(float[] z, float[] y, float[] t) {
    return squaredError(z, y, t) / 2;
  }

  // -sum t log softmax(z) = sum t (log sum exp z - z), with the largest z subtracted before each exp.
  private static double softmaxCrossEntropy(float[] z, float[] y, float[] t) {
    final float top = largest(z);
    float sum = 0;
    for (int j = 0; j < z.length; j++) sum += (float) Math.exp(z[j] - top);
    final float logSum = (float) Math.log(sum);
    double loss = 0;
    for (int j = 0; j < z.length; j++) loss += t[j] * (logSum - (z[j] - top));
    return loss;
  }

  // -t log sigmoid(z) - (1-t) log(1 - sigmoid(z)) = max(z, 0) - z t + log(1 + exp(-|z|)).
  private static double sigmoidCrossEntropy(float[] z, float[] y, float[] t) {
    double loss = 0;
    for (int j = 0; j < z.length; j++)
      loss += (z[j] > 0 ? z[j] : 0) - z[j] * t[j] + Math.log1p(Math.exp(-Math.abs(z[j])));
    return loss;
  }

  private interface RowLoss {
    double apply(float[] z, float[] y, float[] t);
  }

  // fuses: the only output activation it takes; null: it takes any elementwise one.
  // derivative: c in dL/dy = c (y - t); where an activation is fused, in dL/dz = c (y - t).
  record Loss(String name, String fuses, RowLoss value, float derivative) implements Named {}

  static final List<Loss> LOSSES = List.of(
      new Loss("squared_error", null, Mlp::squaredError, 2),
      new Loss("half_squared_error", null, Mlp::halfSquaredError, 1),
      new Loss("softmax_cross_entropy", "softmax", Mlp::softmaxCrossEntropy, 1),
      new Loss("sigmoid_cross_entropy", "sigmoid", Mlp::sigmoidCrossEntropy, 1));

  // ---- The two products of a step. ----------------------------------------------------------------------------------

  // Row i of C += A[i][p .. p + 4) B[p .. p + 4). One row of C, not four as in other languages: C2 vectorizes this
  // loop, but not one with a second row of C, because the unrolled loop would exceed its size limit.
  private static void addRows(float[][] A, boolean transposed, int i, int p, float[][] B, float[][] C) {
    final float a0 = at(A, transposed, i, p), a1 = at(A, transposed, i, p + 1);
    final float a2 = at(A, transposed, i, p + 2), a3 = at(A, transposed, i, p + 3);
    final float[] b0 = B[p], b1 = B[p + 1], b2 = B[p + 2], b3 = B[p + 3], c = C[i];
    for (int j = 0; j < c.length; j++) c[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j];
  }

  private static void addRow(float a, float[] b, float[] c) {
    for (int j = 0; j < c.length; j++) c[j] += a * b[j];
  }

  private static float at(float[][] A, boolean transposed, int i, int p) {
    return transposed ? A[p][i] : A[i][p];
  }

  // C += A B. A: (m, k), or (k, m) and read transposed; B: (k, n), C: (m, n).
  private static void addProduct(int m, int k, float[][] A, boolean transposed, float[][] B, float[][] C) {
    int p = 0;
    for (; p + 4 <= k; p += 4)
      for (int i = 0; i < m; i++) addRows(A, transposed, i, p, B, C);
    for (; p < k; p++)
      for (int i = 0; i < m; i++) addRow(at(A, transposed, i, p), B[p], C[i]);
  }

  // sum_j a[j] b[j] in eight partial sums: in a single sum, every addition would wait for the one before it.
  private static float dot(float[] a, float[] b) {
    float s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0, sum = 0;
    int j = 0;
    for (; j + 8 <= a.length; j += 8) {
      s0 += a[j] * b[j];
      s1 += a[j + 1] * b[j + 1];
      s2 += a[j + 2] * b[j + 2];
      s3 += a[j + 3] * b[j + 3];
      s4 += a[j + 4] * b[j + 4];
      s5 += a[j + 5] * b[j + 5];
      s6 += a[j + 6] * b[j + 6];
      s7 += a[j + 7] * b[j + 7];
    }
    for (; j < a.length; j++) sum += a[j] * b[j];
    return sum + s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7;
  }

  // b <- alpha a.
  private static void scale(float alpha, float[] a, float[] b) {
    for (int j = 0; j < b.length; j++) b[j] = alpha * a[j];
  }

  // ---- The network and its workspace. -------------------------------------------------------------------------------

  private static final class Layer {
    final int inputs, outputs; // m_{l-1}, m_l
    final Activation f;
    final float p; // parameter of f
    final float[][] W, dW; // (inputs, outputs)
    final float[] b, db; // (outputs)
    float[][] Z, A, delta; // (capacity, outputs)

    Layer(int inputs, int outputs, Activation f) {
      this.inputs = inputs;
      this.outputs = outputs;
      this.f = f;
      p = (float) f.parameter();
      W = new float[inputs][outputs];
      dW = new float[inputs][outputs];
      b = new float[outputs];
      db = new float[outputs];
    }

    void reserve(int rows) {
      Z = new float[rows][outputs];
      A = new float[rows][outputs];
      delta = new float[rows][outputs];
    }
  }

  private final Layer[] layers;
  private final Layer last;
  private final Loss lossFunction;
  private final double l2;
  private final FloatBuffer start; // theta at init
  private final float[][] x, y; // (rows, m_0), (rows, m_L)
  private final int[] order; // row numbers
  private float[][] X, T; // (capacity, m_0), (capacity, m_L): references to the rows of x and y that a step uses
  private float[][] probedRows; // of a timed call: the array that holds each probed entry, and its index there
  private int[] probedColumns;

  // Make a network with its data. theta: W_1 row by row, b_1, W_2, ...
  Mlp(Setup setup, ByteBuffer theta, ByteBuffer x, ByteBuffer y, int[] order) {
    layers = new Layer[setup.activations().size()];
    for (int l = 0; l < layers.length; l++) {
      final Activation f = Activation.find(setup.activations().get(l));
      layers[l] = new Layer(setup.sizes()[l], setup.sizes()[l + 1], f);
    }
    last = layers[layers.length - 1];
    lossFunction = Named.find(LOSSES, setup.loss());
    l2 = setup.l2();
    start = theta.asFloatBuffer();
    reset();
    this.x = new float[setup.rows()][layers[0].inputs];
    this.y = new float[setup.rows()][last.outputs];
    read(x.asFloatBuffer(), this.x);
    read(y.asFloatBuffer(), this.y);
    this.order = order;
    reserve(1);
  }

  // Make room for `rows` rows: the only allocation of X, T, Z, A and delta.
  public void reserve(int rows) {
    if (X != null && rows <= X.length) return;
    for (Layer layer : layers) layer.reserve(rows);
    X = new float[rows][];
    T = new float[rows][];
  }

  private static void read(FloatBuffer from, float[][] rows) {
    for (float[] row : rows) from.get(row);
  }

  private static void write(float[][] rows, int count, FloatBuffer to) {
    for (int n = 0; n < count; n++) to.put(rows[n]);
  }

  public void reset() {
    start.rewind();
    for (Layer layer : layers) {
      read(start, layer.W);
      start.get(layer.b);
    }
  }

  public void writeTheta(ByteBuffer to) {
    final FloatBuffer theta = to.asFloatBuffer();
    for (Layer layer : layers) {
      write(layer.W, layer.inputs, theta);
      theta.put(layer.b);
    }
  }

  public void writeGradient(ByteBuffer to) {
    final FloatBuffer gradient = to.asFloatBuffer();
    for (Layer layer : layers) {
      write(layer.dW, layer.inputs, gradient);
      gradient.put(layer.db);
    }
  }

  public void writeOutputs(int count, ByteBuffer to) {
    write(last.A, count, to.asFloatBuffer());
  }

  // ---- The step on B rows: X: (B, m_0), T: (B, m_L); Z, A, delta of layer l: (B, m_l). ------------------------------

  // Z_l = A_{l-1} W_l + b_l, A_l = f_l(Z_l) for l = 1 .. L.
  private void forward(int B) {
    float[][] A_below = X;
    for (Layer layer : layers) {
      final float[][] Z = layer.Z, A = layer.A;
      for (int n = 0; n < B; n++) System.arraycopy(layer.b, 0, Z[n], 0, layer.outputs);
      addProduct(B, layer.inputs, A_below, false, layer.W, Z);
      for (int n = 0; n < B; n++) layer.f.value.apply(Z[n], A[n], layer.p);
      A_below = A;
    }
  }

  // delta_L = dR/dZ_L.
  private void outputDelta(int B) {
    final float scale = lossFunction.derivative / B;
    for (int n = 0; n < B; n++) {
      final float[] y = last.A[n], t = T[n], delta = last.delta[n];
      for (int j = 0; j < delta.length; j++) delta[j] = scale * (y[j] - t[j]);
      if (lossFunction.fuses == null) last.f.derivative.apply(last.Z[n], y, delta, last.p);
    }
  }

  // From delta_L down: dW and db of every layer. W and b do not change.
  private void backward(int B) {
    final float l2 = (float) this.l2;
    for (int l = layers.length - 1; l >= 0; l--) {
      final Layer layer = layers[l];
      final float[][] A_below = l > 0 ? layers[l - 1].A : X, delta = layer.delta, dW = layer.dW;
      final float[] db = layer.db;

      for (int i = 0; i < layer.inputs; i++) scale(l2, layer.W[i], dW[i]);
      addProduct(layer.inputs, B, A_below, true, delta, dW);

      Arrays.fill(db, 0);
      for (int n = 0; n < B; n++) addRow(1, delta[n], db);

      if (l > 0) propagate(layer, layers[l - 1], B);
    }
  }

  // delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T), from a layer to the one below.
  private static void propagate(Layer layer, Layer below, int B) {
    for (int n = 0; n < B; n++) {
      final float[] delta = layer.delta[n], delta_below = below.delta[n];
      for (int i = 0; i < delta_below.length; i++) delta_below[i] = dot(delta, layer.W[i]);
      below.f.derivative.apply(below.Z[n], below.A[n], delta_below, below.p);
    }
  }

  // theta <- theta - rate * gradient.
  private void update(float rate) {
    for (Layer layer : layers) {
      for (int i = 0; i < layer.inputs; i++) addRow(-rate, layer.dW[i], layer.W[i]);
      addRow(-rate, layer.db, layer.b);
    }
  }

  // R of the last forward pass.
  private double loss(int B) {
    double loss = 0, squares = 0;
    for (int n = 0; n < B; n++) loss += lossFunction.value.apply(last.Z[n], last.A[n], T[n]);
    for (Layer layer : layers)
      for (float[] row : layer.W)
        for (float w : row) squares += (double) w * w;
    return loss / B + l2 / 2 * squares;
  }

  // ---- The functions that Worker calls, and the minibatch. ----------------------------------------------------------

  // Compute the outputs of rows [first, first + count) into A of the last layer.
  public void outputs(int first, int count) {
    System.arraycopy(x, first, X, 0, count);
    forward(count);
  }

  // Return R of rows [first, first + count), and compute its gradient.
  public double lossAndGradient(int first, int count) {
    System.arraycopy(x, first, X, 0, count);
    System.arraycopy(y, first, T, 0, count);
    forward(count);
    outputDelta(count);
    backward(count);
    return loss(count);
  }

  // Set X and T to the rows that order[first .. first + B) names.
  private void gather(int first, int B) {
    for (int n = 0; n < B; n++) {
      final int row = order[first + n];
      X[n] = x[row];
      T[n] = y[row];
    }
  }

  // Take one step for each minibatch of order[first .. first + count).
  public void train(int first, int count, int batchSize, double rate) {
    final int end = first + count;
    for (int at = first; at < end; at += batchSize) {
      final int B = Math.min(batchSize, end - at);
      gather(at, B);
      forward(B);
      outputDelta(B);
      backward(B);
      update((float) rate);
    }
  }

  // Find the array and the index of each probe, so that a timed pass only reads one number.
  public void setProbes(boolean forward, int[] probes) {
    probedRows = new float[probes.length][];
    probedColumns = new int[probes.length];
    for (int p = 0; p < probes.length; p++) {
      int entry = probes[p], l = 0;
      while (!forward && entry >= (layers[l].inputs + 1) * layers[l].outputs)
        entry -= (layers[l].inputs + 1) * layers[l++].outputs;
      final Layer layer = forward ? last : layers[l];
      final int row = entry / layer.outputs;
      probedRows[p] = forward ? layer.A[row] : row < layer.inputs ? layer.dW[row] : layer.db;
      probedColumns[p] = entry % layer.outputs;
    }
  }

  // Do one pass of the command `time`; return its addend to the checksum.
  public double timedPass(boolean forward, int first, int count, int probe) {
    if (forward) {
      outputs(first, count);
      return probedRows[probe][probedColumns[probe]];
    }
    return lossAndGradient(first, count) + probedRows[probe][probedColumns[probe]];
  }
}
