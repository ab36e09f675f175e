% mlp.m: a feed-forward network in M-code: activations, losses, forward, output delta, backward, update.
% It does not validate arguments, read files or read a clock (worker.m does).
%
% It is written for Octave, and untested with MATLAB, which needs R2016b or later for the sum of A*W and the row b.
% Arrays are single or double, and results have the same class. W and b are cells with one array a layer, because taking
% W_l out of one vector theta would copy it every step. Array expressions allocate their results in every step.

function functions = mlp()
  functions.activations = activations();
  functions.losses = losses();
  functions.outputs = @outputs;
  functions.loss_and_gradient = @loss_and_gradient;
  functions.train = @train;
  functions.timed_pass = @timed_pass;
end

% --- Activations: A = f(Z), and delta .* f'(Z).   Z, A, delta: (B, m)   p: the parameter, of those that have one --------

function A = identity(Z)
  A = Z;
end

function delta = identity_derivative(Z, A, delta)
end

function A = sigmoid(Z)
  A = 1 ./ (1 + exp(-Z));
end

function delta = sigmoid_derivative(Z, A, delta)
  delta = delta .* A .* (1 - A);
end

function delta = tanh_derivative(Z, A, delta)
  delta = delta .* (1 - A .* A);
end

function A = relu(Z)
  A = Z;
  A(Z < 0) = 0; % max(Z, 0) would lose NaN
end

function delta = relu_derivative(Z, A, delta)
  delta = delta .* (A > 0);
end

function A = leaky_relu(Z, p)
  A = Z;
  at = Z < 0;
  A(at) = p * Z(at);
end

function delta = leaky_relu_derivative(Z, A, delta, p)
  at = Z <= 0;
  delta(at) = p * delta(at);
end

function A = elu(Z, p)
  A = Z;
  at = Z < 0;
  A(at) = p * expm1(Z(at));
end

% p exp(Z) = p (exp(Z) - 1) + p = A + p
function delta = elu_derivative(Z, A, delta, p)
  at = Z <= 0;
  delta(at) = (A(at) + p) .* delta(at);
end

% log(1 + exp(Z)), without overflow
function A = softplus(Z)
  A = max(Z, 0) + log1p(exp(-abs(Z)));
end

function delta = softplus_derivative(Z, A, delta)
  delta = delta ./ (1 + exp(-Z));
end

function A = hard_sigmoid(Z)
  A = Z / 4 + 0.5;
  A(Z <= -2) = 0;
  A(Z >= 2) = 1;
end

function delta = hard_sigmoid_derivative(Z, A, delta)
  delta = delta .* ((abs(Z) < 2) / 4);
end

function A = hard_tanh(Z)
  A = Z;
  A(Z < -1) = -1;
  A(Z > 1) = 1;
end

function delta = hard_tanh_derivative(Z, A, delta)
  delta = delta .* (abs(Z) < 1);
end

% A = exp(Z) ./ its row sum. Each row is shifted so that its largest exponent is 0.
function A = softmax(Z)
  A = exp(Z - max(Z, [], 2));
  A = A ./ sum(A, 2);
end

% derivative: empty for an activation that is only used fused with a loss
% parameter: if none is given; empty for an activation without one
function table = activations()
  rows = {
    'identity', @identity, @identity_derivative, [];
    'sigmoid', @sigmoid, @sigmoid_derivative, [];
    'tanh', @tanh, @tanh_derivative, [];
    'relu', @relu, @relu_derivative, [];
    'leaky_relu', @leaky_relu, @leaky_relu_derivative, 0.01;
    'elu', @elu, @elu_derivative, 1;
    'softplus', @softplus, @softplus_derivative, [];
    'hard_sigmoid', @hard_sigmoid, @hard_sigmoid_derivative, [];
    'hard_tanh', @hard_tanh, @hard_tanh_derivative, [];
    'softmax', @softmax, [], []};
  table = cell2struct(rows, {'name', 'value', 'derivative', 'parameter'}, 2);
end

% --- Losses, summed over B samples in double.   Z = Z_L, Y = A_L, T (targets): (B, m_L) -------------------------------

function total = squared_error(Z, Y, T)
  D = Y - T;
  total = sum(double(D(:) .* D(:)));
end

function total = half_squared_error(Z, Y, T)
  total = squared_error(Z, Y, T) / 2;
end

% -sum t log softmax(z) = sum t (log sum exp z - z). Subtracting the largest z first avoids overflow in exp.
function total = softmax_cross_entropy(Z, Y, T)
  Z = Z - max(Z, [], 2);
  D = T .* (log(sum(exp(Z), 2)) - Z);
  total = sum(double(D(:)));
end

% -sum t log sigmoid(z) + (1 - t) log(1 - sigmoid(z)) = sum max(z, 0) - z t + log(1 + exp(-|z|)).
function total = sigmoid_cross_entropy(Z, Y, T)
  D = max(Z, 0) - Z .* T + log1p(exp(-abs(Z)));
  total = sum(double(D(:)));
end

% fuses: the output activation that it is fused with; empty: any elementwise one
% derivative: c in dL/dY = c (Y - T), or, fused, in dL/dZ = c (Y - T)
function table = losses()
  rows = {
    'squared_error', '', @squared_error, 2;
    'half_squared_error', '', @half_squared_error, 1;
    'softmax_cross_entropy', 'softmax', @softmax_cross_entropy, 1;
    'sigmoid_cross_entropy', 'sigmoid', @sigmoid_cross_entropy, 1};
  table = cell2struct(rows, {'name', 'fuses', 'value', 'derivative'}, 2);
end

% --- A step on B rows.   X: (B, m_0)   T: (B, m_L) --------------------------------------------------------------------
%
% net: a struct of cells with one entry a layer (W{l}: (m_{l-1}, m_l), b{l}: (1, m_l), and the functions f{l} and
% derivative{l}), of l2, and of loss_function, a row of the table. Z{l}, A{l}: (B, m_l).
% W = net.W copies no array. Indexing net.W{l} in each layer instead makes a step a fifth longer.

% Compute Z and A of every layer.
function [Z, A] = forward(net, X)
  W = net.W;
  b = net.b;
  f = net.f;
  Z = cell(1, numel(W));
  A = cell(1, numel(W));
  A_below = X;
  for l = 1:numel(W)
    Z{l} = A_below * W{l} + b{l};
    A{l} = f{l}(Z{l});
    A_below = A{l};
  end
end

% delta_L = dR/dZ_L.
function delta = output_delta(net, Z, A, T)
  delta = (net.loss_function.derivative / size(T, 1)) * (A{end} - T);
  if isempty(net.loss_function.fuses)
    delta = net.derivative{end}(Z{end}, A{end}, delta);
  end
end

% Compute dW and db, cells as W and b, from delta = delta_L.
function [dW, db] = backward(net, X, Z, A, delta)
  W = net.W;
  dW = cell(1, numel(W));
  db = cell(1, numel(W));
  for l = numel(W):-1:2
    dW{l} = A{l-1}' * delta + net.l2 * W{l};
    db{l} = sum(delta, 1);
    delta = propagate(delta, W{l}, Z{l-1}, A{l-1}, net.derivative{l-1});
  end
  dW{1} = X' * delta + net.l2 * W{1};
  db{1} = sum(delta, 1);
end

% delta_{l-1} = f_{l-1}'(Z_{l-1}) .* (delta_l W_l'): from layer l to the layer below.
function delta_below = propagate(delta, W, Z_below, A_below, derivative_below)
  delta_below = derivative_below(Z_below, A_below, delta * W');
end

% theta <- theta - rate dtheta
function net = update(net, dW, db, rate)
  W = net.W;
  b = net.b;
  for l = 1:numel(W)
    W{l} = W{l} - rate * dW{l};
    b{l} = b{l} - rate * db{l};
  end
  net.W = W;
  net.b = b;
end

% Return R over the B rows of the last forward pass.
function R = loss(net, Z, A, T)
  squares = 0;
  for l = 1:numel(net.W)
    squares = squares + sum(double(net.W{l}(:)) .^ 2);
  end
  R = net.loss_function.value(Z{end}, A{end}, T) / size(T, 1) + net.l2 / 2 * squares;
end

% --- Functions that the worker calls.   data: a struct of x: (rows, m_0), y: (rows, m_L) and order, row numbers -------
%
% Rows and entries of order are counted from 1.

% Return the outputs of rows first, first + 1, ...: (count, m_L)
function Y = outputs(net, data, first, count)
  [Z, A] = forward(net, data.x(first : first+count-1, :));
  Y = A{end};
end

% Return R over rows first, first + 1, ..., and its gradient.
function [R, dW, db] = loss_and_gradient(net, data, first, count)
  X = data.x(first : first+count-1, :);
  T = data.y(first : first+count-1, :);
  [Z, A] = forward(net, X);
  [dW, db] = backward(net, X, Z, A, output_delta(net, Z, A, T));
  R = loss(net, Z, A, T);
end

% Return the rows order(first), order(first + 1), ... as a minibatch.
function [X, T] = gather(data, first, B)
  rows = data.order(first : first+B-1);
  X = data.x(rows, :);
  T = data.y(rows, :);
end

% Run gradient descent over entries first, first + 1, ... of order in minibatches of batch_size rows; the last one may
% be shorter.
function net = train(net, data, first, count, batch_size, rate)
  for at = first : batch_size : first+count-1
    [X, T] = gather(data, at, min(batch_size, first + count - at));
    [Z, A] = forward(net, X);
    [dW, db] = backward(net, X, Z, A, output_delta(net, Z, A, T));
    net = update(net, dW, db, rate);
  end
end

% Run one pass of the command `time` and return its term of the checksum. probe: the number of a tensor of the gradient,
% which is 1 for the outputs, and an index into it.
function checksum = timed_pass(net, data, operation, first, count, probe)
  if strcmp(operation, 'forward')
    Y = outputs(net, data, first, count);
    checksum = double(Y(probe(2)));
  else
    [R, dW, db] = loss_and_gradient(net, data, first, count);
    l = ceil(probe(1) / 2);
    if mod(probe(1), 2) == 1
      checksum = R + double(dW{l}(probe(2)));
    else
      checksum = R + double(db{l}(probe(2)));
    end
  end
end
