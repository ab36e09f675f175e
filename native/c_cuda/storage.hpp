/* storage.hpp: networks of one shape on the device: parameters, data and order, and the copies from and to the caller.
 *
 * Rows are padded with zeros to whole packs of 16 bytes on the device, and dense in the caller's arrays.
 */
#pragma once
#include "description.hpp"

#include <cstring>

namespace fnn {

template <typename Real> struct Storage {
  static constexpr int64_t pack = Pack<Real>::length;

  Network network;
  std::vector<double> l2s;                   /* (members) */
  Buffer<Real> theta, start, gradient;       /* (members, theta_size); gradient: of one member */
  Buffer<double> device_l2s, learning_rates; /* (members) */
  Buffer<Real> x, y;                         /* (rows, m_0), (rows, m_L), padded */
  Buffer<int64_t> order;                     /* (members, n_order) */

  Storage(const fnn_network &given, int64_t n_members, const void *thetas, const double *given_l2s)
      : network(given, pack), l2s(given_l2s, given_l2s + n_members) {
    const std::vector<Real> padded = pad(static_cast<const Real *>(thetas));
    theta = copied(padded);
    start = copied(padded);
    gradient = Buffer<Real>(network.theta_size);
    device_l2s = copied(l2s);
    learning_rates = Buffer<double>(n_members);
  }

  int64_t members() const {
    return int64_t(l2s.size());
  }
  int64_t n_order() const {
    return order.size() / members();
  }
  int64_t inputs() const {
    return network.layers.front().inputs;
  }
  int64_t outputs() const {
    return network.layers.back().outputs;
  }

  /* Replace the data; on failure the old data stays. */
  void load(const void *given_x, const void *given_y, int64_t rows, const int64_t *orders, int64_t length) {
    Buffer<Real> new_x = rows_to_device(static_cast<const Real *>(given_x), rows, inputs());
    Buffer<Real> new_y = rows_to_device(static_cast<const Real *>(given_y), rows, outputs());
    if (length > INT64_MAX / 16 / members())
      throw Failure(FNN_NO_MEMORY, "no memory for orders of this length");
    Buffer<int64_t> new_order(members() * length);
    to_device(new_order.data(), orders, members() * length);
    x = std::move(new_x), y = std::move(new_y), order = std::move(new_order);
  }

  /* Return the rows of x or y from row `first` on: (rows - first, width). */
  static Matrix<const Real> rows_from(const Buffer<Real> &data, int64_t width, int64_t first) {
    const int64_t stride = round_up(width, pack);
    return {data.data() + first * stride, stride};
  }

  /* thetas: (members, n_parameters) */
  void set_theta(const Real *thetas) {
    to_device(theta.data(), pad(thetas).data(), theta.size());
  }

  /* Copy n networks' numbers, laid out as theta on the device, to the caller's layout. */
  void unpad(const Real *on_device, int64_t n, Real *thetas) const {
    std::vector<Real> padded(static_cast<std::size_t>(n * network.theta_size));
    to_host(padded.data(), on_device, n * network.theta_size);
    for (int64_t k = 0; k < n; k++)
      for (const Layer &l : network.layers)
        for (int64_t i = 0; i <= l.inputs; i++, thetas += l.outputs) /* b_l is the row below W_l */
          std::memcpy(thetas, padded.data() + k * network.theta_size + l.W + i * l.stride, sizeof(Real) * l.outputs);
  }

  /* Return the number of parameters of a network: the length of the caller's theta. */
  int64_t n_parameters() const {
    int64_t n = 0;
    for (const Layer &l : network.layers)
      n += (l.inputs + 1) * l.outputs;
    return n;
  }

  /* Return where entry `entry` of the caller's theta lies in the padded layout. */
  int64_t place_of_parameter(int64_t entry) const {
    const Layer *l = network.layers.data();
    for (; entry >= (l->inputs + 1) * l->outputs; l++)
      entry -= (l->inputs + 1) * l->outputs;
    return l->W + entry / l->outputs * l->stride + entry % l->outputs; /* b_l is the row below W_l */
  }

  /* Return where entry `entry` of the caller's outputs lies in A_L, padded. */
  int64_t place_of_output(int64_t entry) const {
    return entry / outputs() * round_up(outputs(), pack) + entry % outputs();
  }

  /* Copy rows of A, padded, to `rows` dense rows of the caller. */
  void outputs_to_host(Matrix<Real> A, int64_t rows, Real *into) const {
    std::vector<Real> padded(static_cast<std::size_t>(rows * A.stride));
    to_host(padded.data(), A.data, rows * A.stride);
    for (int64_t n = 0; n < rows; n++)
      std::memcpy(into + n * outputs(), padded.data() + n * A.stride, sizeof(Real) * outputs());
  }

private:
  std::vector<Real> pad(const Real *thetas) const {
    std::vector<Real> padded(static_cast<std::size_t>(members() * network.theta_size));
    for (int64_t k = 0; k < members(); k++)
      for (const Layer &l : network.layers)
        for (int64_t i = 0; i <= l.inputs; i++, thetas += l.outputs)
          std::memcpy(padded.data() + k * network.theta_size + l.W + i * l.stride, thetas, sizeof(Real) * l.outputs);
    return padded;
  }

  template <typename Number> static Buffer<Number> copied(const std::vector<Number> &numbers) {
    Buffer<Number> buffer(int64_t(numbers.size()));
    to_device(buffer.data(), numbers.data(), buffer.size());
    return buffer;
  }

  static Buffer<Real> rows_to_device(const Real *from, int64_t rows, int64_t width) {
    const int64_t stride = round_up(width, pack);
    if (rows > INT64_MAX / 16 / stride)
      throw Failure(FNN_NO_MEMORY, "no memory for data of " + std::to_string(rows) + " rows");
    Buffer<Real> buffer(rows * stride);
    CHECK(cudaMemcpy2D, buffer.data(), sizeof(Real) * std::size_t(stride), from, sizeof(Real) * std::size_t(width),
          sizeof(Real) * std::size_t(width), std::size_t(rows), cudaMemcpyHostToDevice);
    return buffer;
  }
};

} // namespace fnn
