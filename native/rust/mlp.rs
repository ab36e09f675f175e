// mlp.rs: the network in plain, safe Rust: activations, losses, forward, output delta, backward, update.
// Nothing here checks an argument or reads a clock, and a step allocates nothing. Commands are in worker.rs, files in
// setup.rs. Lower-case z, a, y, t are single rows.
#![forbid(unsafe_code)]
#![allow(non_snake_case)] // W, Z, A, X, T, B are the letters of the formulas

use std::array::from_fn;
use std::collections::TryReserveError;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Range, Sub, SubAssign};

/// The dtypes: f32 and f64.
pub trait Float:
    Copy
    + PartialOrd
    + Into<f64>
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
{
    const ZERO: Self;
    const ONE: Self;
    fn of(value: f64) -> Self;
    fn abs(self) -> Self;
    fn exp(self) -> Self;
    fn exp_m1(self) -> Self;
    fn ln_1p(self) -> Self;
    fn tanh(self) -> Self;
}

macro_rules! float {
    ($type:ident) => {
        impl Float for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            fn of(value: f64) -> Self {
                value as Self
            }
            fn abs(self) -> Self {
                $type::abs(self)
            }
            fn exp(self) -> Self {
                $type::exp(self)
            }
            fn exp_m1(self) -> Self {
                $type::exp_m1(self)
            }
            fn ln_1p(self) -> Self {
                $type::ln_1p(self)
            }
            fn tanh(self) -> Self {
                $type::tanh(self)
            }
        }
    };
}

float!(f32);
float!(f64);

// ---- Activations: a = f(z) for one row, z = Z_l[n] and a = A_l[n]; p: the parameter. In comparisons, NaN stays NaN ----

fn identity<Real: Float>(z: &[Real], a: &mut [Real], _: Real) {
    a.copy_from_slice(z);
}

fn sigmoid<Real: Float>(z: &[Real], a: &mut [Real], _: Real) {
    for (a, &z) in a.iter_mut().zip(z) {
        *a = Real::ONE / (Real::ONE + (-z).exp());
    }
}

fn tanh<Real: Float>(z: &[Real], a: &mut [Real], _: Real) {
    for (a, &z) in a.iter_mut().zip(z) {
        *a = z.tanh();
    }
}

fn relu<Real: Float>(z: &[Real], a: &mut [Real], _: Real) {
    for (a, &z) in a.iter_mut().zip(z) {
        *a = if z < Real::ZERO { Real::ZERO } else { z };
    }
}

fn leaky_relu<Real: Float>(z: &[Real], a: &mut [Real], p: Real) {
    for (a, &z) in a.iter_mut().zip(z) {
        *a = if z > Real::ZERO { z } else { p * z };
    }
}

fn elu<Real: Float>(z: &[Real], a: &mut [Real], p: Real) {
    for (a, &z) in a.iter_mut().zip(z) {
        *a = if z > Real::ZERO { z } else { p * z.exp_m1() };
    }
}

/// log(1 + exp(z)), without overflow.
fn softplus<Real: Float>(z: &[Real], a: &mut [Real], _: Real) {
    for (a, &z) in a.iter_mut().zip(z) {
        *a = (if z < Real::ZERO { Real::ZERO } else { z }) + (-z.abs()).exp().ln_1p();
    }
}

fn hard_sigmoid<Real: Float>(z: &[Real], a: &mut [Real], _: Real) {
    for (a, &z) in a.iter_mut().zip(z) {
        *a = clamped(Real::ZERO, z * Real::of(0.25) + Real::of(0.5), Real::ONE);
    }
}

fn hard_tanh<Real: Float>(z: &[Real], a: &mut [Real], _: Real) {
    for (a, &z) in a.iter_mut().zip(z) {
        *a = clamped(-Real::ONE, z, Real::ONE);
    }
}

fn clamped<Real: Float>(least: Real, z: Real, most: Real) -> Real {
    if z < least {
        least
    } else if z > most {
        most
    } else {
        z
    }
}

fn softmax<Real: Float>(z: &[Real], a: &mut [Real], _: Real) {
    let (top, mut sum) = (largest(z), Real::ZERO);
    for (a, &z) in a.iter_mut().zip(z) {
        *a = (z - top).exp();
        sum += *a;
    }
    for a in a {
        *a /= sum;
    }
}

fn largest<Real: Float>(z: &[Real]) -> Real {
    z.iter().fold(z[0], |top, &z| if z > top { z } else { top })
}

// Derivatives: delta <- f'(z) delta, where a = f(z).

fn identity_derivative<Real: Float>(_: &[Real], _: &[Real], _: &mut [Real], _: Real) {}

fn sigmoid_derivative<Real: Float>(_: &[Real], a: &[Real], delta: &mut [Real], _: Real) {
    for (delta, &a) in delta.iter_mut().zip(a) {
        *delta *= a * (Real::ONE - a);
    }
}

fn tanh_derivative<Real: Float>(_: &[Real], a: &[Real], delta: &mut [Real], _: Real) {
    for (delta, &a) in delta.iter_mut().zip(a) {
        *delta *= Real::ONE - a * a;
    }
}

fn relu_derivative<Real: Float>(_: &[Real], a: &[Real], delta: &mut [Real], _: Real) {
    for (delta, &a) in delta.iter_mut().zip(a) {
        *delta = if a > Real::ZERO { *delta } else { Real::ZERO };
    }
}

fn leaky_relu_derivative<Real: Float>(z: &[Real], _: &[Real], delta: &mut [Real], p: Real) {
    for (delta, &z) in delta.iter_mut().zip(z) {
        *delta = if z > Real::ZERO { *delta } else { p * *delta };
    }
}

/// p exp(z) = p (exp(z) - 1) + p = a + p.
fn elu_derivative<Real: Float>(z: &[Real], a: &[Real], delta: &mut [Real], p: Real) {
    for ((delta, &z), &a) in delta.iter_mut().zip(z).zip(a) {
        *delta = if z > Real::ZERO { *delta } else { (a + p) * *delta };
    }
}

fn softplus_derivative<Real: Float>(z: &[Real], _: &[Real], delta: &mut [Real], _: Real) {
    for (delta, &z) in delta.iter_mut().zip(z) {
        *delta *= Real::ONE / (Real::ONE + (-z).exp());
    }
}

fn hard_sigmoid_derivative<Real: Float>(z: &[Real], _: &[Real], delta: &mut [Real], _: Real) {
    for (delta, &z) in delta.iter_mut().zip(z) {
        *delta = if z.abs() < Real::of(2.0) { *delta * Real::of(0.25) } else { Real::ZERO };
    }
}

fn hard_tanh_derivative<Real: Float>(z: &[Real], _: &[Real], delta: &mut [Real], _: Real) {
    for (delta, &z) in delta.iter_mut().zip(z) {
        *delta = if z.abs() < Real::ONE { *delta } else { Real::ZERO };
    }
}

type Derivative<Real> = fn(z: &[Real], a: &[Real], delta: &mut [Real], p: Real);

#[derive(Clone, Copy)]
pub struct Activation<Real: 'static> {
    pub name: &'static str,
    value: fn(z: &[Real], a: &mut [Real], p: Real),
    derivative: Option<Derivative<Real>>, // None: needs a loss that fuses it
    parameter: Option<f64>,               // in the table, if none is given; None: it takes none
}

impl<Real: Float> Activation<Real> {
    pub const TABLE: [Self; 10] = [
        Self { name: "identity", value: identity, derivative: Some(identity_derivative), parameter: None },
        Self { name: "sigmoid", value: sigmoid, derivative: Some(sigmoid_derivative), parameter: None },
        Self { name: "tanh", value: tanh, derivative: Some(tanh_derivative), parameter: None },
        Self { name: "relu", value: relu, derivative: Some(relu_derivative), parameter: None },
        Self { name: "leaky_relu", value: leaky_relu, derivative: Some(leaky_relu_derivative), parameter: Some(0.01) },
        Self { name: "elu", value: elu, derivative: Some(elu_derivative), parameter: Some(1.0) },
        Self { name: "softplus", value: softplus, derivative: Some(softplus_derivative), parameter: None },
        Self { name: "hard_sigmoid", value: hard_sigmoid, derivative: Some(hard_sigmoid_derivative), parameter: None },
        Self { name: "hard_tanh", value: hard_tanh, derivative: Some(hard_tanh_derivative), parameter: None },
        Self { name: "softmax", value: softmax, derivative: None, parameter: None },
    ];

    pub fn is_elementwise(&self) -> bool {
        self.derivative.is_some()
    }

    /// Return the row of "name" or "name(parameter)", with its parameter.
    pub fn find(text: &str) -> Option<Self> {
        let (name, written) = text.split_once('(').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let mut row = Self::TABLE.into_iter().find(|row| row.name == name)?;
        if let Some(written) = written {
            let given: f64 = written.strip_suffix(')')?.parse().ok()?;
            row.parameter = Some(row.parameter.and(Some(given)).filter(|given| given.is_finite())?);
        }
        Some(row)
    }
}

// ---- Losses: L of one row, from z = Z_L[n], y = A_L[n] and the targets t ----

fn squared_error<Real: Float>(_: &[Real], y: &[Real], t: &[Real]) -> f64 {
    y.iter().zip(t).map(|(&y, &t)| ((y - t) * (y - t)).into()).sum()
}

fn half_squared_error<Real: Float>(z: &[Real], y: &[Real], t: &[Real]) -> f64 {
    squared_error(z, y, t) / 2.0
}

/// -sum t log softmax(z) = sum t (log sum exp z - z), with the largest z subtracted before each exp.
fn softmax_cross_entropy<Real: Float>(z: &[Real], _: &[Real], t: &[Real]) -> f64 {
    let top = largest(z);
    let log_sum = z.iter().map(|&z| (z - top).exp().into()).sum::<f64>().ln();
    z.iter().zip(t).map(|(&z, &t)| t.into() * (log_sum - (z - top).into())).sum()
}

/// -t log sigmoid(z) - (1-t) log(1 - sigmoid(z)) = max(z, 0) - z t + log(1 + exp(-|z|)).
fn sigmoid_cross_entropy<Real: Float>(z: &[Real], _: &[Real], t: &[Real]) -> f64 {
    let term = |z: f64, t: f64| (if z > 0.0 { z } else { 0.0 }) - z * t + (-z.abs()).exp().ln_1p();
    z.iter().zip(t).map(|(&z, &t)| term(z.into(), t.into())).sum()
}

#[derive(Clone, Copy)]
pub struct Loss<Real: 'static> {
    pub name: &'static str,
    pub fuses: Option<&'static str>, // the only output activation it takes; None: it takes any elementwise one
    value: fn(z: &[Real], y: &[Real], t: &[Real]) -> f64,
    derivative: f64, // c in dL/dy = c (y - t); where an activation is fused, in dL/dz = c (y - t)
}

impl<Real: Float> Loss<Real> {
    pub const TABLE: [Self; 4] = [
        Self { name: "squared_error", fuses: None, value: squared_error, derivative: 2.0 },
        Self { name: "half_squared_error", fuses: None, value: half_squared_error, derivative: 1.0 },
        Self { name: "softmax_cross_entropy", fuses: Some("softmax"), value: softmax_cross_entropy, derivative: 1.0 },
        Self { name: "sigmoid_cross_entropy", fuses: Some("sigmoid"), value: sigmoid_cross_entropy, derivative: 1.0 },
    ];
}

// ---- The two products of a step ----

/// A matrix whose element (i, p) is data[i * row + p * column]: the strides also describe a transposed matrix.
#[derive(Clone, Copy)]
struct Strided<'a, Real> {
    data: &'a [Real],
    row: usize,
    column: usize,
}

impl<Real: Float> Strided<'_, Real> {
    fn at(&self, i: usize, p: usize) -> Real {
        self.data[i * self.row + p * self.column]
    }
}

/// C += A B for M rows of A from row i on, C: (M, n): each of four rows of B is loaded once for M rows of C.
fn add_rows<const M: usize, Real: Float>(i: usize, A: Strided<Real>, B: &[Real], C: &mut [Real], n: usize) {
    let mut rows = C.chunks_exact_mut(n);
    let c: [&mut [Real]; M] = from_fn(|_| rows.next().expect("M rows"));
    let mut p = 0;
    let mut fours = B.chunks_exact(4 * n);
    for b in &mut fours {
        let a: [[Real; 4]; M] = from_fn(|r| from_fn(|q| A.at(i + r, p + q)));
        let b: [&[Real]; 4] = from_fn(|q| &b[q * n..(q + 1) * n]);
        for j in 0..n {
            for r in 0..M {
                c[r][j] += a[r][0] * b[0][j] + a[r][1] * b[1][j] + a[r][2] * b[2][j] + a[r][3] * b[3][j];
            }
        }
        p += 4;
    }
    for b in fours.remainder().chunks_exact(n) {
        for r in 0..M {
            let a = A.at(i + r, p);
            for (c, &b) in c[r].iter_mut().zip(b) {
                *c += a * b;
            }
        }
        p += 1;
    }
}

/// C += A B. A: (m, k), B: (k, n), C: (m, n).
fn add_product<Real: Float>(A: Strided<Real>, B: &[Real], C: &mut [Real], n: usize) {
    let mut i = 0;
    let mut fours = C.chunks_exact_mut(4 * n);
    for rows in &mut fours {
        add_rows::<4, Real>(i, A, B, rows, n);
        i += 4;
    }
    for row in fours.into_remainder().chunks_exact_mut(n) {
        add_rows::<1, Real>(i, A, B, row, n);
        i += 1;
    }
}

/// sum_j a[j] b[j] in eight partial sums: in a single sum, every addition would wait for the one before it.
fn dot<Real: Float>(a: &[Real], b: &[Real]) -> Real {
    let (mut part, mut sum) = ([Real::ZERO; 8], Real::ZERO);
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    for (&a, &b) in a.remainder().iter().zip(b.remainder()) {
        sum += a * b;
    }
    for (a, b) in a.zip(b) {
        for k in 0..8 {
            part[k] += a[k] * b[k];
        }
    }
    part.into_iter().fold(sum, |sum, part| sum + part)
}

// ---- The network and its workspace ----

struct Layer<Real: 'static> {
    inputs: usize,   // m_{l-1}
    outputs: usize,  // m_l
    W: Range<usize>, // the places of W_l, b_l in theta, and of dW_l, db_l in the gradient
    b: Range<usize>,
    f: Activation<Real>,
    p: Real,      // parameter of f
    Z: Vec<Real>, // Z, A, delta: (capacity, outputs)
    A: Vec<Real>,
    delta: Vec<Real>,
}

struct Network<Real: 'static> {
    layers: Vec<Layer<Real>>,
    loss_function: Loss<Real>,
    l2: f64,
    theta: Vec<Real>,    // theta, gradient: (n_parameters)
    gradient: Vec<Real>, // of the last step, laid out as theta
}

/// A network with its data.
pub struct Mlp<Real: 'static> {
    network: Network<Real>,
    start: Vec<Real>, // theta at init
    data: Data<Real>,
    X: Vec<Real>, // X, T: (capacity, m_0), (capacity, m_L), the rows of a minibatch
    T: Vec<Real>,
}

pub struct Data<Real> {
    pub rows: usize,
    pub x: Vec<Real>,      // (rows, m_0)
    pub y: Vec<Real>,      // (rows, m_L)
    pub order: Vec<usize>, // row numbers
}

/// The operations of the command `time`.
#[derive(Clone, Copy)]
pub enum Operation {
    Forward,
    Gradient,
}

impl<Real: Float> Network<Real> {
    fn last(&self) -> &Layer<Real> {
        &self.layers[self.layers.len() - 1]
    }
}

impl<Real: Float> Mlp<Real> {
    /// Make a network with its data. sizes: m_0 .. m_L; f: f_1 .. f_L; theta: W_1 row by row, b_1, W_2, ...
    pub fn new(
        sizes: &[usize],
        f: Vec<Activation<Real>>,
        loss_function: Loss<Real>,
        l2: f64,
        theta: Vec<Real>,
        data: Data<Real>,
    ) -> Self {
        let (mut layers, mut at) = (Vec::new(), 0);
        for (m, f) in sizes.windows(2).zip(f) {
            let (inputs, outputs) = (m[0], m[1]);
            let (b, end) = (at + inputs * outputs, at + (inputs + 1) * outputs);
            let (Z, A, delta) = (Vec::new(), Vec::new(), Vec::new());
            let p = Real::of(f.parameter.unwrap_or(0.0));
            layers.push(Layer { inputs, outputs, W: at..b, b: b..end, f, p, Z, A, delta });
            at = end;
        }
        let (start, gradient) = (theta.clone(), vec![Real::ZERO; theta.len()]);
        let network = Network { layers, loss_function, l2, theta, gradient };
        Self { network, start, data, X: Vec::new(), T: Vec::new() }
    }

    /// Make room for B rows: the only allocation of X, T, Z, A and delta.
    pub fn reserve(&mut self, B: usize) -> Result<(), TryReserveError> {
        let (m_0, m_L) = (self.m_0(), self.m_L());
        grow(&mut self.X, B, m_0)?;
        grow(&mut self.T, B, m_L)?;
        for l in &mut self.network.layers {
            for buffer in [&mut l.Z, &mut l.A, &mut l.delta] {
                grow(buffer, B, l.outputs)?;
            }
        }
        Ok(())
    }

    pub fn reset(&mut self) {
        self.network.theta.copy_from_slice(&self.start);
    }

    pub fn data(&self) -> &Data<Real> {
        &self.data
    }

    pub fn theta(&self) -> &[Real] {
        &self.network.theta
    }

    pub fn gradient(&self) -> &[Real] {
        &self.network.gradient
    }

    /// Return A_L of the last forward pass: (B, m_L).
    pub fn Y(&self, B: usize) -> &[Real] {
        &self.network.last().A[..B * self.m_L()]
    }

    /// Return the number of outputs of `count` rows, or of entries of the gradient.
    pub fn entries(&self, operation: Operation, count: usize) -> usize {
        match operation {
            Operation::Forward => count * self.m_L(),
            Operation::Gradient => self.gradient().len(),
        }
    }

    fn m_0(&self) -> usize {
        self.network.layers[0].inputs
    }

    fn m_L(&self) -> usize {
        self.network.last().outputs
    }
}

fn grow<Real: Float>(buffer: &mut Vec<Real>, rows: usize, width: usize) -> Result<(), TryReserveError> {
    let length = rows.saturating_mul(width);
    if length > buffer.len() {
        buffer.try_reserve_exact(length - buffer.len())?;
        buffer.resize(length, Real::ZERO);
    }
    Ok(())
}

// ---- The step on B rows: X: (B, m_0), T: (B, m_L); Z, A, delta of layer l: (B, m_l) ----

impl<Real: Float> Network<Real> {
    /// Z_l = A_{l-1} W_l + b_l, A_l = f_l(Z_l) for l = 1 .. L.
    fn forward(&mut self, X: &[Real], B: usize) {
        let mut A_below = X;
        for l in &mut self.layers {
            let (m, W, b) = (l.outputs, &self.theta[l.W.clone()], &self.theta[l.b.clone()]);
            let (Z, A) = (&mut l.Z[..B * m], &mut l.A[..B * m]);
            for z in Z.chunks_exact_mut(m) {
                z.copy_from_slice(b);
            }
            add_product(Strided { data: A_below, row: l.inputs, column: 1 }, W, Z, m);
            for (z, a) in Z.chunks_exact(m).zip(A.chunks_exact_mut(m)) {
                (l.f.value)(z, a, l.p);
            }
            A_below = A;
        }
    }

    /// delta_L = dR/dZ_L.
    fn output_delta(&mut self, T: &[Real], B: usize) {
        let scale = Real::of(self.loss_function.derivative / B as f64);
        let last = self.layers.last_mut().expect("a layer");
        let (Y, delta) = (&last.A[..B * last.outputs], &mut last.delta[..B * last.outputs]);
        for ((delta, &y), &t) in delta.iter_mut().zip(Y).zip(T) {
            *delta = scale * (y - t);
        }
        if let (None, Some(derivative)) = (self.loss_function.fuses, last.f.derivative) {
            derivative(&last.Z[..B * last.outputs], Y, delta, last.p);
        }
    }

    /// From delta_L down: the gradient, laid out as theta. theta does not change.
    fn backward(&mut self, X: &[Real], B: usize) {
        let l2 = Real::of(self.l2);
        for at in (0..self.layers.len()).rev() {
            let (below, from_here) = self.layers.split_at_mut(at);
            let (below, l) = (below.last_mut(), &from_here[0]);
            let (W, delta) = (&self.theta[l.W.clone()], &l.delta[..B * l.outputs]);
            let A_below = below.as_ref().map_or(X, |below| &below.A);

            let dW = &mut self.gradient[l.W.clone()];
            for (dW, &W) in dW.iter_mut().zip(W) {
                *dW = l2 * W;
            }
            add_product(Strided { data: A_below, row: 1, column: l.inputs }, delta, dW, l.outputs);

            let db = &mut self.gradient[l.b.clone()];
            db.fill(Real::ZERO);
            for delta in delta.chunks_exact(l.outputs) {
                for (db, &delta) in db.iter_mut().zip(delta) {
                    *db += delta;
                }
            }

            if let Some(below) = below {
                Self::propagate(delta, W, l.outputs, below, B);
            }
        }
    }

    /// delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T), to the layer below. delta: (B, m), W: (m_{l-1}, m)
    fn propagate(delta: &[Real], W: &[Real], m: usize, below: &mut Layer<Real>, B: usize) {
        let delta_below = &mut below.delta[..B * below.outputs];
        for (delta, delta_below) in delta.chunks_exact(m).zip(delta_below.chunks_exact_mut(below.outputs)) {
            for (delta_below, W) in delta_below.iter_mut().zip(W.chunks_exact(m)) {
                *delta_below = dot(delta, W);
            }
        }
        if let Some(derivative) = below.f.derivative {
            derivative(&below.Z[..B * below.outputs], &below.A[..B * below.outputs], delta_below, below.p);
        }
    }

    /// theta <- theta - rate * gradient.
    fn update(&mut self, rate: Real) {
        for (theta, &dtheta) in self.theta.iter_mut().zip(&self.gradient) {
            *theta -= rate * dtheta;
        }
    }

    /// R of the last forward pass.
    fn loss(&self, T: &[Real], B: usize) -> f64 {
        let (last, mut loss, mut squares) = (self.last(), 0.0, 0.0);
        for n in 0..B {
            let row = n * last.outputs..(n + 1) * last.outputs;
            loss += (self.loss_function.value)(&last.Z[row.clone()], &last.A[row.clone()], &T[row]);
        }
        for l in &self.layers {
            for &w in &self.theta[l.W.clone()] {
                squares += w.into() * w.into();
            }
        }
        loss / B as f64 + self.l2 / 2.0 * squares
    }
}

// ---- The functions that worker.rs calls, and the minibatch ----

impl<Real: Float> Mlp<Real> {
    /// Compute the outputs of rows [first, first + count) into Y.
    pub fn outputs(&mut self, first: usize, count: usize) {
        let X = &self.data.x[first * self.m_0()..];
        self.network.forward(X, count);
    }

    /// Return R of rows [first, first + count), and compute its gradient.
    pub fn loss_and_gradient(&mut self, first: usize, count: usize) -> f64 {
        let (X, T) = (&self.data.x[first * self.m_0()..], &self.data.y[first * self.m_L()..]);
        self.network.forward(X, count);
        self.network.output_delta(T, count);
        self.network.backward(X, count);
        self.network.loss(T, count)
    }

    /// Copy the rows that order[first .. first + B) names into X and T.
    fn gather(&mut self, first: usize, B: usize) {
        let (m_0, m_L) = (self.m_0(), self.m_L());
        for (n, &row) in self.data.order[first..first + B].iter().enumerate() {
            self.X[n * m_0..(n + 1) * m_0].copy_from_slice(&self.data.x[row * m_0..(row + 1) * m_0]);
            self.T[n * m_L..(n + 1) * m_L].copy_from_slice(&self.data.y[row * m_L..(row + 1) * m_L]);
        }
    }

    /// Take one step for each minibatch of order[first .. first + count).
    pub fn train(&mut self, first: usize, count: usize, batch_size: usize, rate: f64) {
        let end = first + count;
        for at in (first..end).step_by(batch_size) {
            let B = batch_size.min(end - at);
            self.gather(at, B);
            self.network.forward(&self.X, B);
            self.network.output_delta(&self.T, B);
            self.network.backward(&self.X, B);
            self.network.update(Real::of(rate));
        }
    }

    /// Do one pass of the command `time`; return its addend to the checksum.
    pub fn timed_pass(&mut self, operation: Operation, first: usize, count: usize, probe: usize) -> f64 {
        match operation {
            Operation::Forward => {
                self.outputs(first, count);
                self.Y(count)[probe].into()
            }
            Operation::Gradient => self.loss_and_gradient(first, count) + self.gradient()[probe].into(),
        }
    }
}
