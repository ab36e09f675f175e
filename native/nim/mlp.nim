## mlp.nim: a feed-forward network in plain Nim: activations, losses, forward, output delta, backward, update.
## It does not validate arguments or read a clock (worker.nim does), and a step allocates nothing after `reserve`.

import std/[math, sequtils]

proc log1p(x: float32): float32 {.importc: "log1pf", header: "<math.h>".}
proc log1p(x: float64): float64 {.importc: "log1p", header: "<math.h>".}
proc expm1(x: float32): float32 {.importc: "expm1f", header: "<math.h>".}
proc expm1(x: float64): float64 {.importc: "expm1", header: "<math.h>".}

template row(A: untyped; n, m: int): untyped =
  ## Row n of a matrix of m columns.
  A.toOpenArray(n * m, n * m + m - 1)

# ---- Activations: A = f(Z), and delta *= f'(Z).   Z, A, delta: (B, m)   p: the parameter ----

type Activation*[Real] = object
  name*: string
  value: proc (B, m: int; Z: openArray[Real]; A: var openArray[Real]; p: Real) {.nimcall.}
  # nil for an activation that is only used fused with a loss
  derivative*: proc (B, m: int; Z, A: openArray[Real]; delta: var openArray[Real]; p: Real) {.nimcall.}
  hasParameter*: bool
  p*: Real # in the table, if none is given

proc identity[Real](B, m: int; Z: openArray[Real]; A: var openArray[Real]; p: Real) =
  for k in 0 ..< B * m: A[k] = Z[k]

proc identityDerivative[Real](B, m: int; Z, A: openArray[Real]; delta: var openArray[Real]; p: Real) =
  discard

proc sigmoid[Real](B, m: int; Z: openArray[Real]; A: var openArray[Real]; p: Real) =
  for k in 0 ..< B * m: A[k] = 1 / (1 + exp(-Z[k]))

proc sigmoidDerivative[Real](B, m: int; Z, A: openArray[Real]; delta: var openArray[Real]; p: Real) =
  for k in 0 ..< B * m: delta[k] *= A[k] * (1 - A[k])

proc tanhValue[Real](B, m: int; Z: openArray[Real]; A: var openArray[Real]; p: Real) =
  for k in 0 ..< B * m: A[k] = math.tanh(Z[k])

proc tanhDerivative[Real](B, m: int; Z, A: openArray[Real]; delta: var openArray[Real]; p: Real) =
  for k in 0 ..< B * m: delta[k] *= 1 - A[k] * A[k]

proc relu[Real](B, m: int; Z: openArray[Real]; A: var openArray[Real]; p: Real) =
  for k in 0 ..< B * m: A[k] = if Z[k] < 0: Real(0) else: Z[k] # this comparison keeps NaN

proc reluDerivative[Real](B, m: int; Z, A: openArray[Real]; delta: var openArray[Real]; p: Real) =
  for k in 0 ..< B * m: delta[k] = if A[k] > 0: delta[k] else: Real(0)

proc leakyRelu[Real](B, m: int; Z: openArray[Real]; A: var openArray[Real]; p: Real) =
  for k in 0 ..< B * m: A[k] = if Z[k] > 0: Z[k] else: p * Z[k]

proc leakyReluDerivative[Real](B, m: int; Z, A: openArray[Real]; delta: var openArray[Real]; p: Real) =
  for k in 0 ..< B * m: delta[k] = if Z[k] > 0: delta[k] else: p * delta[k]

proc elu[Real](B, m: int; Z: openArray[Real]; A: var openArray[Real]; p: Real) =
  for k in 0 ..< B * m: A[k] = if Z[k] > 0: Z[k] else: p * expm1(Z[k])

proc eluDerivative[Real](B, m: int; Z, A: openArray[Real]; delta: var openArray[Real]; p: Real) =
  ## p exp(z) = p (exp(z) - 1) + p = a + p
  for k in 0 ..< B * m: delta[k] = if Z[k] > 0: delta[k] else: (A[k] + p) * delta[k]

proc softplus[Real](B, m: int; Z: openArray[Real]; A: var openArray[Real]; p: Real) =
  ## log(1 + exp(z)), without overflow
  for k in 0 ..< B * m: A[k] = (if Z[k] < 0: Real(0) else: Z[k]) + log1p(exp(-abs(Z[k])))

proc softplusDerivative[Real](B, m: int; Z, A: openArray[Real]; delta: var openArray[Real]; p: Real) =
  for k in 0 ..< B * m: delta[k] *= 1 / (1 + exp(-Z[k]))

proc hardSigmoid[Real](B, m: int; Z: openArray[Real]; A: var openArray[Real]; p: Real) =
  for k in 0 ..< B * m: A[k] = if Z[k] <= -2: Real(0) elif Z[k] >= 2: Real(1) else: Z[k] / 4 + Real(0.5)

proc hardSigmoidDerivative[Real](B, m: int; Z, A: openArray[Real]; delta: var openArray[Real]; p: Real) =
  for k in 0 ..< B * m: delta[k] = if abs(Z[k]) < 2: delta[k] / 4 else: Real(0)

proc hardTanh[Real](B, m: int; Z: openArray[Real]; A: var openArray[Real]; p: Real) =
  for k in 0 ..< B * m: A[k] = if Z[k] < -1: Real(-1) elif Z[k] > 1: Real(1) else: Z[k]

proc hardTanhDerivative[Real](B, m: int; Z, A: openArray[Real]; delta: var openArray[Real]; p: Real) =
  for k in 0 ..< B * m: delta[k] = if abs(Z[k]) < 1: delta[k] else: Real(0)

proc softmaxOfRow[Real](z: openArray[Real]; a: var openArray[Real]) =
  ## a = exp(z) / its sum, with z shifted so that the largest exponent is 0.
  let largest = z.max
  var sum = Real(0)
  for j in 0 ..< z.len:
    a[j] = exp(z[j] - largest)
    sum += a[j]
  for j in 0 ..< z.len: a[j] /= sum

proc softmax[Real](B, m: int; Z: openArray[Real]; A: var openArray[Real]; p: Real) =
  for n in 0 ..< B: softmaxOfRow(Z.row(n, m), A.row(n, m))

func activations*[Real](): seq[Activation[Real]] =
  @[
    Activation[Real](name: "identity", value: identity[Real], derivative: identityDerivative[Real]),
    Activation[Real](name: "sigmoid", value: sigmoid[Real], derivative: sigmoidDerivative[Real]),
    Activation[Real](name: "tanh", value: tanhValue[Real], derivative: tanhDerivative[Real]),
    Activation[Real](name: "relu", value: relu[Real], derivative: reluDerivative[Real]),
    Activation[Real](name: "leaky_relu", value: leakyRelu[Real], derivative: leakyReluDerivative[Real],
                     hasParameter: true, p: 0.01),
    Activation[Real](name: "elu", value: elu[Real], derivative: eluDerivative[Real], hasParameter: true, p: 1),
    Activation[Real](name: "softplus", value: softplus[Real], derivative: softplusDerivative[Real]),
    Activation[Real](name: "hard_sigmoid", value: hardSigmoid[Real], derivative: hardSigmoidDerivative[Real]),
    Activation[Real](name: "hard_tanh", value: hardTanh[Real], derivative: hardTanhDerivative[Real]),
    Activation[Real](name: "softmax", value: softmax[Real]),
  ]

# ---- Losses, summed over B rows.   Z (pre-activations), Y (outputs), T (targets): (B, m) ----

type Loss*[Real] = object
  name*: string
  fuses*: string # the output activation that it is fused with; "": any elementwise one
  value: proc (B, m: int; Z, Y, T: openArray[Real]): Real {.nimcall.}
  derivative: Real # c in dL/dY = c (Y - T), or, fused, in dL/dZ = c (Y - T)

proc squaredError[Real](B, m: int; Z, Y, T: openArray[Real]): Real =
  for k in 0 ..< B * m: result += (Y[k] - T[k]) * (Y[k] - T[k])

proc halfSquaredError[Real](B, m: int; Z, Y, T: openArray[Real]): Real =
  squaredError(B, m, Z, Y, T) / 2

func softmaxCrossEntropyOfRow[Real](z, t: openArray[Real]): Real =
  ## -sum t log softmax(z) = sum t (log sum exp z - z). Subtracting the largest z first avoids overflow in exp.
  let largest = z.max
  var sum = Real(0)
  for value in z: sum += exp(value - largest)
  let logSum = ln(sum)
  for j in 0 ..< z.len: result += t[j] * (logSum - (z[j] - largest))

proc softmaxCrossEntropy[Real](B, m: int; Z, Y, T: openArray[Real]): Real =
  for n in 0 ..< B: result += softmaxCrossEntropyOfRow(Z.row(n, m), T.row(n, m))

proc sigmoidCrossEntropy[Real](B, m: int; Z, Y, T: openArray[Real]): Real =
  ## -sum t log sigmoid(z) + (1 - t) log(1 - sigmoid(z)) = sum max(z, 0) - z t + log(1 + exp(-|z|)).
  for k in 0 ..< B * m: result += max(Z[k], 0) - Z[k] * T[k] + log1p(exp(-abs(Z[k])))

func losses*[Real](): seq[Loss[Real]] =
  @[
    Loss[Real](name: "squared_error", value: squaredError[Real], derivative: 2),
    Loss[Real](name: "half_squared_error", value: halfSquaredError[Real], derivative: 1),
    Loss[Real](name: "softmax_cross_entropy", fuses: "softmax", value: softmaxCrossEntropy[Real], derivative: 1),
    Loss[Real](name: "sigmoid_cross_entropy", fuses: "sigmoid", value: sigmoidCrossEntropy[Real], derivative: 1),
  ]

# ---- Products ----

template require(sameLengths: bool) =
  ## Once it knows that the lengths are the same, the compiler drops the checks of bounds from the loop that follows.
  if not sameLengths: raise newException(AssertionDefect, "rows of different lengths")

proc addFourToFour[Real](a: array[4, array[4, Real]]; b0 {.noalias.}, b1 {.noalias.}, b2 {.noalias.},
                         b3 {.noalias.}: openArray[Real]; c0 {.noalias.}, c1 {.noalias.}, c2 {.noalias.},
                         c3 {.noalias.}: var openArray[Real]) {.inline.} =
  ## Add four rows of B to four rows of C, each times its number in a: each row of B is loaded once for four of C.
  let n = c0.len
  require b0.len == n and b1.len == n and b2.len == n and b3.len == n and c1.len == n and c2.len == n and c3.len == n
  for j in 0 ..< n:
    c0[j] += a[0][0] * b0[j] + a[0][1] * b1[j] + a[0][2] * b2[j] + a[0][3] * b3[j]
    c1[j] += a[1][0] * b0[j] + a[1][1] * b1[j] + a[1][2] * b2[j] + a[1][3] * b3[j]
    c2[j] += a[2][0] * b0[j] + a[2][1] * b1[j] + a[2][2] * b2[j] + a[2][3] * b3[j]
    c3[j] += a[3][0] * b0[j] + a[3][1] * b1[j] + a[3][2] * b2[j] + a[3][3] * b3[j]

proc addFourToOne[Real](a: array[4, Real]; b0 {.noalias.}, b1 {.noalias.}, b2 {.noalias.},
                        b3 {.noalias.}: openArray[Real]; c {.noalias.}: var openArray[Real]) {.inline.} =
  let n = c.len
  require b0.len == n and b1.len == n and b2.len == n and b3.len == n
  for j in 0 ..< n: c[j] += a[0] * b0[j] + a[1] * b1[j] + a[2] * b2[j] + a[3] * b3[j]

proc addOneToOne[Real](a: Real; b {.noalias.}: openArray[Real]; c {.noalias.}: var openArray[Real]) {.inline.} =
  require b.len == c.len
  for j in 0 ..< c.len: c[j] += a * b[j]

proc addProduct[Real](m, k, n: int; A: openArray[Real]; row, column: int; B: openArray[Real];
                      C: var openArray[Real]) =
  ## C += A B.   A: (m, k)   B: (k, n)   C: (m, n)
  ## A[i][p] is A[i * row + p * column]: the strides let the same loops read A transposed.
  template a(i, p: int): array[4, Real] =
    [A[i * row + p * column], A[i * row + (p + 1) * column], A[i * row + (p + 2) * column],
     A[i * row + (p + 3) * column]]
  var i = 0
  while i + 4 <= m:
    var p = 0
    while p + 4 <= k:
      addFourToFour([a(i, p), a(i + 1, p), a(i + 2, p), a(i + 3, p)], B.row(p, n), B.row(p + 1, n), B.row(p + 2, n),
                    B.row(p + 3, n), C.row(i, n), C.row(i + 1, n), C.row(i + 2, n), C.row(i + 3, n))
      p += 4
    while p < k:
      for r in i ..< i + 4: addOneToOne(A[r * row + p * column], B.row(p, n), C.row(r, n))
      inc p
    i += 4
  while i < m:
    var p = 0
    while p + 4 <= k:
      addFourToOne(a(i, p), B.row(p, n), B.row(p + 1, n), B.row(p + 2, n), B.row(p + 3, n), C.row(i, n))
      p += 4
    while p < k:
      addOneToOne(A[i * row + p * column], B.row(p, n), C.row(i, n))
      inc p
    inc i

func addProducts[Real](a, b: openArray[Real]; part: var array[8, Real]) {.inline.} =
  require a.len == 8 and b.len == 8
  for k in 0 ..< 8: part[k] += a[k] * b[k]

func dot[Real](a, b: openArray[Real]): Real {.inline.} =
  ## Return sum_j a[j] b[j], in eight partial sums, so that an addition does not wait for the one before it.
  require a.len == b.len
  var part: array[8, Real]
  var j = 0
  while j + 8 <= a.len:
    addProducts(a.toOpenArray(j, j + 7), b.toOpenArray(j, j + 7), part)
    j += 8
  while j < a.len:
    result += a[j] * b[j]
    inc j
  for k in 0 ..< 8: result += part[k]

# The next five take arrays, not a layer: GCC vectorizes a loop only if the arrays cannot overlap their descriptors.

proc affine[Real](A, W, b: openArray[Real]; B: int; Z: var openArray[Real]) =
  ## Z = A W + b.   A: (B, inputs)   W: (inputs, m)   b: (m)
  let (inputs, m) = (W.len div b.len, b.len)
  for n in 0 ..< B:
    for j in 0 ..< m: Z[n * m + j] = b[j]
  addProduct(B, inputs, m, A, inputs, 1, W, Z)

proc productWithTransposed[Real](delta, W: openArray[Real]; inputs, B: int; deltaBelow: var openArray[Real]) =
  ## deltaBelow = delta W^T.   delta: (B, m)   W: (inputs, m)
  let m = W.len div inputs
  for n in 0 ..< B:
    for i in 0 ..< inputs:
      deltaBelow[n * inputs + i] = dot(delta.row(n, m), W.row(i, m))

proc weightGradient[Real](A, delta, W: openArray[Real]; l2: Real; inputs, B: int; dW: var openArray[Real]) =
  ## dW = A^T delta + l2 W.   A: (B, inputs)   delta: (B, m)   W: (inputs, m)
  require dW.len == W.len
  for k in 0 ..< W.len: dW[k] = l2 * W[k]
  addProduct(inputs, B, W.len div inputs, A, 1, inputs, delta, dW)

proc biasGradient[Real](delta: openArray[Real]; B: int; db: var openArray[Real]) =
  ## db = the sum of the rows of delta.   delta: (B, m)   db: (m)
  let m = db.len
  for j in 0 ..< m: db[j] = 0
  for n in 0 ..< B:
    for j in 0 ..< m: db[j] += delta[n * m + j]

proc descend[Real](theta: var openArray[Real]; gradient: openArray[Real]; rate: Real) =
  require gradient.len == theta.len
  for k in 0 ..< theta.len: theta[k] -= rate * gradient[k]

# ---- The network and its workspace ----

type
  Operation* {.pure.} = enum
    forward, gradient

  Layer[Real] = object
    inputs, outputs: int   # m_{l-1}, m_l
    f: Activation[Real]
    W, dW: seq[Real]       # (inputs, outputs)
    b, db: seq[Real]       # (outputs)
    Z, A, delta: seq[Real] # (B, outputs), with room for the largest B so far

  Model*[Real] = object
    nInputs, nOutputs: int # m_0, m_L
    layers: seq[Layer[Real]]
    lossFunction: Loss[Real]
    l2: Real
    start: seq[Real]   # theta as created
    x, y: seq[Real]    # the data: (rows, m_0), (rows, m_L)
    order: seq[int64]  # row numbers
    X, T: seq[Real]    # a minibatch: (B, m_0), (B, m_L)

template lastLayer(model: Model): untyped = model.layers[model.layers.high] # layers[^1] would copy it

func rows*[Real](model: Model[Real]): int = model.x.len div model.nInputs

func orderLen*[Real](model: Model[Real]): int = model.order.len

func theta*[Real](model: Model[Real]): seq[Real] =
  ## W_1 row by row, b_1, W_2, b_2, ...
  for layer in model.layers: result.add concat(layer.W, layer.b)

func gradient*[Real](model: Model[Real]): seq[Real] =
  ## The gradient of the last step, laid out as theta.
  for layer in model.layers: result.add concat(layer.dW, layer.db)

func Y*[Real](model: Model[Real]; B: int): seq[Real] =
  ## The outputs of the last forward pass: (B, m_L).
  model.lastLayer.A[0 ..< B * model.nOutputs]

proc reserve*[Real](model: var Model[Real]; B: int) =
  ## Make room for steps on B rows.
  template grow(buffer: seq[Real]; width: int) =
    if buffer.len < B * width: buffer.setLen B * width
  for layer in model.layers.mitems:
    grow(layer.Z, layer.outputs)
    grow(layer.A, layer.outputs)
    grow(layer.delta, layer.outputs)
  grow(model.X, model.nInputs)
  grow(model.T, model.nOutputs)

proc reset*[Real](model: var Model[Real]) =
  ## Set theta to the values that the model was created with.
  var at = 0
  for layer in model.layers.mitems:
    for w in layer.W.mitems: (w = model.start[at]; inc at)
    for b in layer.b.mitems: (b = model.start[at]; inc at)

proc initModel*[Real](sizes: seq[int]; activations: seq[Activation[Real]]; lossFunction: Loss[Real]; l2: Real;
                      start, x, y: seq[Real]; order: seq[int64]): Model[Real] =
  ## sizes: m_0 .. m_L   activations: f_1 .. f_L, where f_L is the one that the loss fuses, if any
  ## start: W_1 row by row, b_1, W_2, b_2, ...
  result = Model[Real](nInputs: sizes[0], nOutputs: sizes[^1], lossFunction: lossFunction, l2: l2, start: start, x: x,
                       y: y, order: order)
  for l, f in activations:
    let (inputs, outputs) = (sizes[l], sizes[l + 1])
    result.layers.add Layer[Real](inputs: inputs, outputs: outputs, f: f,
                                  W: newSeq[Real](inputs * outputs), dW: newSeq[Real](inputs * outputs),
                                  b: newSeq[Real](outputs), db: newSeq[Real](outputs))
  result.reset

# ---- A step on B rows ----

proc forward[Real](model: var Model[Real]; X: openArray[Real]; B: int) =
  ## Compute Z and A of every layer.   X: (B, m_0)
  for l in 0 .. model.layers.high:
    template layer: untyped = model.layers[l]
    if l == 0: affine(X, layer.W, layer.b, B, layer.Z)
    else: affine(model.layers[l - 1].A, layer.W, layer.b, B, layer.Z)
    layer.f.value(B, layer.outputs, layer.Z, layer.A, layer.f.p)

proc outputDelta[Real](model: var Model[Real]; T: openArray[Real]; B: int) =
  ## delta_L = dR/dZ_L.   T: (B, m_L)
  let scale = model.lossFunction.derivative / Real(B)
  for k in 0 ..< B * model.nOutputs: model.lastLayer.delta[k] = scale * (model.lastLayer.A[k] - T[k])
  if model.lossFunction.fuses == "":
    let f = model.lastLayer.f
    f.derivative(B, model.nOutputs, model.lastLayer.Z, model.lastLayer.A, model.lastLayer.delta, f.p)

proc propagate[Real](layer: Layer[Real]; below: var Layer[Real]; B: int)

proc backward[Real](model: var Model[Real]; X: openArray[Real]; B: int) =
  ## Compute the gradient from delta_L; theta stays unchanged.   X: (B, m_0)
  for l in countdown(model.layers.high, 0):
    template layer: untyped = model.layers[l]
    biasGradient(layer.delta, B, layer.db)
    if l == 0:
      weightGradient(X, layer.delta, layer.W, model.l2, layer.inputs, B, layer.dW)
    else:
      template below: untyped = model.layers[l - 1]
      weightGradient(below.A, layer.delta, layer.W, model.l2, layer.inputs, B, layer.dW)
      propagate(layer, below, B)

proc propagate[Real](layer: Layer[Real]; below: var Layer[Real]; B: int) =
  ## delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T): from layer l to the layer below.
  productWithTransposed(layer.delta, layer.W, layer.inputs, B, below.delta)
  below.f.derivative(B, below.outputs, below.Z, below.A, below.delta, below.f.p)

proc update[Real](model: var Model[Real]; rate: Real) =
  ## theta <- theta - rate dtheta
  for layer in model.layers.mitems:
    descend(layer.W, layer.dW, rate)
    descend(layer.b, layer.db, rate)

proc loss[Real](model: Model[Real]; T: openArray[Real]; B: int): Real =
  ## Return R over the B rows of the last forward pass.   T: (B, m_L)
  template last: untyped = model.lastLayer
  result = model.lossFunction.value(B, last.outputs, last.Z, last.A, T) / Real(B)
  var squares = Real(0)
  for layer in model.layers:
    for w in layer.W: squares += w * w
  result += model.l2 / 2 * squares

# ---- Procedures that the worker calls ----

template inputsOf(model: Model; first, count: int): untyped =
  model.x.toOpenArray(first * model.nInputs, (first + count) * model.nInputs - 1)

template targetsOf(model: Model; first, count: int): untyped =
  model.y.toOpenArray(first * model.nOutputs, (first + count) * model.nOutputs - 1)

proc outputs*[Real](model: var Model[Real]; first, count: int) =
  ## Compute the outputs of rows [first, first + count) in the last layer's A.
  model.forward(model.inputsOf(first, count), count)

proc lossAndGradient*[Real](model: var Model[Real]; first, count: int): Real =
  ## Return R over rows [first, first + count), and leave its gradient in the layers.
  model.forward(model.inputsOf(first, count), count)
  model.outputDelta(model.targetsOf(first, count), count)
  model.backward(model.inputsOf(first, count), count)
  model.loss(model.targetsOf(first, count), count)

proc copyRows[Real](rows: openArray[Real]; order: openArray[int64]; width: int; to: var openArray[Real]) =
  for n, row in order:
    for i in 0 ..< width: to[n * width + i] = rows[row.int * width + i]

proc gather[Real](model: var Model[Real]; first, B: int) =
  ## Copy the rows order[first ..< first + B] to X and T.
  copyRows(model.x, model.order.toOpenArray(first, first + B - 1), model.nInputs, model.X)
  copyRows(model.y, model.order.toOpenArray(first, first + B - 1), model.nOutputs, model.T)

proc train*[Real](model: var Model[Real]; first, count, batchSize: int; rate: Real) =
  ## Run gradient descent over order[first ..< first + count] in minibatches of batchSize rows; the last one may be
  ## shorter.
  for at in countup(first, first + count - 1, batchSize):
    let B = min(batchSize, first + count - at)
    model.gather(at, B)
    model.forward(model.X, B)
    model.outputDelta(model.T, B)
    model.backward(model.X, B)
    model.update(rate)

func entries*[Real](model: Model[Real]; operation: Operation; count: int): int =
  ## The number of outputs of `count` rows, or of entries of the gradient.
  case operation
  of Operation.forward: result = count * model.nOutputs
  of Operation.gradient:
    for layer in model.layers: result += layer.dW.len + layer.db.len

proc place*[Real](model: var Model[Real]; operation: Operation; entry: int): ptr Real =
  ## Where an entry of the outputs, or of the gradient laid out as theta, lies until the next `reserve`.
  if operation == Operation.forward: return addr model.layers[^1].A[entry]
  var (l, at) = (0, entry)
  while at >= model.layers[l].dW.len + model.layers[l].db.len:
    at -= model.layers[l].dW.len + model.layers[l].db.len
    inc l
  if at < model.layers[l].dW.len: addr model.layers[l].dW[at] else: addr model.layers[l].db[at - model.layers[l].dW.len]

proc timedPass*[Real](model: var Model[Real]; operation: Operation; first, count: int; probe: ptr Real): float64 =
  ## Run one pass of the command `time` and return its term of the checksum.
  case operation
  of Operation.forward:
    model.outputs(first, count)
    probe[].float64
  of Operation.gradient:
    model.lossAndGradient(first, count).float64 + probe[].float64
