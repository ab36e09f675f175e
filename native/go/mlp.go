// mlp.go: a feed-forward network in plain Go: activations, losses, forward, output delta, backward, update.
// Nothing here checks an argument or reads a clock, and a step allocates nothing; commands and files are worker.go's.
package main

import "math"

// Float is what a network computes in: the compiler makes everything below once for each. Lower-case z, a, y, t are
// single rows; math knows float64 alone, so a float32 is widened for a function and rounded once afterwards.
type Float interface{ float32 | float64 }

// ---- Activations of one row, and delta <- f'(z) delta, where a = f(z) ----

func identity[Real Float](z, a []Real) { copy(a, z) }

func sigmoid[Real Float](z, a []Real) {
	for j := range a {
		a[j] = Real(1 / (1 + math.Exp(float64(-z[j]))))
	}
}

func tanh[Real Float](z, a []Real) {
	for j := range a {
		a[j] = Real(math.Tanh(float64(z[j])))
	}
}

func relu[Real Float](z, a []Real) {
	for j := range a {
		if z[j] < 0 { // this way round, NaN stays NaN
			a[j] = 0
		} else {
			a[j] = z[j]
		}
	}
}

func softmax[Real Float](z, a []Real) {
	top, sum := largest(z), Real(0)
	for j := range a {
		a[j] = Real(math.Exp(float64(z[j] - top)))
		sum += a[j]
	}
	for j := range a {
		a[j] /= sum
	}
}

func identitySlope[Real Float](a, delta []Real) {}

func sigmoidSlope[Real Float](a, delta []Real) {
	for j := range delta {
		delta[j] *= a[j] * (1 - a[j])
	}
}

func tanhSlope[Real Float](a, delta []Real) {
	for j := range delta {
		delta[j] *= 1 - a[j]*a[j]
	}
}

func reluSlope[Real Float](a, delta []Real) {
	for j := range delta {
		if !(a[j] > 0) {
			delta[j] = 0
		}
	}
}

type activation[Real Float] struct {
	name     string
	function func(z, a []Real)
	slope    func(a, delta []Real) // nil: only a loss that fuses it can use it
}

func activations[Real Float]() []activation[Real] {
	return []activation[Real]{
		{"identity", identity[Real], identitySlope[Real]},
		{"sigmoid", sigmoid[Real], sigmoidSlope[Real]},
		{"tanh", tanh[Real], tanhSlope[Real]},
		{"relu", relu[Real], reluSlope[Real]},
		{"softmax", softmax[Real], nil},
	}
}

// ---- Losses of one row: z = Z_L[n], y = A_L[n] and t its targets ----

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

// -sum t log softmax(z) = sum t (log sum exp z - z), with the largest z taken out of the exponentials.
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

func largest[Real Float](z []Real) Real {
	top := z[0]
	for _, z := range z {
		if z > top {
			top = z
		}
	}
	return top
}

type loss[Real Float] struct {
	name  string
	fuses string // the output activation that belongs to it; "": any elementwise one
	value func(z, y, t []Real) float64
	slope Real // dL/dy, or where fused dL/dz, is this times y - t
}

func losses[Real Float]() []loss[Real] {
	return []loss[Real]{
		{"squared_error", "", squaredError[Real], 2},
		{"half_squared_error", "", halfSquaredError[Real], 1},
		{"softmax_cross_entropy", "softmax", softmaxCrossEntropy[Real], 1},
		{"sigmoid_cross_entropy", "sigmoid", sigmoidCrossEntropy[Real], 1},
	}
}

// ---- The two products that a step is made of ----

// C += A B for A: (m, k), B: (k, n), C: (m, n). A[i*row+p*column] is its element (i, p): the strides let the same loops
// read it transposed. One row of C at a time: nothing here becomes a vector, and two at a time were no faster.
func addProduct[Real Float](m, k, n int, A []Real, row, column int, B, C []Real) {
	for i := 0; i < m; i++ {
		addRow(k, n, A[i*row:], column, B, C[i*n:(i+1)*n])
	}
}

// c += a B for one row, four rows of B at a time.   a: (k), `column` apart   c: (n)
// Every b is cut to the length of c, which spares the checks of j; and a and B move on, which spares counters, so that
// what the inner loop needs stays in registers.
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

// sum_j a[j] b[j] in four partial sums: one alone would wait for itself at every addition.
func dot[Real Float](a, b []Real) Real {
	var sum, s0, s1, s2, s3 Real
	j := 0
	for b = b[:len(a)]; j+4 <= len(a); j += 4 {
		a, b := a[j:j+4:j+4], b[j:j+4:j+4] // a capacity of its own makes a slice cheaper to cut
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

// b = alpha a.
func scale[Real Float](alpha Real, a, b []Real) {
	b = b[:len(a)]
	for i := range a {
		b[i] = alpha * a[i]
	}
}

// sum = the sum of the rows of A: (any, len(sum)).
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
	dW, db          []Real // as W and b: views of the gradient
	f               activation[Real]
	Z, A, delta     []Real // (B, outputs), with room for `capacity` rows
}

type mlp[Real Float] struct {
	layers                 []*layer[Real]
	loss                   loss[Real]
	l2                     float64
	theta, start, gradient []Real // (n_parameters): as it is, as it was given, and of the last step

	rows  int
	x, y  []Real  // (rows, m_0), (rows, m_L)
	order []int64 // row numbers

	capacity int    // rows that the workspace has room for
	X, T     []Real // (capacity, m_0), (capacity, m_L): the rows of a minibatch
}

// theta: W_1 row by row, b_1, W_2, ...; f: one activation a layer.
func newMLP[Real Float](sizes []int, f []activation[Real], of loss[Real], l2 float64, theta []Real) *mlp[Real] {
	net := &mlp[Real]{loss: of, l2: l2, theta: theta}
	net.start = append([]Real(nil), theta...)
	net.gradient = make([]Real, len(theta))
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

// Room for B rows: all that a step works in is made here.
func (net *mlp[Real]) reserve(B int) {
	if B <= net.capacity {
		return
	}
	net.capacity = B
	net.X, net.T = make([]Real, B*net.first().inputs), make([]Real, B*net.last().outputs)
	for _, l := range net.layers {
		l.Z, l.A, l.delta = make([]Real, B*l.outputs), make([]Real, B*l.outputs), make([]Real, B*l.outputs)
	}
}

func (net *mlp[Real]) reset() { copy(net.theta, net.start) }

// ---- The step over B rows: X: (B, m_0), T: (B, m_L); Z, A, delta of layer l: (B, m_l) ----

func (net *mlp[Real]) forward(X []Real, B int) {
	ABelow := X
	for _, l := range net.layers {
		m := l.outputs
		for n := 0; n < B; n++ {
			copy(l.Z[n*m:(n+1)*m], l.b)
		}
		addProduct(B, l.inputs, m, ABelow, l.inputs, 1, l.W, l.Z)
		for n := 0; n < B; n++ {
			l.f.function(l.Z[n*m:(n+1)*m], l.A[n*m:(n+1)*m])
		}
		ABelow = l.A
	}
}

// R over the rows that went forward.
func (net *mlp[Real]) meanLoss(T []Real, B int) float64 {
	last, loss, squares := net.last(), 0.0, 0.0
	m := last.outputs
	for n := 0; n < B; n++ {
		at, end := n*m, (n+1)*m
		loss += net.loss.value(last.Z[at:end], last.A[at:end], T[at:end])
	}
	for _, l := range net.layers {
		for _, w := range l.W {
			squares += float64(w) * float64(w)
		}
	}
	return loss/float64(B) + net.l2/2*squares
}

// delta_L = dR/dZ_L.
func (net *mlp[Real]) outputDelta(T []Real, B int) {
	last := net.last()
	size, scale := B*last.outputs, net.loss.slope/Real(B)
	Y, delta := last.A[:size], last.delta[:size]
	for j := range delta {
		delta[j] = scale * (Y[j] - T[j])
	}
	if net.loss.fuses == "" {
		last.f.slope(Y, delta)
	}
}

// The gradient; theta itself stays as the forward pass found it.
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

// delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T), from layer l into the one below.
func propagate[Real Float](l, below *layer[Real], B int) {
	m, inputs := l.outputs, l.inputs
	for n := 0; n < B; n++ {
		delta, deltaBelow := l.delta[n*m:(n+1)*m], below.delta[n*inputs:(n+1)*inputs]
		for i := range deltaBelow {
			deltaBelow[i] = dot(delta, l.W[i*m:(i+1)*m])
		}
	}
	below.f.slope(below.A[:B*inputs], below.delta[:B*inputs])
}

func (net *mlp[Real]) update(rate Real) {
	theta, gradient := net.theta, net.gradient[:len(net.theta)]
	for i := range theta {
		theta[i] -= rate * gradient[i]
	}
}

// ---- What worker.go calls ----

// Outputs of rows [first, first + count), left in the last layer's A.
func (net *mlp[Real]) outputs(first, count int) {
	net.forward(net.x[first*net.first().inputs:], count)
}

func (net *mlp[Real]) lossAndGradient(first, count int) float64 {
	X, T := net.x[first*net.first().inputs:], net.y[first*net.last().outputs:]
	net.forward(X, count)
	net.outputDelta(T, count)
	net.backward(X, count)
	return net.meanLoss(T, count)
}

// X and T of a minibatch: the rows that order[first .. first + B) names.
func (net *mlp[Real]) gather(first, B int) {
	m0, mL := net.first().inputs, net.last().outputs
	for n, row := range net.order[first : first+B] {
		copy(net.X[n*m0:(n+1)*m0], net.x[int(row)*m0:])
		copy(net.T[n*mL:(n+1)*mL], net.y[int(row)*mL:])
	}
}

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

// One repeat of the command `time`: what it adds to the checksum.
func (net *mlp[Real]) timedPass(operation string, first, count int) float64 {
	if operation == "forward" {
		net.outputs(first, count)
		last := net.last()
		return float64(last.A[0]) + float64(last.A[count*last.outputs-1])
	}
	return net.lossAndGradient(first, count) + float64(net.gradient[0])
}
