// functions.hpp: the activations on whole vectors: A = f(Z), and delta * f'(Z) computed from A, so that Z is needed for
// negative parameters alone. Each activation is one struct; tables.hpp lists them by name.
#pragma once

#include "vector_math.hpp"

namespace fnn::tuned {

// from_zero: f(0) = 0, so that padding stays 0.   p: the parameter of the activation, if it has one
// Every comparison keeps NaN.

struct Identity {
  static constexpr bool from_zero = true;
  template <class Real> FNN_INLINE static Vector<Real> value(Vector<Real> z, Real) {
    return z;
  }
  template <class Real> FNN_INLINE static Vector<Real> multiply_by_derivative(Vector<Real> delta, Vector<Real>, Real) {
    return delta;
  }
};

struct Sigmoid {
  static constexpr bool from_zero = false;
  template <class Real> FNN_INLINE static Vector<Real> value(Vector<Real> z, Real) {
    return sigmoid<Real>(z);
  }
  template <class Real>
  FNN_INLINE static Vector<Real> multiply_by_derivative(Vector<Real> delta, Vector<Real> a, Real) {
    return delta * (a * (1 - a));
  }
};

struct Tanh {
  static constexpr bool from_zero = true;
  template <class Real> FNN_INLINE static Vector<Real> value(Vector<Real> z, Real) {
    return tanh(z);
  }
  template <class Real>
  FNN_INLINE static Vector<Real> multiply_by_derivative(Vector<Real> delta, Vector<Real> a, Real) {
    return delta * (1 - a * a);
  }
};

struct Relu {
  static constexpr bool from_zero = true;
  template <class Real> FNN_INLINE static Vector<Real> value(Vector<Real> z, Real) {
    return z < 0 ? Vector<Real>{} : z;
  }
  template <class Real>
  FNN_INLINE static Vector<Real> multiply_by_derivative(Vector<Real> delta, Vector<Real> a, Real) {
    return a > 0 ? delta : Vector<Real>{};
  }
};

struct LeakyRelu {
  static constexpr bool from_zero = true;
  template <class Real> FNN_INLINE static Vector<Real> value(Vector<Real> z, Real p) {
    return z > 0 ? z : p * z;
  }
  template <class Real>
  FNN_INLINE static Vector<Real> multiply_by_derivative(Vector<Real> delta, Vector<Real> a, Real p) {
    return a > 0 ? delta : p * delta;
  }
};

struct Elu {
  static constexpr bool from_zero = true;
  template <class Real> FNN_INLINE static Vector<Real> value(Vector<Real> z, Real p) {
    return z > 0 ? z : p * expm1<Real>(z);
  }
  template <class Real>
  FNN_INLINE static Vector<Real> multiply_by_derivative(Vector<Real> delta, Vector<Real> a, Real p) {
    return a > 0 ? delta : (a + p) * delta; // p exp(z) = p (exp(z) - 1) + p
  }
};

// For parameters below 0, f(z) does not show the sign of z; the derivative receives z in place of a.
struct EluFromZ : Elu {
  template <class Real>
  FNN_INLINE static Vector<Real> multiply_by_derivative(Vector<Real> delta, Vector<Real> z, Real p) {
    return z > 0 ? delta : p * exp<Real>(z) * delta;
  }
};

struct Softplus {
  static constexpr bool from_zero = false;
  template <class Real> FNN_INLINE static Vector<Real> value(Vector<Real> z, Real) {
    return softplus<Real>(z);
  }
  template <class Real>
  FNN_INLINE static Vector<Real> multiply_by_derivative(Vector<Real> delta, Vector<Real> a, Real) {
    return delta * -expm1<Real>(-a); // sigmoid(z) = 1 - exp(-softplus(z))
  }
};

struct HardSigmoid {
  static constexpr bool from_zero = false;
  template <class Real> FNN_INLINE static Vector<Real> value(Vector<Real> z, Real) {
    return at_least<Real>(at_most<Real>(z * Real(0.25) + Real(0.5), 1), 0);
  }
  template <class Real>
  FNN_INLINE static Vector<Real> multiply_by_derivative(Vector<Real> delta, Vector<Real> a, Real) {
    return ((a > 0) & (a < 1)) ? delta * Real(0.25) : Vector<Real>{};
  }
};

struct HardTanh {
  static constexpr bool from_zero = true;
  template <class Real> FNN_INLINE static Vector<Real> value(Vector<Real> z, Real) {
    return at_least<Real>(at_most<Real>(z, 1), -1);
  }
  template <class Real>
  FNN_INLINE static Vector<Real> multiply_by_derivative(Vector<Real> delta, Vector<Real> a, Real) {
    return ((a > -1) & (a < 1)) ? delta : Vector<Real>{};
  }
};

} // namespace fnn::tuned
