# cython: language_level=3
"""The network in Cython, over typed memoryviews of float or double: the loops of C's mlp_kernel.h and product_kernel.h.

Nothing here allocates or reads a clock. The build line decides on bounds checks. Every matrix is a part of a flat
array, row by row: `a` is the place in A at which it begins. z, a, delta: the numbers of a layer, from `at` on.
"""

from libc.math cimport exp, expf, expm1, expm1f, fabs, fabsf, log, logf, log1p, log1pf, tanh, tanhf

ctypedef fused real:
    float
    double

cpdef enum Activation:
    IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SOFTPLUS, HARD_SIGMOID, HARD_TANH, SOFTMAX

cpdef enum Loss:
    SQUARED_ERROR, HALF_SQUARED_ERROR, SOFTMAX_CROSS_ENTROPY, SIGMOID_CROSS_ENTROPY


cdef class Shape:
    """A network without its numbers; sizes: m_0 .. m_L; the others have an entry a layer.

    W, b: places in theta; f, p: activation and its parameter; start: place in Z, A and delta.
    """

    cdef Py_ssize_t layers
    cdef const Py_ssize_t[::1] sizes, W, b, start
    cdef const int[::1] f
    cdef const double[::1] p
    cdef int loss
    cdef double l2

    def __init__(self, sizes, W, b, start, f, p, int loss, double l2):
        self.layers = len(W)
        self.sizes, self.W, self.b, self.start, self.f, self.p = sizes, W, b, start, f, p
        self.loss, self.l2 = loss, l2


# ---- The functions of libm, of either type --------------------------------------------------------------------------

cdef inline real exp_(real x) noexcept nogil:
    return expf(x) if real is float else exp(x)

cdef inline real tanh_(real x) noexcept nogil:
    return tanhf(x) if real is float else tanh(x)

cdef inline real expm1_(real x) noexcept nogil:
    return expm1f(x) if real is float else expm1(x)

cdef inline real log1p_(real x) noexcept nogil:
    return log1pf(x) if real is float else log1p(x)

cdef inline real log_(real x) noexcept nogil:
    return logf(x) if real is float else log(x)

cdef inline real abs_(real x) noexcept nogil:
    return fabsf(x) if real is float else fabs(x)


# ---- Activations: a = f(z) of `size` numbers, and delta <- f'(z) delta; p: the parameter. NaN stays NaN. -------------

cdef int activate(int f, real p, Py_ssize_t size, real[::1] Z, real[::1] A, Py_ssize_t at) except -1 nogil:
    cdef Py_ssize_t j
    cdef real one = 1, zero = 0, z
    if f == IDENTITY:
        for j in range(at, at + size):
            A[j] = Z[j]
    elif f == SIGMOID:
        for j in range(at, at + size):
            A[j] = one / (one + exp_(-Z[j]))
    elif f == TANH:
        for j in range(at, at + size):
            A[j] = tanh_(Z[j])
    elif f == RELU:
        for j in range(at, at + size):
            A[j] = zero if Z[j] < 0 else Z[j]
    elif f == LEAKY_RELU:
        for j in range(at, at + size):
            A[j] = Z[j] if Z[j] > 0 else p * Z[j]
    elif f == ELU:
        for j in range(at, at + size):
            A[j] = Z[j] if Z[j] > 0 else p * expm1_(Z[j])
    elif f == SOFTPLUS:  # log(1 + exp(z)), without overflow
        for j in range(at, at + size):
            A[j] = (zero if Z[j] < 0 else Z[j]) + log1p_(exp_(-abs_(Z[j])))
    elif f == HARD_SIGMOID:
        for j in range(at, at + size):
            z = Z[j]
            A[j] = zero if z <= -2 else one if z >= 2 else z * <real>0.25 + <real>0.5
    elif f == HARD_TANH:
        for j in range(at, at + size):
            z = Z[j]
            A[j] = -one if z < -1 else one if z > 1 else z
    return 0


cdef int softmax(Py_ssize_t m, real[::1] Z, real[::1] A, Py_ssize_t at) except -1 nogil:
    """Compute one row of outputs. The largest z is subtracted first, so that no exponent overflows."""
    cdef Py_ssize_t j
    cdef real top = largest(m, Z, at), total = 0
    for j in range(at, at + m):
        A[j] = exp_(Z[j] - top)
        total += A[j]
    for j in range(at, at + m):
        A[j] = A[j] / total
    return 0


cdef real largest(Py_ssize_t m, real[::1] Z, Py_ssize_t at) noexcept nogil:
    cdef Py_ssize_t j
    cdef real top = Z[at]
    for j in range(at + 1, at + m):
        top = Z[j] if Z[j] > top else top
    return top


cdef int multiply_by_derivative(
    int f, real p, Py_ssize_t size, real[::1] Z, real[::1] A, real[::1] delta, Py_ssize_t at
) except -1 nogil:
    cdef Py_ssize_t j
    cdef real one = 1, zero = 0
    if f == SIGMOID:
        for j in range(at, at + size):
            delta[j] *= A[j] * (one - A[j])
    elif f == TANH:
        for j in range(at, at + size):
            delta[j] *= one - A[j] * A[j]
    elif f == RELU:
        for j in range(at, at + size):
            delta[j] = delta[j] if A[j] > 0 else zero
    elif f == LEAKY_RELU:
        for j in range(at, at + size):
            delta[j] = delta[j] if Z[j] > 0 else p * delta[j]
    elif f == ELU:  # p exp(z) = p (exp(z) - 1) + p = a + p
        for j in range(at, at + size):
            delta[j] = delta[j] if Z[j] > 0 else (A[j] + p) * delta[j]
    elif f == SOFTPLUS:
        for j in range(at, at + size):
            delta[j] = delta[j] / (one + exp_(-Z[j]))
    elif f == HARD_SIGMOID:
        for j in range(at, at + size):
            delta[j] = delta[j] * <real>0.25 if abs_(Z[j]) < 2 else zero
    elif f == HARD_TANH:
        for j in range(at, at + size):
            delta[j] = delta[j] if abs_(Z[j]) < 1 else zero
    return 0


# ---- Losses: L of one row of m numbers: z and y from `at`, the targets t from `to` on --------------------------------

cdef double loss_of_row(
    int loss, Py_ssize_t m, real[::1] Z, real[::1] Y, Py_ssize_t at, real[::1] T, Py_ssize_t to
) noexcept nogil:
    cdef Py_ssize_t j
    cdef real top, z, log_sum, sum_ = 0
    cdef double total = 0
    if loss == SOFTMAX_CROSS_ENTROPY:  # -sum t log softmax(z) = sum t (log sum exp z - z)
        top = largest(m, Z, at)
        for j in range(m):
            sum_ += exp_(Z[at + j] - top)
        log_sum = log_(sum_)
        for j in range(m):
            total += T[to + j] * (log_sum - (Z[at + j] - top))
    elif loss == SIGMOID_CROSS_ENTROPY:  # max(z, 0) - z t + log(1 + exp(-|z|))
        for j in range(m):
            z = Z[at + j]
            total += (z if z > 0 else 0) - z * T[to + j] + log1p_(exp_(-abs_(z)))
    else:
        for j in range(m):
            total += (Y[at + j] - T[to + j]) * (Y[at + j] - T[to + j])
        if loss == HALF_SQUARED_ERROR:
            total /= 2
    return total


# ---- The two products of a step -------------------------------------------------------------------------------------

cdef inline int add_four_rows(
    Py_ssize_t k, Py_ssize_t n, real[::1] A, Py_ssize_t a, Py_ssize_t row, Py_ssize_t column, real[::1] B,
    Py_ssize_t b, real[::1] C, Py_ssize_t c
) except -1 nogil:
    """C += A B for four rows of A and C. Each of four rows of B is read once for the four rows of C."""
    cdef Py_ssize_t i, j, p = 0
    cdef real a00, a01, a02, a03, a10, a11, a12, a13, a20, a21, a22, a23, a30, a31, a32, a33, B0, B1, B2, B3
    while p + 4 <= k:
        i = a + p * column
        a00, a01, a02, a03 = A[i], A[i + column], A[i + 2 * column], A[i + 3 * column]
        i += row
        a10, a11, a12, a13 = A[i], A[i + column], A[i + 2 * column], A[i + 3 * column]
        i += row
        a20, a21, a22, a23 = A[i], A[i + column], A[i + 2 * column], A[i + 3 * column]
        i += row
        a30, a31, a32, a33 = A[i], A[i + column], A[i + 2 * column], A[i + 3 * column]
        i = b + p * n
        for j in range(n):
            B0, B1, B2, B3 = B[i + j], B[i + n + j], B[i + 2 * n + j], B[i + 3 * n + j]
            C[c + j] += a00 * B0 + a01 * B1 + a02 * B2 + a03 * B3
            C[c + n + j] += a10 * B0 + a11 * B1 + a12 * B2 + a13 * B3
            C[c + 2 * n + j] += a20 * B0 + a21 * B1 + a22 * B2 + a23 * B3
            C[c + 3 * n + j] += a30 * B0 + a31 * B1 + a32 * B2 + a33 * B3
        p += 4
    while p < k:
        i = a + p * column
        a00, a10, a20, a30 = A[i], A[i + row], A[i + 2 * row], A[i + 3 * row]
        for j in range(n):
            B0 = B[b + p * n + j]
            C[c + j] += a00 * B0
            C[c + n + j] += a10 * B0
            C[c + 2 * n + j] += a20 * B0
            C[c + 3 * n + j] += a30 * B0
        p += 1
    return 0


cdef inline int add_row(
    Py_ssize_t k, Py_ssize_t n, real[::1] A, Py_ssize_t a, Py_ssize_t column, real[::1] B, Py_ssize_t b,
    real[::1] C, Py_ssize_t c
) except -1 nogil:
    """C += A B for one row of A and C."""
    cdef Py_ssize_t i, j, p = 0
    cdef real a0, a1, a2, a3
    while p + 4 <= k:
        i = a + p * column
        a0, a1, a2, a3 = A[i], A[i + column], A[i + 2 * column], A[i + 3 * column]
        i = b + p * n
        for j in range(n):
            C[c + j] += a0 * B[i + j] + a1 * B[i + n + j] + a2 * B[i + 2 * n + j] + a3 * B[i + 3 * n + j]
        p += 4
    while p < k:
        a0 = A[a + p * column]
        for j in range(n):
            C[c + j] += a0 * B[b + p * n + j]
        p += 1
    return 0


cdef int add_product(
    Py_ssize_t m, Py_ssize_t k, Py_ssize_t n, real[::1] A, Py_ssize_t a, Py_ssize_t row, Py_ssize_t column,
    real[::1] B, Py_ssize_t b, real[::1] C, Py_ssize_t c
) except -1 nogil:
    """C += A B. A: (m, k), B: (k, n), C: (m, n). The strides `row` and `column` of A also describe a transposed A."""
    cdef Py_ssize_t i = 0
    while i + 4 <= m:
        add_four_rows(k, n, A, a + i * row, row, column, B, b, C, c + i * n)
        i += 4
    while i < m:
        add_row(k, n, A, a + i * row, column, B, b, C, c + i * n)
        i += 1
    return 0


cdef int product_with_transposed(
    Py_ssize_t m, Py_ssize_t k, Py_ssize_t n, real[::1] A, Py_ssize_t a, real[::1] B, Py_ssize_t b, real[::1] C,
    Py_ssize_t c
) except -1 nogil:
    """C = A B^T. A: (m, k), B: (n, k), C: (m, n). Eight partial sums: in one, each addition waits for the last."""
    cdef Py_ssize_t i, j, p, q, r
    cdef real s0, s1, s2, s3, s4, s5, s6, s7, total
    for i in range(m):
        for j in range(n):
            q, r = a + i * k, b + j * k
            s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = total = 0
            p = 0
            while p + 8 <= k:
                s0 += A[q + p] * B[r + p]
                s1 += A[q + p + 1] * B[r + p + 1]
                s2 += A[q + p + 2] * B[r + p + 2]
                s3 += A[q + p + 3] * B[r + p + 3]
                s4 += A[q + p + 4] * B[r + p + 4]
                s5 += A[q + p + 5] * B[r + p + 5]
                s6 += A[q + p + 6] * B[r + p + 6]
                s7 += A[q + p + 7] * B[r + p + 7]
                p += 8
            while p < k:
                total += A[q + p] * B[r + p]
                p += 1
            C[c + i * n + j] = total + (s0 + s1) + (s2 + s3) + (s4 + s5) + (s6 + s7)
    return 0


# ---- The step on B rows: X: (B, m_0) from x, T: (B, m_L) from t on --------------------------------------------------

cdef int forward_(
    Shape s, real[::1] theta, real[::1] X, Py_ssize_t x, Py_ssize_t B, real[::1] Z, real[::1] A
) except -1 nogil:
    """Z_l = A_{l-1} W_l + b_l, A_l = f_l(Z_l) for l = 1 .. L."""
    cdef Py_ssize_t l, n, j, inputs, m, at
    for l in range(s.layers):
        inputs, m, at = s.sizes[l], s.sizes[l + 1], s.start[l]
        for n in range(B):
            for j in range(m):
                Z[at + n * m + j] = theta[s.b[l] + j]
        if l == 0:
            add_product(B, inputs, m, X, x, inputs, 1, theta, s.W[0], Z, at)
        else:
            add_product(B, inputs, m, A, s.start[l - 1], inputs, 1, theta, s.W[l], Z, at)
        if s.f[l] == SOFTMAX:
            for n in range(B):
                softmax(m, Z, A, at + n * m)
        else:
            activate(s.f[l], <real>s.p[l], B * m, Z, A, at)
    return 0


cdef int output_delta(
    Shape s, real[::1] T, Py_ssize_t t, Py_ssize_t B, real[::1] Z, real[::1] A, real[::1] delta
) except -1 nogil:
    """delta_L = dR/dZ_L."""
    cdef Py_ssize_t j, last = s.layers - 1, at = s.start[last], size = B * s.sizes[s.layers]
    cdef real scale = <real>(2 if s.loss == SQUARED_ERROR else 1) / <real>B
    for j in range(size):
        delta[at + j] = scale * (A[at + j] - T[t + j])
    if s.loss == SQUARED_ERROR or s.loss == HALF_SQUARED_ERROR:
        multiply_by_derivative(s.f[last], <real>s.p[last], size, Z, A, delta, at)
    return 0


cdef int backward(
    Shape s, real[::1] theta, real[::1] gradient, real[::1] X, Py_ssize_t x, Py_ssize_t B, real[::1] Z, real[::1] A,
    real[::1] delta
) except -1 nogil:
    """Compute the gradient, laid out as theta, from delta_L down. theta does not change."""
    cdef Py_ssize_t l, n, i, j, inputs, m, at, W, b
    cdef real l2 = <real>s.l2
    for l in range(s.layers - 1, -1, -1):
        inputs, m, at, W, b = s.sizes[l], s.sizes[l + 1], s.start[l], s.W[l], s.b[l]
        for i in range(W, b):
            gradient[i] = l2 * theta[i]
        if l == 0:
            add_product(inputs, B, m, X, x, 1, inputs, delta, at, gradient, W)
        else:
            add_product(inputs, B, m, A, s.start[l - 1], 1, inputs, delta, at, gradient, W)
        for j in range(m):
            gradient[b + j] = 0
        for n in range(B):
            for j in range(m):
                gradient[b + j] += delta[at + n * m + j]
        if l > 0:  # delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T)
            product_with_transposed(B, m, inputs, delta, at, theta, W, delta, s.start[l - 1])
            multiply_by_derivative(s.f[l - 1], <real>s.p[l - 1], B * inputs, Z, A, delta, s.start[l - 1])
    return 0


cdef double loss_(
    Shape s, real[::1] theta, real[::1] T, Py_ssize_t t, Py_ssize_t B, real[::1] Z, real[::1] A
) noexcept nogil:
    """Return R of the last forward pass."""
    cdef Py_ssize_t l, n, i, m = s.sizes[s.layers], at = s.start[s.layers - 1]
    cdef double total = 0, squares = 0
    for n in range(B):
        total += loss_of_row(s.loss, m, Z, A, at + n * m, T, t + n * m)
    for l in range(s.layers):
        for i in range(s.W[l], s.b[l]):
            squares += <double>theta[i] * theta[i]
    return total / <double>B + s.l2 / 2 * squares


# ---- What pyfnn/backends/cython.py calls. x, y: the data, flat; X, T, Z, A, delta: the workspace --------------------

def forward(Shape s, real[::1] theta, real[::1] x, Py_ssize_t first, Py_ssize_t count, real[::1] Z, real[::1] A):
    """Compute the outputs of rows [first, first + count), which A has from the last `start` on."""
    with nogil:
        forward_(s, theta, x, first * s.sizes[0], count, Z, A)


def loss(Shape s, real[::1] theta, real[::1] x, real[::1] y, Py_ssize_t first, Py_ssize_t count, real[::1] Z, real[::1] A):
    """Return R of rows [first, first + count)."""
    with nogil:
        forward_(s, theta, x, first * s.sizes[0], count, Z, A)
    return loss_(s, theta, y, first * s.sizes[s.layers], count, Z, A)


cdef double loss_and_gradient_(
    Shape s, real[::1] theta, real[::1] gradient, real[::1] x, real[::1] y, Py_ssize_t first, Py_ssize_t count,
    real[::1] Z, real[::1] A, real[::1] delta
) except? -1 nogil:
    cdef Py_ssize_t at = first * s.sizes[0], t = first * s.sizes[s.layers]
    forward_(s, theta, x, at, count, Z, A)
    output_delta(s, y, t, count, Z, A, delta)
    backward(s, theta, gradient, x, at, count, Z, A, delta)
    return loss_(s, theta, y, t, count, Z, A)


def loss_and_gradient(
    Shape s, real[::1] theta, real[::1] gradient, real[::1] x, real[::1] y, Py_ssize_t first, Py_ssize_t count,
    real[::1] Z, real[::1] A, real[::1] delta
):
    """Return R of rows [first, first + count), and compute its gradient."""
    cdef double R
    with nogil:
        R = loss_and_gradient_(s, theta, gradient, x, y, first, count, Z, A, delta)
    return R


def train(
    Shape s, real[::1] theta, real[::1] gradient, real[::1] x, real[::1] y, const Py_ssize_t[::1] order,
    Py_ssize_t first, Py_ssize_t count, Py_ssize_t batch_size, double learning_rate, real[::1] X, real[::1] T,
    real[::1] Z, real[::1] A, real[::1] delta
):
    """Make one step for each minibatch of order[first .. first + count)."""
    cdef Py_ssize_t at = first, end = first + count, B, n, i, row, m_0 = s.sizes[0], m_L = s.sizes[s.layers]
    cdef real rate = <real>learning_rate
    with nogil:
        while at < end:
            B = min(batch_size, end - at)
            for n in range(B):  # gather
                row = order[at + n]
                for i in range(m_0):
                    X[n * m_0 + i] = x[row * m_0 + i]
                for i in range(m_L):
                    T[n * m_L + i] = y[row * m_L + i]
            forward_(s, theta, X, 0, B, Z, A)
            output_delta(s, T, 0, B, Z, A, delta)
            backward(s, theta, gradient, X, 0, B, Z, A, delta)
            for i in range(theta.shape[0]):  # theta <- theta - rate * gradient
                theta[i] -= rate * gradient[i]
            at += batch_size


def time_forward(
    Shape s, real[::1] theta, real[::1] x, Py_ssize_t first, Py_ssize_t count, Py_ssize_t repeats, Py_ssize_t starts,
    const Py_ssize_t[::1] probes, real[::1] Z, real[::1] A
):
    """Make the passes; return the sum of one probed output of each."""
    cdef Py_ssize_t r, p = 0, at = s.start[s.layers - 1]
    cdef double checksum = 0
    with nogil:
        for r in range(repeats):
            forward_(s, theta, x, (first + r * count) % starts * s.sizes[0], count, Z, A)
            checksum += A[at + probes[p]]
            p = p + 1 if p + 1 < probes.shape[0] else 0
    return checksum


def time_gradient(
    Shape s, real[::1] theta, real[::1] gradient, real[::1] x, real[::1] y, Py_ssize_t first, Py_ssize_t count,
    Py_ssize_t repeats, Py_ssize_t starts, const Py_ssize_t[::1] probes, real[::1] Z, real[::1] A, real[::1] delta
):
    """Make the passes; return the sum of the loss and one probed entry of the gradient of each."""
    cdef Py_ssize_t r, p = 0
    cdef double checksum = 0
    with nogil:
        for r in range(repeats):
            checksum += loss_and_gradient_(s, theta, gradient, x, y, (first + r * count) % starts, count, Z, A, delta)
            checksum += gradient[probes[p]]
            p = p + 1 if p + 1 < probes.shape[0] else 0
    return checksum
