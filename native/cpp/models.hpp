// models.hpp: makes a network of mlp.hpp with each kind of products. Each kind is compiled in a file of its own, so
// that these files compile in parallel.
#pragma once

#include "blas.hpp"
#include "mkl.hpp"
#include "mlp.hpp"
#include "xsmm.hpp"

#include <memory>

namespace fnn {

template <class Real> using Made = std::unique_ptr<Model<Real>>;

// The arguments of the constructor of Mlp, products excepted.
template <class Real> struct Arguments {
  std::vector<std::size_t> sizes;
  std::vector<LayerFunction> functions;
  std::string loss;
  double l2;
  const Real *theta;

  template <class Products> Made<Real> with(Products products) const {
    return std::make_unique<Mlp<Real, Products>>(sizes, functions, loss, l2, theta, std::move(products));
  }
};

template <class Real> Made<Real> with_loops(const Arguments<Real> &arguments);        // loops.cpp
template <class Real> Made<Real> with_triple_loops(const Arguments<Real> &arguments); // textbook.cpp
template <class Real> Made<Real> with_blas(const Arguments<Real> &arguments, std::shared_ptr<const OpenBlas> library);
template <class Real> Made<Real> with_mkl(const Arguments<Real> &arguments, std::shared_ptr<const Mkl> library);
template <class Real> Made<Real> with_xsmm(const Arguments<Real> &arguments, std::shared_ptr<const Xsmm> library);

// Return the seconds of the products of a step alone, through a library: see bare_products.hpp.
template <class Real>
double bare_products(const std::shared_ptr<const OpenBlas> &library, const std::vector<std::size_t> &sizes,
                     std::size_t batch, double seconds); // blas.cpp
template <class Real>
double bare_products(const std::shared_ptr<const Mkl> &library, const std::vector<std::size_t> &sizes,
                     std::size_t batch, double seconds); // mkl.cpp
template <class Real>
double bare_products(const std::shared_ptr<const Xsmm> &library, const std::vector<std::size_t> &sizes,
                     std::size_t batch, double seconds); // xsmm.cpp

} // namespace fnn
