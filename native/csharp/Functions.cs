// Functions.cs: activations and losses of single rows, in float. Nothing here checks an argument or allocates. The
// build generates DoubleFunctions.cs from this file with sed, because generic C# code has no arithmetic before .NET 7.

using System;

static class Functions {
  // ---- Activations: a = f(z) for one row, z = Z_l[n] and a = A_l[n]; p: the parameter. ------------------------------

  static void Identity(float[] z, float[] a, float p) {
    Array.Copy(z, a, a.Length);
  }

  static void Sigmoid(float[] z, float[] a, float p) {
    for (int j = 0; j < a.Length; j++) a[j] = 1 / (1 + MathF.Exp(-z[j]));
  }

  static void Tanh(float[] z, float[] a, float p) {
    for (int j = 0; j < a.Length; j++) a[j] = MathF.Tanh(z[j]);
  }

  // In these comparisons, NaN stays NaN.

  static void Relu(float[] z, float[] a, float p) {
    for (int j = 0; j < a.Length; j++) a[j] = z[j] < 0 ? 0 : z[j];
  }

  static void LeakyRelu(float[] z, float[] a, float p) {
    for (int j = 0; j < a.Length; j++) a[j] = z[j] > 0 ? z[j] : p * z[j];
  }

  static void Elu(float[] z, float[] a, float p) {
    for (int j = 0; j < a.Length; j++) a[j] = z[j] > 0 ? z[j] : p * (float)Expm1(z[j]);
  }

  // log(1 + exp(z)), without overflow.
  static void Softplus(float[] z, float[] a, float p) {
    for (int j = 0; j < a.Length; j++)
      a[j] = (z[j] < 0 ? 0 : z[j]) + (float)Log1p(Math.Exp(-Math.Abs(z[j])));
  }

  static void HardSigmoid(float[] z, float[] a, float p) {
    for (int j = 0; j < a.Length; j++) a[j] = z[j] <= -2 ? 0 : z[j] >= 2 ? 1 : z[j] / 4 + 0.5f;
  }

  static void HardTanh(float[] z, float[] a, float p) {
    for (int j = 0; j < a.Length; j++) a[j] = z[j] < -1 ? -1 : z[j] > 1 ? 1 : z[j];
  }

  static void Softmax(float[] z, float[] a, float p) {
    float top = Largest(z), sum = 0;
    for (int j = 0; j < a.Length; j++) sum += a[j] = MathF.Exp(z[j] - top);
    for (int j = 0; j < a.Length; j++) a[j] /= sum;
  }

  static float Largest(float[] z) {
    float top = z[0];
    for (int j = 1; j < z.Length; j++) top = z[j] > top ? z[j] : top;
    return top;
  }

  // Derivatives: delta <- f'(z) delta, where a = f(z).

  static void IdentityDerivative(float[] z, float[] a, float[] delta, float p) {}

  static void SigmoidDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < delta.Length; j++) delta[j] *= a[j] * (1 - a[j]);
  }

  static void TanhDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < delta.Length; j++) delta[j] *= 1 - a[j] * a[j];
  }

  static void ReluDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < delta.Length; j++) delta[j] = a[j] > 0 ? delta[j] : 0;
  }

  static void LeakyReluDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < delta.Length; j++) delta[j] = z[j] > 0 ? delta[j] : p * delta[j];
  }

  // p exp(z) = p (exp(z) - 1) + p = a + p.
  static void EluDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < delta.Length; j++) delta[j] = z[j] > 0 ? delta[j] : (a[j] + p) * delta[j];
  }

  static void SoftplusDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < delta.Length; j++) delta[j] *= 1 / (1 + MathF.Exp(-z[j]));
  }

  static void HardSigmoidDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < delta.Length; j++) delta[j] = Math.Abs(z[j]) < 2 ? delta[j] / 4 : 0;
  }

  static void HardTanhDerivative(float[] z, float[] a, float[] delta, float p) {
    for (int j = 0; j < delta.Length; j++) delta[j] = Math.Abs(z[j]) < 1 ? delta[j] : 0;
  }

  public delegate void RowFunction(float[] z, float[] a, float p);

  public delegate void RowDerivative(float[] z, float[] a, float[] delta, float p);

  // Derivative: null where the activation needs a loss that fuses it.
  // Parameter: in the table, if none is given; NaN: it takes none.
  public sealed class Activation : INamed {
    public readonly RowFunction Value;
    public readonly RowDerivative Derivative;
    public readonly double Parameter;

    public string Name { get; }

    public Activation(string name, RowFunction value, RowDerivative derivative, double parameter = double.NaN) {
      Name = name;
      Value = value;
      Derivative = derivative;
      Parameter = parameter;
    }

    // Return the row of "name" or "name(parameter)", with its parameter; null if there is none such.
    public static Activation Find(string text) {
      int at = text.IndexOf('(');
      Activation row = Named.Find(Activations, at < 0 ? text : text.Substring(0, at));
      if (row == null || at < 0) return row;
      double given = text.EndsWith(")") ? Refusal.Number(text.Substring(at + 1, text.Length - at - 2)) : double.NaN;
      if (!Refusal.IsFinite(given) || double.IsNaN(row.Parameter)) return null;
      return new Activation(row.Name, row.Value, row.Derivative, given);
    }
  }

  public static readonly Activation[] Activations = {
    new Activation("identity", Identity, IdentityDerivative),
    new Activation("sigmoid", Sigmoid, SigmoidDerivative),
    new Activation("tanh", Tanh, TanhDerivative),
    new Activation("relu", Relu, ReluDerivative),
    new Activation("leaky_relu", LeakyRelu, LeakyReluDerivative, 0.01),
    new Activation("elu", Elu, EluDerivative, 1),
    new Activation("softplus", Softplus, SoftplusDerivative),
    new Activation("hard_sigmoid", HardSigmoid, HardSigmoidDerivative),
    new Activation("hard_tanh", HardTanh, HardTanhDerivative),
    new Activation("softmax", Softmax, null),
  };

  // ---- Losses: L of one row, from z = Z_L[n], y = A_L[n] and the targets t. -----------------------------------------

  static double SquaredError(float[] z, float[] y, float[] t) {
    double sum = 0;
    for (int j = 0; j < y.Length; j++) sum += (y[j] - t[j]) * (y[j] - t[j]);
    return sum;
  }

  static double HalfSquaredError(float[] z, float[] y, float[] t) {
    return SquaredError(z, y, t) / 2;
  }

  // -sum t log softmax(z) = sum t (log sum exp z - z), with the largest z subtracted before each exp.
  static double SoftmaxCrossEntropy(float[] z, float[] y, float[] t) {
    float top = Largest(z), sum = 0;
    for (int j = 0; j < z.Length; j++) sum += MathF.Exp(z[j] - top);
    float logSum = MathF.Log(sum);
    double loss = 0;
    for (int j = 0; j < z.Length; j++) loss += t[j] * (logSum - (z[j] - top));
    return loss;
  }

  // -t log sigmoid(z) - (1-t) log(1 - sigmoid(z)) = max(z, 0) - z t + log(1 + exp(-|z|)).
  static double SigmoidCrossEntropy(float[] z, float[] y, float[] t) {
    double loss = 0;
    for (int j = 0; j < z.Length; j++)
      loss += (z[j] < 0 ? 0 : z[j]) - z[j] * t[j] + Log1p(Math.Exp(-Math.Abs(z[j])));
    return loss;
  }

  public delegate double RowLoss(float[] z, float[] y, float[] t);

  // Fuses: the only output activation it takes; null: it takes any elementwise one.
  // Derivative: c in dL/dy = c (y - t); where an activation is fused, in dL/dz = c (y - t).
  public sealed class Loss : INamed {
    public readonly string Fuses;
    public readonly RowLoss Value;
    public readonly float Derivative;

    public string Name { get; }

    public Loss(string name, string fuses, RowLoss value, float derivative) {
      Name = name;
      Fuses = fuses;
      Value = value;
      Derivative = derivative;
    }
  }

  public static readonly Loss[] Losses = {
    new Loss("squared_error", null, SquaredError, 2),
    new Loss("half_squared_error", null, HalfSquaredError, 1),
    new Loss("softmax_cross_entropy", "softmax", SoftmaxCrossEntropy, 1),
    new Loss("sigmoid_cross_entropy", "sigmoid", SigmoidCrossEntropy, 1),
  };

  // ---- log(1 + x) and exp(x) - 1 without cancellation, which .NET lacks: Higham 2002, "Accuracy and Stability of
  // Numerical Algorithms", section 1.14.1. ---------------------------------------------------------------------------

  static double Log1p(double x) {
    double u = 1 + x;
    return u == 1 ? x : x * Math.Log(u) / (u - 1);
  }

  static double Expm1(double x) {
    double u = Math.Exp(x);
    return u == 1 ? x : u - 1 == -1 ? -1 : (u - 1) * x / Math.Log(u);
  }
}
