# mlp.jl: a feed-forward network in plain Julia: activations, losses, forward, output delta, backward, update.
# It does not validate arguments or read a clock (worker.jl does), and a step allocates nothing after `reserve!`.
#
# Julia stores matrices by columns, so a sample is a column: X, Z_l and A_l are (m_l, B), W_l is (m_l, m_{l-1}), and
# Z_l = W_l A_{l-1} + b_l. The numbers lie in memory as those of a program that stores a sample as a row.
module MLP

using Base.Cartesian: @nexprs, @ntuple # @nexprs N q -> x_q expands to x_1, ..., x_N when a method is compiled

# A loop of the network. Bounds are checked, but in the row julia-inbounds, which passes this word.
const UNCHECKED = "unchecked" in ARGS

macro unchecked(loop)
    UNCHECKED ? esc(:(@inbounds $loop)) : esc(loop)
end

# --- Activations: a = f(z), and f'(z), of one number; p: the parameter. ----------------------------------------------

struct Activation{Value, Derivative}
    name::String
    value::Value # a = value(z, p); for an activation without a derivative: value(a, z) fills the column a
    derivative::Derivative # f'(z) = derivative(z, a, p); nothing: only fused with a loss
    parameter::Float64 # if none is given; NaN: it takes none
end

Activation(name, value, derivative) = Activation(name, value, derivative, NaN)

identity_value(z, _) = z
identity_derivative(z, a, _) = one(a)

sigmoid(z, _) = 1 / (1 + exp(-z))
sigmoid_derivative(z, a, _) = a * (1 - a)

tanh_value(z, _) = tanh(z)
tanh_derivative(z, a, _) = 1 - a * a

# The comparisons of values keep NaN.

relu(z, _) = ifelse(z < 0, zero(z), z)
relu_derivative(z, a, _) = ifelse(a > 0, one(a), zero(a))

leaky_relu(z, p) = ifelse(z > 0, z, p * z)
leaky_relu_derivative(z, a, p) = ifelse(z > 0, one(p), p)

elu(z, p) = z > 0 ? z : p * expm1(z)
elu_derivative(z, a, p) = ifelse(z > 0, one(p), a + p) # p exp(z) = p (exp(z) - 1) + p

softplus(z, _) = max(z, zero(z)) + log1p(exp(-abs(z))) # log(1 + exp(z)), without overflow
softplus_derivative(z, a, _) = 1 / (1 + exp(-z))

hard_sigmoid(z, _) = ifelse(z <= -2, zero(z), ifelse(z >= 2, one(z), z / 4 + one(z) / 2))
hard_sigmoid_derivative(z, a, _) = ifelse(abs(z) < 2, one(z) / 4, zero(z))

hard_tanh(z, _) = ifelse(z < -1, -one(z), ifelse(z > 1, one(z), z))
hard_tanh_derivative(z, a, _) = ifelse(abs(z) < 1, one(z), zero(z))

# a = exp(z) / its sum, with z shifted so that the largest exponent is 0.   a, z: (m)
function softmax!(a, z)
    largest = maximum(z)
    a .= exp.(z .- largest)
    a ./= sum(a)
end

const ACTIVATIONS = (
    Activation("identity", identity_value, identity_derivative),
    Activation("sigmoid", sigmoid, sigmoid_derivative),
    Activation("tanh", tanh_value, tanh_derivative),
    Activation("relu", relu, relu_derivative),
    Activation("leaky_relu", leaky_relu, leaky_relu_derivative, 0.01),
    Activation("elu", elu, elu_derivative, 1.0),
    Activation("softplus", softplus, softplus_derivative),
    Activation("hard_sigmoid", hard_sigmoid, hard_sigmoid_derivative),
    Activation("hard_tanh", hard_tanh, hard_tanh_derivative),
    Activation("softmax", softmax!, nothing),
)

# Return work(row) for row `at` of the table. A layer holds the number of its row: Julia compiles a branch for each row,
# but would look up the method for a row itself at run time.
@inline with_row(work, at, rows=ACTIVATIONS) = at == 1 ? work(first(rows)) : with_row(work, at - 1, Base.tail(rows))
@inline with_row(work, at, rows::Tuple{Activation}) = work(first(rows))

# A = f(Z) in the first B columns.   Z, A: (m, capacity)
function activate!(f::Activation, A, Z, p, B)
    @unchecked for k in 1:B * size(Z, 1)
        A[k] = f.value(Z[k], p)
    end
end

function activate!(f::Activation{<:Any, Nothing}, A, Z, p, B)
    for n in 1:B
        @views f.value(A[:, n], Z[:, n])
    end
end

# delta *= f'(Z) in the first B columns.   Z, A, delta: (m, capacity)
function multiply_by_derivative!(f::Activation, delta, Z, A, p, B)
    @unchecked @simd ivdep for k in 1:B * size(A, 1)
        delta[k] *= f.derivative(Z[k], A[k], p)
    end
end

# --- Losses of one sample, from z (pre-activations), y (outputs) and t (targets): (m) each. ---------------------------

struct Loss{Value}
    name::String
    fuses::String # the output activation that it is fused with; empty: any elementwise one
    value::Value # value(z, y, t)
    derivative::Int # c in dL/dy = c (y - t), or, fused, in dL/dz = c (y - t)
end

function squared_error(z, y, t)
    loss = 0.0
    @unchecked for j in eachindex(y, t)
        loss += (y[j] - t[j])^2
    end
    loss
end

half_squared_error(z, y, t) = squared_error(z, y, t) / 2

# -sum t log softmax(z) = sum t (log sum exp z - z). Subtracting the largest z first avoids overflow in exp.
function softmax_cross_entropy(z, y, t)
    largest = maximum(z)
    log_sum = log(sum(z_j -> exp(z_j - largest), z))
    loss = 0.0
    @unchecked for j in eachindex(z, t)
        loss += t[j] * (log_sum - (z[j] - largest))
    end
    loss
end

# -sum t log sigmoid(z) + (1 - t) log(1 - sigmoid(z)) = sum max(z, 0) - z t + log(1 + exp(-|z|)).
function sigmoid_cross_entropy(z, y, t)
    loss = 0.0
    @unchecked for j in eachindex(z, t)
        loss += max(z[j], 0) - z[j] * t[j] + log1p(exp(-abs(z[j])))
    end
    loss
end

const LOSSES = (
    Loss("squared_error", "", squared_error, 2),
    Loss("half_squared_error", "", half_squared_error, 1),
    Loss("softmax_cross_entropy", "softmax", softmax_cross_entropy, 1),
    Loss("sigmoid_cross_entropy", "sigmoid", sigmoid_cross_entropy, 1),
)

# --- Products. -------------------------------------------------------------------------------------------------------

# C += A B for N columns of B and C, from column j on.   A: (m, k)   B: (k, n)   C: (m, n)
# Each pass over C takes four columns of A, and each of them serves all N columns of C: less memory traffic a sum.
# ivdep: none of the columns overlap.
@generated function add_columns!(::Val{N}, C, A, B, j) where N
    quote
        m, k = size(A)
        @unchecked for p in 1:4:k-3
            @nexprs $N q -> @nexprs 4 r -> b_q_r = B[p+r-1, j+q-1]
            @simd ivdep for i in 1:m
                @nexprs $N q -> C[i, j+q-1] +=
                    A[i, p] * b_q_1 + A[i, p+1] * b_q_2 + A[i, p+2] * b_q_3 + A[i, p+3] * b_q_4
            end
        end
        @unchecked for p in k-k%4+1:k
            @nexprs $N q -> b_q = B[p, j+q-1]
            @simd ivdep for i in 1:m
                @nexprs $N q -> C[i, j+q-1] += A[i, p] * b_q
            end
        end
    end
end

# C += A B.   A: (m, k)   B: (k, n)   C: (m, n)
function add_product!(C, A, B)
    n = size(B, 2)
    for j in 1:4:n-3
        add_columns!(Val(4), C, A, B, j)
    end
    for j in n-n%4+1:n
        add_columns!(Val(1), C, A, B, j)
    end
end

# The N dot products of columns i .. i + N - 1 of A with column n of B.   A: (m, k)   B: (m, B)
# @simd splits a long sum into partial sums. Short sums instead overlap with each other: an addition of one does not
# wait for those of the others.
@generated function dot(::Val{N}, A, i, B, n) where N
    quote
        @nexprs $N q -> sum_q = zero(eltype(A))
        @unchecked @simd for j in 1:size(A, 1)
            @nexprs $N q -> sum_q += A[j, i+q-1] * B[j, n]
        end
        @ntuple $N sum
    end
end

# --- The network and its workspace. ----------------------------------------------------------------------------------

# Weights and Biases are the types of views into theta and gradient.
mutable struct Layer{Float, Weights <: AbstractMatrix{Float}, Biases <: AbstractVector{Float}}
    f::Int # row of ACTIVATIONS
    p::Float # parameter of f
    W::Weights # W, dW: (m_l, m_{l-1})
    b::Biases # b, db: (m_l)
    dW::Weights
    db::Biases
    Z::Matrix{Float} # Z, A, delta: (m_l, capacity)
    A::Matrix{Float}
    delta::Matrix{Float}
end

mutable struct Model{Float <: AbstractFloat, LossFunction <: Loss, Layers}
    layers::Layers
    loss_function::LossFunction
    l2::Float64
    start::Vector{Float} # start (theta as created), theta, gradient (of the last step): (n_parameters)
    theta::Vector{Float}
    gradient::Vector{Float}
    x::Matrix{Float} # the data: (m_0, rows), (m_L, rows)
    y::Matrix{Float}
    order::Vector{Int64} # row numbers, counted from 0
    X::Matrix{Float} # a minibatch: (m_0, capacity), (m_L, capacity)
    T::Matrix{Float}
end

# sizes: m_0 .. m_L   activations: row of ACTIVATIONS and parameter of f_1 .. f_L; the loss may fuse f_L
# start: W_1, b_1, W_2, b_2, ...
# The model keeps the arrays without a copy, and changes only its own copy of theta.
function Model(sizes, activations, loss_function, l2, start::Vector{Float}, x, y, order) where Float
    theta, gradient = copy(start), similar(start)
    none = Matrix{Float}(undef, 0, 0)
    at = 0
    layers = map(sizes[1:end-1], sizes[2:end], activations) do inputs, outputs, (f, p)
        W = at+1:at+inputs*outputs
        b = last(W)+1:last(W)+outputs
        at = last(b)
        weights(flat) = reshape(view(flat, W), outputs, inputs)
        Layer(f, Float(p), weights(theta), view(theta, b), weights(gradient), view(gradient, b),
              none, none, none)
    end
    Model(layers, loss_function, l2, start, theta, gradient, x, y, order, none, none)
end

# Make room for steps on B samples. NaN shows where a step reads a number before it is written.
function reserve!(model::Model{Float}, B) where Float
    B <= size(model.X, 2) && return
    room(width) = fill(Float(NaN), width, B)
    for layer in model.layers
        m = length(layer.b)
        layer.Z, layer.A, layer.delta = room(m), room(m), room(m)
    end
    model.X, model.T = room(size(model.x, 1)), room(size(model.y, 1))
end

reset!(model) = copyto!(model.theta, model.start)

# The first B columns of A. Every matrix below a layer is such a view: of one type, so that a step is compiled once.
samples(A, B) = view(A, :, 1:B)

# --- A step on B samples: it uses the first B columns of each layer's Z, A and delta. --------------------------------

# Compute Z and A of every layer.   X: (m_0, B)
function forward!(model::Model, X, B)
    layers = model.layers
    forward!(layers[1], X, B)
    for l in 2:length(layers)
        forward!(layers[l], samples(layers[l-1].A, B), B)
    end
end

function forward!(layer::Layer, A_below, B)
    W, b, Z, A, p = layer.W, layer.b, layer.Z, layer.A, layer.p
    @unchecked for n in 1:B, j in eachindex(b)
        Z[j, n] = b[j]
    end
    add_product!(Z, W, A_below)
    with_row(f -> activate!(f, A, Z, p, B), layer.f)
end

# delta_L = dR/dZ_L.   T: (m_L, B)
function output_delta!(model::Model{Float}, T, B) where Float
    last = model.layers[end]
    Z, Y, delta, p = last.Z, last.A, last.delta, last.p
    scale = Float(model.loss_function.derivative) / B
    @unchecked for n in 1:B, j in 1:size(Y, 1)
        delta[j, n] = scale * (Y[j, n] - T[j, n])
    end
    isempty(model.loss_function.fuses) &&
        with_row(f -> multiply_by_derivative!(f, delta, Z, Y, p, B), last.f)
end

# Compute the gradient from delta_L; theta stays unchanged.   X: (m_0, B)
function backward!(model::Model, X, B)
    layers = model.layers
    for l in length(layers):-1:2
        backward!(layers[l], samples(layers[l-1].A, B), model.l2, B)
        propagate!(layers[l], layers[l-1], B)
    end
    backward!(layers[1], X, model.l2, B)
end

function backward!(layer::Layer{Float}, A_below, l2, B) where Float
    W, delta, dW, db = layer.W, layer.delta, layer.dW, layer.db
    dW .= Float(l2) .* W
    add_product!(dW, samples(delta, B), A_below')

    fill!(db, 0)
    @unchecked for n in 1:B, j in eachindex(db)
        db[j] += delta[j, n]
    end
end

# delta_{l-1} = f_{l-1}'(Z_{l-1}) * (W_l^T delta_l): from layer l to the layer below.
function propagate!(layer, below, B)
    W, delta, delta_below, Z_below, A_below, p = layer.W, layer.delta, below.delta, below.Z, below.A, below.p
    inputs = size(W, 2)
    @unchecked for n in 1:B
        for i in 1:4:inputs-3
            sums = dot(Val(4), W, i, delta, n)
            @nexprs 4 q -> delta_below[i+q-1, n] = sums[q]
        end
        for i in inputs-inputs%4+1:inputs
            delta_below[i, n], = dot(Val(1), W, i, delta, n)
        end
    end
    with_row(f -> multiply_by_derivative!(f, delta_below, Z_below, A_below, p, B), below.f)
end

# theta <- theta - rate dtheta
function update!(model::Model{Float}, rate) where Float
    model.theta .-= Float(rate) .* model.gradient
end

# Return R over the B samples of the last forward pass.   T: (m_L, B)
function loss(model, T, B)
    Z, Y = model.layers[end].Z, model.layers[end].A
    total, squares = 0.0, 0.0
    for n in 1:B
        total += @views model.loss_function.value(Z[:, n], Y[:, n], T[:, n])
    end
    for layer in model.layers, w in layer.W
        squares += Float64(w)^2
    end
    total / B + model.l2 / 2 * squares
end

# --- Functions that the worker calls. --------------------------------------------------------------------------------

# Compute the outputs of rows [first, first + count) in the last layer's A.
function outputs!(model, first, count)
    forward!(model, view(model.x, :, first+1:first+count), count)
end

# Return R over rows [first, first + count), and leave its gradient in model.gradient.
function loss_and_gradient!(model, first, count)
    X, T = view(model.x, :, first+1:first+count), view(model.y, :, first+1:first+count)
    forward!(model, X, count)
    output_delta!(model, T, count)
    backward!(model, X, count)
    loss(model, T, count)
end

# Copy the rows order[first .. first + B), counted from 0, to X and T.
function gather!(model, first, B)
    x, y, X, T = model.x, model.y, model.X, model.T
    @unchecked for n in 1:B
        row = model.order[first+n] + 1
        for i in 1:size(x, 1)
            X[i, n] = x[i, row]
        end
        for j in 1:size(y, 1)
            T[j, n] = y[j, row]
        end
    end
end

# Run gradient descent over order[first .. first + count) in minibatches of batch_size rows; the last one may be
# shorter.
function train!(model, first, count, batch_size, rate)
    for at in first:batch_size:first+count-1
        B = min(batch_size, first + count - at)
        gather!(model, at, B)
        X, T = samples(model.X, B), samples(model.T, B)
        forward!(model, X, B)
        output_delta!(model, T, B)
        backward!(model, X, B)
        update!(model, rate)
    end
end

# Run one pass of the command `time` and return its term of the checksum. probe: counted from 0
function timed_pass!(model, operation, first, count, probe)
    if operation === :forward
        outputs!(model, first, count)
        return Float64(model.layers[end].A[probe + 1])
    end
    loss_and_gradient!(model, first, count) + model.gradient[probe + 1]
end

end
