"""The network in plain Python: lists of floats, and every product the triple loop of a textbook.

It imports nothing but `math`, checks no argument and reads no clock. A float is a double, so networks of either dtype
are computed in double: Python has no other. A matrix is a list of rows.
"""

import math

# ---- Activations: f(z), and f'(z) from z and a = f(z), for one number; p: the parameter -----------------------------


def identity(z, p):
    return z


def identity_derivative(z, a, p):
    return 1.0


def sigmoid(z, p):
    if z >= 0:  # math.exp raises OverflowError for large arguments
        return 1 / (1 + math.exp(-z))
    return math.exp(z) / (1 + math.exp(z))


def sigmoid_derivative(z, a, p):
    return a * (1 - a)


def tanh(z, p):
    return math.tanh(z)


def tanh_derivative(z, a, p):
    return 1 - a * a


# In these comparisons, NaN stays NaN.


def relu(z, p):
    return 0.0 if z < 0 else z


def relu_derivative(z, a, p):
    return 1.0 if a > 0 else 0.0


def leaky_relu(z, p):
    return z if z > 0 else p * z


def leaky_relu_derivative(z, a, p):
    return 1.0 if z > 0 else p


def elu(z, p):
    return z if z > 0 else p * math.expm1(z)


def elu_derivative(z, a, p):
    return 1.0 if z > 0 else a + p  # p exp(z) = p (exp(z) - 1) + p


def softplus(z, p):
    return (0.0 if z < 0 else z) + math.log1p(math.exp(-abs(z)))  # log(1 + exp(z))


def softplus_derivative(z, a, p):
    return sigmoid(z, p)


def hard_sigmoid(z, p):
    return 0.0 if z <= -2 else 1.0 if z >= 2 else z / 4 + 0.5


def hard_sigmoid_derivative(z, a, p):
    return 0.25 if abs(z) < 2 else 0.0


def hard_tanh(z, p):
    return -1.0 if z < -1 else 1.0 if z > 1 else z


def hard_tanh_derivative(z, a, p):
    return 1.0 if abs(z) < 1 else 0.0


# name: (value, derivative, parameter if none is given; None: it takes none)
ACTIVATIONS = {
    "identity": (identity, identity_derivative, None),
    "sigmoid": (sigmoid, sigmoid_derivative, None),
    "tanh": (tanh, tanh_derivative, None),
    "relu": (relu, relu_derivative, None),
    "leaky_relu": (leaky_relu, leaky_relu_derivative, 0.01),
    "elu": (elu, elu_derivative, 1.0),
    "softplus": (softplus, softplus_derivative, None),
    "hard_sigmoid": (hard_sigmoid, hard_sigmoid_derivative, None),
    "hard_tanh": (hard_tanh, hard_tanh_derivative, None),
}


# ---- Losses of one row, from z = Z_L[n], y = A_L[n] and the targets t: lists of m_L numbers -------------------------


def squared_error(z, y, t):
    total = 0.0
    for y_j, t_j in zip(y, t):
        total += (y_j - t_j) * (y_j - t_j)
    return total


def half_squared_error(z, y, t):
    return squared_error(z, y, t) / 2


def softmax(z):
    """Return exp(z) / its sum; the largest z is subtracted first, so that no exponent overflows."""
    top = max(z)
    powers = [math.exp(z_j - top) for z_j in z]
    total = sum(powers)
    return [power / total for power in powers]


def softmax_cross_entropy(z, y, t):
    """Return -sum t log softmax(z) = sum t (log sum exp z - z)."""
    top = max(z)
    log_sum = math.log(sum([math.exp(z_j - top) for z_j in z]))
    total = 0.0
    for z_j, t_j in zip(z, t):
        total += t_j * (log_sum - (z_j - top))
    return total


def sigmoid_cross_entropy(z, y, t):
    """Return -sum t log sigmoid(z) + (1 - t) log(1 - sigmoid(z)) = sum max(z, 0) - z t + log(1 + exp(-|z|))."""
    total = 0.0
    for z_j, t_j in zip(z, t):
        total += (z_j if z_j > 0 else 0.0) - z_j * t_j + math.log1p(math.exp(-abs(z_j)))
    return total


# name: (value, c in dL/dy = c (y - t) or, fused, in dL/dz = c (y - t), the output activation that it fuses)
LOSSES = {
    "squared_error": (squared_error, 2.0, None),
    "half_squared_error": (half_squared_error, 1.0, None),
    "softmax_cross_entropy": (softmax_cross_entropy, 1.0, "softmax"),
    "sigmoid_cross_entropy": (sigmoid_cross_entropy, 1.0, "sigmoid"),
}


# ---- The products of a step: matrices are lists of rows -------------------------------------------------------------


def add_product(C, A, B):
    """C += A B.   A: (m, k)   B: (k, n)   C: (m, n)"""
    for i in range(len(C)):
        for j in range(len(C[i])):
            total = C[i][j]
            for p in range(len(B)):
                total += A[i][p] * B[p][j]
            C[i][j] = total


def add_transposed_product(C, A, B):
    """C += A^T B.   A: (k, m)   B: (k, n)   C: (m, n)"""
    for i in range(len(C)):
        for j in range(len(C[i])):
            total = C[i][j]
            for p in range(len(B)):
                total += A[p][i] * B[p][j]
            C[i][j] = total


def product_with_transposed(A, B):
    """Return A B^T, (m, n).   A: (m, k)   B: (n, k)"""
    C = []
    for i in range(len(A)):
        row = []
        for j in range(len(B)):
            total = 0.0
            for p in range(len(B[j])):
                total += A[i][p] * B[j][p]
            row.append(total)
        C.append(row)
    return C


# ---- The network ----------------------------------------------------------------------------------------------------


class Layer:
    """One layer: its parameters, their gradient, and what the last step computed in it.

    W, dW: (inputs, outputs)   b, db: (outputs)   Z, A, delta: (B, outputs)
    """

    def __init__(self, inputs, outputs, f, theta):
        self.inputs, self.outputs = inputs, outputs
        self.f, self.derivative, self.p = f
        self.set(theta)
        self.dW = [[0.0] * outputs for _ in range(inputs)]
        self.db = [0.0] * outputs
        self.Z = self.A = self.delta = []

    def set(self, theta):
        """Take W, row by row, and b from the numbers that an iterator yields."""
        self.W = [[next(theta) for _ in range(self.outputs)] for _ in range(self.inputs)]
        self.b = [next(theta) for _ in range(self.outputs)]


class Mlp:
    """A network with its data.

    sizes: m_0 .. m_L; functions: (value, derivative, parameter) of each layer's activation
    theta: W_1 row by row, b_1, W_2, ...; x, y: lists of rows; order: a list of row numbers
    """

    def __init__(self, sizes, functions, loss, l2, theta, x, y, order):
        self.start = theta
        numbers = iter(theta)
        self.layers = [Layer(*each, numbers) for each in zip(sizes, sizes[1:], functions)]
        self.last = self.layers[-1]
        self.loss_function, self.c, self.fuses = LOSSES[loss]
        self.l2 = l2
        self.x, self.y, self.order = x, y, order

    def reset(self):
        """Set theta to the values that the network was made with."""
        numbers = iter(self.start)
        for layer in self.layers:
            layer.set(numbers)

    # ---- The step on B rows: X: (B, m_0), T: (B, m_L) ---------------------------------------------------------------

    def forward(self, X):
        """Compute Z_l = A_{l-1} W_l + b_l and A_l = f_l(Z_l) of every layer."""
        A_below = X
        for layer in self.layers:
            Z = [layer.b[:] for _ in X]
            add_product(Z, A_below, layer.W)
            if layer is self.last and self.fuses == "softmax":
                A = [softmax(z) for z in Z]
            else:
                f, p = layer.f, layer.p
                A = [[f(z_j, p) for z_j in z] for z in Z]
            layer.Z, layer.A = Z, A
            A_below = A

    def output_delta(self, T):
        """Compute delta_L = dR/dZ_L."""
        last, scale = self.last, self.c / len(T)
        last.delta = [[scale * (y_j - t_j) for y_j, t_j in zip(y, t)] for y, t in zip(last.A, T)]
        if self.fuses is None:
            self.multiply_by_derivative(last)

    def backward(self, X):
        """Compute the gradient from delta_L down. theta does not change."""
        for at in reversed(range(len(self.layers))):
            layer = self.layers[at]
            A_below = self.layers[at - 1].A if at > 0 else X
            for w, dw in zip(layer.W, layer.dW):
                for j in range(len(w)):
                    dw[j] = self.l2 * w[j]
            add_transposed_product(layer.dW, A_below, layer.delta)
            for j in range(len(layer.db)):
                total = 0.0
                for d in layer.delta:
                    total += d[j]
                layer.db[j] = total
            if at > 0:
                self.propagate(layer, self.layers[at - 1])

    def propagate(self, layer, below):
        """Compute delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T), from a layer to the one below."""
        below.delta = product_with_transposed(layer.delta, layer.W)
        self.multiply_by_derivative(below)

    @staticmethod
    def multiply_by_derivative(layer):
        """Compute delta *= f'(Z)."""
        derivative, p = layer.derivative, layer.p
        for z, a, d in zip(layer.Z, layer.A, layer.delta):
            for j in range(len(d)):
                d[j] *= derivative(z[j], a[j], p)

    def update(self, rate):
        """Compute theta <- theta - rate * gradient."""
        for layer in self.layers:
            for w, dw in zip([*layer.W, layer.b], [*layer.dW, layer.db]):
                for j in range(len(w)):
                    w[j] -= rate * dw[j]

    def loss(self, T):
        """Return R of the last forward pass."""
        total = squares = 0.0
        for z, y, t in zip(self.last.Z, self.last.A, T):
            total += self.loss_function(z, y, t)
        for layer in self.layers:
            for w in layer.W:
                for w_j in w:
                    squares += w_j * w_j
        return total / len(T) + self.l2 / 2 * squares

    # ---- The functions that worker.py calls -------------------------------------------------------------------------

    def theta(self):
        """Return the parameters, flat."""
        return flat((layer.W, layer.b) for layer in self.layers)

    def gradient(self):
        """Return the gradient of the last `backward`, flat."""
        return flat((layer.dW, layer.db) for layer in self.layers)

    def places(self):
        """Return (row, index) of each entry of the gradient, in its order."""
        rows = [row for layer in self.layers for row in (*layer.dW, layer.db)]
        return [(row, j) for row in rows for j in range(len(row))]

    def loss_and_gradient(self, first, count):
        """Return R of rows [first, first + count), and compute its gradient."""
        X, T = self.x[first : first + count], self.y[first : first + count]
        self.forward(X)
        self.output_delta(T)
        self.backward(X)
        return self.loss(T)

    def train(self, first, count, batch_size, rate):
        """Make one step for each minibatch of order[first .. first + count)."""
        for at in range(first, first + count, batch_size):
            rows = self.order[at : min(at + batch_size, first + count)]
            X, T = [self.x[row] for row in rows], [self.y[row] for row in rows]
            self.forward(X)
            self.output_delta(T)
            self.backward(X)
            self.update(rate)

    def timed_forward(self, first, count, row, column):
        """Make a forward pass of rows [first, first + count); return one output."""
        self.forward(self.x[first : first + count])
        return self.last.A[row][column]

    def timed_gradient(self, first, count, row, column):
        """Compute the gradient of these rows; return the loss plus one entry, `column` of a row from `places`."""
        return self.loss_and_gradient(first, count) + row[column]


def flat(layers):
    """Return the numbers of (W, b) pairs: W row by row, then b."""
    numbers = []
    for W, b in layers:
        for row in W:
            numbers += row
        numbers += b
    return numbers
