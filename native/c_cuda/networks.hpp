/* networks.hpp: networks on the device: their memory, which kernels make a step, when a step is captured, and the clock
 * around it. The kernels are in the .cuh files; arguments have been checked.
 */
#pragma once
#include "description.hpp"
#include "step.cuh"
#ifdef FNN_BLAS
#include "blas.hpp"
#else
#include "resident.cuh"
#endif

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>

/* A step of up to so many operations (times as many networks as the device has multiprocessors) is one block's work, if
 * its shared memory holds the network; a larger one is spread over the device. A prediction by count, to be measured: a
 * multiprocessor at a quarter of its multiply-adds does them in about the time of the dozen launches of the other way.
 * Tests compile with 0, so that small networks too go the other way. */
#ifndef FNN_RESIDENT_OPERATIONS
#define FNN_RESIDENT_OPERATIONS 4e6
#endif

namespace fnn {

constexpr int steps_a_graph = 16; /* by expectation: between two graphs the gap is longer than within one */
constexpr int square_blocks = 128;

/* --- The products: which tile, and its launch. -------------------------------------------------------------------- */

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

inline int64_t blocks_for(int64_t size, int64_t each) {
  return (size + each - 1) / each;
}

template <class T> dim3 grid_of(int64_t m, int64_t n) {
  const int64_t across = blocks_for(n, T::columns), down = blocks_for(m, T::rows);
  if (down > 65535 || across > INT32_MAX)
    throw Failure(FNN_UNSUPPORTED, "a product of " + std::to_string(m) + " rows is larger than a launch can be");
  return dim3(unsigned(across), unsigned(down));
}

/* The time of a product by this tile, in turns of a multiprocessor at its work: a prediction by count, until measured.
 * `handicap` is for what a smaller tile loads more often. */
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
  const auto cheapest = std::min_element(std::begin(costs), std::end(costs));
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

/* --- Networks on the device. -------------------------------------------------------------------------------------- */

/* What fnn.h asks of a model, in either dtype. Arguments were checked. Seconds are of the host's clock. */
class Model {
public:
  virtual ~Model() = default;
  virtual void load(const void *x, const void *y, int64_t rows, const int64_t *orders, int64_t n_order) = 0;
  virtual void forward(int64_t first, int64_t count, void *outputs) = 0;
  virtual double loss_and_gradient(int64_t first, int64_t count, void *gradient) = 0;
  virtual double train(int64_t first, int64_t count, int64_t batch, const double *rates) = 0;
  virtual double time(int32_t operation, int64_t first, int64_t count, int64_t repeats, double *checksum) = 0;
  virtual void theta(void *thetas) = 0;
  virtual void reset() = 0;

  Device device{};
  int64_t members = 1, rows = 0, n_order = 0; /* rows, n_order: 0 until load */
  float milliseconds = NAN;                   /* by the device's events, of the last train or time */
};

template <typename Real> class Networks final : public Model {
public:
  Networks(const fnn_network &given, const Device &chosen, int64_t n, const void *thetas, const double *l2s)
      : network_(given, pack), stream_(make_stream(cudaStreamDefault)), start_(make_event()), stop_(make_event()) {
    device = chosen;
    members = n;
    l2s_ = std::vector<double>(l2s, l2s + n);
    const std::vector<Real> padded = pad(static_cast<const Real *>(thetas));
    theta_ = copied(padded);
    first_theta_ = copied(padded);
    gradient_ = Buffer<Real>(network_.theta_size);
    device_l2s_ = copied(l2s_);
    rates_ = Buffer<double>(n);
    cursors_ = Buffer<int64_t>(n);
    parts_ = Buffer<double>(square_blocks * int64_t(network_.layers.size()));
    results_ = Buffer<double>(2);
#ifdef FNN_BLAS
    blas_ = std::make_unique<Blas>();
#endif
    prepare_kernels();
  }

  void load(const void *x, const void *y, int64_t n, const int64_t *orders, int64_t length) override {
    Buffer<Real> new_x = rows_to_device(static_cast<const Real *>(x), n, inputs());
    Buffer<Real> new_y = rows_to_device(static_cast<const Real *>(y), n, outputs());
    if (length > INT64_MAX / 16 / members)
      throw Failure(FNN_NO_MEMORY, "no memory for orders of this length");
    Buffer<int64_t> new_order(members * length);
    to_device(new_order.data(), orders, members * length);
    x_ = std::move(new_x), y_ = std::move(new_y), order_ = std::move(new_order);
    rows = n, n_order = length;
    graphs_.clear(); /* they hold where the data lay */
  }

  void forward(int64_t first, int64_t count, void *into) override {
    reserve(count);
    outputs_of(first, count);
    synchronize();
    const Matrix<Real> A = layers_.back().A;
    std::vector<Real> padded(static_cast<std::size_t>(count * A.stride));
    to_host(padded.data(), A.data, count * A.stride);
    for (int64_t n = 0; n < count; n++)
      std::memcpy(static_cast<Real *>(into) + n * outputs(), padded.data() + n * A.stride, sizeof(Real) * outputs());
  }

  double loss_and_gradient(int64_t first, int64_t count, void *gradient) override {
    reserve(count);
    CHECK(cudaMemsetAsync, results_.data(), 0, 2 * sizeof(double), stream_);
    gradient_of(first, count);
    synchronize();
    double loss = 0;
    to_host(&loss, results_.data(), 1);
    unpad(gradient_.data(), 1, static_cast<Real *>(gradient));
    return loss;
  }

  double train(int64_t first, int64_t count, int64_t batch, const double *rates) override {
    to_device(rates_.data(), rates, members);
#ifndef FNN_BLAS
    if (const std::optional<Resident> plan = plan_resident(batch))
      return train_resident(*plan, first, count);
#endif
    return train_spread(first, count, batch, rates);
  }

  double time(int32_t operation, int64_t first, int64_t count, int64_t repeats, double *checksum) override {
    reserve(count);
    CHECK(cudaMemsetAsync, results_.data(), 0, 2 * sizeof(double), stream_);
    const int64_t places = rows - count + 1;
    const double seconds = clocked([&] {
      for (int64_t r = 0, s = first; r < repeats; r++, s = (s + count) % places)
        if (operation == FNN_FORWARD) {
          outputs_of(s, count);
          const Matrix<Real> A = layers_.back().A;
          launch(stream_, 1, 1, 0, "the launch of note_outputs", note_outputs<Real>, A.data,
                 A.data + (count - 1) * A.stride + outputs() - 1, results_.data() + 1);
        } else
          gradient_of(s, count);
    });
    to_host(checksum, results_.data() + 1, 1);
    return seconds;
  }

  void theta(void *thetas) override {
    unpad(theta_.data(), members, static_cast<Real *>(thetas));
  }

  void reset() override {
    CHECK(cudaMemcpyAsync, theta_.data(), first_theta_.data(), sizeof(Real) * std::size_t(theta_.size()),
          cudaMemcpyDeviceToDevice, stream_);
    synchronize();
  }

private:
  static constexpr int64_t pack = Pack<Real>::length;

  /* A layer's arrays: A_l and delta_l of a minibatch, (capacity, stride). */
  struct Workspace {
    Matrix<Real> A, delta;
  };

  int64_t inputs() const {
    return network_.layers.front().inputs;
  }
  int64_t outputs() const {
    return network_.layers.back().outputs;
  }
  void synchronize() const {
    CHECK(cudaStreamSynchronize, stream_);
  }

  /* --- Between the caller's layout and the device's. --- */

  std::vector<Real> pad(const Real *thetas) const {
    std::vector<Real> padded(static_cast<std::size_t>(members * network_.theta_size));
    for (int64_t k = 0; k < members; k++)
      for (const Layer &l : network_.layers)
        for (int64_t i = 0; i <= l.inputs; i++, thetas += l.outputs) /* b_l is the row below W_l */
          std::memcpy(padded.data() + k * network_.theta_size + l.W + i * l.stride, thetas, sizeof(Real) * l.outputs);
    return padded;
  }

  void unpad(const Real *on_device, int64_t n, Real *thetas) const {
    std::vector<Real> padded(static_cast<std::size_t>(n * network_.theta_size));
    to_host(padded.data(), on_device, n * network_.theta_size);
    for (int64_t k = 0; k < n; k++)
      for (const Layer &l : network_.layers)
        for (int64_t i = 0; i <= l.inputs; i++, thetas += l.outputs)
          std::memcpy(thetas, padded.data() + k * network_.theta_size + l.W + i * l.stride, sizeof(Real) * l.outputs);
  }

  template <typename Number> static Buffer<Number> copied(const std::vector<Number> &numbers) {
    Buffer<Number> buffer(int64_t(numbers.size()));
    to_device(buffer.data(), numbers.data(), buffer.size());
    return buffer;
  }

  /* (rows, width) as (rows, width rounded up to packs). */
  static Buffer<Real> rows_to_device(const Real *from, int64_t rows, int64_t width) {
    const int64_t stride = round_up(width, pack);
    if (rows > INT64_MAX / 16 / stride)
      throw Failure(FNN_NO_MEMORY, "no memory for data of " + std::to_string(rows) + " rows");
    Buffer<Real> buffer(rows * stride);
    CHECK(cudaMemcpy2D, buffer.data(), sizeof(Real) * std::size_t(stride), from, sizeof(Real) * std::size_t(width),
          sizeof(Real) * std::size_t(width), std::size_t(rows), cudaMemcpyHostToDevice);
    return buffer;
  }

  /* --- Room and readiness, before any clock. --- */

  void prepare_kernels() const {
#ifdef FNN_BLAS
    prepare(finish_all<forward_product, Real>, 0);
    prepare(finish_all<propagate_product, Real>, 0);
    prepare(finish_all<update_product, Real>, 0);
#else
    prepare_tile<typename Tiles<Real>::Large>();
    prepare_tile<typename Tiles<Real>::Medium>();
    prepare_tile<typename Tiles<Real>::Small>();
    prepare(resident<Real, 1>, device.shared_bytes); /* once for all: models on other threads launch it too */
    prepare(resident<Real, 4>, device.shared_bytes);
#endif
    prepare(gather<Real>, 0);
    prepare(output<Real>, 0);
    prepare(biases<Real>, 0);
    prepare(squares<Real>, 0);
    prepare(total_loss<Real>, 0);
    prepare(note_outputs<Real>, 0);
  }

  /* Room for a batch of that many rows. */
  void reserve(int64_t wanted) {
    if (wanted <= capacity_)
      return;
    int64_t width = round_up(inputs(), pack) + round_up(outputs(), pack);
    for (const Layer &l : network_.layers)
      width += 2 * l.stride;
    if (wanted > INT64_MAX / 16 / width)
      throw Failure(FNN_NO_MEMORY, "no memory for a batch of this size");
    std::vector<Workspace> layers;
    layers.reserve(network_.layers.size());
    Buffer<Real> workspace(wanted * width);
    Buffer<double> row_losses(wanted);
    Real *at = workspace.data();
    const auto take = [&](int64_t m) {
      const Matrix<Real> matrix{at, round_up(m, pack)};
      at += wanted * matrix.stride;
      return matrix;
    };
    X_ = take(inputs()), T_ = take(outputs());
    for (const Layer &l : network_.layers) {
      const Matrix<Real> A = take(l.outputs);
      layers.push_back({A, take(l.outputs)});
    }
    layers_ = std::move(layers);
    workspace_ = std::move(workspace), row_losses_ = std::move(row_losses);
    capacity_ = wanted;
    graphs_.clear();
  }

  /* The seconds of `work`, the device idle before and after; its events say what the device itself took. */
  template <typename Work> double clocked(Work work) {
    synchronize();
    const auto start = std::chrono::steady_clock::now();
    CHECK(cudaEventRecord, start_, stream_);
    work();
    CHECK(cudaEventRecord, stop_, stream_);
    synchronize();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    CHECK(cudaEventElapsedTime, &milliseconds, start_, stop_);
    return seconds.count();
  }

  /* --- A step spread over the device: theta is one member's. --- */

  static Matrix<const Real> constant(Matrix<Real> matrix) {
    return {matrix.data, matrix.stride};
  }

  template <Product product> void multiply(cudaStream_t stream, const ProductArguments<Real> &arguments) const {
#ifdef FNN_BLAS
    blas_->template multiply<product>(stream, arguments);
#else
    launch_product<product>(stream, device, arguments);
#endif
  }

  /* A_1 .. A_L of X: (rows, m_0); for a fused output activation Z_L in place of A_L. */
  void go_forward(cudaStream_t stream, const Real *theta, Matrix<const Real> X, int64_t n) const {
    for (std::size_t l = 0; l < layers_.size(); l++) {
      const Layer &layer = network_.layers[l];
      const bool fused = l + 1 == layers_.size() && losses[network_.loss].fuses >= 0;
      ProductArguments<Real> arguments{};
      arguments.m = n, arguments.n = layer.outputs, arguments.k = layer.inputs;
      arguments.A = l > 0 ? constant(layers_[l - 1].A) : X;
      arguments.B = {theta + layer.W, layer.stride};
      arguments.C = layers_[l].A;
      arguments.activation = fused ? int(identity_row) : layer.activation;
      arguments.b = theta + layer.b;
      multiply<forward_product>(stream, arguments);
    }
  }

  /* A_L, and delta_L and the rows' losses where wanted. */
  void finish_outputs(cudaStream_t stream, Matrix<const Real> T, int64_t n, double *row_losses) const {
    OutputArguments<Real> arguments{};
    arguments.rows = n, arguments.m = outputs();
    arguments.loss = network_.loss, arguments.activation = network_.layers.back().activation;
    arguments.A = layers_.back().A, arguments.delta = layers_.back().delta, arguments.T = T;
    arguments.scale = Real(losses[network_.loss].slope) / Real(n);
    arguments.row_losses = row_losses;
    launch(stream, dim3(unsigned(blocks_for(n, block_warps))), block_threads, 0, "the launch of output", output<Real>,
           arguments);
  }

  /* From delta_L down. Into theta itself: it changes, each W_l once its delta has passed; else `into` gets dtheta. */
  void go_backward(cudaStream_t stream, const Real *theta, Real *into, Matrix<const Real> X, int64_t n, Real rate,
                   Real l2, int64_t *cursor) const {
    for (std::size_t l = layers_.size(); l-- > 0;) {
      const Layer &layer = network_.layers[l];
      if (l > 0) {
        ProductArguments<Real> arguments{};
        arguments.m = n, arguments.n = layer.inputs, arguments.k = layer.outputs;
        arguments.A = constant(layers_[l].delta);
        arguments.B = {theta + layer.W, layer.stride};
        arguments.C = layers_[l - 1].delta;
        arguments.activation = network_.layers[l - 1].activation;
        arguments.below = constant(layers_[l - 1].A);
        multiply<propagate_product>(stream, arguments);
      }
      ProductArguments<Real> arguments{};
      arguments.m = layer.inputs, arguments.n = layer.outputs, arguments.k = n;
      arguments.A = l > 0 ? constant(layers_[l - 1].A) : X;
      arguments.B = constant(layers_[l].delta);
      arguments.C = {into + layer.W, layer.stride};
      arguments.below = {theta + layer.W, layer.stride};
      arguments.move = into == theta, arguments.rate = rate, arguments.l2 = l2;
      multiply<update_product>(stream, arguments);
    }
    update_biases(stream, into, n, into == theta, rate, cursor);
  }

  void update_biases(cudaStream_t stream, Real *into, int64_t n, bool move, Real rate, int64_t *cursor) const {
    for (std::size_t l = 0; l < layers_.size(); l += most_layers) {
      const std::size_t here = std::min<std::size_t>(most_layers, layers_.size() - l);
      BiasArguments<Real> arguments{};
      arguments.rows = n, arguments.move = move, arguments.rate = rate;
      arguments.cursor = l + here == layers_.size() ? cursor : nullptr;
      int64_t widest = 0;
      for (std::size_t i = 0; i < here; i++) {
        const Layer &layer = network_.layers[l + i];
        arguments.layers[i] = {layer.outputs, constant(layers_[l + i].delta), into + layer.b};
        widest = std::max(widest, layer.outputs);
      }
      launch(stream, dim3(unsigned(blocks_for(widest, warp_size)), unsigned(here)), block_threads,
             block_threads * int64_t(sizeof(Real)), "the launch of biases", biases<Real>, arguments);
    }
  }

  Matrix<const Real> rows_from(const Buffer<Real> &data, int64_t width, int64_t first) const {
    const int64_t stride = round_up(width, pack);
    return {data.data() + first * stride, stride};
  }

  void outputs_of(int64_t first, int64_t count) const {
    go_forward(stream_, theta_.data(), rows_from(x_, inputs(), first), count);
    finish_outputs(stream_, {nullptr, 0}, count, nullptr);
  }

  /* The gradient, and the loss as results_[0], added with dW_1[0][0] to results_[1]. */
  void gradient_of(int64_t first, int64_t count) const {
    const Matrix<const Real> X = rows_from(x_, inputs(), first), T = rows_from(y_, outputs(), first);
    const double l2 = l2s_[0];
    go_forward(stream_, theta_.data(), X, count);
    finish_outputs(stream_, T, count, row_losses_.data());
    go_backward(stream_, theta_.data(), gradient_.data(), X, count, Real(0), Real(l2), nullptr);
    int64_t parts = 0;
    if (l2 > 0)
      for (const Layer &l : network_.layers) {
        launch(stream_, dim3(square_blocks), block_threads, block_warps * int64_t(sizeof(double)),
               "the launch of squares", squares<Real>, theta_.data() + l.W, l.inputs * l.stride, parts_.data() + parts);
        parts += square_blocks;
      }
    launch(stream_, dim3(1), block_threads, block_warps * int64_t(sizeof(double)), "the launch of total_loss",
           total_loss<Real>, row_losses_.data(), count, parts_.data(), parts, l2, gradient_.data(), results_.data(),
           results_.data() + 1);
  }

  /* One minibatch of member k, at its cursor. */
  void step(cudaStream_t stream, int64_t k, int64_t n, double rate) const {
    Real *theta = theta_.data() + k * network_.theta_size;
    GatherArguments<Real> arguments{rows_from(x_, inputs(), 0), rows_from(y_, outputs(), 0), X_, T_, order_.data(),
                                    cursors_.data() + k};
    launch(stream, dim3(unsigned(n)), block_threads, 0, "the launch of gather", gather<Real>, arguments);
    go_forward(stream, theta, constant(X_), n);
    finish_outputs(stream, constant(T_), n, nullptr);
    go_backward(stream, theta, theta, constant(X_), n, Real(rate), Real(l2s_[std::size_t(k)]), cursors_.data() + k);
  }

  /* So many steps of a lone network, captured to be replayed: the cursor is on the device, so one graph serves all. */
  struct Replay {
    int64_t batch, steps;
    double rate;
    Executable executable;
  };

  cudaGraphExec_t replay(int64_t batch, int64_t steps, double rate) {
    for (const Replay &made : graphs_)
      if (made.batch == batch && made.steps == steps && made.rate == rate)
        return made.executable;
    const Stream stream = make_stream(cudaStreamNonBlocking);
    const Graph graph = captured(stream, [&] {
      for (int64_t s = 0; s < steps; s++)
        step(stream, 0, batch, rate);
    });
    cudaGraphExec_t executable;
    CHECK(cudaGraphInstantiate, &executable, graph, 0);
    graphs_.push_back({batch, steps, rate, Executable(executable)});
    CHECK(cudaGraphUpload, executable, stream_);
    return executable;
  }

  double train_spread(int64_t first, int64_t count, int64_t batch, const double *rates) {
    reserve(batch);
    std::vector<int64_t> cursors;
    for (int64_t k = 0; k < members; k++)
      cursors.push_back(k * n_order + first);
    to_device(cursors_.data(), cursors.data(), members);
    const int64_t full = count / batch, rest = count % batch;
    if (members > 1)
      return clocked([&] {
        for (int64_t k = 0; k < members; k++)
          for (int64_t at = 0; at < count; at += batch)
            step(stream_, k, std::min(batch, count - at), rates[k]);
      });
    /* Whichever are needed are made here, before the clock. Rates may be many: so many graphs are kept. */
    if (graphs_.size() > 5)
      graphs_.clear();
    const int64_t long_ones = full / steps_a_graph, short_ones = full % steps_a_graph;
    const cudaGraphExec_t many = long_ones > 0 ? replay(batch, steps_a_graph, rates[0]) : nullptr;
    const cudaGraphExec_t one = short_ones > 0 ? replay(batch, 1, rates[0]) : nullptr;
    const cudaGraphExec_t last = rest > 0 ? replay(rest, 1, rates[0]) : nullptr;
    return clocked([&] {
      for (int64_t g = 0; g < long_ones; g++)
        CHECK(cudaGraphLaunch, many, stream_);
      for (int64_t g = 0; g < short_ones; g++)
        CHECK(cudaGraphLaunch, one, stream_);
      if (rest > 0)
        CHECK(cudaGraphLaunch, last, stream_);
    });
  }

  /* --- Small networks: a block each. --- */

#ifndef FNN_BLAS
  struct Resident {
    ResidentArguments<Real> arguments;
    int64_t shared_bytes;
    int warps;
  };

  /* How a block would hold the network and its minibatches; nothing where it is too large, or too much work, for one.
   */
  std::optional<Resident> plan_resident(int64_t batch) const {
    const double alike = double(std::min<int64_t>(members, device.multiprocessors));
    if (network_.layers.size() > most_resident_layers || batch > 4096 || members > INT32_MAX ||
        network_.operations() * double(batch) > FNN_RESIDENT_OPERATIONS * alike ||
        network_.theta_size * int64_t(sizeof(Real)) > device.shared_bytes)
      return std::nullopt;
    Resident plan{};
    ResidentArguments<Real> &arguments = plan.arguments;
    int64_t at = 0; /* a network of that size: no sum below leaves the range of an int64_t, and most that of an int */
    const auto take = [&](int64_t rows, int64_t stride) {
      const int64_t start = at;
      at += round_up(rows * stride, 4);
      return int(start);
    };
    arguments.n_layers = int(network_.layers.size()), arguments.loss = network_.loss, arguments.batch = int(batch);
    arguments.slope = Real(losses[network_.loss].slope);
    arguments.X_stride = int(round_up(inputs(), 4)), arguments.T_stride = int(round_up(outputs(), 4));
    arguments.X_packs = int(round_up(inputs(), pack) / pack), arguments.T_packs = int(round_up(outputs(), pack) / pack);
    arguments.X = take(2 * batch, arguments.X_stride), arguments.T = take(2 * batch, arguments.T_stride);
    int most_tasks = 1;
    for (std::size_t l = 0; l < network_.layers.size(); l++) {
      const Layer &layer = network_.layers[l];
      ResidentLayer &here = arguments.layers[l];
      here.inputs = int(layer.inputs), here.outputs = int(layer.outputs), here.activation = layer.activation;
      here.W_stride = int(round_up(layer.outputs + 2, 4) - 2); /* 2 * odd: see resident.cuh */
      here.W = take(round_up(layer.inputs, 4), here.W_stride), here.b = take(1, layer.outputs);
      here.A_stride = here.delta_stride = int(round_up(layer.outputs, 4));
      here.A = take(batch, here.A_stride), here.delta = take(batch, here.delta_stride);
      here.theta_W = int(layer.W), here.theta_b = int(layer.b), here.theta_stride = int(layer.stride);
      const int64_t tasks = blocks_for(layer.outputs, 8) * blocks_for(batch, batch > 1 ? 4 : 1);
      const int64_t back = l > 0 ? blocks_for(layer.inputs, 4) * blocks_for(batch, batch > 1 ? 4 : 1) : 0;
      most_tasks = int(std::max<int64_t>(most_tasks, std::max(tasks, back)));
    }
    arguments.shared_numbers = int(at);
    arguments.order_ring = int(round_up(at * int64_t(sizeof(Real)), 16));
    plan.shared_bytes = round_up(at * int64_t(sizeof(Real)), 16) + 2 * batch * int64_t(sizeof(int64_t));
    if (plan.shared_bytes > device.shared_bytes)
      return std::nullopt;
    /* Alone, as many warps as find work; among many networks few, so that several blocks share a multiprocessor. */
    plan.warps = members > device.multiprocessors ? 4 : 1;
    if (members <= device.multiprocessors)
      while (plan.warps < 16 && plan.warps < most_tasks)
        plan.warps *= 2;
    arguments.top = narrow_from();
    return plan;
  }

  /* The layers from here on have so little work each that one warp does it faster than a block can meet. */
  int narrow_from() const {
    constexpr int64_t narrow = 256; /* weights: eight to a lane; a prediction, as above */
    std::size_t l = network_.layers.size();
    while (l > 0 && network_.layers[l - 1].inputs * network_.layers[l - 1].outputs <= narrow)
      l--;
    return int(l);
  }

  double train_resident(Resident plan, int64_t first, int64_t count) {
    ResidentArguments<Real> &arguments = plan.arguments;
    arguments.x = x_.data(), arguments.y = y_.data(), arguments.order = order_.data();
    arguments.n_order = n_order, arguments.first = first, arguments.count = count;
    arguments.theta = theta_.data(), arguments.theta_size = network_.theta_size;
    arguments.rates = rates_.data(), arguments.l2s = device_l2s_.data();
    const auto kernel = arguments.batch == 1 ? resident<Real, 1> : resident<Real, 4>;
    return clocked([&] {
      launch(stream_, dim3(unsigned(members)), unsigned(plan.warps) * warp_size, plan.shared_bytes,
             "the launch of resident", kernel, arguments);
    });
  }
#endif

  Network network_;
  std::vector<double> l2s_; /* (members) */
  Stream stream_;
  Event start_, stop_;
  Buffer<Real> theta_, first_theta_, gradient_; /* (members, theta_size); gradient_: of one */
  Buffer<double> device_l2s_, rates_;           /* (members) */
  Buffer<int64_t> cursors_;                     /* (members): where each one's next minibatch starts in order_ */
  Buffer<double> parts_, results_;              /* of the sums of squares; the loss and the checksum */
  Buffer<Real> x_, y_;                          /* (rows, m_0), (rows, m_L), padded */
  Buffer<int64_t> order_;                       /* (members, n_order) */
  int64_t capacity_ = 0;                        /* rows that the workspace has room for */
  Buffer<Real> workspace_;                      /* X, T, and A and delta of every layer */
  Buffer<double> row_losses_;                   /* (capacity) */
  Matrix<Real> X_{}, T_{};
  std::vector<Workspace> layers_;
  std::vector<Replay> graphs_;
#ifdef FNN_BLAS
  std::unique_ptr<Blas> blas_;
#endif
};

} // namespace fnn
