/* launch.hpp: the launch of a product of product.cuh: its tile, chosen by a cost, and its grid. */
#pragma once
#include "description.hpp"
#include "product.cuh"

#include <algorithm>
#include <iterator>

namespace fnn {

template <typename Real> struct Tiles;
template <> struct Tiles<float> {
  using Large = Tile<float, 128, 128, 8, 8, 16, 1>;
  using Medium = Tile<float, 64, 64, 8, 8, 32, 4>;
  using Small = Tile<float, 32, 32, 4, 4, 32, 4>;
};
template <> struct Tiles<double> {
  using Large = Tile<double, 128, 64, 8, 4, 8, 1>;
  using Medium = Tile<double, 64, 64, 8, 4, 8, 2>;
  using Small = Tile<double, 32, 32, 4, 4, 16, 4>;
};

template <class T> dim3 grid_of(int64_t m, int64_t n) {
  const int64_t across = blocks_for(n, T::columns), down = blocks_for(m, T::rows);
  if (down > 65535 || across > INT32_MAX)
    throw Failure(FNN_UNSUPPORTED, "a product of " + std::to_string(m) + " rows is larger than a launch can be");
  return dim3(unsigned(across), unsigned(down));
}

/* Predict the time of a product with this tile: the multiply-adds of the busiest multiprocessor, times `handicap`, for
 * the loads that a smaller tile repeats. Counted, not measured. */
template <class T> double cost(int64_t m, int64_t n, int multiprocessors, double handicap) {
  const int64_t blocks = blocks_for(m, T::rows) * blocks_for(n, T::columns);
  return double(blocks_for(blocks, multiprocessors)) * T::rows * T::columns * handicap;
}

template <class T, Product product>
void launch_tile(cudaStream_t stream, const ProductArguments<typename T::Real> &arguments) {
  launch(stream, grid_of<T>(arguments.m, arguments.n), T::threads, T::shared_bytes, "the launch of a product",
         multiply_tile<T, product>, arguments);
}

template <Product product, typename Real>
void launch_product(cudaStream_t stream, const Device &device, const ProductArguments<Real> &arguments) {
  using Large = typename Tiles<Real>::Large;
  using Medium = typename Tiles<Real>::Medium;
  using Small = typename Tiles<Real>::Small;
  const double costs[] = {cost<Large>(arguments.m, arguments.n, device.multiprocessors, 1),
                          cost<Medium>(arguments.m, arguments.n, device.multiprocessors, 1.15),
                          cost<Small>(arguments.m, arguments.n, device.multiprocessors, 2)};
#ifdef FNN_TILE /* python -m bench.experiments.gpu compiles with each tile alone, to measure the choice */
  const auto cheapest = costs + FNN_TILE;
#else
  const auto cheapest = std::min_element(std::begin(costs), std::end(costs));
#endif
  if (cheapest == costs)
    launch_tile<Large, product>(stream, arguments);
  else if (cheapest == costs + 1)
    launch_tile<Medium, product>(stream, arguments);
  else
    launch_tile<Small, product>(stream, arguments);
}

template <class T> void prepare_tile() {
  prepare(multiply_tile<T, forward_product>, T::shared_bytes);
  prepare(multiply_tile<T, propagate_product>, T::shared_bytes);
  prepare(multiply_tile<T, update_product>, T::shared_bytes);
}

template <typename Real> void prepare_products() {
  prepare_tile<typename Tiles<Real>::Large>();
  prepare_tile<typename Tiles<Real>::Medium>();
  prepare_tile<typename Tiles<Real>::Small>();
}

} // namespace fnn
