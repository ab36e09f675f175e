## The network in plain Nim, in float32 or float64: forward, output delta, backward, update, as loops over flat seqs.
## Nothing here checks an argument or reads a clock, and a step allocates nothing; commands and files are fnn.nim's.

import std/[math, sequtils]

type
  Activation* {.pure.} = enum
    identity, sigmoid, tanh, relu

  Loss* {.pure.} = enum
    squaredError = "squared_error"
    halfSquaredError = "half_squared_error"
    softmaxCrossEntropy = "softmax_cross_entropy"
    sigmoidCrossEntropy = "sigmoid_cross_entropy"

  Layer[Real] = object
    inputs, outputs: int   # m_{l-1}, m_l
    f: Activation
    W, dW: seq[Real]       # (inputs, outputs), row by row
    b, db: seq[Real]       # (outputs)
    Z, A, delta: seq[Real] # (B, outputs), and longer after a larger batch

  Network*[Real] = object
    layers: seq[Layer[Real]]
    loss: Loss
    lambda: Real
    X, T: seq[Real] # (B, m_0), (B, m_L): the rows of a minibatch

proc log1p(x: float32): float32 {.importc: "log1pf", header: "<math.h>".}
proc log1p(x: float64): float64 {.importc: "log1p", header: "<math.h>".}

# ---- Activations of count values, and delta = f'(Z) ⊙ delta ----

proc activate[Real](f: Activation; Z: openArray[Real]; count: int; A: var openArray[Real]) =
  case f
  of Activation.identity:
    for k in 0 ..< count: A[k] = Z[k]
  of Activation.sigmoid:
    for k in 0 ..< count: A[k] = 1 / (1 + exp(-Z[k]))
  of Activation.tanh:
    for k in 0 ..< count: A[k] = math.tanh(Z[k])
  of Activation.relu:
    for k in 0 ..< count: A[k] = if Z[k] < 0: Real(0) else: Z[k] # this way round, NaN stays NaN

proc maskBySlope[Real](f: Activation; A: openArray[Real]; count: int; delta: var openArray[Real]) =
  case f
  of Activation.identity: discard
  of Activation.sigmoid:
    for k in 0 ..< count: delta[k] *= A[k] * (1 - A[k])
  of Activation.tanh:
    for k in 0 ..< count: delta[k] *= 1 - A[k] * A[k]
  of Activation.relu:
    for k in 0 ..< count: delta[k] = if A[k] > 0: delta[k] else: Real(0)

# ---- What the cross-entropies do with rows of Z ----

proc softmax[Real](z: openArray[Real]; a: var openArray[Real]) =
  let top = z.max
  var sum = Real(0)
  for j in 0 ..< z.len:
    a[j] = exp(z[j] - top)
    sum += a[j]
  for j in 0 ..< z.len: a[j] /= sum

func softmaxCrossEntropy[Real](z, t: openArray[Real]): Real =
  ## -Σ t log softmax(z) = Σ t (log Σ exp z - z), with the largest z taken out of the exponentials.
  let top = z.max
  var sum = Real(0)
  for value in z: sum += exp(value - top)
  let logSum = ln(sum)
  for j in 0 ..< z.len: result += t[j] * (logSum - (z[j] - top))

func sigmoidCrossEntropy[Real](z, t: Real): Real =
  ## -t log sigmoid(z) - (1-t) log(1 - sigmoid(z)) = max(z, 0) - z t + log(1 + exp(-|z|))
  max(z, 0) - z * t + log1p(exp(-abs(z)))

# ---- The products that a step is made of ----

proc addRows[Real](m: static int; k, n: int; A: openArray[Real]; row, column, i: int; B {.noalias.}: openArray[Real];
                   C {.noalias.}: var openArray[Real]) =
  ## C += A B for the m rows of A and C from i on: four rows of B at a time, each used for all rows of C.
  var p = 0
  while p + 4 <= k:
    var a {.noinit.}: array[m, array[4, Real]]
    for r in 0 ..< m:
      for q in 0 ..< 4: a[r][q] = A[(i + r) * row + (p + q) * column]
    for j in 0 ..< n:
      for r in 0 ..< m:
        C[(i + r) * n + j] += a[r][0] * B[p * n + j] + a[r][1] * B[(p + 1) * n + j] +
                              a[r][2] * B[(p + 2) * n + j] + a[r][3] * B[(p + 3) * n + j]
    p += 4
  while p < k:
    for r in 0 ..< m:
      let a = A[(i + r) * row + p * column]
      for j in 0 ..< n: C[(i + r) * n + j] += a * B[p * n + j]
    inc p

proc addProduct[Real](m, k, n: int; A: openArray[Real]; row, column: int; B: openArray[Real];
                      C: var openArray[Real]) =
  ## C += A B for A: (m, k), B: (k, n), C: (m, n). A[i][p] is A[i * row + p * column]: the strides let the same loops
  ## read it transposed.
  var i = 0
  while i + 4 <= m:
    addRows(4, k, n, A, row, column, i, B, C)
    i += 4
  while i < m:
    addRows(1, k, n, A, row, column, i, B, C)
    inc i

func dot[Real](a, b: openArray[Real]): Real {.inline.} =
  ## In eight partial sums: one alone would wait for itself at every addition.
  var part: array[8, Real]
  var j = 0
  while j + 8 <= a.len:
    for k in 0 ..< 8: part[k] += a[j + k] * b[j + k]
    j += 8
  while j < a.len:
    result += a[j] * b[j]
    inc j
  for k in 0 ..< 8: result += part[k]

# ---- One layer over B rows ----

proc affine[Real](A, W, b: openArray[Real]; B: int; Z: var openArray[Real]) =
  ## Z = A W + b
  let (inputs, m) = (W.len div b.len, b.len)
  for n in 0 ..< B:
    for j in 0 ..< m: Z[n * m + j] = b[j]
  addProduct(B, inputs, m, A, inputs, 1, W, Z)

proc weightGradient[Real](A, delta, W: openArray[Real]; lambda: Real; inputs, B: int; dW: var openArray[Real]) =
  ## dW = Aᵀ delta + λ W
  for k in 0 ..< W.len: dW[k] = lambda * W[k]
  addProduct(inputs, B, W.len div inputs, A, 1, inputs, delta, dW)

proc biasGradient[Real](delta: openArray[Real]; B: int; db: var openArray[Real]) =
  let m = db.len
  for j in 0 ..< m: db[j] = 0
  for n in 0 ..< B:
    for j in 0 ..< m: db[j] += delta[n * m + j]

proc propagate[Real](delta, W: openArray[Real]; inputs, B: int; deltaBelow: var openArray[Real]) =
  ## deltaBelow = delta Wᵀ
  let m = W.len div inputs
  for n in 0 ..< B:
    for i in 0 ..< inputs:
      deltaBelow[n * inputs + i] = dot(delta.toOpenArray(n * m, n * m + m - 1), W.toOpenArray(i * m, i * m + m - 1))

proc descend[Real](theta: var openArray[Real]; gradient: openArray[Real]; rate: Real) =
  for k in 0 ..< theta.len: theta[k] -= rate * gradient[k]

# ---- The step over B rows ----

template last(network: Network): untyped =
  network.layers[network.layers.high] # layers[^1] would copy it

proc forward*[Real](network: var Network[Real]; X: openArray[Real]; B: int) =
  for l in 0 .. network.layers.high:
    template layer: untyped = network.layers[l]
    if l == 0: affine(X, layer.W, layer.b, B, layer.Z)
    else: affine(network.layers[l - 1].A, layer.W, layer.b, B, layer.Z)
    if l == network.layers.high and network.loss == Loss.softmaxCrossEntropy:
      let m = layer.outputs
      for n in 0 ..< B:
        softmax(layer.Z.toOpenArray(n * m, n * m + m - 1), layer.A.toOpenArray(n * m, n * m + m - 1))
    else:
      activate(layer.f, layer.Z, B * layer.outputs, layer.A)

func meanLoss*[Real](network: Network[Real]; T: openArray[Real]; B: int): Real =
  ## R over the rows that went forward.
  template Z: untyped = network.last.Z
  template Y: untyped = network.last.A
  let m = network.last.outputs
  case network.loss
  of Loss.squaredError, Loss.halfSquaredError:
    for k in 0 ..< B * m: result += (Y[k] - T[k]) * (Y[k] - T[k])
    if network.loss == Loss.halfSquaredError: result /= 2
  of Loss.softmaxCrossEntropy:
    for n in 0 ..< B:
      result += softmaxCrossEntropy(Z.toOpenArray(n * m, n * m + m - 1), T.toOpenArray(n * m, n * m + m - 1))
  of Loss.sigmoidCrossEntropy:
    for k in 0 ..< B * m: result += sigmoidCrossEntropy(Z[k], T[k])
  result /= Real(B)
  var squares = Real(0)
  for layer in network.layers:
    for w in layer.W: squares += w * w
  result += network.lambda / 2 * squares

proc outputDelta[Real](network: var Network[Real]; T: openArray[Real]; B: int) =
  ## delta_L = ∂R/∂Z_L
  let count = B * network.last.outputs
  let scale = (if network.loss == Loss.squaredError: Real(2) else: Real(1)) / Real(B)
  for k in 0 ..< count: network.last.delta[k] = scale * (network.last.A[k] - T[k])
  if network.loss in {Loss.squaredError, Loss.halfSquaredError}:
    maskBySlope(network.last.f, network.last.A, count, network.last.delta)

proc backward*[Real](network: var Network[Real]; X, T: openArray[Real]; B: int) =
  ## dW and db of the rows that went forward; W and b stay as they are.
  network.outputDelta(T, B)
  for l in countdown(network.layers.high, 0):
    template layer: untyped = network.layers[l]
    biasGradient(layer.delta, B, layer.db)
    if l == 0:
      weightGradient(X, layer.delta, layer.W, network.lambda, layer.inputs, B, layer.dW)
    else:
      template below: untyped = network.layers[l - 1]
      weightGradient(below.A, layer.delta, layer.W, network.lambda, layer.inputs, B, layer.dW)
      propagate(layer.delta, layer.W, layer.inputs, B, below.delta)
      maskBySlope(below.f, below.A, B * below.outputs, below.delta)

proc update[Real](network: var Network[Real]; rate: Real) =
  for layer in network.layers.mitems:
    descend(layer.W, layer.dW, rate)
    descend(layer.b, layer.db, rate)

proc gather[Real](rows: openArray[Real]; order: openArray[int64]; width: int; into: var openArray[Real]) =
  for n, row in order:
    for i in 0 ..< width: into[n * width + i] = rows[row.int * width + i]

proc train*[Real](network: var Network[Real]; x, y: openArray[Real]; order: openArray[int64]; batch: int; rate: Real) =
  ## Gradient descent over the rows that order names, batch of them a step, the last step as many as are left.
  var first = 0
  while first < order.len:
    let B = min(batch, order.len - first)
    gather(x, order.toOpenArray(first, first + B - 1), network.layers[0].inputs, network.X)
    gather(y, order.toOpenArray(first, first + B - 1), network.last.outputs, network.T)
    network.forward(network.X, B)
    network.backward(network.X, network.T, B)
    network.update(rate)
    first += B

# ---- What fnn.nim also calls ----

proc initNetwork*[Real](sizes: seq[int]; f: seq[Activation]; loss: Loss; lambda: Real): Network[Real] =
  ## f: one activation a layer; softmax is the loss's own, and that of the output is then not looked at.
  result = Network[Real](loss: loss, lambda: lambda)
  for l in 0 ..< f.len:
    let (inputs, outputs) = (sizes[l], sizes[l + 1])
    result.layers.add Layer[Real](inputs: inputs, outputs: outputs, f: f[l],
                                  W: newSeq[Real](inputs * outputs), dW: newSeq[Real](inputs * outputs),
                                  b: newSeq[Real](outputs), db: newSeq[Real](outputs))

proc reserve*[Real](network: var Network[Real]; B: int) =
  ## Room for B rows: all that a step works in is made here.
  template grow(buffer: seq[Real]; width: int) =
    if buffer.len < B * width: buffer.setLen B * width
  for layer in network.layers.mitems:
    grow(layer.Z, layer.outputs)
    grow(layer.A, layer.outputs)
    grow(layer.delta, layer.outputs)
  grow(network.X, network.layers[0].inputs)
  grow(network.T, network.last.outputs)

proc `theta=`*[Real](network: var Network[Real]; theta: seq[Real]) =
  ## W_1 row by row, b_1, W_2, ...
  var at = 0
  for layer in network.layers.mitems:
    for w in layer.W.mitems: (w = theta[at]; inc at)
    for b in layer.b.mitems: (b = theta[at]; inc at)

func theta*[Real](network: Network[Real]): seq[Real] =
  for layer in network.layers: result.add concat(layer.W, layer.b)

func gradient*[Real](network: Network[Real]): seq[Real] =
  ## Of the last backward pass, laid out as theta.
  for layer in network.layers: result.add concat(layer.dW, layer.db)

func outputs*[Real](network: Network[Real]; B: int): seq[Real] =
  network.last.A[0 ..< B * network.last.outputs]

func ends*[Real](network: Network[Real]; B: int): float64 =
  ## The first output of the first row and the last of the last.
  network.last.A[0].float64 + network.last.A[B * network.last.outputs - 1].float64

func firstSlope*[Real](network: Network[Real]): Real =
  ## dW_1[0][0]
  network.layers[0].dW[0]
