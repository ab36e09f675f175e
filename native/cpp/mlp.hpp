// mlp.hpp: a feed-forward network in plain C++: forward, backpropagation, gradient descent, and their timing.
// It uses the standard library and loops: no threads, no intrinsics, no fast-math. It does not validate arguments (the
// caller does), knows nothing of Python, and allocates nothing in a step; a class of products may, when a shape first
// occurs.
#pragma once

#include "model.hpp"
#include "optimizer.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fnn {

// Allocates at the start of a cache line. Otherwise vectors straddle lines, and a step takes up to 1.5 times as long,
// depending on earlier allocations in the process.
template <class T> struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t line{64}; // bytes

  LineAllocator() = default;
  template <class U> LineAllocator(const LineAllocator<U> &) {}

  T *allocate(std::size_t n) {
    return static_cast<T *>(::operator new(n * sizeof(T), line));
  }
  void deallocate(T *data, std::size_t) {
    ::operator delete(data, line);
  }
  friend bool operator==(LineAllocator, LineAllocator) {
    return true;
  }
  friend bool operator!=(LineAllocator, LineAllocator) {
    return false;
  }
};

template <class T> using Buffer = std::vector<T, LineAllocator<T>>;

// A read-only view of a matrix with any strides.
template <class T> struct Strided {
  const T *data;
  std::size_t rows, columns, down, across; // element (i, j) is data[i * down + j * across]

  const T &operator()(std::size_t i, std::size_t j) const {
    return data[i * down + j * across];
  }
  Strided from(std::size_t row) const {
    return {data + row * down, rows - row, columns, down, across};
  }
};

// A view of a dense row-major matrix.
template <class T> struct Matrix {
  T *data;
  std::size_t rows, columns;

  T *operator[](std::size_t row) const {
    return data + row * columns;
  }
  T *begin() const {
    return data;
  }
  T *end() const {
    return data + rows * columns;
  }
  operator Matrix<const T>() const {
    return {data, rows, columns};
  }
  operator Strided<std::remove_const_t<T>>() const {
    return {data, rows, columns, columns, 1};
  }
  Strided<std::remove_const_t<T>> transposed() const {
    return {data, columns, rows, 1, columns};
  }
};

// ---- Activations: a = f(z), and f'(z), of one number; p: the parameter ----

struct Identity {
  template <class Real> static Real value(Real z, Real) {
    return z;
  }
  template <class Real> static Real derivative(Real, Real, Real) {
    return 1;
  }
};

struct Sigmoid {
  template <class Real> static Real value(Real z, Real) {
    return 1 / (1 + std::exp(-z));
  }
  template <class Real> static Real derivative(Real, Real a, Real) {
    return a * (1 - a);
  }
};

struct Tanh {
  template <class Real> static Real value(Real z, Real) {
    return std::tanh(z);
  }
  template <class Real> static Real derivative(Real, Real a, Real) {
    return 1 - a * a;
  }
};

// The comparisons of value keep NaN.

struct Relu {
  template <class Real> static Real value(Real z, Real) {
    return z < 0 ? 0 : z;
  }
  template <class Real> static Real derivative(Real, Real a, Real) {
    return a > 0 ? 1 : 0;
  }
};

struct LeakyRelu {
  template <class Real> static Real value(Real z, Real p) {
    return z > 0 ? z : p * z;
  }
  template <class Real> static Real derivative(Real z, Real, Real p) {
    return z > 0 ? 1 : p;
  }
};

struct Elu {
  template <class Real> static Real value(Real z, Real p) {
    return z > 0 ? z : p * std::expm1(z);
  }
  template <class Real> static Real derivative(Real z, Real a, Real p) {
    return z > 0 ? 1 : a + p; // p exp(z) = p (exp(z) - 1) + p
  }
};

struct Softplus { // log(1 + exp(z)), without overflow
  template <class Real> static Real value(Real z, Real) {
    return (z < 0 ? 0 : z) + std::log1p(std::exp(-std::abs(z)));
  }
  template <class Real> static Real derivative(Real z, Real, Real) {
    return 1 / (1 + std::exp(-z));
  }
};

struct HardSigmoid {
  template <class Real> static Real value(Real z, Real) {
    return z <= -2 ? 0 : z >= 2 ? 1 : z / 4 + Real(0.5);
  }
  template <class Real> static Real derivative(Real z, Real, Real) {
    return std::abs(z) < 2 ? Real(0.25) : 0;
  }
};

struct HardTanh {
  template <class Real> static Real value(Real z, Real) {
    return z < -1 ? -1 : z > 1 ? 1 : z;
  }
  template <class Real> static Real derivative(Real z, Real, Real) {
    return std::abs(z) < 1 ? 1 : 0;
  }
};

// A = f(Z), elementwise.   Z, A: (B, m); they may be the same matrix
template <class F, class Real> void map(Matrix<const Real> Z, Matrix<Real> A, const Real *parameter) {
  std::transform(Z.begin(), Z.end(), A.begin(), [p = *parameter](Real z) { return F::value(z, p); });
}

// delta *= f'(Z).   Z, A, delta: (B, m)
template <class F, class Real>
void multiply_by_derivative(Matrix<const Real> Z, Matrix<const Real> A, Matrix<Real> delta, const Real *parameter,
                            Real *) {
  const Real *z = Z.begin(), *a = A.begin(), p = *parameter;
  for (Real &d : delta)
    d *= F::derivative(*z++, *a++, p);
}

// A = f(Z) with a slope of each unit below 0.   Z, A: (B, m)   slopes: (m)
template <class Real> void prelu(Matrix<const Real> Z, Matrix<Real> A, const Real *slopes) {
  for (std::size_t n = 0; n < Z.rows; ++n)
    for (std::size_t j = 0; j < Z.columns; ++j)
      A[n][j] = LeakyRelu::value(Z[n][j], slopes[j]);
}

// Multiply delta by f'(Z), and compute the gradient of the slopes, the sum of delta min(z, 0) over the rows.
template <class Real>
void prelu_derivative(Matrix<const Real> Z, Matrix<const Real>, Matrix<Real> delta, const Real *slopes, Real *dslopes) {
  std::fill_n(dslopes, Z.columns, Real(0));
  for (std::size_t n = 0; n < Z.rows; ++n)
    for (std::size_t j = 0; j < Z.columns; ++j) {
      const Real z = Z[n][j];
      dslopes[j] += z > 0 ? 0 : delta[n][j] * z;
      delta[n][j] *= LeakyRelu::derivative(z, z, slopes[j]);
    }
}

// A = the largest of each unit's k pieces.   Z: (B, k m)   A: (B, m)
template <class Real> void maxout(Matrix<const Real> Z, Matrix<Real> A, const Real *) {
  const std::size_t k = Z.columns / A.columns;
  const Real *z = Z.begin();
  for (Real &a : A) {
    a = z[0];
    for (std::size_t i = 1; i < k; ++i)
      a = z[i] <= a ? a : z[i]; // the comparison keeps NaN
    z += k;
  }
}

// The first of a unit's largest pieces takes all of the unit's gradient. The first B m numbers of delta are that
// gradient, dR/dA; going backwards, each is read before another takes its place.   Z, delta: (B, k m)   A: (B, m)
template <class Real>
void maxout_derivative(Matrix<const Real> Z, Matrix<const Real> A, Matrix<Real> delta, const Real *, Real *) {
  const std::size_t k = Z.columns / A.columns;
  for (std::size_t unit = A.rows * A.columns; unit-- > 0;) {
    const Real *z = Z.begin() + unit * k;
    const Real gradient = delta.begin()[unit];
    Real *d = delta.begin() + unit * k;
    std::fill_n(d, k, Real(0));
    d[std::max_element(z, z + k) - z] = gradient; // of equal ones, the first
  }
}

// A = exp(Z) / its row sum. Each row is shifted so that its largest exponent is 0.   Z, A: (B, m)
template <class Real> void softmax(Matrix<const Real> Z, Matrix<Real> A, const Real *) {
  for (std::size_t n = 0; n < Z.rows; ++n) {
    const Real *z = Z[n];
    Real *a = A[n];
    const Real largest = *std::max_element(z, z + Z.columns);
    Real sum = 0;
    for (std::size_t j = 0; j < Z.columns; ++j)
      sum += a[j] = std::exp(z[j] - largest);
    for (std::size_t j = 0; j < Z.columns; ++j)
      a[j] /= sum;
  }
}

// p: the parameter, or the slopes that a layer learns: (m).   dp: their gradient
template <class Real> struct Activation {
  std::string_view name;
  void (*value)(Matrix<const Real> Z, Matrix<Real> A, const Real *p); // A = f(Z)
  // delta *= f'(Z); null: only fused with a loss
  void (*derivative)(Matrix<const Real> Z, Matrix<const Real> A, Matrix<Real> delta, const Real *p, Real *dp);
  bool learns = false;     // slopes, which follow b in theta
  bool has_pieces = false; // as many a unit as the parameter says: Z and delta are (B, k m), a unit's pieces adjacent
};

template <class Real>
constexpr std::array<Activation<Real>, 12> activations{{
    {"identity", map<Identity, Real>, multiply_by_derivative<Identity, Real>},
    {"sigmoid", map<Sigmoid, Real>, multiply_by_derivative<Sigmoid, Real>},
    {"tanh", map<Tanh, Real>, multiply_by_derivative<Tanh, Real>},
    {"relu", map<Relu, Real>, multiply_by_derivative<Relu, Real>},
    {"leaky_relu", map<LeakyRelu, Real>, multiply_by_derivative<LeakyRelu, Real>},
    {"elu", map<Elu, Real>, multiply_by_derivative<Elu, Real>},
    {"softplus", map<Softplus, Real>, multiply_by_derivative<Softplus, Real>},
    {"hard_sigmoid", map<HardSigmoid, Real>, multiply_by_derivative<HardSigmoid, Real>},
    {"hard_tanh", map<HardTanh, Real>, multiply_by_derivative<HardTanh, Real>},
    {"prelu", prelu<Real>, prelu_derivative<Real>, true},
    {"maxout", maxout<Real>, maxout_derivative<Real>, false, true},
    {"softmax", softmax<Real>, nullptr},
}};

// ---- Losses of one sample, from z (pre-activations), y (outputs) and t (targets): (m) each ----

template <class Real> double squared_error(const Real *, const Real *y, const Real *t, std::size_t m) {
  double sum = 0;
  for (std::size_t j = 0; j < m; ++j)
    sum += (y[j] - t[j]) * (y[j] - t[j]);
  return sum;
}

template <class Real> double half_squared_error(const Real *z, const Real *y, const Real *t, std::size_t m) {
  return squared_error(z, y, t, m) / 2;
}

// -sum t log softmax(z) = sum t (log sum exp z - z). Subtracting the largest z first avoids overflow in exp.
template <class Real> double softmax_cross_entropy(const Real *z, const Real *, const Real *t, std::size_t m) {
  const Real largest = *std::max_element(z, z + m);
  Real sum = 0;
  for (std::size_t j = 0; j < m; ++j)
    sum += std::exp(z[j] - largest);
  const Real log_sum = std::log(sum);
  double loss = 0;
  for (std::size_t j = 0; j < m; ++j)
    loss += t[j] * (log_sum - (z[j] - largest));
  return loss;
}

// -sum t log sigmoid(z) + (1 - t) log(1 - sigmoid(z)) = sum max(z, 0) - z t + log(1 + exp(-|z|)).
template <class Real> double sigmoid_cross_entropy(const Real *z, const Real *, const Real *t, std::size_t m) {
  double loss = 0;
  for (std::size_t j = 0; j < m; ++j)
    loss += std::max(z[j], Real(0)) - z[j] * t[j] + std::log1p(std::exp(-std::abs(z[j])));
  return loss;
}

template <class Real> struct Loss {
  std::string_view name;
  std::string_view fuses; // the output activation that it is fused with; empty: any elementwise one
  double (*value)(const Real *z, const Real *y, const Real *t, std::size_t m);
  Real derivative; // c in dL/dy = c (y - t), or, fused, in dL/dz = c (y - t)
};

template <class Real>
constexpr std::array<Loss<Real>, 4> losses{{
    {"squared_error", "", squared_error<Real>, 2},
    {"half_squared_error", "", half_squared_error<Real>, 1},
    {"softmax_cross_entropy", "softmax", softmax_cross_entropy<Real>, 1},
    {"sigmoid_cross_entropy", "sigmoid", sigmoid_cross_entropy<Real>, 1},
}};

template <class Row, std::size_t size> const Row &find(const std::array<Row, size> &table, std::string_view name) {
  for (const Row &row : table)
    if (row.name == name)
      return row;
  throw std::invalid_argument("mlp.hpp has no " + std::string(name));
}

// ---- Products ----

// C += A B for m rows.   A: (m, k)   B: (k, n)   C: (m, n)
// Each pass over C takes four rows of B, and each row of B serves all m rows of C: less memory traffic per sum.
template <std::size_t m, class Real> void add_rows(Real *__restrict C, Strided<Real> A, Matrix<const Real> B) {
  const std::size_t n = B.columns;
  std::size_t p = 0;
  for (; p + 4 <= B.rows; p += 4) {
    Real a[m][4];
    for (std::size_t i = 0; i < m; ++i)
      for (std::size_t q = 0; q < 4; ++q)
        a[i][q] = A(i, p + q);
    const Real *__restrict b = B[p];
    for (std::size_t j = 0; j < n; ++j)
      for (std::size_t i = 0; i < m; ++i)
        C[i * n + j] += a[i][0] * b[j] + a[i][1] * b[n + j] + a[i][2] * b[2 * n + j] + a[i][3] * b[3 * n + j];
  }
  for (; p < B.rows; ++p)
    for (std::size_t i = 0; i < m; ++i) {
      const Real a = A(i, p);
      const Real *__restrict b = B[p];
      for (std::size_t j = 0; j < n; ++j)
        C[i * n + j] += a * b[j];
    }
}

// sum_j a[j] b[j], in partial sums that the compiler can keep in one vector register. Without fast-math it may not
// reorder a single sum, which would then take one addition per element.   a, b: (n)
template <class Real> Real dot(const Real *a, const Real *b, std::size_t n) {
  constexpr std::size_t lanes = 32 / sizeof(Real);
  Real sums[lanes] = {};
  std::size_t j = 0;
  for (; j + lanes <= n; j += lanes)
    for (std::size_t lane = 0; lane < lanes; ++lane)
      sums[lane] += a[j + lane] * b[j + lane];
  Real sum = 0;
  for (; j < n; ++j)
    sum += a[j] * b[j];
  for (std::size_t half = lanes / 2; half > 0; half /= 2)
    for (std::size_t lane = 0; lane < half; ++lane)
      sums[lane] += sums[lane + half];
  return sums[0] + sum;
}

// The products as loops. Another class with the same two functions can take their place in Mlp: see blas.hpp. If it
// `updates`, add_product takes two factors more, so that a product of the backward pass can add to W itself.
template <class Real> struct Loops {
  static constexpr bool updates = false;

  // C += A B.   A: (m, k), possibly a transposed view   B: (k, n)   C: (m, n)
  static void add_product(Matrix<Real> C, Strided<Real> A, Matrix<const Real> B) {
    std::size_t i = 0;
    for (; i + 4 <= C.rows; i += 4)
      add_rows<4>(C[i], A.from(i), B);
    for (; i < C.rows; ++i)
      add_rows<1>(C[i], A.from(i), B);
  }

  // C = A B^T.   A: (m, k)   B: (n, k)   C: (m, n)
  static void product_with_transposed(Matrix<Real> C, Matrix<const Real> A, Matrix<const Real> B) {
    for (std::size_t i = 0; i < C.rows; ++i)
      for (std::size_t j = 0; j < C.columns; ++j)
        C[i][j] = dot(A[i], B[j], B.columns);
  }
};

// ---- The network ----

template <class Real, class Products = Loops<Real>> class Mlp final : public Model<Real> {
public:
  // sizes: m_0 .. m_L   functions: f_1 .. f_L, where f_L is the one that the loss fuses, if any
  // theta: W_1 row by row, b_1, W_2, b_2, ...; the slopes that a layer learns follow its b
  Mlp(const std::vector<std::size_t> &sizes, const std::vector<LayerFunction> &functions, const std::string &loss,
      double l2, const Real *theta, Products products = {})
      : products_(std::move(products)), loss_function_(find(losses<Real>, loss)), l2_(static_cast<Real>(l2)) {
    std::size_t at = 0;
    for (std::size_t l = 1; l < sizes.size(); ++l) {
      const auto &[name, parameter] = functions.at(l - 1);
      const Activation<Real> &f = find(activations<Real>, name);
      const std::size_t columns = sizes[l] * (f.has_pieces ? static_cast<std::size_t>(parameter) : 1);
      layers_.push_back({sizes[l - 1], sizes[l], columns, at, f, static_cast<Real>(parameter), {}, {}, {}});
      at += (sizes[l - 1] + 1) * columns + (f.learns ? sizes[l] : 0);
    }
    start_.assign(theta, theta + at);
    theta_ = start_;
    gradient_.resize(at);
  }

  std::size_t n_inputs() const {
    return layers_.front().inputs;
  }
  std::size_t n_outputs() const override {
    return layers_.back().outputs;
  }
  std::size_t n_parameters() const override {
    return theta_.size();
  }
  const Buffer<Real> &theta() const {
    return theta_;
  }
  void copy_theta(Real *flat) const override {
    std::copy(theta_.begin(), theta_.end(), flat);
  }

  // (The sum of whole numbers is one that compilers vectorize.)
  bool is_finite() const override {
    int others = 0;
    for (const Real number : theta_)
      others |= !(std::abs(number) <= std::numeric_limits<Real>::max());
    return others == 0;
  }

  void load(const Real *x, const Real *y, std::size_t rows, const std::int64_t *order, std::size_t n_order) override {
    Buffer<Real> new_x(x, x + rows * n_inputs()), new_y(y, y + rows * n_outputs());
    order_ = Buffer<std::int64_t>(order, order + n_order);
    x_ = std::move(new_x);
    y_ = std::move(new_y);
    rows_ = rows;
  }

  void set_theta(const Real *theta) override {
    std::copy_n(theta, theta_.size(), theta_.begin());
  }
  void reset() override {
    theta_ = start_;
  }

private:
  using Clock = std::chrono::steady_clock;

  struct Layer {
    std::size_t inputs, outputs, columns; // columns: outputs times the pieces of each
    std::size_t at;                       // index of W in theta; b follows it
    const Activation<Real> &f;
    Real p;                   // parameter of f
    Buffer<Real> Z, A, delta; // (capacity_, columns), A: (capacity_, outputs)

    // Views into a vector laid out as theta.   W: (inputs, columns)   b: (columns)   slopes: (outputs)
    template <class T> Matrix<T> W(T *flat) const {
      return {flat + at, inputs, columns};
    }
    template <class T> T *b(T *flat) const {
      return flat + at + inputs * columns;
    }
    template <class T> T *slopes(T *flat) const {
      return b(flat) + columns;
    }
    // The parameter of f, or the slopes in theta.
    const Real *parameters(const Real *theta) const {
      return f.learns ? slopes(theta) : &p;
    }
    // The first B rows of Z or delta, of A, and of dR/dA, which delta holds before the derivative.
    Matrix<Real> rows(Buffer<Real> &of, std::size_t B) const {
      return {of.data(), B, columns};
    }
    Matrix<Real> A_rows(std::size_t B) {
      return {A.data(), B, outputs};
    }
    Matrix<Real> dA_rows(std::size_t B) {
      return {delta.data(), B, outputs};
    }
  };

  static double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  Matrix<const Real> inputs_of(std::size_t first, std::size_t count) const {
    return {&x_[first * n_inputs()], count, n_inputs()};
  }
  Matrix<const Real> targets_of(std::size_t first, std::size_t count) const {
    return {&y_[first * n_outputs()], count, n_outputs()};
  }

  // Make room for steps on B rows. All other functions of a step allocate nothing.
  void reserve(std::size_t B) {
    if (B <= capacity_)
      return;
    X_.resize(B * n_inputs());
    T_.resize(B * n_outputs());
    for (Layer &layer : layers_)
      for (Buffer<Real> *buffer : {&layer.Z, &layer.A, &layer.delta})
        buffer->resize(B * (buffer == &layer.A ? layer.outputs : layer.columns));
    capacity_ = B;
  }

  // Compute Z and A of every layer.   X: (B, m_0)
  void forward(Matrix<const Real> X) {
    Matrix<const Real> A_below = X;
    for (Layer &layer : layers_) {
      const Matrix<const Real> W = layer.W(std::as_const(theta_).data());
      const Real *b = layer.b(theta_.data());
      const Matrix<Real> Z = layer.rows(layer.Z, X.rows), A = layer.A_rows(X.rows);
      for (std::size_t n = 0; n < Z.rows; ++n)
        std::copy_n(b, Z.columns, Z[n]);
      products_.add_product(Z, A_below, W);
      layer.f.value(Z, A, layer.parameters(theta_.data()));
      A_below = A;
    }
  }

  // delta_L = dR/dZ_L.   T: (B, m_L)
  void output_delta(Matrix<const Real> T) {
    Layer &last = layers_.back();
    const Matrix<Real> Z = last.rows(last.Z, T.rows), Y = last.A_rows(T.rows);
    const Matrix<Real> delta = last.rows(last.delta, T.rows);
    const Real scale = loss_function_.derivative / static_cast<Real>(T.rows);
    std::transform(Y.begin(), Y.end(), T.begin(), delta.begin(), [scale](Real y, Real t) { return scale * (y - t); });
    if (loss_function_.fuses.empty())
      last.f.derivative(Z, Y, delta, &last.p, nullptr);
  }

  // Compute the gradient from delta_L; theta stays unchanged.   X: (B, m_0)
  void backward(Matrix<const Real> X) {
    for (std::size_t l = layers_.size(); l-- > 0;) {
      Layer &layer = layers_[l];
      const Matrix<const Real> W = layer.W(std::as_const(theta_).data());
      const Matrix<const Real> delta = layer.rows(layer.delta, X.rows);
      const Matrix<const Real> A_below = l > 0 ? layers_[l - 1].A_rows(X.rows) : X;
      const Matrix<Real> dW = layer.W(gradient_.data());

      std::transform(W.begin(), W.end(), dW.begin(), [l2 = l2_](Real w) { return l2 * w; });
      products_.add_product(dW, A_below.transposed(), delta);
      sum_rows(delta, layer.b(gradient_.data()));
      if (l > 0)
        propagate(delta, W, layers_[l - 1]);
    }
  }

  // delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T), and the gradient of the slopes below.
  // delta: (B, columns of l)   W: (m_{l-1}, columns of l)
  void propagate(Matrix<const Real> delta, Matrix<const Real> W, Layer &below) {
    const std::size_t B = delta.rows;
    products_.product_with_transposed(below.dA_rows(B), delta, W);
    below.f.derivative(below.rows(below.Z, B), below.A_rows(B), below.rows(below.delta, B),
                       below.parameters(theta_.data()), below.slopes(gradient_.data()));
  }

  // Return true if `keep`, 1 - decay rounded, shrinks W by the decay to within 3 %. A small decay is lost in it.
  static bool keeps_decay(Real keep, Real decay) {
    return std::abs((1 - keep) - decay) <= decay / 32;
  }

  // Make the step of gradient descent from delta_L, W by W: W <- keep W - rate A^T delta. No gradient of W is stored.
  // X: (B, m_0)
  void descend(Matrix<const Real> X, Real rate, Real keep) {
    const auto step = [rate](Real value, Real gradient) { return value - rate * gradient; };
    for (std::size_t l = layers_.size(); l-- > 0;) {
      Layer &layer = layers_[l];
      const Matrix<const Real> delta = layer.rows(layer.delta, X.rows);
      const Matrix<const Real> A_below = l > 0 ? layers_[l - 1].A_rows(X.rows) : X;
      if (l > 0) // before W changes
        propagate(delta, layer.W(std::as_const(theta_).data()), layers_[l - 1]);
      products_.add_product(layer.W(theta_.data()), A_below.transposed(), delta, -rate, keep);

      Real *b = layer.b(theta_.data()), *db = layer.b(gradient_.data());
      sum_rows(delta, db);
      std::transform(b, b + layer.columns, db, b, step);
      if (layer.f.learns) {
        Real *slopes = layer.slopes(theta_.data());
        std::transform(slopes, slopes + layer.outputs, layer.slopes(gradient_.data()), slopes, step);
      }
    }
  }

  // db = the sum of the rows of delta.   delta: (B, m)   db: (m)
  static void sum_rows(Matrix<const Real> delta, Real *db) {
    std::fill_n(db, delta.columns, Real(0));
    for (std::size_t n = 0; n < delta.rows; ++n)
      for (std::size_t j = 0; j < delta.columns; ++j)
        db[j] += delta[n][j];
  }

  // Make the steps of train; step: changes theta from delta_L and the rows of the minibatch. Returns seconds.
  template <class Step> double steps(std::size_t first, std::size_t count, std::size_t batch_size, const Step &step) {
    reserve(std::min(batch_size, count));
    const auto start = Clock::now();
    for (std::size_t done = 0; done < count; done += batch_size) {
      const std::size_t B = std::min(batch_size, count - done);
      gather(first + done, B);
      const Matrix<const Real> X{X_.data(), B, n_inputs()}, T{T_.data(), B, n_outputs()};
      forward(X);
      output_delta(T);
      step(X);
    }
    return seconds_since(start);
  }

  // theta <- theta - rate dtheta
  void update(Real rate) {
    std::transform(theta_.begin(), theta_.end(), gradient_.begin(), theta_.begin(),
                   [rate](Real value, Real gradient) { return value - rate * gradient; });
  }

  // Return R over the B rows of the last forward pass.   T: (B, m_L)
  double loss(Matrix<const Real> T) {
    Layer &last = layers_.back();
    const Matrix<const Real> Z = last.rows(last.Z, T.rows), Y = last.A_rows(T.rows);
    double sum = 0, squares = 0;
    for (std::size_t n = 0; n < T.rows; ++n)
      sum += loss_function_.value(Z[n], Y[n], T[n], T.columns);
    for (const Layer &layer : layers_) {
      const Matrix<const Real> W = layer.W(std::as_const(theta_).data());
      for (std::size_t i = 0; i < W.rows; ++i)
        squares += dot(W[i], W[i], W.columns);
    }
    return sum / static_cast<double>(T.rows) + l2_ / 2 * squares;
  }

  // Return R over rows [first, first + count), and leave its gradient in gradient_.
  double loss_and_gradient(std::size_t first, std::size_t count) {
    const Matrix<const Real> X = inputs_of(first, count), T = targets_of(first, count);
    forward(X);
    output_delta(T);
    backward(X);
    return loss(T);
  }

  // Copy the rows order[first .. first + B) to X_ and T_.
  void gather(std::size_t first, std::size_t B) {
    for (std::size_t n = 0; n < B; ++n) {
      const auto row = static_cast<std::size_t>(order_[first + n]);
      std::copy_n(&x_[row * n_inputs()], n_inputs(), &X_[n * n_inputs()]);
      std::copy_n(&y_[row * n_outputs()], n_outputs(), &T_[n * n_outputs()]);
    }
  }

public:
  void outputs(std::size_t first, std::size_t count, Real *y) override {
    reserve(count);
    forward(inputs_of(first, count));
    std::copy_n(layers_.back().A.data(), count * n_outputs(), y);
  }

  double loss(std::size_t first, std::size_t count) override {
    reserve(count);
    forward(inputs_of(first, count));
    return loss(targets_of(first, count));
  }

  double loss_and_gradient(std::size_t first, std::size_t count, Real *gradient) override {
    reserve(count);
    const double R = loss_and_gradient(first, count);
    std::copy(gradient_.begin(), gradient_.end(), gradient);
    return R;
  }

  double train(std::size_t first, std::size_t count, std::size_t batch_size, double learning_rate) override {
    const auto rate = static_cast<Real>(learning_rate);
    if constexpr (Products::updates)
      if (const Real keep = 1 - rate * l2_; keeps_decay(keep, rate * l2_))
        return steps(first, count, batch_size, [=](Matrix<const Real> X) { descend(X, rate, keep); });
    return steps(first, count, batch_size, [=](Matrix<const Real> X) {
      backward(X);
      update(rate);
    });
  }

  double train_with(std::size_t first, std::size_t count, std::size_t batch_size, double learning_rate) override {
    return steps(first, count, batch_size, [=](Matrix<const Real> X) {
      backward(X);
      optimizer_.step(theta_, gradient_, learning_rate);
    });
  }

  void set_optimizer(const std::string &name, const std::vector<double> &settings, std::int64_t n_steps,
                     const Real *state) override {
    optimizer_.select(name, settings, n_steps, state, theta_.size());
  }
  std::int64_t optimizer_steps() const override {
    return optimizer_.steps();
  }
  std::size_t optimizer_vectors() const override {
    return optimizer_.vectors().size();
  }
  void copy_optimizer_state(Real *state) const override {
    for (const Buffer<Real> &vector : optimizer_.vectors())
      state = std::copy(vector.begin(), vector.end(), state);
  }

  Timing timed_pass(Operation operation, std::size_t first, std::size_t count, std::size_t repeats,
                    const std::int64_t *probes, std::size_t n_probes) override {
    reserve(count);
    double checksum = 0;
    const auto start = Clock::now();
    for (std::size_t r = 0, p = 0; r < repeats; ++r, p = p + 1 < n_probes ? p + 1 : 0) {
      const std::size_t s = (first + r * count) % (rows_ - count + 1);
      if (operation == Operation::forward) {
        forward(inputs_of(s, count));
        checksum += layers_.back().A[probes[p]];
      } else {
        checksum += loss_and_gradient(s, count);
        checksum += gradient_[probes[p]];
      }
    }
    return {seconds_since(start), checksum};
  }

private:
  std::vector<Layer> layers_;
  Products products_;
  const Loss<Real> &loss_function_;
  Real l2_;
  Buffer<Real> start_, theta_, gradient_; // (n_parameters)
  FlatOptimizer<Real, Buffer<Real>> optimizer_;

  Buffer<Real> x_, y_; // the data: (rows_, m_0), (rows_, m_L)
  Buffer<std::int64_t> order_;
  std::size_t rows_ = 0;

  Buffer<Real> X_, T_; // a minibatch: (capacity_, m_0), (capacity_, m_L)
  std::size_t capacity_ = 0;
};

} // namespace fnn
