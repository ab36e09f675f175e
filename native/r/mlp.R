# mlp.R: a feed-forward network in R: activations, losses, forward, output delta, backward, update.
# It does not validate arguments, read files or read a clock (worker.R does).
#
# R's only type of real numbers is double, and so matrices are of doubles for every dtype. A step is a sequence of
# matrix expressions, whose products call the BLAS that R was linked with; each expression allocates its result.

# --- Activations: A = f(Z), and f'(Z) * delta.   Z, A, delta: (B, m)   p: the parameter, of those that have one -------

identity_value <- function(Z) Z

identity_derivative <- function(Z, A, delta) delta

sigmoid <- function(Z) 1 / (1 + exp(-Z))

sigmoid_derivative <- function(Z, A, delta) delta * A * (1 - A)

tanh_derivative <- function(Z, A, delta) delta * (1 - A * A)

relu <- function(Z) {
  Z[Z < 0] <- 0 # this comparison keeps NaN
  Z
}

relu_derivative <- function(Z, A, delta) delta * (A > 0)

leaky_relu <- function(Z, p) {
  at <- which(Z < 0)
  Z[at] <- p * Z[at]
  Z
}

leaky_relu_derivative <- function(Z, A, delta, p) {
  at <- which(Z <= 0)
  delta[at] <- p * delta[at]
  delta
}

elu <- function(Z, p) {
  at <- which(Z < 0)
  Z[at] <- p * expm1(Z[at])
  Z
}

# p exp(Z) = p (exp(Z) - 1) + p = A + p
elu_derivative <- function(Z, A, delta, p) {
  at <- which(Z <= 0)
  delta[at] <- (A[at] + p) * delta[at]
  delta
}

# log(1 + exp(Z)), without overflow
softplus <- function(Z) pmax(Z, 0) + log1p(exp(-abs(Z)))

softplus_derivative <- function(Z, A, delta) delta / (1 + exp(-Z))

hard_sigmoid <- function(Z) {
  A <- Z / 4 + 0.5
  A[Z <= -2] <- 0
  A[Z >= 2] <- 1
  A
}

hard_sigmoid_derivative <- function(Z, A, delta) delta * ((abs(Z) < 2) / 4)

hard_tanh <- function(Z) {
  A <- Z
  A[Z < -1] <- -1
  A[Z > 1] <- 1
  A
}

hard_tanh_derivative <- function(Z, A, delta) delta * (abs(Z) < 1)

# Return the largest number of each row.
largest <- function(Z) Z[cbind(seq_len(nrow(Z)), max.col(Z, "first"))]

# A = exp(Z) / its row sum. Each row is shifted so that its largest exponent is 0.
softmax <- function(Z) {
  A <- exp(Z - largest(Z))
  A / rowSums(A)
}

# derivative: NULL for an activation that is only used fused with a loss
# parameter: if none is given; NULL for an activation without one
activation <- function(name, value, derivative = NULL, parameter = NULL)
  list(name = name, value = value, derivative = derivative, parameter = parameter)

activations <- list(
  activation("identity", identity_value, identity_derivative),
  activation("sigmoid", sigmoid, sigmoid_derivative),
  activation("tanh", tanh, tanh_derivative),
  activation("relu", relu, relu_derivative),
  activation("leaky_relu", leaky_relu, leaky_relu_derivative, 0.01),
  activation("elu", elu, elu_derivative, 1),
  activation("softplus", softplus, softplus_derivative),
  activation("hard_sigmoid", hard_sigmoid, hard_sigmoid_derivative),
  activation("hard_tanh", hard_tanh, hard_tanh_derivative),
  activation("softmax", softmax)
)

# --- Losses, summed over B samples.   Z = Z_L, Y = A_L, T (targets): (B, m_L) -----------------------------------------

squared_error <- function(Z, Y, T) {
  D <- Y - T
  sum(D * D)
}

half_squared_error <- function(Z, Y, T) squared_error(Z, Y, T) / 2

# -sum t log softmax(z) = sum t (log sum exp z - z). Subtracting the largest z first avoids overflow in exp.
softmax_cross_entropy <- function(Z, Y, T) {
  Z <- Z - largest(Z)
  sum(T * (log(rowSums(exp(Z))) - Z))
}

# -sum t log sigmoid(z) + (1 - t) log(1 - sigmoid(z)) = sum max(z, 0) - z t + log(1 + exp(-|z|)).
sigmoid_cross_entropy <- function(Z, Y, T) sum(pmax(Z, 0) - Z * T + log1p(exp(-abs(Z))))

# fuses: the output activation that it is fused with; NULL: any elementwise one
# derivative: c in dL/dY = c (Y - T), or, fused, in dL/dZ = c (Y - T)
losses <- list(
  list(name = "squared_error", fuses = NULL, value = squared_error, derivative = 2),
  list(name = "half_squared_error", fuses = NULL, value = half_squared_error, derivative = 1),
  list(name = "softmax_cross_entropy", fuses = "softmax", value = softmax_cross_entropy, derivative = 1),
  list(name = "sigmoid_cross_entropy", fuses = "sigmoid", value = sigmoid_cross_entropy, derivative = 1)
)

# --- A step on B rows.   X: (B, m_0)   T: (B, m_L) --------------------------------------------------------------------
#
# net: a list of lists with one entry a layer (W[[l]]: (m_{l-1}, m_l), b[[l]]: (m_l), and the functions f[[l]] and
# derivative[[l]]), of l2, and of loss_function, a row of the table. Z[[l]], A[[l]]: (B, m_l).

# Compute Z and A of every layer.
forward <- function(net, X) {
  W <- net$W
  b <- net$b
  f <- net$f
  B <- nrow(X)
  Z <- A <- vector("list", length(W))
  A_below <- X
  for (l in seq_along(W)) {
    Z[[l]] <- A_below %*% W[[l]] + rep(b[[l]], each = B)
    A_below <- A[[l]] <- f[[l]](Z[[l]])
  }
  list(Z = Z, A = A)
}

# delta_L = dR/dZ_L.
output_delta <- function(net, Z, A, T) {
  L <- length(A)
  delta <- (net$loss_function$derivative / nrow(T)) * (A[[L]] - T)
  if (is.null(net$loss_function$fuses)) {
    delta <- net$derivative[[L]](Z[[L]], A[[L]], delta)
  }
  delta
}

# Compute dW and db, lists as W and b, from delta = delta_L.
backward <- function(net, X, Z, A, delta) {
  W <- net$W
  dW <- db <- vector("list", length(W))
  for (l in rev(seq_along(W))) {
    A_below <- if (l > 1) A[[l - 1]] else X
    dW[[l]] <- crossprod(A_below, delta) + net$l2 * W[[l]]
    db[[l]] <- colSums(delta)
    if (l > 1) {
      delta <- propagate(delta, W[[l]], Z[[l - 1]], A[[l - 1]], net$derivative[[l - 1]])
    }
  }
  list(dW = dW, db = db)
}

# delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T): from layer l to the layer below.
propagate <- function(delta, W, Z_below, A_below, derivative_below)
  derivative_below(Z_below, A_below, tcrossprod(delta, W))

# theta <- theta - rate dtheta
update <- function(net, gradient, rate) {
  W <- net$W
  b <- net$b
  for (l in seq_along(W)) {
    W[[l]] <- W[[l]] - rate * gradient$dW[[l]]
    b[[l]] <- b[[l]] - rate * gradient$db[[l]]
  }
  net$W <- W
  net$b <- b
  net
}

# Return R over the B rows of the last forward pass.
loss <- function(net, Z, A, T) {
  squares <- 0
  for (W in net$W) {
    squares <- squares + sum(W * W)
  }
  L <- length(A)
  net$loss_function$value(Z[[L]], A[[L]], T) / nrow(T) + net$l2 / 2 * squares
}

# --- Functions that the worker calls.   data: a list of x: (rows, m_0), y: (rows, m_L) and order, row numbers ---------
#
# Rows and entries of order are counted from 1.

# Return the outputs of rows first, first + 1, ...: (count, m_L)
outputs <- function(net, data, first, count) {
  A <- forward(net, data$x[first + seq_len(count) - 1, , drop = FALSE])$A
  A[[length(A)]]
}

# Return R over rows first, first + 1, ..., and its gradient.
loss_and_gradient <- function(net, data, first, count) {
  rows <- first + seq_len(count) - 1
  X <- data$x[rows, , drop = FALSE]
  T <- data$y[rows, , drop = FALSE]
  pass <- forward(net, X)
  gradient <- backward(net, X, pass$Z, pass$A, output_delta(net, pass$Z, pass$A, T))
  list(R = loss(net, pass$Z, pass$A, T), dW = gradient$dW, db = gradient$db)
}

# Return the rows order[first], order[first + 1], ... as a minibatch.
gather <- function(data, first, B) {
  rows <- data$order[first + seq_len(B) - 1]
  list(X = data$x[rows, , drop = FALSE], T = data$y[rows, , drop = FALSE])
}

# Run gradient descent over entries first, first + 1, ... of order in minibatches of batch_size rows; the last one may
# be shorter.
train <- function(net, data, first, count, batch_size, rate) {
  stop <- first + count
  at <- first
  while (at < stop) {
    batch <- gather(data, at, min(batch_size, stop - at))
    pass <- forward(net, batch$X)
    gradient <- backward(net, batch$X, pass$Z, pass$A, output_delta(net, pass$Z, pass$A, batch$T))
    net <- update(net, gradient, rate)
    at <- at + batch_size
  }
  net
}

# Run one pass of the command `time` and return its term of the checksum. tensor: the number of a tensor of the
# gradient, W_1, b_1, W_2, ..., which is 1 for the outputs; index: of the entry in it.
timed_pass <- function(net, data, operation, first, count, tensor, index) {
  if (operation == "forward") {
    return(outputs(net, data, first, count)[[index]])
  }
  result <- loss_and_gradient(net, data, first, count)
  l <- (tensor + 1) %/% 2
  result$R + (if (tensor %% 2 == 1) result$dW[[l]] else result$db[[l]])[[index]]
}
