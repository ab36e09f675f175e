//! mlp.zig: the network in plain Zig: activations, losses, forward, output delta, backward, update.
//! Nothing here checks an argument or reads a clock, and a step allocates nothing. Commands are in worker.zig, files in
//! setup.zig. Lower-case z, a, y, t are single rows.

const std = @import("std");
const math = std.math;
const Allocator = std.mem.Allocator;

// ---- Activations: a = f(z) for one row, z = Z_l[n] and a = A_l[n]; p: the parameter. In comparisons, NaN stays NaN ----

/// The table of activations in one dtype, f32 or f64.
pub fn Activation(comptime Real: type) type {
    return struct {
        const Self = @This();
        pub const Value = *const fn (z: []const Real, a: []Real, p: Real) void;
        pub const Derivative = *const fn (z: []const Real, a: []const Real, delta: []Real, p: Real) void;

        name: []const u8,
        value: Value,
        derivative: ?Derivative, // null: needs a loss that fuses it
        parameter: ?Real = null, // in the table, if none is given; null: it takes none

        pub const table = [_]Self{
            .{ .name = "identity", .value = identity, .derivative = identityDerivative },
            .{ .name = "sigmoid", .value = sigmoid, .derivative = sigmoidDerivative },
            .{ .name = "tanh", .value = tanh, .derivative = tanhDerivative },
            .{ .name = "relu", .value = relu, .derivative = reluDerivative },
            .{ .name = "leaky_relu", .value = leakyRelu, .derivative = leakyReluDerivative, .parameter = 0.01 },
            .{ .name = "elu", .value = elu, .derivative = eluDerivative, .parameter = 1 },
            .{ .name = "softplus", .value = softplus, .derivative = softplusDerivative },
            .{ .name = "hard_sigmoid", .value = hardSigmoid, .derivative = hardSigmoidDerivative },
            .{ .name = "hard_tanh", .value = hardTanh, .derivative = hardTanhDerivative },
            .{ .name = "softmax", .value = softmax, .derivative = null },
        };

        fn identity(z: []const Real, a: []Real, _: Real) void {
            @memcpy(a, z);
        }

        fn sigmoid(z: []const Real, a: []Real, _: Real) void {
            for (z, a) |z_j, *a_j| a_j.* = 1 / (1 + @exp(-z_j));
        }

        fn tanh(z: []const Real, a: []Real, _: Real) void {
            for (z, a) |z_j, *a_j| a_j.* = math.tanh(z_j);
        }

        fn relu(z: []const Real, a: []Real, _: Real) void {
            for (z, a) |z_j, *a_j| a_j.* = if (z_j < 0) 0 else z_j;
        }

        fn leakyRelu(z: []const Real, a: []Real, p: Real) void {
            for (z, a) |z_j, *a_j| a_j.* = if (z_j > 0) z_j else p * z_j;
        }

        fn elu(z: []const Real, a: []Real, p: Real) void {
            for (z, a) |z_j, *a_j| a_j.* = if (z_j > 0) z_j else p * math.expm1(z_j);
        }

        /// log(1 + exp(z)), without overflow.
        fn softplus(z: []const Real, a: []Real, _: Real) void {
            for (z, a) |z_j, *a_j| a_j.* = (if (z_j < 0) 0 else z_j) + math.log1p(@exp(-@abs(z_j)));
        }

        fn hardSigmoid(z: []const Real, a: []Real, _: Real) void {
            for (z, a) |z_j, *a_j| a_j.* = if (z_j <= -2) 0 else if (z_j >= 2) 1 else z_j / 4 + 0.5;
        }

        fn hardTanh(z: []const Real, a: []Real, _: Real) void {
            for (z, a) |z_j, *a_j| a_j.* = if (z_j < -1) -1 else if (z_j > 1) 1 else z_j;
        }

        fn softmax(z: []const Real, a: []Real, _: Real) void {
            const top = largest(Real, z);
            var sum: Real = 0;
            for (z, a) |z_j, *a_j| {
                a_j.* = @exp(z_j - top);
                sum += a_j.*;
            }
            for (a) |*a_j| a_j.* /= sum;
        }

        // Derivatives: delta <- f'(z) delta, where a = f(z).

        fn identityDerivative(_: []const Real, _: []const Real, _: []Real, _: Real) void {}

        fn sigmoidDerivative(_: []const Real, a: []const Real, delta: []Real, _: Real) void {
            for (a, delta) |a_j, *delta_j| delta_j.* *= a_j * (1 - a_j);
        }

        fn tanhDerivative(_: []const Real, a: []const Real, delta: []Real, _: Real) void {
            for (a, delta) |a_j, *delta_j| delta_j.* *= 1 - a_j * a_j;
        }

        fn reluDerivative(_: []const Real, a: []const Real, delta: []Real, _: Real) void {
            for (a, delta) |a_j, *delta_j| delta_j.* = if (a_j > 0) delta_j.* else 0;
        }

        fn leakyReluDerivative(z: []const Real, _: []const Real, delta: []Real, p: Real) void {
            for (z, delta) |z_j, *delta_j| delta_j.* = if (z_j > 0) delta_j.* else p * delta_j.*;
        }

        /// p exp(z) = p (exp(z) - 1) + p = a + p.
        fn eluDerivative(z: []const Real, a: []const Real, delta: []Real, p: Real) void {
            for (z, a, delta) |z_j, a_j, *delta_j| delta_j.* = if (z_j > 0) delta_j.* else (a_j + p) * delta_j.*;
        }

        fn softplusDerivative(z: []const Real, _: []const Real, delta: []Real, _: Real) void {
            for (z, delta) |z_j, *delta_j| delta_j.* *= 1 / (1 + @exp(-z_j));
        }

        fn hardSigmoidDerivative(z: []const Real, _: []const Real, delta: []Real, _: Real) void {
            for (z, delta) |z_j, *delta_j| delta_j.* = if (@abs(z_j) < 2) delta_j.* / 4 else 0;
        }

        fn hardTanhDerivative(z: []const Real, _: []const Real, delta: []Real, _: Real) void {
            for (z, delta) |z_j, *delta_j| delta_j.* = if (@abs(z_j) < 1) delta_j.* else 0;
        }
    };
}

fn largest(comptime Real: type, z: []const Real) Real {
    var top = z[0];
    for (z) |z_j| top = if (z_j > top) z_j else top;
    return top;
}

// ---- Losses: L of one row, from z = Z_L[n], y = A_L[n] and the targets t ----

/// The table of losses in one dtype.
pub fn Loss(comptime Real: type) type {
    return struct {
        const Self = @This();

        name: []const u8,
        fuses: ?[]const u8, // the only output activation it takes; null: it takes any elementwise one
        value: *const fn (z: []const Real, y: []const Real, t: []const Real) f64,
        derivative: Real, // c in dL/dy = c (y - t); where an activation is fused, in dL/dz = c (y - t)

        pub const table = [_]Self{
            .{ .name = "squared_error", .fuses = null, .value = squaredError, .derivative = 2 },
            .{ .name = "half_squared_error", .fuses = null, .value = halfSquaredError, .derivative = 1 },
            .{ .name = "softmax_cross_entropy", .fuses = "softmax", .value = softmaxCrossEntropy, .derivative = 1 },
            .{ .name = "sigmoid_cross_entropy", .fuses = "sigmoid", .value = sigmoidCrossEntropy, .derivative = 1 },
        };

        fn squaredError(_: []const Real, y: []const Real, t: []const Real) f64 {
            var sum: f64 = 0;
            for (y, t) |y_j, t_j| sum += (y_j - t_j) * (y_j - t_j);
            return sum;
        }

        fn halfSquaredError(z: []const Real, y: []const Real, t: []const Real) f64 {
            return squaredError(z, y, t) / 2;
        }

        /// -sum t log softmax(z) = sum t (log sum exp z - z), with the largest z subtracted before each exp.
        fn softmaxCrossEntropy(z: []const Real, _: []const Real, t: []const Real) f64 {
            const top = largest(Real, z);
            var sum: f64 = 0;
            for (z) |z_j| sum += @exp(z_j - top);
            const log_sum = @log(sum);
            var total: f64 = 0;
            for (z, t) |z_j, t_j| total += t_j * (log_sum - (z_j - top));
            return total;
        }

        /// -t log sigmoid(z) - (1-t) log(1 - sigmoid(z)) = max(z, 0) - z t + log(1 + exp(-|z|)).
        fn sigmoidCrossEntropy(z: []const Real, _: []const Real, t: []const Real) f64 {
            var total: f64 = 0;
            for (z, t) |z_j, t_j| total += (if (z_j > 0) z_j else 0) - z_j * t_j + math.log1p(@exp(-@abs(z_j)));
            return total;
        }
    };
}

// ---- The two products of a step ----

/// A matrix whose element (i, p) is data[i * row + p * column]: the strides also describe a transposed matrix.
fn Strided(comptime Real: type) type {
    return struct {
        data: []const Real,
        row: usize,
        column: usize,

        fn at(self: @This(), i: usize, p: usize) Real {
            return self.data[i * self.row + p * self.column];
        }
    };
}

/// C += A B for m rows of A, from row i on, and of C: (m, n). Each of four rows of B is loaded once for m rows of C.
fn addRows(
    comptime Real: type,
    comptime m: usize,
    i: usize,
    A: Strided(Real),
    noalias B: []const Real,
    noalias C: []Real,
    n: usize,
) void {
    const k = B.len / n;
    var c: [m][]Real = undefined;
    inline for (0..m) |r| c[r] = C[r * n ..][0..n];
    var p: usize = 0;
    while (p + 4 <= k) : (p += 4) {
        var a: [m][4]Real = undefined;
        inline for (0..m) |r| {
            inline for (0..4) |q| a[r][q] = A.at(i + r, p + q);
        }
        var b: [4][]const Real = undefined;
        inline for (0..4) |q| b[q] = B[(p + q) * n ..][0..n];
        for (0..n) |j| {
            inline for (0..m) |r| {
                c[r][j] += a[r][0] * b[0][j] + a[r][1] * b[1][j] + a[r][2] * b[2][j] + a[r][3] * b[3][j];
            }
        }
    }
    while (p < k) : (p += 1) {
        const b = B[p * n ..][0..n];
        inline for (0..m) |r| {
            const a = A.at(i + r, p);
            for (c[r], b) |*c_j, b_j| c_j.* += a * b_j;
        }
    }
}

/// C += A B. A: (m, k), B: (k, n), C: (m, n).
fn addProduct(comptime Real: type, A: Strided(Real), B: []const Real, C: []Real, n: usize) void {
    const m = C.len / n;
    var i: usize = 0;
    while (i + 4 <= m) : (i += 4) addRows(Real, 4, i, A, B, C[i * n ..], n);
    while (i < m) : (i += 1) addRows(Real, 1, i, A, B, C[i * n ..], n);
}

/// sum_j a[j] b[j] in eight partial sums: in a single sum, every addition would wait for the one before it.
fn dot(comptime Real: type, a: []const Real, b: []const Real) Real {
    var part: [8]Real = @splat(0);
    var sum: Real = 0;
    var j: usize = 0;
    while (j + 8 <= a.len) : (j += 8) {
        for (&part, a[j..][0..8], b[j..][0..8]) |*part_k, a_k, b_k| part_k.* += a_k * b_k;
    }
    for (a[j..], b[j..]) |a_j, b_j| sum += a_j * b_j;
    for (part) |part_k| sum += part_k;
    return sum;
}

// ---- The network, its data and its workspace ----

/// The operations of the command `time`.
pub const Operation = enum { forward, gradient };

/// Where the numbers of a layer lie in theta, or in the gradient.
const Span = struct {
    first: usize,
    end: usize,

    fn of(self: Span, comptime Slice: type, flat: Slice) Slice {
        return flat[self.first..self.end];
    }
};

fn Layer(comptime Real: type) type {
    return struct {
        inputs: usize, // m_{l-1}
        outputs: usize, // m_l
        W: Span, // in theta: (inputs, outputs)
        b: Span, // in theta: (outputs)
        f: Activation(Real),
        p: Real, // the parameter of f
        Z: []Real = &.{}, // Z, A, delta: (capacity, outputs)
        A: []Real = &.{},
        delta: []Real = &.{},
    };
}

/// What init reads; the model frees it.
pub fn Data(comptime Real: type) type {
    return struct {
        rows: usize,
        x: []Real, // (rows, m_0)
        y: []Real, // (rows, m_L)
        order: []i64, // row numbers
    };
}

/// A network with its data.
pub fn Mlp(comptime Real: type) type {
    return struct {
        const Self = @This();
        pub const Number = Real;

        allocator: Allocator,
        layers: []Layer(Real),
        loss_function: Loss(Real),
        l2: f64,
        theta: []Real,
        start: []Real, // theta as init read it
        gradient: []Real, // of the last step, laid out as theta
        data: Data(Real),
        X: []Real = &.{}, // a minibatch: (capacity, m_0), (capacity, m_L)
        T: []Real = &.{},

        /// Make a network; start and data become its own. sizes: m_0 .. m_L; f: f_1 .. f_L.
        pub fn init(
            allocator: Allocator,
            sizes: []const usize,
            f: []const Activation(Real),
            loss_function: Loss(Real),
            l2: f64,
            start: []Real,
            data: Data(Real),
        ) Allocator.Error!Self {
            const layers = try allocator.alloc(Layer(Real), f.len);
            errdefer allocator.free(layers);
            var at: usize = 0;
            for (layers, f, sizes[0..f.len], sizes[1..]) |*l, f_l, inputs, outputs| {
                const W: Span = .{ .first = at, .end = at + inputs * outputs };
                const b: Span = .{ .first = W.end, .end = W.end + outputs };
                l.* = .{ .inputs = inputs, .outputs = outputs, .W = W, .b = b, .f = f_l, .p = f_l.parameter orelse 0 };
                at = b.end;
            }
            const theta = try allocator.dupe(Real, start);
            errdefer allocator.free(theta);
            const gradient = try allocator.alloc(Real, start.len);
            return .{
                .allocator = allocator,
                .layers = layers,
                .loss_function = loss_function,
                .l2 = l2,
                .theta = theta,
                .start = start,
                .gradient = gradient,
                .data = data,
            };
        }

        pub fn deinit(self: *Self) void {
            for (self.layers) |l| {
                for ([_][]Real{ l.Z, l.A, l.delta }) |buffer| self.allocator.free(buffer);
            }
            self.allocator.free(self.layers);
            const buffers = .{ self.theta, self.start, self.gradient, self.data.x, self.data.y, self.X, self.T };
            inline for (buffers) |buffer| self.allocator.free(buffer);
            self.allocator.free(self.data.order);
        }

        /// Make room for B rows: the only allocation of X, T, Z, A and delta.
        pub fn reserve(self: *Self, B: usize) Allocator.Error!void {
            try self.grow(&self.X, B, self.nInputs());
            try self.grow(&self.T, B, self.nOutputs());
            for (self.layers) |*l| {
                try self.grow(&l.Z, B, l.outputs);
                try self.grow(&l.A, B, l.outputs);
                try self.grow(&l.delta, B, l.outputs);
            }
        }

        fn grow(self: *Self, buffer: *[]Real, rows: usize, width: usize) Allocator.Error!void {
            const length = math.mul(usize, rows, width) catch return error.OutOfMemory;
            if (length <= buffer.len) return;
            const larger = try self.allocator.alloc(Real, length);
            self.allocator.free(buffer.*);
            buffer.* = larger;
        }

        pub fn reset(self: *Self) void {
            @memcpy(self.theta, self.start);
        }

        fn last(self: *const Self) *Layer(Real) {
            return &self.layers[self.layers.len - 1];
        }

        fn nInputs(self: *const Self) usize { // m_0
            return self.layers[0].inputs;
        }

        fn nOutputs(self: *const Self) usize { // m_L
            return self.last().outputs;
        }

        /// Return A_L of the last forward pass: (B, m_L).
        pub fn Y(self: *const Self, B: usize) []const Real {
            return self.last().A[0 .. B * self.nOutputs()];
        }

        /// Return the number of outputs of `count` rows, or of entries of the gradient.
        pub fn entries(self: *const Self, operation: Operation, count: usize) usize {
            return switch (operation) {
                .forward => count * self.nOutputs(),
                .gradient => self.gradient.len,
            };
        }

        // ---- The step on B rows: X: (B, m_0), T: (B, m_L); Z, A, delta of layer l: (B, m_l) ----

        /// Z_l = A_{l-1} W_l + b_l, A_l = f_l(Z_l) for l = 1 .. L.
        fn forward(self: *Self, X: []const Real, B: usize) void {
            var A_below = X;
            for (self.layers) |*l| {
                const m = l.outputs;
                const b = l.b.of([]Real, self.theta);
                const Z = l.Z[0 .. B * m];
                const A = l.A[0 .. B * m];
                for (0..B) |n| @memcpy(Z[n * m ..][0..m], b);
                const below: Strided(Real) = .{ .data = A_below, .row = l.inputs, .column = 1 };
                addProduct(Real, below, l.W.of([]Real, self.theta), Z, m);
                for (0..B) |n| l.f.value(Z[n * m ..][0..m], A[n * m ..][0..m], l.p);
                A_below = A;
            }
        }

        /// delta_L = dR/dZ_L.
        fn outputDelta(self: *Self, T: []const Real, B: usize) void {
            const l = self.last();
            const size = B * l.outputs;
            const scale = self.loss_function.derivative / @as(Real, @floatFromInt(B));
            for (l.delta[0..size], l.A[0..size], T[0..size]) |*delta, y, t| delta.* = scale * (y - t);
            if (self.loss_function.fuses == null)
                l.f.derivative.?(l.Z[0..size], l.A[0..size], l.delta[0..size], l.p);
        }

        /// From delta_L down: the gradient, laid out as theta. theta does not change.
        fn backward(self: *Self, X: []const Real, B: usize) void {
            const l2: Real = @floatCast(self.l2);
            var at = self.layers.len;
            while (at > 0) {
                at -= 1;
                const l = &self.layers[at];
                const W = l.W.of([]Real, self.theta);
                const delta = l.delta[0 .. B * l.outputs];
                const A_below = if (at > 0) self.layers[at - 1].A else X;

                const dW = l.W.of([]Real, self.gradient);
                for (dW, W) |*dW_k, W_k| dW_k.* = l2 * W_k;
                addProduct(Real, .{ .data = A_below, .row = 1, .column = l.inputs }, delta, dW, l.outputs);

                const db = l.b.of([]Real, self.gradient);
                @memset(db, 0);
                for (0..B) |n| {
                    for (db, delta[n * l.outputs ..][0..l.outputs]) |*db_j, delta_j| db_j.* += delta_j;
                }

                if (at > 0) propagate(delta, W, l.outputs, &self.layers[at - 1], B);
            }
        }

        /// delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T), to the layer below. delta: (B, m), W: (m_{l-1}, m)
        fn propagate(delta: []const Real, W: []const Real, m: usize, below: *Layer(Real), B: usize) void {
            const size = B * below.outputs;
            for (0..B) |n| {
                const row = delta[n * m ..][0..m];
                for (below.delta[n * below.outputs ..][0..below.outputs], 0..) |*delta_below, i|
                    delta_below.* = dot(Real, row, W[i * m ..][0..m]);
            }
            below.f.derivative.?(below.Z[0..size], below.A[0..size], below.delta[0..size], below.p);
        }

        /// theta <- theta - rate * gradient.
        fn update(self: *Self, rate: Real) void {
            for (self.theta, self.gradient) |*theta, dtheta| theta.* -= rate * dtheta;
        }

        /// R of the last forward pass.
        fn loss(self: *const Self, T: []const Real, B: usize) f64 {
            const m = self.nOutputs();
            const l = self.last();
            var total: f64 = 0;
            var squares: f64 = 0;
            for (0..B) |n| total += self.loss_function.value(l.Z[n * m ..][0..m], l.A[n * m ..][0..m], T[n * m ..][0..m]);
            for (self.layers) |layer| {
                for (layer.W.of([]Real, self.theta)) |w| squares += @as(f64, w) * w;
            }
            return total / @as(f64, @floatFromInt(B)) + self.l2 / 2 * squares;
        }

        // ---- The functions that worker.zig calls, and the minibatch ----

        /// Compute the outputs of rows [first, first + count) into Y.
        pub fn predict(self: *Self, first: usize, count: usize) void {
            self.forward(self.data.x[first * self.nInputs() ..], count);
        }

        /// Return R of rows [first, first + count), and compute its gradient.
        pub fn lossAndGradient(self: *Self, first: usize, count: usize) f64 {
            const X = self.data.x[first * self.nInputs() ..];
            const T = self.data.y[first * self.nOutputs() ..];
            self.forward(X, count);
            self.outputDelta(T, count);
            self.backward(X, count);
            return self.loss(T, count);
        }

        /// Copy the rows that order[first .. first + B) names into X and T.
        fn gather(self: *Self, first: usize, B: usize) void {
            const m_0 = self.nInputs();
            const m_L = self.nOutputs();
            for (self.data.order[first..][0..B], 0..) |entry, n| {
                const row: usize = @intCast(entry);
                @memcpy(self.X[n * m_0 ..][0..m_0], self.data.x[row * m_0 ..][0..m_0]);
                @memcpy(self.T[n * m_L ..][0..m_L], self.data.y[row * m_L ..][0..m_L]);
            }
        }

        /// Take one step for each minibatch of order[first .. first + count).
        pub fn train(self: *Self, first: usize, count: usize, batch_size: usize, rate: Real) void {
            const end = first + count;
            var at = first;
            while (at < end) : (at += batch_size) {
                const B = @min(batch_size, end - at);
                self.gather(at, B);
                self.forward(self.X, B);
                self.outputDelta(self.T, B);
                self.backward(self.X, B);
                self.update(rate);
            }
        }

        /// Do one pass of the command `time`; return its addend to the checksum.
        pub fn timedPass(self: *Self, operation: Operation, first: usize, count: usize, probe: usize) f64 {
            switch (operation) {
                .forward => {
                    self.predict(first, count);
                    return self.last().A[probe];
                },
                .gradient => return self.lossAndGradient(first, count) + self.gradient[probe],
            }
        }
    };
}
