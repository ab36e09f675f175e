// mlp.go: the network in plain Go: activations, losses, forward, output delta, backward, update.
// Nothing here checks an argument or reads a clock, and a step allocates nothing. Commands and files are in worker.go.
package main

import "math"

// The dtypes; the compiler generates the code below for each of them. Lower-case z, a, y, t are single rows. The
// functions of package math take float64 only, so a float32 argument is widened and the result is rounded once.
type Float interface{ float32 | float64 }

// ---- Activations: a = f(z) for one row, z = Z_l[n] and a = A_l[n]; p: the parameter. In comparisons, NaN stays NaN ----

func identity[Real Float](z, a []Real, p Real) { copy(a, z) }

func sigmoid[Real Float](z, a []Real, p Real) {
	for j := range a {
		a[j] = Real(1 / (1 + math.Exp(float64(-z[j]))))
	}
}

func tanh[Real Float](z, a []Real, p Real) {
	for j := range a {
		a[j] = Real(math.Tanh(float64(z[j])))
	}
}

func relu[Real Float](z, a []Real, p Real) {
	for j := range a {
		if z[j] < 0 {
			a[j] = 0
		} else {
			a[j] = z[j]
		}
	}
}

func leakyRelu[Real Float](z, a []Real, p Real) {
	for j := range a {
		if z[j] > 0 {
			a[j] = z[j]
		} else {
			a[j] = p * z[j]
		}
	}
}

func elu[Real Float](z, a []Real, p Real) {
	for j := range a {
		if z[j] > 0 {
			a[j] = z[j]
		} else {
			a[j] = p * Real(math.Expm1(float64(z[j])))
		}
	}
}

// log(1 + exp(z)), without overflow.
func softplus[Real Float](z, a []Real, p Real) {
	for j := range a {
		z := float64(z[j])
		a[j] = Real(math.Max(z, 0) + math.Log1p(math.Exp(-math.Abs(z))))
	}
}

func hardSigmoid[Real Float](z, a []Real, p Real) {
	for j := range a {
		switch {
		case z[j] <= -2:
			a[j] = 0
		case z[j] >= 2:
			a[j] = 1
		default:
			a[j] = z[j]/4 + 0.5
		}
	}
}

func hardTanh[Real Float](z, a []Real, p Real) {
	for j := range a {
		switch {
		case z[j] < -1:
			a[j] = -1
		case z[j] > 1:
			a[j] = 1
		default:
			a[j] = z[j]
		}
	}
}

func softmax[Real Float](z, a []Real, p Real) {
	top, sum := largest(z), Real(0)
	for j := range a {
		a[j] = Real(math.Exp(float64(z[j] - top)))
		sum += a[j]
	}
	for j := range a {
		a[j] /= sum
	}
}

func largest[Real Float](z []Real) Real {
	top := z[0]
	for _, z := range z {
		if z > top {
			top = z
		}
	}
	return top
}

// Derivatives: delta <- f'(z) delta, where a = f(z).

func identityDerivative[Real Float](z, a, delta []Real, p Real) {}

func sigmoidDerivative[Real Float](z, a, delta []Real, p Real) {
	for j := range delta {
		delta[j] *= a[j] * (1 - a[j])
	}
}

func tanhDerivative[Real Float](z, a, delta []Real, p Real) {
	for j := range delta {
		delta[j] *= 1 - a[j]*a[j]
	}
}

func reluDerivative[Real Float](z, a, delta []Real, p Real) {
	for j := range delta {
		if !(a[j] > 0) {
			delta[j] = 0
		}
	}
}

func leakyReluDerivative[Real Float](z, a, delta []Real, p Real) {
	for j := range delta {
		if !(z[j] > 0) {
			delta[j] *= p
		}
	}
}

// p exp(z) = p (exp(z) - 1) + p = a + p.
func eluDerivative[Real Float](z, a, delta []Real, p Real) {
	for j := range delta {
		if !(z[j] > 0) {
			delta[j] *= a[j] + p
		}
	}
}

func softplusDerivative[Real Float](z, a, delta []Real, p Real) {
	for j := range delta {
		delta[j] *= Real(1 / (1 + math.Exp(float64(-z[j]))))
	}
}

func hardSigmoidDerivative[Real Float](z, a, delta []Real, p Real) {
	for j := range delta {
		if z[j] > -2 && z[j] < 2 {
			delta[j] /= 4
		} else {
			delta[j] = 0
		}
	}
}

func hardTanhDerivative[Real Float](z, a, delta []Real, p Real) {
	for j := range delta {
		if !(z[j] > -1 && z[j] < 1) {
			delta[j] = 0
		}
	}
}

type activation[Real Float] struct {
	name       string
	value      func(z, a []Real, p Real)
	derivative func(z, a, delta []Real, p Real) // nil: needs a loss that fuses it
	parameter  Real                             // in the table, if none is given; NaN: it takes none
}

func activations[Real Float]() []activation[Real] {
	none := Real(math.NaN())
	return []activation[Real]{
		{"identity", identity[Real], identityDerivative[Real], none},
		{"sigmoid", sigmoid[Real], sigmoidDerivative[Real], none},
		{"tanh", tanh[Real], tanhDerivative[Real], none},
		{"relu", relu[Real], reluDerivative[Real], none},
		{"leaky_relu", leakyRelu[Real], leakyReluDerivative[Real], 0.01},
		{"elu", elu[Real], eluDerivative[Real], 1},
		{"softplus", softplus[Real], softplusDerivative[Real], none},
		{"hard_sigmoid", hardSigmoid[Real], hardSigmoidDerivative[Real], none},
		{"hard_tanh", hardTanh[Real], hardTanhDerivative[Real], none},
		{"softmax", softmax[Real], nil, none},
	}
}

// ---- Losses: L of one row, from z = Z_L[n], y = A_L[n] and the targets t ----

func squaredError[Real Float](z, y, t []Real) float64 {
	sum := 0.0
	for j := range t {
		sum += float64((y[j] - t[j]) * (y[j] - t[j]))
	}
	return sum
}

func halfSquaredError[Real Float](z, y, t []Real) float64 {
	return squaredError(z, y, t) / 2
}

// -sum t log softmax(z) = sum t (log sum exp z - z), with the largest z subtracted before each exp.
func softmaxCrossEntropy[Real Float](z, y, t []Real) float64 {
	top, sum, loss := largest(z), 0.0, 0.0
	for j := range z {
		sum += math.Exp(float64(z[j] - top))
	}
	logSum := math.Log(sum)
	for j := range t {
		loss += float64(t[j]) * (logSum - float64(z[j]-top))
	}
	return loss
}

// -t log sigmoid(z) - (1-t) log(1 - sigmoid(z)) = max(z, 0) - z t + log(1 + exp(-|z|)).
func sigmoidCrossEntropy[Real Float](z, y, t []Real) float64 {
	loss := 0.0
	for j := range t {
		z, t := float64(z[j]), float64(t[j])
		loss += math.Max(z, 0) - z*t + math.Log1p(math.Exp(-math.Abs(z)))
	}
	return loss
}

type loss[Real Float] struct {
	name       string
	fuses      string // the only output activation it takes; "": it takes any elementwise one
	value      func(z, y, t []Real) float64
	derivative Real // c in dL/dy = c (y - t); where an activation is fused, in dL/dz = c (y - t)
}

func losses[Real Float]() []loss[Real] {
	return []loss[Real]{
		{"squared_error", "", squaredError[Real], 2},
		{"half_squared_error", "", halfSquaredError[Real], 1},
		{"softmax_cross_entropy", "softmax", softmaxCrossEntropy[Real], 1},
		{"sigmoid_cross_entropy", "sigmoid", sigmoidCrossEntropy[Real], 1},
	}
}

// ---- The two products of a step ----

// c += a B for one row of C, four rows of B at a time. a: (k), its elements `column` apart; c: (n).
// Each b is cut to the length of c, which removes the bounds checks on j. a and B are resliced instead of indexed: with
// fewer counters, the variables of the inner loop stay in registers.
func addRow[Real Float](k, n int, a []Real, column int, B, c []Real) {
	for ; k >= 4; k -= 4 {
		a0, a1, a2, a3 := a[0], a[column], a[2*column], a[3*column]
		b0, b1, b2, b3 := B[:len(c)], B[n:][:len(c)], B[2*n:][:len(c)], B[3*n:][:len(c)]
		for j := range c {
			c[j] += a0*b0[j] + a1*b1[j] + a2*b2[j] + a3*b3[j]
		}
		B = B[4*n:]
		if k > 4 {
			a = a[4*column:]
		}
	}
	for p := 0; p < k; p++ {
		ap, b := a[p*column], B[p*n:][:len(c)]
		for j := range c {
			c[j] += ap * b[j]
		}
	}
}

// C += A B. A: (m, k), B: (k, n), C: (m, n); A[i][p] is A[i*row+p*column], so the strides also describe a transposed A.
// One row of C at a time: the Go compiler does not vectorize these loops, and two rows at a time were no faster.
func addProduct[Real Float](m, k, n int, A []Real, row, column int, B, C []Real) {
	for i := 0; i < m; i++ {
		addRow(k, n, A[i*row:], column, B, C[i*n:(i+1)*n])
	}
}

// sum_j a[j] b[j] in four partial sums: in a single sum, every addition would wait for the one before it.
func dot[Real Float](a, b []Real) Real {
	var sum, s0, s1, s2, s3 Real
	j := 0
	for b = b[:len(a)]; j+4 <= len(a); j += 4 {
		a, b := a[j:j+4:j+4], b[j:j+4:j+4] // with an explicit capacity, a slice is cheaper to cut
		s0 += a[0] * b[0]
		s1 += a[1] * b[1]
		s2 += a[2] * b[2]
		s3 += a[3] * b[3]
	}
	for ; j < len(a); j++ {
		sum += a[j] * b[j]
	}
	return sum + (s0 + s1) + (s2 + s3)
}

// b <- alpha a.
func scale[Real Float](alpha Real, a, b []Real) {
	b = b[:len(a)]
	for i := range a {
		b[i] = alpha * a[i]
	}
}

// sum <- the sum of the rows of A: (any, len(sum)).
func sumRows[Real Float](A, sum []Real) {
	for j := range sum {
		sum[j] = 0
	}
	for ; len(A) > 0; A = A[len(sum):] {
		for j, a := range A[:len(sum)] {
			sum[j] += a
		}
	}
}

// ---- The network and its workspace ----

type layer[Real Float] struct {
	inputs, outputs int    // m_{l-1}, m_l
	W, b            []Real // (inputs, outputs), (outputs): views of theta
	dW, db          []Real // (inputs, outputs), (outputs): views of the gradient
	f               activation[Real]
	Z, A, delta     []Real // (capacity, outputs)
}

type mlp[Real Float] struct {
	layers                 []*layer[Real]
	lossFunction           loss[Real]
	l2                     float64
	theta, start, gradient []Real // (n_parameters): now, at init, and of the last step

	rows  int
	x, y  []Real  // (rows, m_0), (rows, m_L)
	order []int64 // row numbers

	capacity int    // rows that fit in the workspace
	X, T     []Real // (capacity, m_0), (capacity, m_L): the rows of a minibatch
}

// Make a network without data. sizes: m_0 .. m_L; f: f_1 .. f_L; theta: W_1 row by row, b_1, W_2, ...
func newMLP[Real Float](
	sizes []int, f []activation[Real], lossFunction loss[Real], l2 float64, theta []Real,
) *mlp[Real] {
	net := &mlp[Real]{lossFunction: lossFunction, l2: l2, theta: theta}
	net.start = append([]Real(nil), theta...)
	net.gradient = scattered[Real](len(theta))
	at := 0
	for l := range f {
		inputs, outputs := sizes[l], sizes[l+1]
		b, end := at+inputs*outputs, at+(inputs+1)*outputs
		net.layers = append(net.layers, &layer[Real]{
			inputs: inputs, outputs: outputs, f: f[l], W: theta[at:b], b: theta[b:end],
			dW: net.gradient[at:b], db: net.gradient[b:end],
		})
		at = end
	}
	return net
}

func (net *mlp[Real]) first() *layer[Real] { return net.layers[0] }

func (net *mlp[Real]) last() *layer[Real] { return net.layers[len(net.layers)-1] }

// Make room for B rows: the only allocation of X, T, Z, A and delta.
func (net *mlp[Real]) reserve(B int) {
	if B <= net.capacity {
		return
	}
	net.capacity = B
	net.X, net.T = scattered[Real](B*net.first().inputs), scattered[Real](B*net.last().outputs)
	for _, l := range net.layers {
		l.Z, l.A, l.delta = scattered[Real](B*l.outputs), scattered[Real](B*l.outputs), scattered[Real](B*l.outputs)
	}
}

func (net *mlp[Real]) reset() { copy(net.theta, net.start) }

// ---- The step on B rows: X: (B, m_0), T: (B, m_L); Z, A, delta of layer l: (B, m_l) ----

// Z_l = A_{l-1} W_l + b_l, A_l = f_l(Z_l) for l = 1 .. L.
func (net *mlp[Real]) forward(X []Real, B int) {
	ABelow := X
	for _, l := range net.layers {
		m := l.outputs
		for n := 0; n < B; n++ {
			copy(l.Z[n*m:(n+1)*m], l.b)
		}
		addProduct(B, l.inputs, m, ABelow, l.inputs, 1, l.W, l.Z)
		for n := 0; n < B; n++ {
			l.f.value(l.Z[n*m:(n+1)*m], l.A[n*m:(n+1)*m], l.f.parameter)
		}
		ABelow = l.A
	}
}

// delta_L = dR/dZ_L.
func (net *mlp[Real]) outputDelta(T []Real, B int) {
	last := net.last()
	size, scale := B*last.outputs, net.lossFunction.derivative/Real(B)
	Y, delta := last.A[:size], last.delta[:size]
	for j := range delta {
		delta[j] = scale * (Y[j] - T[j])
	}
	if net.lossFunction.fuses == "" {
		last.f.derivative(last.Z[:size], Y, delta, last.f.parameter)
	}
}

// From delta_L down: the gradient, laid out as theta. theta does not change.
func (net *mlp[Real]) backward(X []Real, B int) {
	for at := len(net.layers) - 1; at >= 0; at-- {
		l, ABelow := net.layers[at], X
		if at > 0 {
			ABelow = net.layers[at-1].A
		}

		scale(Real(net.l2), l.W, l.dW)
		addProduct(l.inputs, B, l.outputs, ABelow, 1, l.inputs, l.delta, l.dW)

		sumRows(l.delta[:B*l.outputs], l.db)

		if at > 0 {
			propagate(l, net.layers[at-1], B)
		}
	}
}

// delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T), from layer l to the layer below.
func propagate[Real Float](l, below *layer[Real], B int) {
	m, inputs := l.outputs, l.inputs
	for n := 0; n < B; n++ {
		delta, deltaBelow := l.delta[n*m:(n+1)*m], below.delta[n*inputs:(n+1)*inputs]
		for i := range deltaBelow {
			deltaBelow[i] = dot(delta, l.W[i*m:(i+1)*m])
		}
	}
	size := B * inputs
	below.f.derivative(below.Z[:size], below.A[:size], below.delta[:size], below.f.parameter)
}

// theta <- theta - rate * gradient.
func (net *mlp[Real]) update(rate Real) {
	theta, gradient := net.theta, net.gradient[:len(net.theta)]
	for i := range theta {
		theta[i] -= rate * gradient[i]
	}
}

// R of the last forward pass.
func (net *mlp[Real]) loss(T []Real, B int) float64 {
	last, loss, squares := net.last(), 0.0, 0.0
	m := last.outputs
	for n := 0; n < B; n++ {
		at, end := n*m, (n+1)*m
		loss += net.lossFunction.value(last.Z[at:end], last.A[at:end], T[at:end])
	}
	for _, l := range net.layers {
		for _, w := range l.W {
			squares += float64(w) * float64(w)
		}
	}
	return loss/float64(B) + net.l2/2*squares
}

// ---- The functions that worker.go calls, and the minibatch ----

// Compute the outputs of rows [first, first + count) into A of the last layer.
func (net *mlp[Real]) outputs(first, count int) {
	net.forward(net.x[first*net.first().inputs:], count)
}

// Return R of rows [first, first + count), and compute its gradient.
func (net *mlp[Real]) lossAndGradient(first, count int) float64 {
	X, T := net.x[first*net.first().inputs:], net.y[first*net.last().outputs:]
	net.forward(X, count)
	net.outputDelta(T, count)
	net.backward(X, count)
	return net.loss(T, count)
}

// Copy the rows that order[first .. first + B) names into X and T.
func (net *mlp[Real]) gather(first, B int) {
	m0, mL := net.first().inputs, net.last().outputs
	for n, row := range net.order[first : first+B] {
		copy(net.X[n*m0:(n+1)*m0], net.x[int(row)*m0:])
		copy(net.T[n*mL:(n+1)*mL], net.y[int(row)*mL:])
	}
}

// Take one step for each minibatch of order[first .. first + count).
func (net *mlp[Real]) train(first, count, batchSize int, rate float64) {
	for at, end := first, first+count; at < end; at += batchSize {
		B := batchSize
		if end-at < B {
			B = end - at
		}
		net.gather(at, B)
		net.forward(net.X, B)
		net.outputDelta(net.T, B)
		net.backward(net.X, B)
		net.update(Real(rate))
	}
}

// Do one pass of the command `time`; return its addend to the checksum.
func (net *mlp[Real]) timedPass(operation string, first, count int, probe int64) float64 {
	if operation == "forward" {
		net.outputs(first, count)
		return float64(net.last().A[probe])
	}
	return net.lossAndGradient(first, count) + float64(net.gradient[probe])
}
