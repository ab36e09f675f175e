/* Training as the article's code does it, errors of its gradient included: one network, one row a step.
 * Not a backend: bench/experiments/wine/article.py compiles and calls it, and holds the same in NumPy.
 *
 * theta: for each layer l its weights W, (m_{l-1}, m_l) row by row, then its biases b, (m_l,). */

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

enum activation { SIGMOID, TANH, RELU };

/* A = f(Z); m: number of units. Where `normalize`, Z becomes (Z - min) / (max - min) of the row before. */
static void activate(int64_t m, enum activation f, bool normalize, double *restrict Z, double *restrict A) {
  if (normalize) {
    double least = Z[0], most = Z[0];
    for (int64_t j = 1; j < m; ++j) {
      least = fmin(least, Z[j]);
      most = fmax(most, Z[j]);
    }
    for (int64_t j = 0; j < m; ++j)
      Z[j] = (Z[j] - least) / (most - least);
  }
  for (int64_t j = 0; j < m; ++j)
    A[j] = f == SIGMOID ? 1 / (1 + exp(-Z[j])) : f == TANH ? tanh(Z[j]) : Z[j] > 0 ? Z[j] : 0;
}

static double derivative(enum activation f, double Z, double A) {
  return f == SIGMOID ? A * (1 - A) : f == TANH ? 1 - A * A : Z > 0;
}

/* Z = A W + b. A: (m_in,); W: (m_in, m_out); b, Z: (m_out,) */
static void forward(int64_t m_in, int64_t m_out, const double *restrict A, const double *restrict W,
                    const double *restrict b, double *restrict Z) {
  for (int64_t j = 0; j < m_out; ++j)
    Z[j] = b[j];
  for (int64_t i = 0; i < m_in; ++i)
    for (int64_t j = 0; j < m_out; ++j)
      Z[j] += A[i] * W[i * m_out + j];
}

/* G = W delta, and then the step: dW = Zᵀ delta / m_out + l2 W, where the gradient has A in place of Z and no m_out;
 * db = delta. G, Z: (m_in,); W: (m_in, m_out); b, delta: (m_out,) */
static void backward(int64_t m_in, int64_t m_out, const double *restrict Z, const double *restrict delta, double rate,
                     double l2, double *restrict W, double *restrict b, double *restrict G) {
  const double kept = 1 - rate * l2;
  for (int64_t i = 0; i < m_in; ++i) {
    double *restrict row = W + i * m_out;
    const double step = rate * Z[i] / (double)m_out;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < m_out; ++j) {
      sum += row[j] * delta[j];
      row[j] = kept * row[j] - step * delta[j];
    }
    G[i] = sum;
  }
  for (int64_t j = 0; j < m_out; ++j)
    b[j] -= rate * delta[j];
}

/* Train one network; return the number of steps, fewer than `count` where an output was no longer finite.
 *
 * sizes: (n_layers + 1,), m_0 .. m_L; order: (count,), row numbers; x: (rows, m_0); y: (rows, m_L)
 * work: for Z and A of every layer, 2 (m_0 + .. + m_L), and for two deltas, 2 max(m_0 .. m_L) */
int64_t article_train(int64_t n_layers, const int64_t *sizes, int64_t activation, int64_t normalize, double rate,
                      double l2, int64_t count, const int64_t *order, const double *x, const double *y, double *theta,
                      double *work) {
  const enum activation f = (enum activation)activation;
  const int64_t inputs = sizes[0], outputs = sizes[n_layers];
  int64_t units = 0, parameters = 0, widest = 0;
  for (int64_t l = 0; l <= n_layers; ++l) {
    units += sizes[l];
    parameters += l ? (sizes[l - 1] + 1) * sizes[l] : 0;
    widest = sizes[l] > widest ? sizes[l] : widest;
  }
  double *const Z_0 = work, *const A_0 = work + units;
  for (int64_t step = 0; step < count; ++step) {
    double *Z = Z_0, *A = A_0, *W = theta; /* of the layer below */
    for (int64_t i = 0; i < inputs; ++i)
      Z[i] = x[order[step] * inputs + i];
    for (int64_t l = 1; l <= n_layers; ++l) {
      const int64_t m_in = sizes[l - 1], m_out = sizes[l];
      activate(m_in, f, normalize, Z, A); /* of the inputs too */
      forward(m_in, m_out, A, W, W + m_in * m_out, Z + m_in);
      Z += m_in, A += m_in, W += (m_in + 1) * m_out;
    }
    double *delta = A_0 + units, *G = delta + widest;
    for (int64_t j = 0; j < outputs; ++j) {
      if (!isfinite(Z[j]))
        return step;
      delta[j] = 2 * (Z[j] - y[order[step] * outputs + j]);
    }
    W = theta + parameters;
    for (int64_t l = n_layers; l >= 1; --l) {
      const int64_t m_in = sizes[l - 1], m_out = sizes[l];
      Z -= m_in, A -= m_in, W -= (m_in + 1) * m_out;
      backward(m_in, m_out, Z, delta, rate, l2, W, W + m_in * m_out, G);
      for (int64_t i = 0; i < m_in; ++i)
        G[i] *= derivative(f, Z[i], A[i]);
      double *const above = delta;
      delta = G, G = above;
    }
  }
  return count;
}
