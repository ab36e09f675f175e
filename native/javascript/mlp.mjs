// mlp.mjs: the network for both dtypes: activations, losses, forward, output delta, backward, update. Nothing here
// checks an argument or reads a clock, and a step allocates nothing. z, a, delta, y, t are single rows of m numbers at
// an offset `at` of their array: a view of each row (subarray) would be a new object in every step.
//
// Arrays have the network's dtype. Arithmetic is in double, and each result is rounded when it is stored in an array.
// Math.fround around each operation would make the arithmetic float32; on wine-deep, a step would take a sixth longer.

// ---- Activations: a = f(z) for one row, z = Z_l[n] and a = A_l[n]; p: the parameter. --------------------------------

function identity(m, z, a, at) {
  for (let j = at; j < at + m; j++) a[j] = z[j];
}

function sigmoid(m, z, a, at) {
  for (let j = at; j < at + m; j++) a[j] = 1 / (1 + Math.exp(-z[j]));
}

function tanh(m, z, a, at) {
  for (let j = at; j < at + m; j++) a[j] = Math.tanh(z[j]);
}

// In these comparisons, NaN stays NaN.

function relu(m, z, a, at) {
  for (let j = at; j < at + m; j++) a[j] = z[j] < 0 ? 0 : z[j];
}

function leakyRelu(m, z, a, at, p) {
  for (let j = at; j < at + m; j++) a[j] = z[j] > 0 ? z[j] : p * z[j];
}

function elu(m, z, a, at, p) {
  for (let j = at; j < at + m; j++) a[j] = z[j] > 0 ? z[j] : p * Math.expm1(z[j]);
}

// log(1 + exp(z)), without overflow.
function softplus(m, z, a, at) {
  for (let j = at; j < at + m; j++) a[j] = (z[j] < 0 ? 0 : z[j]) + Math.log1p(Math.exp(-Math.abs(z[j])));
}

function hardSigmoid(m, z, a, at) {
  for (let j = at; j < at + m; j++) a[j] = z[j] <= -2 ? 0 : z[j] >= 2 ? 1 : z[j] / 4 + 0.5;
}

function hardTanh(m, z, a, at) {
  for (let j = at; j < at + m; j++) a[j] = z[j] < -1 ? -1 : z[j] > 1 ? 1 : z[j];
}

function softmax(m, z, a, at) {
  const top = largest(m, z, at);
  let sum = 0;
  for (let j = at; j < at + m; j++) sum += a[j] = Math.exp(z[j] - top);
  for (let j = at; j < at + m; j++) a[j] /= sum;
}

function largest(m, z, at) {
  let top = z[at];
  for (let j = at + 1; j < at + m; j++) top = z[j] > top ? z[j] : top;
  return top;
}

// Derivatives: delta <- f'(z) delta, where a = f(z).

function identityDerivative() {}

function sigmoidDerivative(m, z, a, delta) {
  for (let j = 0; j < m; j++) delta[j] *= a[j] * (1 - a[j]);
}

function tanhDerivative(m, z, a, delta) {
  for (let j = 0; j < m; j++) delta[j] *= 1 - a[j] * a[j];
}

function reluDerivative(m, z, a, delta) {
  for (let j = 0; j < m; j++) delta[j] = a[j] > 0 ? delta[j] : 0;
}

function leakyReluDerivative(m, z, a, delta, p) {
  for (let j = 0; j < m; j++) delta[j] = z[j] > 0 ? delta[j] : p * delta[j];
}

// p exp(z) = p (exp(z) - 1) + p = a + p.
function eluDerivative(m, z, a, delta, p) {
  for (let j = 0; j < m; j++) delta[j] = z[j] > 0 ? delta[j] : (a[j] + p) * delta[j];
}

function softplusDerivative(m, z, a, delta) {
  for (let j = 0; j < m; j++) delta[j] /= 1 + Math.exp(-z[j]);
}

function hardSigmoidDerivative(m, z, a, delta) {
  for (let j = 0; j < m; j++) delta[j] = Math.abs(z[j]) < 2 ? delta[j] / 4 : 0;
}

function hardTanhDerivative(m, z, a, delta) {
  for (let j = 0; j < m; j++) delta[j] = Math.abs(z[j]) < 1 ? delta[j] : 0;
}

// derivative: null where the activation needs a loss that fuses it.
// parameter: in the table, if none is given; null: it takes none.
export const activations = new Map([
  ["identity", { value: identity, derivative: identityDerivative, parameter: null }],
  ["sigmoid", { value: sigmoid, derivative: sigmoidDerivative, parameter: null }],
  ["tanh", { value: tanh, derivative: tanhDerivative, parameter: null }],
  ["relu", { value: relu, derivative: reluDerivative, parameter: null }],
  ["leaky_relu", { value: leakyRelu, derivative: leakyReluDerivative, parameter: 0.01 }],
  ["elu", { value: elu, derivative: eluDerivative, parameter: 1 }],
  ["softplus", { value: softplus, derivative: softplusDerivative, parameter: null }],
  ["hard_sigmoid", { value: hardSigmoid, derivative: hardSigmoidDerivative, parameter: null }],
  ["hard_tanh", { value: hardTanh, derivative: hardTanhDerivative, parameter: null }],
  ["softmax", { value: softmax, derivative: null, parameter: null }],
]);

// Return the row of "name" or "name(parameter)", with its parameter; undefined if there is none such.
export function findActivation(text) {
  const [, name, written] = /^(\w+)(?:\((\S+)\))?$/.exec(text) ?? [];
  const row = activations.get(name);
  if (row === undefined || written === undefined) return row;
  const parameter = Number(written);
  return row.parameter !== null && Number.isFinite(parameter) ? { ...row, parameter } : undefined;
}

// ---- Losses: L of one row, from z = Z_L[n], y = A_L[n] at `at` and the targets t at `atT`. --------------------------

function squaredError(m, z, y, t, at, atT) {
  let sum = 0;
  for (let j = 0; j < m; j++) sum += (y[at + j] - t[atT + j]) ** 2;
  return sum;
}

function halfSquaredError(m, z, y, t, at, atT) {
  return squaredError(m, z, y, t, at, atT) / 2;
}

// -sum t log softmax(z) = sum t (log sum exp z - z), with the largest z subtracted before each exp.
function softmaxCrossEntropy(m, z, y, t, at, atT) {
  const top = largest(m, z, at);
  let sum = 0, loss = 0;
  for (let j = 0; j < m; j++) sum += Math.exp(z[at + j] - top);
  const logSum = Math.log(sum);
  for (let j = 0; j < m; j++) loss += t[atT + j] * (logSum - (z[at + j] - top));
  return loss;
}

// -t log sigmoid(z) - (1-t) log(1 - sigmoid(z)) = max(z, 0) - z t + log(1 + exp(-|z|)).
function sigmoidCrossEntropy(m, z, y, t, at, atT) {
  let loss = 0;
  for (let j = 0; j < m; j++) {
    const zj = z[at + j];
    loss += (zj > 0 ? zj : 0) - zj * t[atT + j] + Math.log1p(Math.exp(-Math.abs(zj)));
  }
  return loss;
}

// fuses: the only output activation it takes; null: it takes any elementwise one.
// derivative: c in dL/dy = c (y - t); where an activation is fused, in dL/dz = c (y - t).
export const losses = new Map([
  ["squared_error", { fuses: null, value: squaredError, derivative: 2 }],
  ["half_squared_error", { fuses: null, value: halfSquaredError, derivative: 1 }],
  ["softmax_cross_entropy", { fuses: "softmax", value: softmaxCrossEntropy, derivative: 1 }],
  ["sigmoid_cross_entropy", { fuses: "sigmoid", value: sigmoidCrossEntropy, derivative: 1 }],
]);

// ---- The two products of a step. ------------------------------------------------------------------------------------

// These loops process four elements per iteration: V8 does not vectorize, and checks the type, address and length of
// each array in every iteration.

// b[to + j] <- alpha a[from + j].
function scale(m, alpha, a, from, b, to) {
  let j = 0;
  for (; j + 4 <= m; j += 4) {
    b[to + j] = alpha * a[from + j];
    b[to + j + 1] = alpha * a[from + j + 1];
    b[to + j + 2] = alpha * a[from + j + 2];
    b[to + j + 3] = alpha * a[from + j + 3];
  }
  for (; j < m; j++) b[to + j] = alpha * a[from + j];
}

// b[to + j] <- b[to + j] + alpha a[from + j].
function addScaled(m, alpha, a, from, b, to) {
  let j = 0;
  for (; j + 4 <= m; j += 4) {
    b[to + j] += alpha * a[from + j];
    b[to + j + 1] += alpha * a[from + j + 1];
    b[to + j + 2] += alpha * a[from + j + 2];
    b[to + j + 3] += alpha * a[from + j + 3];
  }
  for (; j < m; j++) b[to + j] += alpha * a[from + j];
}

// Add a multiple of each of four rows of B, from b on, to the row of C at c. A has the factors at a, `column` apart.
function addFourToOne(n, A, a, column, B, b, C, c) {
  const a0 = A[a], a1 = A[a + column], a2 = A[a + 2 * column], a3 = A[a + 3 * column];
  const b1 = b + n, b2 = b + 2 * n, b3 = b + 3 * n;
  for (let j = 0; j < n; j++) C[c + j] += a0 * B[b + j] + a1 * B[b1 + j] + a2 * B[b2 + j] + a3 * B[b3 + j];
}

// The same for two rows of C. More rows at a time, such as the four of C's mlp_kernel.h, are no faster here.
function addFourToTwo(n, A, a, row, column, B, b, C, c) {
  const a0 = A[a], a1 = A[a + column], a2 = A[a + 2 * column], a3 = A[a + 3 * column];
  a += row;
  const d0 = A[a], d1 = A[a + column], d2 = A[a + 2 * column], d3 = A[a + 3 * column];
  const b1 = b + n, b2 = b + 2 * n, b3 = b + 3 * n, c1 = c + n;
  for (let j = 0; j < n; j++) {
    const B0 = B[b + j], B1 = B[b1 + j], B2 = B[b2 + j], B3 = B[b3 + j];
    C[c + j] += a0 * B0 + a1 * B1 + a2 * B2 + a3 * B3;
    C[c1 + j] += d0 * B0 + d1 * B1 + d2 * B2 + d3 * B3;
  }
}

// Add a multiple of one row of B, at b, to each of four rows of C.
function addOneToFour(n, A, a, row, B, b, C, c) {
  const a0 = A[a], a1 = A[a + row], a2 = A[a + 2 * row], a3 = A[a + 3 * row];
  const c1 = c + n, c2 = c + 2 * n, c3 = c + 3 * n;
  for (let j = 0; j < n; j++) {
    const B0 = B[b + j];
    C[c + j] += a0 * B0;
    C[c1 + j] += a1 * B0;
    C[c2 + j] += a2 * B0;
    C[c3 + j] += a3 * B0;
  }
}

// C += A B. A: (m, k), B: (k, n), C: (m, n), from a, b, c on. The strides `row`, `column` also describe a transposed A.
function addProduct(m, k, n, A, a, row, column, B, b, C, c) {
  let p = 0;
  for (; p + 4 <= k; p += 4, a += 4 * column, b += 4 * n) {
    let i = 0;
    for (; i + 2 <= m; i += 2) addFourToTwo(n, A, a + i * row, row, column, B, b, C, c + i * n);
    if (i < m) addFourToOne(n, A, a + i * row, column, B, b, C, c + i * n);
  }
  for (; p < k; p++, a += column, b += n) {
    let i = 0;
    for (; i + 4 <= m; i += 4) addOneToFour(n, A, a + i * row, row, B, b, C, c + i * n);
    for (; i < m; i++) addScaled(n, A[a + i * row], B, b, C, c + i * n);
  }
}

// sum_j a[from + j] b[at + j].
function dot(m, a, from, b, at) {
  let sum = 0;
  for (let j = 0; j < m; j++) sum += a[from + j] * b[at + j];
  return sum;
}

// Write the dot products of one row of m numbers with four consecutive rows of b to out[to .. to + 4). The four sums do
// not wait for each other, and each a[j] is read once for all of them.
function dotFour(m, a, from, b, at, out, to) {
  const at1 = at + m, at2 = at + 2 * m, at3 = at + 3 * m;
  let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  for (let j = 0; j < m; j++) {
    const aj = a[from + j];
    s0 += aj * b[at + j];
    s1 += aj * b[at1 + j];
    s2 += aj * b[at2 + j];
    s3 += aj * b[at3 + j];
  }
  out[to] = s0;
  out[to + 1] = s1;
  out[to + 2] = s2;
  out[to + 3] = s3;
}

// C = A B^T. A: (m, k), B: (n, k) from b on, C: (m, n).
function productWithTransposed(m, k, n, A, B, b, C) {
  for (let i = 0; i < m; i++) {
    let j = 0;
    for (; j + 4 <= n; j += 4) dotFour(k, A, i * k, B, b + j * k, C, i * n + j);
    for (; j < n; j++) C[i * n + j] = dot(k, A, i * k, B, b + j * k);
  }
}

// ---- The network and its workspace. ---------------------------------------------------------------------------------

export class Mlp {
  // Make a network with its data, which it keeps without a copy. theta: W_1 row by row, b_1, W_2, ...; theta, x, y:
  // Float32Array or Float64Array, according to the dtype; order: Int32Array.
  constructor({ sizes, activations: names, loss, l2 }, theta, x, y, order) {
    this.Real = theta.constructor;
    let at = 0;
    this.layers = names.map((name, l) => {
      const [inputs, outputs] = [sizes[l], sizes[l + 1]]; // m_{l-1}, m_l
      const W = at, b = W + inputs * outputs; // the places of W_l and b_l in theta
      at = b + outputs;
      return { inputs, outputs, W, b, f: findActivation(name), Z: null, A: null, delta: null };
    });
    this.last = this.layers.at(-1);
    this.lossFunction = losses.get(loss);
    this.l2 = l2;
    this.start = theta;
    this.theta = theta.slice();
    this.gradient = new this.Real(theta.length); // laid out as theta
    Object.assign(this, { x, y, order, capacity: 0 });
    this.reserve(1);
  }

  // Make room for `rows` rows: the only allocation of X, T, Z, A and delta.
  reserve(rows) {
    if (rows <= this.capacity) return;
    const room = (width) => new this.Real(rows * width);
    for (const layer of this.layers)
      for (const name of ["Z", "A", "delta"]) layer[name] = room(layer.outputs);
    this.X = room(this.layers[0].inputs);
    this.T = room(this.last.outputs);
    this.capacity = rows;
  }

  reset() {
    this.theta.set(this.start);
  }

  // ---- The step on B rows: X: (B, m_0), T: (B, m_L); Z, A, delta of layer l: (B, m_l). ------------------------------
  // X and T start at the offsets atX and atT of their arrays, so that rows of the data are used without a copy.

  // Z_l = A_{l-1} W_l + b_l, A_l = f_l(Z_l) for l = 1 .. L.
  forward(X, atX, B) {
    const theta = this.theta;
    let A_below = X, at = atX;
    for (const { inputs, outputs: m, W, b, f, Z, A } of this.layers) {
      for (let n = 0; n < B; n++) for (let j = 0; j < m; j++) Z[n * m + j] = theta[b + j];
      addProduct(B, inputs, m, A_below, at, inputs, 1, theta, W, Z, 0);
      for (let n = 0; n < B; n++) f.value(m, Z, A, n * m, f.parameter);
      A_below = A;
      at = 0;
    }
  }

  // delta_L = dR/dZ_L.
  outputDelta(T, atT, B) {
    const { outputs, f, Z, A: Y, delta } = this.last, size = B * outputs, scale = this.lossFunction.derivative / B;
    for (let j = 0; j < size; j++) delta[j] = scale * (Y[j] - T[atT + j]);
    if (this.lossFunction.fuses === null) f.derivative(size, Z, Y, delta, f.parameter);
  }

  // From delta_L down: the gradient, laid out as theta. theta does not change.
  backward(X, atX, B) {
    const { layers, theta, gradient, l2 } = this;
    for (let l = layers.length - 1; l >= 0; l--) {
      const { inputs, outputs: m, W, b, delta } = layers[l];
      const A_below = l > 0 ? layers[l - 1].A : X, at = l > 0 ? 0 : atX;

      scale(b - W, l2, theta, W, gradient, W); // dW
      addProduct(inputs, B, m, A_below, at, 1, inputs, delta, 0, gradient, W);

      gradient.fill(0, b, b + m); // db
      for (let n = 0; n < B; n++) addScaled(m, 1, delta, n * m, gradient, b);

      if (l > 0) this.propagate(layers[l], layers[l - 1], B);
    }
  }

  // delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T), from a layer to the one below.
  propagate({ inputs, outputs: m, W, delta }, below, B) {
    productWithTransposed(B, m, inputs, delta, this.theta, W, below.delta);
    below.f.derivative(B * inputs, below.Z, below.A, below.delta, below.f.parameter);
  }

  // theta <- theta - rate * gradient.
  update(rate) {
    addScaled(this.theta.length, -rate, this.gradient, 0, this.theta, 0);
  }

  // R of the last forward pass.
  loss(T, atT, B) {
    const { outputs: m, Z, A: Y } = this.last, theta = this.theta;
    let loss = 0, squares = 0;
    for (let n = 0; n < B; n++) loss += this.lossFunction.value(m, Z, Y, T, n * m, atT + n * m);
    for (const { W, b } of this.layers) for (let i = W; i < b; i++) squares += theta[i] * theta[i];
    return loss / B + (this.l2 / 2) * squares;
  }

  // ---- The functions that worker.mjs calls, and the minibatch. ------------------------------------------------------

  // Compute the outputs of rows [first, first + count) into A of the last layer.
  outputs(first, count) {
    this.forward(this.x, first * this.layers[0].inputs, count);
  }

  // Return R of rows [first, first + count), and compute its gradient.
  lossAndGradient(first, count) {
    const atX = first * this.layers[0].inputs, atT = first * this.last.outputs;
    this.forward(this.x, atX, count);
    this.outputDelta(this.y, atT, count);
    this.backward(this.x, atX, count);
    return this.loss(this.y, atT, count);
  }

  // Copy the rows that order[first .. first + B) names into X and T.
  gather(first, B) {
    const { x, y, X, T, order } = this, m_0 = this.layers[0].inputs, m_L = this.last.outputs;
    for (let n = 0; n < B; n++) {
      const row = order[first + n];
      for (let j = 0; j < m_0; j++) X[n * m_0 + j] = x[row * m_0 + j];
      for (let j = 0; j < m_L; j++) T[n * m_L + j] = y[row * m_L + j];
    }
  }

  // Take one step for each minibatch of order[first .. first + count).
  train(first, count, batchSize, rate) {
    const end = first + count;
    for (let at = first; at < end; at += batchSize) {
      const B = Math.min(batchSize, end - at);
      this.gather(at, B);
      this.forward(this.X, 0, B);
      this.outputDelta(this.T, 0, B);
      this.backward(this.X, 0, B);
      this.update(rate);
    }
  }

  // Do one pass of the command `time`; return its addend to the checksum.
  timedPass(operation, first, count, probe) {
    if (operation === "forward") {
      this.outputs(first, count);
      return this.last.A[probe];
    }
    return this.lossAndGradient(first, count) + this.gradient[probe];
  }
}
