-- mlp.lua: a feed-forward network for LuaJIT: activations, losses, forward, output delta, backward, update.
-- It does not validate arguments or read a clock (worker.lua does), and a step allocates nothing after `reserve`.
--
-- Arrays are flat, row-major, indexed from 0, and of doubles for every dtype, because Lua computes in double.
local ffi = require "ffi"

local exp, log, tanh, abs, max, min = math.exp, math.log, math.tanh, math.abs, math.max, math.min

ffi.cdef "double log1p(double); double expm1(double);"
local log1p, expm1 = ffi.C.log1p, ffi.C.expm1

local mlp = {}

-- Activations: A = f(Z), and delta *= f'(Z).   Z, A, delta: (B, m)   p: the parameter -------------------------------

local function identity(B, m, Z, A)
  for j = 0, B * m - 1 do
    A[j] = Z[j]
  end
end

local function identity_derivative() end

local function sigmoid(B, m, Z, A)
  for j = 0, B * m - 1 do
    A[j] = 1 / (1 + exp(-Z[j]))
  end
end

local function sigmoid_derivative(B, m, Z, A, delta)
  for j = 0, B * m - 1 do
    delta[j] = delta[j] * A[j] * (1 - A[j])
  end
end

local function tanh_value(B, m, Z, A)
  for j = 0, B * m - 1 do
    A[j] = tanh(Z[j])
  end
end

local function tanh_derivative(B, m, Z, A, delta)
  for j = 0, B * m - 1 do
    delta[j] = delta[j] * (1 - A[j] * A[j])
  end
end

local function relu(B, m, Z, A)
  for j = 0, B * m - 1 do
    local z = Z[j]
    A[j] = z < 0 and 0 or z -- this comparison keeps NaN
  end
end

local function relu_derivative(B, m, Z, A, delta)
  for j = 0, B * m - 1 do
    delta[j] = A[j] > 0 and delta[j] or 0
  end
end

local function leaky_relu(B, m, Z, A, p)
  for j = 0, B * m - 1 do
    local z = Z[j]
    A[j] = z > 0 and z or p * z
  end
end

local function leaky_relu_derivative(B, m, Z, A, delta, p)
  for j = 0, B * m - 1 do
    delta[j] = Z[j] > 0 and delta[j] or p * delta[j]
  end
end

local function elu(B, m, Z, A, p)
  for j = 0, B * m - 1 do
    local z = Z[j]
    A[j] = z > 0 and z or p * expm1(z)
  end
end

-- p exp(z) = p (exp(z) - 1) + p = a + p
local function elu_derivative(B, m, Z, A, delta, p)
  for j = 0, B * m - 1 do
    delta[j] = Z[j] > 0 and delta[j] or (A[j] + p) * delta[j]
  end
end

-- log(1 + exp(z)), without overflow
local function softplus(B, m, Z, A)
  for j = 0, B * m - 1 do
    A[j] = max(Z[j], 0) + log1p(exp(-abs(Z[j])))
  end
end

local function softplus_derivative(B, m, Z, A, delta)
  for j = 0, B * m - 1 do
    delta[j] = delta[j] / (1 + exp(-Z[j]))
  end
end

local function hard_sigmoid(B, m, Z, A)
  for j = 0, B * m - 1 do
    local z = Z[j]
    A[j] = z <= -2 and 0 or z >= 2 and 1 or z / 4 + 0.5
  end
end

local function hard_sigmoid_derivative(B, m, Z, A, delta)
  for j = 0, B * m - 1 do
    delta[j] = abs(Z[j]) < 2 and delta[j] / 4 or 0
  end
end

local function hard_tanh(B, m, Z, A)
  for j = 0, B * m - 1 do
    local z = Z[j]
    A[j] = z < -1 and -1 or z > 1 and 1 or z
  end
end

local function hard_tanh_derivative(B, m, Z, A, delta)
  for j = 0, B * m - 1 do
    delta[j] = abs(Z[j]) < 1 and delta[j] or 0
  end
end

-- Return the largest of Z[at .. at + m), and the sum of exp(z - largest).
local function largest_and_sum(m, Z, at)
  local largest, sum = Z[at], 0
  for j = at + 1, at + m - 1 do
    largest = max(largest, Z[j])
  end
  for j = at, at + m - 1 do
    sum = sum + exp(Z[j] - largest)
  end
  return largest, sum
end

-- A = exp(Z) / its row sum. Each row is shifted so that its largest exponent is 0.
local function softmax(B, m, Z, A)
  for at = 0, (B - 1) * m, m do
    local largest, sum = largest_and_sum(m, Z, at)
    for j = at, at + m - 1 do
      A[j] = exp(Z[j] - largest) / sum
    end
  end
end

-- derivative: nil for an activation that is only used fused with a loss
-- p: in the table, the parameter if none is given; nil for an activation without one
mlp.activations = {
  {name = "identity", value = identity, derivative = identity_derivative},
  {name = "sigmoid", value = sigmoid, derivative = sigmoid_derivative},
  {name = "tanh", value = tanh_value, derivative = tanh_derivative},
  {name = "relu", value = relu, derivative = relu_derivative},
  {name = "leaky_relu", value = leaky_relu, derivative = leaky_relu_derivative, p = 0.01},
  {name = "elu", value = elu, derivative = elu_derivative, p = 1},
  {name = "softplus", value = softplus, derivative = softplus_derivative},
  {name = "hard_sigmoid", value = hard_sigmoid, derivative = hard_sigmoid_derivative},
  {name = "hard_tanh", value = hard_tanh, derivative = hard_tanh_derivative},
  {name = "softmax", value = softmax},
}

-- Losses of one sample, from entries [at, at + m) of Z (pre-activations), Y (outputs) and T (targets) -----------------

local function squared_error(m, at, Z, Y, T)
  local loss = 0
  for j = at, at + m - 1 do
    loss = loss + (Y[j] - T[j]) * (Y[j] - T[j])
  end
  return loss
end

local function half_squared_error(m, at, Z, Y, T)
  return squared_error(m, at, Z, Y, T) / 2
end

-- -sum t log softmax(z) = sum t (log sum exp z - z). Subtracting the largest z first avoids overflow in exp.
local function softmax_cross_entropy(m, at, Z, Y, T)
  local largest, sum = largest_and_sum(m, Z, at)
  local log_sum, loss = log(sum), 0
  for j = at, at + m - 1 do
    loss = loss + T[j] * (log_sum - (Z[j] - largest))
  end
  return loss
end

-- -sum t log sigmoid(z) + (1 - t) log(1 - sigmoid(z)) = sum max(z, 0) - z t + log(1 + exp(-|z|)).
local function sigmoid_cross_entropy(m, at, Z, Y, T)
  local loss = 0
  for j = at, at + m - 1 do
    loss = loss + max(Z[j], 0) - Z[j] * T[j] + log1p(exp(-abs(Z[j])))
  end
  return loss
end

-- fuses: the output activation that it is fused with; nil: any elementwise one
-- derivative: c in dL/dy = c (y - t), or, fused, in dL/dz = c (y - t)
mlp.losses = {
  {name = "squared_error", value = squared_error, derivative = 2},
  {name = "half_squared_error", value = half_squared_error, derivative = 1},
  {name = "softmax_cross_entropy", fuses = "softmax", value = softmax_cross_entropy, derivative = 1},
  {name = "sigmoid_cross_entropy", fuses = "sigmoid", value = sigmoid_cross_entropy, derivative = 1},
}

-- Products ------------------------------------------------------------------------------------------------------------

-- The next three functions compute C += A B.   A: (m, k)   B: (k, n)   C: (m, n)
-- A[i][p] is A[i * row + p * column]: the strides let the same loops read A transposed. Entering a compiled loop costs
-- about as much as ten of its iterations. The inner loops therefore take four rows of B at a time and are written out.

-- Rows i .. i + 3 of C: each row of B serves all four.
local function add_four_rows(i, k, n, A, row, column, B, C)
  local c_0, c_1, c_2, c_3 = i * n, (i + 1) * n, (i + 2) * n, (i + 3) * n
  local r_0, r_1, r_2, r_3 = i * row, (i + 1) * row, (i + 2) * row, (i + 3) * row
  local p = 0
  while p + 4 <= k do
    local q_0, q_1, q_2, q_3 = p * column, (p + 1) * column, (p + 2) * column, (p + 3) * column
    local a_00, a_01, a_02, a_03 = A[r_0 + q_0], A[r_0 + q_1], A[r_0 + q_2], A[r_0 + q_3]
    local a_10, a_11, a_12, a_13 = A[r_1 + q_0], A[r_1 + q_1], A[r_1 + q_2], A[r_1 + q_3]
    local a_20, a_21, a_22, a_23 = A[r_2 + q_0], A[r_2 + q_1], A[r_2 + q_2], A[r_2 + q_3]
    local a_30, a_31, a_32, a_33 = A[r_3 + q_0], A[r_3 + q_1], A[r_3 + q_2], A[r_3 + q_3]
    local p_0, p_1, p_2, p_3 = p * n, (p + 1) * n, (p + 2) * n, (p + 3) * n
    for j = 0, n - 1 do
      local b_0, b_1, b_2, b_3 = B[p_0 + j], B[p_1 + j], B[p_2 + j], B[p_3 + j]
      C[c_0 + j] = C[c_0 + j] + a_00 * b_0 + a_01 * b_1 + a_02 * b_2 + a_03 * b_3
      C[c_1 + j] = C[c_1 + j] + a_10 * b_0 + a_11 * b_1 + a_12 * b_2 + a_13 * b_3
      C[c_2 + j] = C[c_2 + j] + a_20 * b_0 + a_21 * b_1 + a_22 * b_2 + a_23 * b_3
      C[c_3 + j] = C[c_3 + j] + a_30 * b_0 + a_31 * b_1 + a_32 * b_2 + a_33 * b_3
    end
    p = p + 4
  end
  while p < k do
    local q, p_0 = p * column, p * n
    local a_0, a_1, a_2, a_3 = A[r_0 + q], A[r_1 + q], A[r_2 + q], A[r_3 + q]
    for j = 0, n - 1 do
      local b = B[p_0 + j]
      C[c_0 + j] = C[c_0 + j] + a_0 * b
      C[c_1 + j] = C[c_1 + j] + a_1 * b
      C[c_2 + j] = C[c_2 + j] + a_2 * b
      C[c_3 + j] = C[c_3 + j] + a_3 * b
    end
    p = p + 1
  end
end

-- Row i of C.
local function add_row(i, k, n, A, row, column, B, C)
  local c, r, p = i * n, i * row, 0
  while p + 4 <= k do
    local q_0, q_1, q_2, q_3 = p * column, (p + 1) * column, (p + 2) * column, (p + 3) * column
    local a_0, a_1, a_2, a_3 = A[r + q_0], A[r + q_1], A[r + q_2], A[r + q_3]
    local p_0, p_1, p_2, p_3 = p * n, (p + 1) * n, (p + 2) * n, (p + 3) * n
    for j = 0, n - 1 do
      C[c + j] = C[c + j] + a_0 * B[p_0 + j] + a_1 * B[p_1 + j] + a_2 * B[p_2 + j] + a_3 * B[p_3 + j]
    end
    p = p + 4
  end
  while p < k do
    local a, p_0 = A[r + p * column], p * n
    for j = 0, n - 1 do
      C[c + j] = C[c + j] + a * B[p_0 + j]
    end
    p = p + 1
  end
end

local function add_product(m, k, n, A, row, column, B, C)
  local i = 0
  while i + 4 <= m do
    add_four_rows(i, k, n, A, row, column, B, C)
    i = i + 4
  end
  while i < m do
    add_row(i, k, n, A, row, column, B, C)
    i = i + 1
  end
end

-- Return sum_j A[a + j] B[b + j] over j < m.
local function dot(m, A, a, B, b)
  local sum = 0
  for j = 0, m - 1 do
    sum = sum + A[a + j] * B[b + j]
  end
  return sum
end

-- Return the dot products of A[a .. a + m) with four rows of B, the first at b. The four sums are independent, so that
-- none of their additions waits for another.
local function four_dots(m, A, a, B, b)
  local sum_0, sum_1, sum_2, sum_3 = 0, 0, 0, 0
  local b_0, b_1, b_2, b_3 = b, b + m, b + 2 * m, b + 3 * m
  for j = 0, m - 1 do
    local a_j = A[a + j]
    sum_0 = sum_0 + a_j * B[b_0 + j]
    sum_1 = sum_1 + a_j * B[b_1 + j]
    sum_2 = sum_2 + a_j * B[b_2 + j]
    sum_3 = sum_3 + a_j * B[b_3 + j]
  end
  return sum_0, sum_1, sum_2, sum_3
end

-- The network and its workspace ---------------------------------------------------------------------------------------

-- Return a pointer to n doubles, and the array that owns their memory. NaN shows where a step reads a number before it
-- is written.
local function doubles(n)
  local owner = ffi.new("double[?]", n, 0 / 0)
  return owner + 0, owner
end

-- sizes: m_0 .. m_L, from index 0   activations: rows f_1 .. f_L, where f_L is the one that the loss fuses, if any
-- start: W_1 row by row, b_1, W_2, b_2, ...   x: (rows, m_0)   y: (rows, m_L)   order: (n_order) of int64
function mlp.model(sizes, activations, loss_function, l2, start, x, y, order)
  local model = {loss_function = loss_function, l2 = l2, start = start, x = x, y = y, order = order, capacity = 0}
  local at = 0
  for l = 1, #sizes do
    at = at + (sizes[l - 1] + 1) * sizes[l]
  end
  model.n_parameters = at
  model.theta, model.theta_owner = doubles(at)
  model.gradient, model.gradient_owner = doubles(at)
  at = 0
  for l = 1, #sizes do
    local inputs, outputs = sizes[l - 1], sizes[l]
    local b = at + inputs * outputs
    model[l] = {
      inputs = inputs, outputs = outputs, f = activations[l],
      W = model.theta + at, dW = model.gradient + at, -- (inputs, outputs)
      b = model.theta + b, db = model.gradient + b, -- (outputs)
    }
    at = b + outputs
  end
  mlp.reset(model)
  return model
end

-- Make room for steps on B rows.   X: (B, m_0)   T: (B, m_L)   Z, A, delta of layer l: (B, m_l)
function mlp.reserve(model, B)
  if B <= model.capacity then
    return
  end
  model.X, model.X_owner = doubles(B * model[1].inputs)
  model.T, model.T_owner = doubles(B * model[#model].outputs)
  for _, layer in ipairs(model) do
    layer.Z, layer.Z_owner = doubles(B * layer.outputs)
    layer.A, layer.A_owner = doubles(B * layer.outputs)
    layer.delta, layer.delta_owner = doubles(B * layer.outputs)
  end
  model.capacity = B
end

function mlp.reset(model)
  ffi.copy(model.theta, model.start, 8 * model.n_parameters)
end

-- A step on B rows ----------------------------------------------------------------------------------------------------

local propagate -- `backward` calls it

-- Compute Z and A of every layer.   X: (B, m_0)
local function forward(model, X, B)
  local A_below = X
  for l = 1, #model do
    local layer = model[l]
    local m, b, Z = layer.outputs, layer.b, layer.Z
    for n = 0, B - 1 do
      for j = 0, m - 1 do
        Z[n * m + j] = b[j]
      end
    end
    add_product(B, layer.inputs, m, A_below, layer.inputs, 1, layer.W, Z)
    layer.f.value(B, m, Z, layer.A, layer.f.p)
    A_below = layer.A
  end
end

-- delta_L = dR/dZ_L.   T: (B, m_L)
local function output_delta(model, T, B)
  local last, scale = model[#model], model.loss_function.derivative / B
  local Y, delta = last.A, last.delta
  for j = 0, B * last.outputs - 1 do
    delta[j] = scale * (Y[j] - T[j])
  end
  if not model.loss_function.fuses then
    last.f.derivative(B, last.outputs, last.Z, Y, delta, last.f.p)
  end
end

-- Compute the gradient from delta_L; theta stays unchanged.   X: (B, m_0)
local function backward(model, X, B)
  local l2 = model.l2
  for l = #model, 1, -1 do
    local layer = model[l]
    local m, inputs, W, dW, db, delta = layer.outputs, layer.inputs, layer.W, layer.dW, layer.db, layer.delta
    local A_below = l > 1 and model[l - 1].A or X

    for i = 0, inputs * m - 1 do
      dW[i] = l2 * W[i]
    end
    add_product(inputs, B, m, A_below, 1, inputs, delta, dW)

    ffi.fill(db, 8 * m)
    for n = 0, B - 1 do
      for j = 0, m - 1 do
        db[j] = db[j] + delta[n * m + j]
      end
    end

    if l > 1 then
      propagate(layer, model[l - 1], B)
    end
  end
end

-- delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T): from layer l to the layer below.
function propagate(layer, below, B)
  local m, inputs, W, delta, delta_below = layer.outputs, layer.inputs, layer.W, layer.delta, below.delta
  for n = 0, B - 1 do
    local at, i, d = n * m, 0, n * inputs
    while i + 4 <= inputs do
      delta_below[d + i], delta_below[d + i + 1], delta_below[d + i + 2], delta_below[d + i + 3] =
        four_dots(m, delta, at, W, i * m)
      i = i + 4
    end
    while i < inputs do
      delta_below[d + i] = dot(m, delta, at, W, i * m)
      i = i + 1
    end
  end
  below.f.derivative(B, inputs, below.Z, below.A, delta_below, below.f.p)
end

-- theta <- theta - rate dtheta
local function update(model, rate)
  local theta, gradient = model.theta, model.gradient
  for i = 0, model.n_parameters - 1 do
    theta[i] = theta[i] - rate * gradient[i]
  end
end

-- Return R over the B rows of the last forward pass.   T: (B, m_L)
local function loss(model, T, B)
  local last, value = model[#model], model.loss_function.value
  local m, total, squares = last.outputs, 0, 0
  for n = 0, B - 1 do
    total = total + value(m, n * m, last.Z, last.A, T)
  end
  for _, layer in ipairs(model) do
    local W = layer.W
    for i = 0, layer.inputs * layer.outputs - 1 do
      squares = squares + W[i] * W[i]
    end
  end
  return total / B + model.l2 / 2 * squares
end

-- Functions that the worker calls -------------------------------------------------------------------------------------

-- Compute the outputs of rows [first, first + count) in the last layer's A.
function mlp.outputs(model, first, count)
  forward(model, model.x + first * model[1].inputs, count)
end

-- Return R over rows [first, first + count), and leave its gradient in model.gradient.
function mlp.loss_and_gradient(model, first, count)
  local X, T = model.x + first * model[1].inputs, model.y + first * model[#model].outputs
  forward(model, X, count)
  output_delta(model, T, count)
  backward(model, X, count)
  return loss(model, T, count)
end

-- Copy the rows order[first .. first + B) to X and T.
local function gather(model, first, B)
  local m_0, m_L, order = model[1].inputs, model[#model].outputs, model.order
  for n = 0, B - 1 do
    local row = tonumber(order[first + n])
    ffi.copy(model.X + n * m_0, model.x + row * m_0, 8 * m_0)
    ffi.copy(model.T + n * m_L, model.y + row * m_L, 8 * m_L)
  end
end

-- Run gradient descent over order[first .. first + count) in minibatches of batch_size rows; the last one may be
-- shorter.
function mlp.train(model, first, count, batch_size, rate)
  local stop = first + count
  for at = first, stop - 1, batch_size do
    local B = min(batch_size, stop - at)
    gather(model, at, B)
    forward(model, model.X, B)
    output_delta(model, model.T, B)
    backward(model, model.X, B)
    update(model, rate)
  end
end

-- Run one pass of the command `time` and return its term of the checksum.
function mlp.timed_pass(model, operation, first, count, probe)
  if operation == "forward" then
    mlp.outputs(model, first, count)
    return model[#model].A[probe]
  end
  return mlp.loss_and_gradient(model, first, count) + model.gradient[probe]
end

return mlp
