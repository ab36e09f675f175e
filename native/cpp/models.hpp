// models.hpp: makes a network of mlp.hpp with each kind of products. models.cpp compiles them.
#pragma once

#include "blas.hpp"
#include "mkl.hpp"
#include "xsmm.hpp"

#include <memory>
#include <variant>

namespace fnn {

template <class Real> using Made = std::unique_ptr<Model<Real>>;

// The arguments of the constructor of Mlp, products excepted.
template <class Real> struct Arguments {
  std::vector<std::size_t> sizes;
  std::vector<LayerFunction> functions;
  std::string loss;
  double l2;
  const Real *theta;
};

// A library that computes products. It may be deleted before the networks: see SharedLibrary.
using Library = std::variant<const OpenBlas *, const Mkl *, const Xsmm *>;

template <class Real> Made<Real> with_loops(const Arguments<Real> &arguments);
template <class Real> Made<Real> with_triple_loops(const Arguments<Real> &arguments);
template <class Real> Made<Real> with_library(const Arguments<Real> &arguments, Library library);

// Return the seconds of the products of a step alone, through a library: see bare_products.hpp.
template <class Real>
double bare_products(Library library, const std::vector<std::size_t> &sizes, std::size_t batch, double seconds);

} // namespace fnn
