// mlp.d: the network in plain, safe D: activations, losses, forward, output delta, backward, update.
// Nothing here checks an argument or reads a clock, and a step allocates nothing. Commands are in worker.d, files in
// setup.d. Lower-case z, a, y, t are single rows.
module mlp;

import core.memory : pureFree, pureMalloc;
import std.math : abs, exp, expm1, log, log1p, mathTanh = tanh;

@safe pure nothrow @nogc:

// ---- Activations: a = f(z) for one row, z = Z_l[n] and a = A_l[n]; p: the parameter. In comparisons, NaN stays NaN ----

void identity(Real)(const(Real)[] z, Real[] a, Real)
{
    a[] = z[];
}

void sigmoid(Real)(const(Real)[] z, Real[] a, Real)
{
    foreach (j, ref a_j; a)
        a_j = 1 / (1 + exp(-z[j]));
}

void tanh(Real)(const(Real)[] z, Real[] a, Real)
{
    foreach (j, ref a_j; a)
        a_j = mathTanh(z[j]);
}

void relu(Real)(const(Real)[] z, Real[] a, Real)
{
    foreach (j, ref a_j; a)
        a_j = z[j] < 0 ? 0 : z[j];
}

void leakyRelu(Real)(const(Real)[] z, Real[] a, Real p)
{
    foreach (j, ref a_j; a)
        a_j = z[j] > 0 ? z[j] : p * z[j];
}

void elu(Real)(const(Real)[] z, Real[] a, Real p)
{
    foreach (j, ref a_j; a)
        a_j = z[j] > 0 ? z[j] : p * expm1(z[j]);
}

/// log(1 + exp(z)), without overflow.
void softplus(Real)(const(Real)[] z, Real[] a, Real)
{
    foreach (j, ref a_j; a)
        a_j = (z[j] < 0 ? 0 : z[j]) + cast(Real) log1p(exp(-abs(z[j])));
}

void hardSigmoid(Real)(const(Real)[] z, Real[] a, Real)
{
    foreach (j, ref a_j; a)
        a_j = z[j] <= -2 ? 0 : z[j] >= 2 ? 1 : z[j] / 4 + Real(0.5);
}

void hardTanh(Real)(const(Real)[] z, Real[] a, Real)
{
    foreach (j, ref a_j; a)
        a_j = z[j] < -1 ? -1 : z[j] > 1 ? 1 : z[j];
}

void softmax(Real)(const(Real)[] z, Real[] a, Real)
{
    const top = largest(z);
    Real sum = 0;
    foreach (j, ref a_j; a)
    {
        a_j = exp(z[j] - top);
        sum += a_j;
    }
    foreach (ref a_j; a)
        a_j /= sum;
}

private Real largest(Real)(const(Real)[] z)
{
    Real top = z[0];
    foreach (z_j; z)
        top = z_j > top ? z_j : top;
    return top;
}

// Derivatives: delta <- f'(z) delta, where a = f(z).

void identityDerivative(Real)(const(Real)[], const(Real)[], Real[], Real)
{
}

void sigmoidDerivative(Real)(const(Real)[], const(Real)[] a, Real[] delta, Real)
{
    foreach (j, ref delta_j; delta)
        delta_j *= a[j] * (1 - a[j]);
}

void tanhDerivative(Real)(const(Real)[], const(Real)[] a, Real[] delta, Real)
{
    foreach (j, ref delta_j; delta)
        delta_j *= 1 - a[j] * a[j];
}

void reluDerivative(Real)(const(Real)[], const(Real)[] a, Real[] delta, Real)
{
    foreach (j, ref delta_j; delta)
        delta_j = a[j] > 0 ? delta_j : 0;
}

void leakyReluDerivative(Real)(const(Real)[] z, const(Real)[], Real[] delta, Real p)
{
    foreach (j, ref delta_j; delta)
        delta_j = z[j] > 0 ? delta_j : p * delta_j;
}

/// p exp(z) = p (exp(z) - 1) + p = a + p.
void eluDerivative(Real)(const(Real)[] z, const(Real)[] a, Real[] delta, Real p)
{
    foreach (j, ref delta_j; delta)
        delta_j = z[j] > 0 ? delta_j : (a[j] + p) * delta_j;
}

void softplusDerivative(Real)(const(Real)[] z, const(Real)[], Real[] delta, Real)
{
    foreach (j, ref delta_j; delta)
        delta_j *= 1 / (1 + exp(-z[j]));
}

void hardSigmoidDerivative(Real)(const(Real)[] z, const(Real)[], Real[] delta, Real)
{
    foreach (j, ref delta_j; delta)
        delta_j = abs(z[j]) < 2 ? delta_j / 4 : 0;
}

void hardTanhDerivative(Real)(const(Real)[] z, const(Real)[], Real[] delta, Real)
{
    foreach (j, ref delta_j; delta)
        delta_j = abs(z[j]) < 1 ? delta_j : 0;
}

struct Activation(Real)
{
    string name;
    void function(const(Real)[] z, Real[] a, Real p) @safe pure nothrow @nogc value;
    // null: needs a loss that fuses it
    void function(const(Real)[] z, const(Real)[] a, Real[] delta, Real p) @safe pure nothrow @nogc derivative;
    Real parameter = Real.nan; // in the table, if none is given; nan: it takes none
}

template activations(Real)
{
    alias Row = Activation!Real;
    static immutable Row[] activations = [
        Row("identity", &identity!Real, &identityDerivative!Real),
        Row("sigmoid", &sigmoid!Real, &sigmoidDerivative!Real),
        Row("tanh", &tanh!Real, &tanhDerivative!Real),
        Row("relu", &relu!Real, &reluDerivative!Real),
        Row("leaky_relu", &leakyRelu!Real, &leakyReluDerivative!Real, 0.01),
        Row("elu", &elu!Real, &eluDerivative!Real, 1),
        Row("softplus", &softplus!Real, &softplusDerivative!Real),
        Row("hard_sigmoid", &hardSigmoid!Real, &hardSigmoidDerivative!Real),
        Row("hard_tanh", &hardTanh!Real, &hardTanhDerivative!Real),
        Row("softmax", &softmax!Real, null),
    ];
}

// ---- Losses: L of one row, from z = Z_L[n], y = A_L[n] and the targets t ----

double squaredError(Real)(const(Real)[], const(Real)[] y, const(Real)[] t)
{
    double sum = 0;
    foreach (j, y_j; y)
        sum += (y_j - t[j]) * (y_j - t[j]);
    return sum;
}

double halfSquaredError(Real)(const(Real)[] z, const(Real)[] y, const(Real)[] t)
{
    return squaredError(z, y, t) / 2;
}

/// -sum t log softmax(z) = sum t (log sum exp z - z), with the largest z subtracted before each exp.
double softmaxCrossEntropy(Real)(const(Real)[] z, const(Real)[], const(Real)[] t)
{
    const top = largest(z);
    double sum = 0;
    foreach (z_j; z)
        sum += exp(z_j - top);
    const logSum = log(sum);
    double total = 0;
    foreach (j, z_j; z)
        total += t[j] * (logSum - (z_j - top));
    return total;
}

/// -t log sigmoid(z) - (1-t) log(1 - sigmoid(z)) = max(z, 0) - z t + log(1 + exp(-|z|)).
double sigmoidCrossEntropy(Real)(const(Real)[] z, const(Real)[], const(Real)[] t)
{
    double total = 0;
    foreach (j, z_j; z)
        total += (z_j > 0 ? z_j : 0) - z_j * t[j] + log1p(exp(-abs(z_j)));
    return total;
}

struct Loss(Real)
{
    string name;
    string fuses; // the only output activation it takes; null: it takes any elementwise one
    double function(const(Real)[] z, const(Real)[] y, const(Real)[] t) @safe pure nothrow @nogc value;
    Real derivative; // c in dL/dy = c (y - t); where an activation is fused, in dL/dz = c (y - t)
}

template losses(Real)
{
    alias Row = Loss!Real;
    static immutable Row[] losses = [
        Row("squared_error", null, &squaredError!Real, 2),
        Row("half_squared_error", null, &halfSquaredError!Real, 1),
        Row("softmax_cross_entropy", "softmax", &softmaxCrossEntropy!Real, 1),
        Row("sigmoid_cross_entropy", "sigmoid", &sigmoidCrossEntropy!Real, 1),
    ];
}

// ---- The two products of a step ----

/// A matrix whose element (i, p) is data[i * row + p * column]: the strides also describe a transposed matrix.
private struct Strided(Real)
{
    const(Real)[] data;
    size_t row, column;

    Real opIndex(size_t i, size_t p) const
    {
        return data[i * row + p * column];
    }
}

/// C += A B for m rows of A, from row i on, and of C: (m, n). Each of four rows of B is loaded once for m rows of C.
private void addRows(int m, Real)(size_t i, Strided!Real A, const(Real)[] B, Real[] C, size_t n)
{
    const k = B.length / n;
    Real[][m] c;
    static foreach (r; 0 .. m)
        c[r] = C[r * n .. r * n + n];
    size_t p = 0;
    for (; p + 4 <= k; p += 4)
    {
        Real[4][m] a;
        static foreach (r; 0 .. m)
            static foreach (q; 0 .. 4)
                a[r][q] = A[i + r, p + q];
        const(Real)[][4] b;
        static foreach (q; 0 .. 4)
            b[q] = B[(p + q) * n .. (p + q) * n + n];
        foreach (j; 0 .. n)
            static foreach (r; 0 .. m)
                c[r][j] += a[r][0] * b[0][j] + a[r][1] * b[1][j] + a[r][2] * b[2][j] + a[r][3] * b[3][j];
    }
    for (; p < k; p++)
    {
        const b = B[p * n .. p * n + n];
        static foreach (r; 0 .. m)
        {{
            const a = A[i + r, p];
            foreach (j, b_j; b)
                c[r][j] += a * b_j;
        }}
    }
}

/// C += A B. A: (m, k), B: (k, n), C: (m, n).
private void addProduct(Real)(Strided!Real A, const(Real)[] B, Real[] C, size_t n)
{
    const m = C.length / n;
    size_t i = 0;
    for (; i + 4 <= m; i += 4)
        addRows!4(i, A, B, C[i * n .. (i + 4) * n], n);
    for (; i < m; i++)
        addRows!1(i, A, B, C[i * n .. (i + 1) * n], n);
}

/// sum_j a[j] b[j] in eight partial sums: in a single sum, every addition would wait for the one before it.
private Real dot(Real)(const(Real)[] a, const(Real)[] b)
{
    Real[8] part = 0;
    Real sum = 0;
    size_t j = 0;
    for (; j + 8 <= a.length; j += 8)
    {
        const Real[8] a_j = a[j .. j + 8], b_j = b[j .. j + 8];
        static foreach (k; 0 .. 8)
            part[k] += a_j[k] * b_j[k];
    }
    for (; j < a.length; j++)
        sum += a[j] * b[j];
    foreach (part_k; part)
        sum += part_k;
    return sum;
}

// ---- The network, its data and its workspace ----

/// Return numbers without a value, from C's malloc, whose layout the driver scatters; null where there is no memory.
Number[] allocate(Number)(size_t rows, size_t width) @trusted
{
    if (width > 0 && rows > ptrdiff_t.max / Number.sizeof / width)
        return null;
    auto numbers = cast(Number*) pureMalloc(rows * width * Number.sizeof);
    return numbers is null ? null : numbers[0 .. rows * width];
}

void release(Number)(ref Number[] numbers) @trusted
{
    pureFree(numbers.ptr);
    numbers = null;
}

/// The operations of the command `time`.
enum Operation
{
    forward,
    gradient,
}

/// Where the numbers of a layer lie in theta, or in the gradient.
private struct Span
{
    size_t first, end;

    inout(Real)[] of(Real)(inout(Real)[] flat) const
    {
        return flat[first .. end];
    }
}

private struct Layer(Real)
{
    size_t inputs, outputs; // m_{l-1}, m_l
    Span W, b; // in theta: (inputs, outputs), (outputs)
    Activation!Real f;
    Real p; // the parameter of f
    Real[] Z, A, delta; // (capacity, outputs)
}

/// The data, which the model releases.
struct Data(Real)
{
    size_t rows;
    Real[] x, y; // (rows, m_0), (rows, m_L)
    long[] order; // row numbers
}

/// A network with its data. `release` returns its memory.
final class Mlp(Real)
{
    private Layer!Real[] layers;
    private Loss!Real lossFunction;
    private double l2;
    private Real[] start; // theta as init read it
    private Real[] X, T; // a minibatch: (capacity, m_0), (capacity, m_L)
    Real[] theta;
    Real[] gradient; // of the last step, laid out as theta
    Data!Real data;

    /// sizes: m_0 .. m_L; f: f_1 .. f_L; start and gradient, of one length, and data become its own.
    this(const size_t[] sizes, const Activation!Real[] f, Loss!Real lossFunction, double l2, Real[] start,
            Real[] theta, Real[] gradient, Data!Real data)
    {
        size_t at = 0;
        foreach (l, ref f_l; f)
        {
            const b = at + sizes[l] * sizes[l + 1], end = b + sizes[l + 1];
            layers ~= Layer!Real(sizes[l], sizes[l + 1], Span(at, b), Span(b, end), f_l, f_l.parameter);
            at = end;
        }
        this.lossFunction = lossFunction;
        this.l2 = l2;
        this.start = start;
        this.theta = theta;
        this.gradient = gradient;
        this.data = data;
        reset();
    }

    void release()
    {
        foreach (ref l; layers)
        {
            .release(l.Z);
            .release(l.A);
            .release(l.delta);
        }
        .release(X);
        .release(T);
        .release(start);
        .release(theta);
        .release(gradient);
        .release(data.x);
        .release(data.y);
        .release(data.order);
    }

    /// Make room for B rows: the only allocation of X, T, Z, A and delta. Return false where there is no memory.
    bool reserve(size_t B)
    {
        bool found = grow(X, B, inputs) && grow(T, B, outputs);
        foreach (ref l; layers)
            found = found && grow(l.Z, B, l.outputs) && grow(l.A, B, l.outputs) && grow(l.delta, B, l.outputs);
        return found;
    }

    private static bool grow(ref Real[] buffer, size_t rows, size_t width)
    {
        if (buffer.length / width >= rows)
            return true;
        auto larger = allocate!Real(rows, width);
        if (larger is null)
            return false;
        .release(buffer);
        buffer = larger;
        return true;
    }

    void reset()
    {
        theta[] = start[];
    }

    private size_t inputs() const // m_0
    {
        return layers[0].inputs;
    }

    private size_t outputs() const // m_L
    {
        return layers[$ - 1].outputs;
    }

    /// Return A_L of the last forward pass: (B, m_L).
    const(Real)[] Y(size_t B) const
    {
        return layers[$ - 1].A[0 .. B * outputs];
    }

    /// Return the number of outputs of `count` rows, or of entries of the gradient.
    size_t entries(Operation operation, size_t count) const
    {
        return operation == Operation.forward ? count * outputs : gradient.length;
    }

    // ---- The step on B rows: X: (B, m_0), T: (B, m_L); Z, A, delta of layer l: (B, m_l) ----

    /// Z_l = A_{l-1} W_l + b_l, A_l = f_l(Z_l) for l = 1 .. L.
    private void forward(const(Real)[] X, size_t B)
    {
        const(Real)[] A_below = X;
        foreach (ref l; layers)
        {
            const m = l.outputs;
            const b = l.b.of(theta);
            auto Z = l.Z[0 .. B * m], A = l.A[0 .. B * m];
            foreach (n; 0 .. B)
                Z[n * m .. (n + 1) * m] = b[];
            addProduct(Strided!Real(A_below, l.inputs, 1), l.W.of(theta), Z, m);
            foreach (n; 0 .. B)
                l.f.value(Z[n * m .. (n + 1) * m], A[n * m .. (n + 1) * m], l.p);
            A_below = A;
        }
    }

    /// delta_L = dR/dZ_L.
    private void outputDelta(const(Real)[] T, size_t B)
    {
        auto last = &layers[$ - 1];
        const size = B * last.outputs;
        const scale = lossFunction.derivative / B;
        const Y = last.A[0 .. size];
        auto delta = last.delta[0 .. size];
        foreach (j, ref delta_j; delta)
            delta_j = scale * (Y[j] - T[j]);
        if (lossFunction.fuses is null)
            last.f.derivative(last.Z[0 .. size], Y, delta, last.p);
    }

    /// From delta_L down: the gradient, laid out as theta. theta does not change.
    private void backward(const(Real)[] X, size_t B)
    {
        const l2 = cast(Real) this.l2;
        foreach_reverse (at, ref l; layers)
        {
            const W = l.W.of(theta);
            const delta = l.delta[0 .. B * l.outputs];
            const A_below = at > 0 ? layers[at - 1].A : X;

            auto dW = l.W.of(gradient);
            foreach (k, ref dW_k; dW)
                dW_k = l2 * W[k];
            addProduct(Strided!Real(A_below, 1, l.inputs), delta, dW, l.outputs);

            auto db = l.b.of(gradient);
            db[] = 0;
            foreach (n; 0 .. B)
            {
                const row = delta[n * db.length .. (n + 1) * db.length];
                foreach (j, ref db_j; db)
                    db_j += row[j];
            }

            if (at > 0)
                propagate(delta, W, l.outputs, layers[at - 1], B);
        }
    }

    /// delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T), to the layer below. delta: (B, m), W: (m_{l-1}, m)
    private static void propagate(const(Real)[] delta, const(Real)[] W, size_t m, ref Layer!Real below, size_t B)
    {
        const size = B * below.outputs;
        foreach (n; 0 .. B)
        {
            const row = delta[n * m .. (n + 1) * m];
            foreach (i, ref delta_below; below.delta[n * below.outputs .. (n + 1) * below.outputs])
                delta_below = dot(row, W[i * m .. (i + 1) * m]);
        }
        below.f.derivative(below.Z[0 .. size], below.A[0 .. size], below.delta[0 .. size], below.p);
    }

    /// theta <- theta - rate * gradient.
    private void update(Real rate)
    {
        foreach (k, ref theta_k; theta)
            theta_k -= rate * gradient[k];
    }

    /// R of the last forward pass.
    private double loss(const(Real)[] T, size_t B) const
    {
        const m = outputs;
        const Z = layers[$ - 1].Z, Y = layers[$ - 1].A;
        double total = 0, squares = 0;
        foreach (n; 0 .. B)
            total += lossFunction.value(Z[n * m .. (n + 1) * m], Y[n * m .. (n + 1) * m], T[n * m .. (n + 1) * m]);
        foreach (ref l; layers)
            foreach (double w; l.W.of(theta))
                squares += w * w;
        return total / B + l2 / 2 * squares;
    }

    // ---- The functions that worker.d calls, and the minibatch ----

    /// Compute the outputs of rows [first, first + count) into Y.
    void predict(size_t first, size_t count)
    {
        forward(data.x[first * inputs .. $], count);
    }

    /// Return R of rows [first, first + count), and compute its gradient.
    double lossAndGradient(size_t first, size_t count)
    {
        const X = data.x[first * inputs .. $], T = data.y[first * outputs .. $];
        forward(X, count);
        outputDelta(T, count);
        backward(X, count);
        return loss(T, count);
    }

    /// Copy the rows that order[first .. first + B) names into X and T.
    private void gather(size_t first, size_t B)
    {
        const m_0 = inputs, m_L = outputs;
        foreach (n, row; data.order[first .. first + B])
        {
            X[n * m_0 .. (n + 1) * m_0] = data.x[row * m_0 .. (row + 1) * m_0];
            T[n * m_L .. (n + 1) * m_L] = data.y[row * m_L .. (row + 1) * m_L];
        }
    }

    /// Take one step for each minibatch of order[first .. first + count).
    void train(size_t first, size_t count, size_t batchSize, Real rate)
    {
        const end = first + count;
        for (size_t at = first; at < end; at += batchSize)
        {
            const B = batchSize < end - at ? batchSize : end - at;
            gather(at, B);
            forward(X, B);
            outputDelta(T, B);
            backward(X, B);
            update(rate);
        }
    }

    /// Do one pass of the command `time`; return its addend to the checksum.
    double timedPass(Operation operation, size_t first, size_t count, size_t probe)
    {
        if (operation == Operation.gradient)
            return lossAndGradient(first, count) + gradient[probe];
        predict(first, count);
        return layers[$ - 1].A[probe];
    }
}
