/* spread.hpp: a step spread over the whole device, one kernel a product, and the CUDA graphs that repeat it.
 *
 * Not here: small networks, a block each (persistent.cuh); the clock around a call (networks.hpp).
 */
#pragma once
#include "step.cuh"
#include "storage.hpp"
#ifdef FNN_CUBLAS
#include "cublas.hpp"
#else
#include "launch.hpp"
#endif

#include <algorithm>

namespace fnn {

constexpr int steps_a_graph = 16; /* the gap between two graphs is expected to be longer than the gaps within one */
constexpr int square_blocks = 128, most_activate_blocks = 1024;

template <typename Real> class Spread {
public:
  Spread(const Storage<Real> &storage, const Device &device, cudaStream_t stream)
      : storage_(storage), network_(storage.network), device_(device), stream_(stream), cursors_(storage.members()),
        parts_(square_blocks * int64_t(network_.layers.size())), results_(2) {
#ifdef FNN_CUBLAS
    prepare(epilogue_all<forward_product, Real>, 0);
    prepare(epilogue_all<propagate_product, Real>, 0);
    prepare(epilogue_all<update_product, Real>, 0);
#else
    prepare_products<Real>();
#endif
    prepare(gather<Real>, 0);
    prepare(activate<Real>, 0);
    prepare(output_rows<Real>, 0);
    prepare(biases<Real>, 0);
    prepare(sum_squares<Real>, 0);
    prepare(total_loss<Real>, 0);
    prepare(add_to_checksum<Real>, 0);
  }

  /* Make the workspace large enough for B rows; on failure the old one stays. */
  void reserve(int64_t B) {
    if (B <= capacity_)
      return;
    int64_t width = round_up(storage_.inputs(), pack) + round_up(storage_.outputs(), pack);
    for (const Layer &l : network_.layers)
      width += (keeps_slope(l.activation) ? 3 : 2) * l.stride;
    if (B > INT64_MAX / 16 / width)
      throw Failure(FNN_NO_MEMORY, "no memory for a batch of this size");
    std::vector<Activations> layers;
    layers.reserve(network_.layers.size());
    Buffer<Real> workspace(B * width);
    Buffer<double> row_losses(B);
    Real *at = workspace.data();
    const auto carve = [&](int64_t m) {
      const Matrix<Real> matrix{at, round_up(m, pack)};
      at += B * matrix.stride;
      return matrix;
    };
    X_ = carve(storage_.inputs()), T_ = carve(storage_.outputs());
    for (const Layer &l : network_.layers) {
      const Matrix<Real> A = carve(l.outputs), delta = carve(l.outputs);
      layers.push_back({A, delta, keeps_slope(l.activation) ? carve(l.outputs) : Matrix<Real>{}});
    }
    layers_ = std::move(layers);
    workspace_ = std::move(workspace), row_losses_ = std::move(row_losses);
    capacity_ = B;
    forget_graphs();
  }

  /* Discard the captured steps: they hold the addresses of the data and of the workspace. */
  void forget_graphs() {
    graphs_.clear();
  }

  /* Compute A_L of rows [first, first + count). */
  Matrix<Real> outputs(int64_t first, int64_t count) const {
    forward(stream_, storage_.theta.data(), rows_of(storage_.x, storage_.inputs(), first), count);
    output_delta(stream_, {nullptr, 0}, count, nullptr);
    return layers_.back().A;
  }

  /* Compute the gradient and the loss of rows [first, first + count), and add loss + gradient[at] to the checksum; `at`
   * counts in the padded layout. */
  void loss_and_gradient(int64_t first, int64_t count, int64_t at = 0) const {
    const Matrix<const Real> X = rows_of(storage_.x, storage_.inputs(), first);
    const Matrix<const Real> T = rows_of(storage_.y, storage_.outputs(), first);
    Real *theta = storage_.theta.data(), *gradient = storage_.gradient.data();
    const double l2 = storage_.l2s[0];
    forward(stream_, theta, X, count);
    output_delta(stream_, T, count, row_losses_.data());
    backward(stream_, theta, gradient, X, count, Real(0), Real(l2), nullptr);
    int64_t parts = 0;
    if (l2 > 0)
      for (const Layer &l : network_.layers) {
        launch(stream_, dim3(square_blocks), block_threads, block_warps * int64_t(sizeof(double)),
               "the launch of sum_squares", sum_squares<Real>, theta + l.W, l.inputs * l.stride, parts_.data() + parts);
        parts += square_blocks;
      }
    launch(stream_, dim3(1), block_threads, block_warps * int64_t(sizeof(double)), "the launch of total_loss",
           total_loss<Real>, row_losses_.data(), count, parts_.data(), parts, l2, gradient + at, results_.data(),
           results_.data() + 1);
  }

  void clear_results() const {
    CHECK(cudaMemsetAsync, results_.data(), 0, 2 * sizeof(double), stream_);
  }
  double loss() const {
    double loss = 0;
    to_host(&loss, results_.data(), 1);
    return loss;
  }
  double checksum() const {
    double checksum = 0;
    to_host(&checksum, results_.data() + 1, 1);
    return checksum;
  }

  /* Do one pass of fnn_time, and add its share to the checksum. The probed entry is `at` in the padded layout. */
  void timed_pass(int32_t operation, int64_t first, int64_t count, int64_t at) const {
    if (operation == FNN_FORWARD) {
      const Matrix<Real> A = outputs(first, count);
      launch(stream_, 1, 1, 0, "the launch of add_to_checksum", add_to_checksum<Real>, A.data + at,
             results_.data() + 1);
    } else
      loss_and_gradient(first, count, at);
  }

  /* Train every member over its order[first .. first + count), and return the seconds by `timer`. */
  double train(Timer &timer, int64_t first, int64_t count, int64_t batch, const double *rates) {
    reserve(batch);
    const int64_t members = storage_.members();
    std::vector<int64_t> cursors;
    for (int64_t k = 0; k < members; k++)
      cursors.push_back(k * storage_.n_order() + first);
    to_device(cursors_.data(), cursors.data(), members);
    if (members > 1)
      return timer.seconds([&] {
        for (int64_t k = 0; k < members; k++)
          for (int64_t at = 0; at < count; at += batch)
            step(stream_, k, std::min(batch, count - at), rates[k]);
      });
    return replay(timer, count, batch, rates[0]);
  }

private:
  static constexpr int64_t pack = Pack<Real>::length;

  /* A_l and delta_l of a minibatch: (capacity, m_l), padded. slope: f_l'(Z_l), where f_l keeps it. */
  struct Activations {
    Matrix<Real> A, delta, slope;
  };

  /* A number of steps of one network, captured. The graph reads its cursor on the device, so it serves every start. */
  struct Captured {
    int64_t batch, steps;
    double rate;
    Executable executable;
  };

  static Matrix<const Real> constant(Matrix<Real> matrix) {
    return {matrix.data, matrix.stride};
  }
  static Matrix<const Real> rows_of(const Buffer<Real> &data, int64_t width, int64_t first) {
    return Storage<Real>::rows_from(data, width, first);
  }

  template <Product product> void multiply(cudaStream_t stream, const ProductArguments<Real> &arguments) const {
#ifdef FNN_CUBLAS
    cublas_.template multiply<product>(stream, arguments);
#else
    launch_product<product>(stream, device_, arguments);
#endif
  }

  /* --- The step on B rows; theta is one member's. --- */

  /* Compute A_1 .. A_L from X: (B, m_0); Z_L in place of A_L where the loss fuses the output activation. */
  void forward(cudaStream_t stream, const Real *theta, Matrix<const Real> X, int64_t B) const {
    for (std::size_t l = 0; l < layers_.size(); l++) {
      const Layer &layer = network_.layers[l];
      const bool fused = l + 1 == layers_.size() && losses[network_.loss_function].fuses >= 0;
      const bool keeps = keeps_slope(layer.activation);
      ProductArguments<Real> arguments{};
      arguments.m = B, arguments.n = layer.outputs, arguments.k = layer.inputs;
      arguments.A = l > 0 ? constant(layers_[l - 1].A) : X;
      arguments.B = {theta + layer.W, layer.stride};
      arguments.C = layers_[l].A;
      arguments.activation = fused || keeps ? int(identity_row) : layer.activation;
      arguments.b = theta + layer.b;
      multiply<forward_product>(stream, arguments);
      if (keeps)
        activate_layer(stream, l, B);
    }
  }

  /* Compute A_l and the slope from Z_l, which is in the place of A_l. */
  void activate_layer(cudaStream_t stream, std::size_t l, int64_t B) const {
    const Layer &layer = network_.layers[l];
    const ActivateArguments<Real> arguments{
        B, layer.outputs, layer.activation, Real(layer.parameter), layers_[l].A, layers_[l].slope};
    const int64_t blocks = std::min<int64_t>(blocks_for(B * layer.stride, block_threads), most_activate_blocks);
    launch(stream, dim3(unsigned(blocks)), block_threads, 0, "the launch of activate", activate<Real>, arguments);
  }

  /* Compute A_L; delta_L where T has data; each row's loss where row_losses is not NULL. */
  void output_delta(cudaStream_t stream, Matrix<const Real> T, int64_t B, double *row_losses) const {
    OutputArguments<Real> arguments{};
    arguments.rows = B, arguments.m = storage_.outputs();
    arguments.loss = network_.loss_function, arguments.activation = network_.layers.back().activation;
    arguments.A = layers_.back().A, arguments.delta = layers_.back().delta, arguments.T = T;
    arguments.slope = constant(layers_.back().slope);
    arguments.scale = Real(losses[network_.loss_function].derivative) / Real(B);
    arguments.row_losses = row_losses;
    launch(stream, dim3(unsigned(blocks_for(B, block_warps))), block_threads, 0, "the launch of output_rows",
           output_rows<Real>, arguments);
  }

  /* Go down from delta_L. Where `into` is theta, update it: W_l changes after delta_l has passed through it. Otherwise
   * write the gradient to `into`. */
  void backward(cudaStream_t stream, const Real *theta, Real *into, Matrix<const Real> X, int64_t B, Real rate, Real l2,
                int64_t *cursor) const {
    for (std::size_t l = layers_.size(); l-- > 0;) {
      const Layer &layer = network_.layers[l];
      if (l > 0)
        propagate(stream, theta, l, B);
      ProductArguments<Real> arguments{};
      arguments.m = layer.inputs, arguments.n = layer.outputs, arguments.k = B;
      arguments.A = l > 0 ? constant(layers_[l - 1].A) : X;
      arguments.B = constant(layers_[l].delta);
      arguments.C = {into + layer.W, layer.stride};
      arguments.below = {theta + layer.W, layer.stride};
      arguments.in_place = into == theta, arguments.rate = rate, arguments.l2 = l2;
      multiply<update_product>(stream, arguments);
    }
    update_biases(stream, into, B, into == theta, rate, cursor);
  }

  /* Compute the delta of layers_[l - 1] from that of layers_[l]. */
  void propagate(cudaStream_t stream, const Real *theta, std::size_t l, int64_t B) const {
    const Layer &layer = network_.layers[l];
    ProductArguments<Real> arguments{};
    arguments.m = B, arguments.n = layer.inputs, arguments.k = layer.outputs;
    arguments.A = constant(layers_[l].delta);
    arguments.B = {theta + layer.W, layer.stride};
    arguments.C = layers_[l - 1].delta;
    arguments.activation = network_.layers[l - 1].activation;
    arguments.below = constant(keeps_slope(arguments.activation) ? layers_[l - 1].slope : layers_[l - 1].A);
    multiply<propagate_product>(stream, arguments);
  }

  /* Update all b_l, or compute all db_l, most_layers layers a launch; the last launch moves the cursor on. */
  void update_biases(cudaStream_t stream, Real *into, int64_t B, bool in_place, Real rate, int64_t *cursor) const {
    for (std::size_t l = 0; l < layers_.size(); l += most_layers) {
      const std::size_t here = std::min<std::size_t>(most_layers, layers_.size() - l);
      BiasArguments<Real> arguments{};
      arguments.rows = B, arguments.in_place = in_place, arguments.rate = rate;
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

  /* Train member k on one minibatch of B rows, at its cursor. */
  void step(cudaStream_t stream, int64_t k, int64_t B, double rate) const {
    Real *theta = storage_.theta.data() + k * network_.theta_size;
    int64_t *cursor = cursors_.data() + k;
    GatherArguments<Real> arguments{rows_of(storage_.x, storage_.inputs(), 0),
                                    rows_of(storage_.y, storage_.outputs(), 0),
                                    X_,
                                    T_,
                                    storage_.order.data(),
                                    cursor};
    launch(stream, dim3(unsigned(B)), block_threads, 0, "the launch of gather", gather<Real>, arguments);
    forward(stream, theta, constant(X_), B);
    output_delta(stream, constant(T_), B, nullptr);
    backward(stream, theta, theta, constant(X_), B, Real(rate), Real(storage_.l2s[std::size_t(k)]), cursor);
  }

  /* --- Steps of one network as graphs. --- */

  cudaGraphExec_t graph_of(int64_t batch, int64_t steps, double rate) {
    for (const Captured &captured : graphs_)
      if (captured.batch == batch && captured.steps == steps && captured.rate == rate)
        return captured.executable;
    const Stream stream = make_stream(cudaStreamNonBlocking);
    const Graph graph = capture(stream, [&] {
      for (int64_t s = 0; s < steps; s++)
        step(stream, 0, batch, rate);
    });
    cudaGraphExec_t executable;
    CHECK(cudaGraphInstantiate, &executable, graph, 0);
    graphs_.push_back({batch, steps, rate, Executable(executable)});
    CHECK(cudaGraphUpload, executable, stream_);
    return executable;
  }

  double replay(Timer &timer, int64_t count, int64_t batch, double rate) {
    const int64_t full = count / batch, rest = count % batch;
    const int64_t long_ones = full / steps_a_graph, short_ones = full % steps_a_graph;
    if (graphs_.size() > 5) /* a call may bring a new rate: keep few graphs */
      forget_graphs();
    const cudaGraphExec_t many = long_ones > 0 ? graph_of(batch, steps_a_graph, rate) : nullptr;
    const cudaGraphExec_t one = short_ones > 0 ? graph_of(batch, 1, rate) : nullptr;
    const cudaGraphExec_t last = rest > 0 ? graph_of(rest, 1, rate) : nullptr;
    return timer.seconds([&] {
      for (int64_t g = 0; g < long_ones; g++)
        CHECK(cudaGraphLaunch, many, stream_);
      for (int64_t g = 0; g < short_ones; g++)
        CHECK(cudaGraphLaunch, one, stream_);
      if (rest > 0)
        CHECK(cudaGraphLaunch, last, stream_);
    });
  }

  const Storage<Real> &storage_;
  const Network &network_;
  Device device_;
  cudaStream_t stream_;
  Buffer<int64_t> cursors_;        /* (members): where each member's next minibatch starts in order */
  Buffer<double> parts_, results_; /* parts of the sums of squares; the loss and the checksum */
  int64_t capacity_ = 0;           /* rows that the workspace has room for */
  Buffer<Real> workspace_;         /* X, T, and A and delta of every layer */
  Buffer<double> row_losses_;      /* (capacity) */
  Matrix<Real> X_{}, T_{};
  std::vector<Activations> layers_;
  std::vector<Captured> graphs_;
#ifdef FNN_CUBLAS
  Cublas cublas_;
#endif
};

} // namespace fnn
