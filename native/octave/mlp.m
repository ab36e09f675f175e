% mlp.m: the training step in M-code: activations, losses, forward, output delta, backward, update.
%
% Nothing here checks an argument, reads a file or a clock. It is written for Octave and for MATLAB from R2016b on (as
% A*W + b adds the row b to every row), and untested with MATLAB. Arrays are single or double, and what is computed of
% them is too. W and b are cells, an array a layer: theta is one vector only in files, since taking W_l out of it would
% copy W_l every step. Array expressions make new arrays: here, a step cannot but allocate.

function functions = mlp()
  functions.activations = activations();
  functions.losses = losses();
  functions.outputs = @outputs;
  functions.loss_and_gradient = @loss_and_gradient;
  functions.train = @train;
  functions.timed_pass = @timed_pass;
end

% --- Activations: Z and A = f(Z), each (batch, m_l). ------------------------------------------------------------------

function A = identity(Z)
  A = Z;
end

function A = sigmoid(Z)
  A = 1 ./ (1 + exp(-Z));
end

function A = relu(Z)
  A = Z;
  A(Z < 0) = 0; % max(Z, 0) would lose a NaN
end

function A = softmax(Z)
  A = exp(Z - max(Z, [], 2));
  A = A ./ sum(A, 2);
end

% delta <- f'(Z) .* delta, where A = f(Z).

function delta = identity_slope(A, delta)
end

function delta = sigmoid_slope(A, delta)
  delta = delta .* A .* (1 - A);
end

function delta = tanh_slope(A, delta)
  delta = delta .* (1 - A .* A);
end

function delta = relu_slope(A, delta)
  delta = delta .* (A > 0);
end

% slope is empty where only a loss that fuses the activation can use it.
function table = activations()
  table = struct( ...
      'name', {'identity', 'sigmoid', 'tanh', 'relu', 'softmax'}, ...
      'f', {@identity, @sigmoid, @tanh, @relu, @softmax}, ...
      'slope', {@identity_slope, @sigmoid_slope, @tanh_slope, @relu_slope, []});
end

% --- Losses: L summed over the batch, in double; Z = Z_L, Y = A_L and T the targets, each (batch, m_L). ---------------

function total = squared_error(Z, Y, T)
  D = Y - T;
  total = sum(double(D(:) .* D(:)));
end

function total = half_squared_error(Z, Y, T)
  total = squared_error(Z, Y, T) / 2;
end

% -sum t log softmax(z) = sum t (log sum exp z - z), with the largest z taken out of the exponentials.
function total = softmax_cross_entropy(Z, Y, T)
  Z = Z - max(Z, [], 2);
  D = T .* (log(sum(exp(Z), 2)) - Z);
  total = sum(double(D(:)));
end

% -t log sigmoid(z) - (1-t) log(1 - sigmoid(z)) = max(z, 0) - z t + log(1 + exp(-|z|)).
function total = sigmoid_cross_entropy(Z, Y, T)
  D = max(Z, 0) - Z .* T + log1p(exp(-abs(Z)));
  total = sum(double(D(:)));
end

% fuses: the output activation that belongs to it; empty: any elementwise one.
% slope: dL/dY, or where fused dL/dZ, is this times Y - T.
function table = losses()
  table = struct( ...
      'name', {'squared_error', 'half_squared_error', 'softmax_cross_entropy', 'sigmoid_cross_entropy'}, ...
      'fuses', {'', '', 'softmax', 'sigmoid'}, ...
      'value', {@squared_error, @half_squared_error, @softmax_cross_entropy, @sigmoid_cross_entropy}, ...
      'slope', {2, 1, 1, 1});
end

% --- The step over a batch, X: (batch, m_0), T: (batch, m_L). Cells hold something of each layer: W{l}: (m_{l-1}, m_l),
% b{l}: (1, m_l); Z{l}, A{l}: (batch, m_l); f{l} and slope{l}: functions. net: W, b, f, slope, l2, and loss, a row of
% the table. W = net.W copies nothing; net.W{l}, layer by layer, would make a step a fifth longer. ---------------------

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

% R over the rows that went forward.
function R = mean_loss(net, Z, A, T)
  squares = 0;
  for l = 1:numel(net.W)
    squares = squares + sum(double(net.W{l}(:)) .^ 2);
  end
  R = net.loss.value(Z{end}, A{end}, T) / size(T, 1) + net.l2 / 2 * squares;
end

% delta_L = dR/dZ_L.
function delta = output_delta(net, A, T)
  delta = (net.loss.slope / size(T, 1)) * (A{end} - T);
  if isempty(net.loss.fuses)
    delta = net.slope{end}(A{end}, delta);
  end
end

% dW and db, cells as W and b; delta comes as delta_L.
function [dW, db] = backward(net, X, A, delta)
  W = net.W;
  dW = cell(1, numel(W));
  db = cell(1, numel(W));
  for l = numel(W):-1:2
    dW{l} = A{l-1}' * delta + net.l2 * W{l};
    db{l} = sum(delta, 1);
    delta = propagate(delta, W{l}, A{l-1}, net.slope{l-1});
  end
  dW{1} = X' * delta + net.l2 * W{1};
  db{1} = sum(delta, 1);
end

% delta_{l-1} = f_{l-1}'(Z_{l-1}) .* (delta_l W_l'), from layer l into the one below.
function delta_below = propagate(delta, W, A_below, slope_below)
  delta_below = slope_below(A_below, delta * W');
end

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

% --- What a worker calls. data: x: (rows, m_0), y: (rows, m_L), order: numbers of rows. Rows, and the entries of order,
% are counted from 1. --------------------------------------------------------------------------------------------------

% Outputs of rows first, first + 1, ...
function Y = outputs(net, data, first, count)
  [Z, A] = forward(net, data.x(first : first+count-1, :));
  Y = A{end};
end

function [R, dW, db] = loss_and_gradient(net, data, first, count)
  X = data.x(first : first+count-1, :);
  T = data.y(first : first+count-1, :);
  [Z, A] = forward(net, X);
  [dW, db] = backward(net, X, A, output_delta(net, A, T));
  R = mean_loss(net, Z, A, T);
end

% X and T of a minibatch: the rows that order(first), order(first + 1), ... name.
function [X, T] = gather(data, first, batch)
  rows = data.order(first : first+batch-1);
  X = data.x(rows, :);
  T = data.y(rows, :);
end

function net = train(net, data, first, count, batch_size, rate)
  for at = first : batch_size : first+count-1
    [X, T] = gather(data, at, min(batch_size, first + count - at));
    [Z, A] = forward(net, X);
    [dW, db] = backward(net, X, A, output_delta(net, A, T));
    net = update(net, dW, db, rate);
  end
end

% One pass of the command `time`: what it adds to the checksum.
function checksum = timed_pass(net, data, operation, first, count)
  if strcmp(operation, 'forward')
    Y = outputs(net, data, first, count);
    checksum = double(Y(1, 1)) + double(Y(end, end));
  else
    [R, dW] = loss_and_gradient(net, data, first, count);
    checksum = R + double(dW{1}(1, 1));
  end
end
