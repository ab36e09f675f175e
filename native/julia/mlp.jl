# mlp.jl: the network: activations, losses, forward, output delta, backward, update, and the passes that are timed.
# Nothing here checks an argument or reads a clock, and a step allocates nothing: `reserve!` has made room before.
#
# Matrices are column-major in Julia. What is a row a sample elsewhere, (B, m_l), is a column a sample here, (m_l, B),
# and W_l is (m_l, m_{l-1}): the same numbers in the same places of memory, and Z_l = W_l A_{l-1} + b_l.
module MLP

using Base.Cartesian: @nexprs, @ntuple # @nexprs N q -> x_q writes x_1, ..., x_N out, when the method is compiled

# --- Activations: a = f(z), and the slope f'(z) written in a. --------------------------------------------------------

sigmoid(z) = 1 / (1 + exp(-z))
relu(z) = ifelse(z < 0, zero(z), z) # this way round, NaN stays NaN

slope(::typeof(identity), a) = one(a)
slope(::typeof(sigmoid), a) = a * (1 - a)
slope(::typeof(tanh), a) = 1 - a * a
slope(::typeof(relu), a) = ifelse(a > 0, one(a), zero(a))

# Of a column z, into a column a; without a slope, it serves only a loss that fuses it.
function softmax!(a, z)
    top = maximum(z)
    a .= exp.(z .- top)
    a ./= sum(a)
end

const ACTIVATIONS = Dict("identity" => identity, "sigmoid" => sigmoid, "tanh" => tanh, "relu" => relu,
                         "softmax" => softmax!)

# Four types the compiler tells apart by branching; with a fifth it would look methods up at run time.
const Elementwise = Union{typeof(identity), typeof(sigmoid), typeof(tanh), typeof(relu)}

# The first B columns of A <- f(Z).
function activate!(f, A, Z, B)
    @inbounds for k in 1:B * size(Z, 1)
        A[k] = f(Z[k])
    end
end

function activate!(::typeof(softmax!), A, Z, B)
    for n in 1:B
        @views softmax!(A[:, n], Z[:, n])
    end
end

# The first B columns of delta <- f'(Z) delta, where A = f(Z).
function times_slope!(f, delta, A, B)
    @inbounds @simd ivdep for k in 1:B * size(A, 1)
        delta[k] *= slope(f, A[k])
    end
end

# --- Losses: L of one sample; columns z = Z_L[:, n], y = A_L[:, n] and t, its targets. -------------------------------

function squared_error(z, y, t)
    loss = 0.0
    @inbounds for j in eachindex(y, t)
        loss += (y[j] - t[j])^2
    end
    loss
end

half_squared_error(z, y, t) = squared_error(z, y, t) / 2

# -sum t log softmax(z) = sum t (log sum exp z - z), with the largest z taken out of the exponentials.
function softmax_cross_entropy(z, y, t)
    top = maximum(z)
    log_sum = log(sum(z_j -> exp(z_j - top), z))
    loss = 0.0
    @inbounds for j in eachindex(z, t)
        loss += t[j] * (log_sum - (z[j] - top))
    end
    loss
end

# -t log sigmoid(z) - (1-t) log(1 - sigmoid(z)) = max(z, 0) - z t + log(1 + exp(-|z|)).
function sigmoid_cross_entropy(z, y, t)
    loss = 0.0
    @inbounds for j in eachindex(z, t)
        loss += max(z[j], 0) - z[j] * t[j] + log1p(exp(-abs(z[j])))
    end
    loss
end

const LOSSES = Dict("squared_error" => squared_error, "half_squared_error" => half_squared_error,
                    "softmax_cross_entropy" => softmax_cross_entropy, "sigmoid_cross_entropy" => sigmoid_cross_entropy)

# The output activation that belongs to a loss; nothing: any elementwise one.
fuses(loss) = nothing
fuses(::typeof(softmax_cross_entropy)) = softmax!
fuses(::typeof(sigmoid_cross_entropy)) = sigmoid

# dL/dy, or where fused dL/dz, is this times y - t.
slope(loss) = 1
slope(::typeof(squared_error)) = 2

# --- The model and its workspace. ------------------------------------------------------------------------------------

# Weights and Biases are views into the flat theta and gradient.
mutable struct Layer{Float, Weights <: AbstractMatrix{Float}, Biases <: AbstractVector{Float}}
    f::Union{Elementwise, typeof(softmax!)}
    W::Weights # W, dW: (m_l, m_{l-1})
    b::Biases # b, db: (m_l)
    dW::Weights
    db::Biases
    Z::Matrix{Float} # Z, A, delta: (m_l, capacity)
    A::Matrix{Float}
    delta::Matrix{Float}
end

mutable struct Model{Float <: AbstractFloat, Loss, Layers}
    layers::Layers
    loss::Loss
    l2::Float64
    start::Vector{Float} # start, theta, gradient: (n_parameters), as given, as it is, and of the last step
    theta::Vector{Float}
    gradient::Vector{Float}
    x::Matrix{Float} # (m_0, rows), (m_L, rows)
    y::Matrix{Float}
    order::Vector{Int64} # numbers of rows, from 0 on
    X::Matrix{Float} # (m_0, capacity), (m_L, capacity): the samples of a minibatch
    T::Matrix{Float}
end

# sizes: m_0 .. m_L; activations: f_1 .. f_L. Keeps the arrays; changes none of them but its own copy of theta.
function Model(sizes, activations, loss, l2, start::Vector{Float}, x, y, order) where Float
    theta, gradient = copy(start), similar(start)
    none = Matrix{Float}(undef, 0, 0)
    at = 0
    layers = map(sizes[1:end-1], sizes[2:end], activations) do inputs, outputs, f
        W = at+1:at+inputs*outputs
        b = last(W)+1:last(W)+outputs
        at = last(b)
        weights(flat) = reshape(view(flat, W), outputs, inputs)
        Layer(f, weights(theta), view(theta, b), weights(gradient), view(gradient, b), none, none, none)
    end
    Model(layers, loss, l2, start, theta, gradient, x, y, order, none, none)
end

reset!(model) = copyto!(model.theta, model.start)

# Room for a batch of that many rows. Filled with NaN: a number read before it was written shows.
function reserve!(model::Model{Float}, rows) where Float
    rows <= size(model.X, 2) && return
    room(width) = fill(Float(NaN), width, rows)
    for layer in model.layers
        m = length(layer.b)
        layer.Z, layer.A, layer.delta = room(m), room(m), room(m)
    end
    model.X, model.T = room(size(model.x, 1)), room(size(model.y, 1))
end

# The first B columns, as a view. Everything that stands below a layer is such a view: one type, compiled once.
samples(A, B) = view(A, :, 1:B)

# --- The two products that a step is made of. ------------------------------------------------------------------------

# C += A B for N columns of B and C from the j-th on, A: (m, k), B: (k, n), C: (m, n): four columns of A at a time, each
# used for N of C. No two of them overlap (ivdep).
@generated function add_columns!(::Val{N}, C, A, B, j) where N
    quote
        m, k = size(A)
        @inbounds for p in 1:4:k-3
            @nexprs $N q -> @nexprs 4 r -> b_q_r = B[p+r-1, j+q-1]
            @simd ivdep for i in 1:m
                @nexprs $N q -> C[i, j+q-1] +=
                    A[i, p] * b_q_1 + A[i, p+1] * b_q_2 + A[i, p+2] * b_q_3 + A[i, p+3] * b_q_4
            end
        end
        @inbounds for p in k-k%4+1:k
            @nexprs $N q -> b_q = B[p, j+q-1]
            @simd ivdep for i in 1:m
                @nexprs $N q -> C[i, j+q-1] += A[i, p] * b_q
            end
        end
    end
end

# C += A B for A: (m, k), B: (k, n), C: (m, n).
function add_product!(C, A, B)
    n = size(B, 2)
    for j in 1:4:n-3
        add_columns!(Val(4), C, A, B, j)
    end
    for j in n-n%4+1:n
        add_columns!(Val(1), C, A, B, j)
    end
end

# The dots of column n of B and N columns of A from the i-th on. @simd sums long columns in parts; short ones would wait
# for one sum at every addition, were there not N of them side by side.
@generated function dot(::Val{N}, A, i, B, n) where N
    quote
        @nexprs $N q -> sum_q = zero(eltype(A))
        @inbounds @simd for j in 1:size(A, 1)
            @nexprs $N q -> sum_q += A[j, i+q-1] * B[j, n]
        end
        @ntuple $N sum
    end
end

# --- The step over B rows: X: (m_0, B), T: (m_L, B); the first B columns of Z, A, delta of each layer. ---------------

function forward!(model::Model, X, B)
    layers = model.layers
    forward!(layers[1], X, B)
    for l in 2:length(layers)
        forward!(layers[l], samples(layers[l-1].A, B), B)
    end
end

function forward!(layer::Layer, A_below, B)
    W, b, Z, A, f = layer.W, layer.b, layer.Z, layer.A, layer.f
    @inbounds for n in 1:B, j in eachindex(b)
        Z[j, n] = b[j]
    end
    add_product!(Z, W, A_below)
    f isa Elementwise ? activate!(f, A, Z, B) : activate!(f, A, Z, B)
end

# R over the rows that went forward.
function mean_loss(model, T, B)
    Z, Y = model.layers[end].Z, model.layers[end].A
    loss, squares = 0.0, 0.0
    for n in 1:B
        loss += @views model.loss(Z[:, n], Y[:, n], T[:, n])
    end
    for layer in model.layers, w in layer.W
        squares += Float64(w)^2
    end
    loss / B + model.l2 / 2 * squares
end

# delta_L = dR/dZ_L.
function output_delta!(model::Model{Float}, T, B) where Float
    Y, delta, f = model.layers[end].A, model.layers[end].delta, model.layers[end].f
    scale = Float(slope(model.loss)) / B
    @inbounds for n in 1:B, j in 1:size(Y, 1)
        delta[j, n] = scale * (Y[j, n] - T[j, n])
    end
    fuses(model.loss) === nothing && times_slope!(f::Elementwise, delta, Y, B)
end

# The gradient; theta itself stays as the forward pass found it.
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
    @inbounds for n in 1:B, j in eachindex(db)
        db[j] += delta[j, n]
    end
end

# delta_{l-1} = f_{l-1}'(Z_{l-1}) * (W_l^T delta_l), from a layer into the one below.
function propagate!(layer, below, B)
    W, delta, delta_below, f = layer.W, layer.delta, below.delta, below.f
    inputs = size(W, 2)
    @inbounds for n in 1:B
        for i in 1:4:inputs-3
            sums = dot(Val(4), W, i, delta, n)
            @nexprs 4 q -> delta_below[i+q-1, n] = sums[q]
        end
        for i in inputs-inputs%4+1:inputs
            delta_below[i, n], = dot(Val(1), W, i, delta, n)
        end
    end
    times_slope!(f::Elementwise, delta_below, below.A, B)
end

function update!(model::Model{Float}, rate) where Float
    model.theta .-= Float(rate) .* model.gradient
end

# --- What the worker calls. ------------------------------------------------------------------------------------------

# Outputs of rows [first, first + count), left in the last layer's A.
function outputs!(model, first, count)
    forward!(model, view(model.x, :, first+1:first+count), count)
end

# R of those rows; its gradient is left in the model.
function loss_and_gradient!(model, first, count)
    X, T = view(model.x, :, first+1:first+count), view(model.y, :, first+1:first+count)
    forward!(model, X, count)
    output_delta!(model, T, count)
    backward!(model, X, count)
    mean_loss(model, T, count)
end

# X and T of a minibatch: the rows that order[first .. first + B), counted from 0, names.
function gather!(model, first, B)
    x, y, X, T = model.x, model.y, model.X, model.T
    @inbounds for n in 1:B
        row = model.order[first+n] + 1
        for i in 1:size(x, 1)
            X[i, n] = x[i, row]
        end
        for j in 1:size(y, 1)
            T[j, n] = y[j, row]
        end
    end
end

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

# One pass of `time`: what it adds to the checksum.
function timed_pass!(model, operation, first, count)
    if operation === :forward
        outputs!(model, first, count)
        Y = model.layers[end].A
        return Float64(Y[1]) + Y[end, count]
    end
    loss_and_gradient!(model, first, count) + model.gradient[1]
end

end
