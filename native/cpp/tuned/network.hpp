// network.hpp: a feed-forward network tuned to the machine: the mathematics of ../mlp.hpp on whole vectors, in padded
// matrices, on several threads. It selects a step by the batch size and the network: single_sample.hpp,
// feature_major.hpp or minibatch.hpp. It does not validate arguments, knows nothing of Python, and allocates nothing in
// a step.
#pragma once

#include "../model.hpp"
#include "feature_major.hpp"
#include "minibatch.hpp"
#include "optimizer.hpp"
#include "single_sample.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace fnn::tuned {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

template <class Real> class Mlp {
public:
  // sizes: m_0 .. m_L   functions: f_1 .. f_L, where f_L is the one that the loss fuses, if any
  // theta: W_1 row by row, b_1, W_2, b_2, ...; the slopes that a layer learns follow its b
  // pool: null for one thread; it must outlive the network
  Mlp(const std::vector<std::size_t> &sizes, const std::vector<LayerFunction> &functions, const std::string &loss,
      double l2, const Real *theta, Pool *pool)
      : layers_(make_layers(sizes, functions)), loss_function_(find(losses<Real>, loss)), l2_(static_cast<Real>(l2)),
        pool_(pool), start_(theta, theta + layers_.back().at + (layers_.back().inputs + 1) * layers_.back().outputs),
        minibatch_(blocking(layers_), pool), feature_major_(layers_, blocking(layers_)) {
    reset();
  }

  std::size_t n_inputs() const {
    return layers_.front().inputs;
  }
  std::size_t n_outputs() const {
    return layers_.back().outputs;
  }
  std::size_t n_parameters() const {
    return start_.size();
  }

  // Copy the current parameters.   flat: (n_parameters)
  void theta(Real *flat) const {
    for (const Layer<Real> &layer : layers_)
      layer.flatten(layer.W, layer.b, layer.S, flat);
  }

  // Return true if every number of the parameters is finite. The matrices are read with their padding, which is finite
  // where the parameters are; were it not, those alone would count.
  bool is_finite() const {
    if (std::all_of(layers_.begin(), layers_.end(), [](const Layer<Real> &layer) { return layer.is_finite(); }))
      return true;
    std::vector<Real> flat(n_parameters());
    theta(flat.data());
    return all_finite(flat.data(), flat.size());
  }

  void load(std::shared_ptr<const Data<Real>> data, const std::int64_t *order, std::size_t n_order) {
    load(std::move(data), std::vector<std::int64_t>(order, order + n_order));
  }
  void load(std::shared_ptr<const Data<Real>> data, std::vector<std::int64_t> order) noexcept {
    data_ = std::move(data);
    order_ = std::move(order);
  }

  // theta: as the constructor's
  void set_theta(const Real *theta) {
    for (Layer<Real> &layer : layers_)
      layer.unflatten(theta, layer.W, layer.b, layer.S);
    single_sample_.invalidate_transposes();
  }

  // Set the parameters to the values that the network was created with.
  void reset() {
    set_theta(start_.data());
  }

  // Make room for training in minibatches of this size. train itself allocates nothing.
  void prepare(std::size_t count, std::size_t batch_size) {
    reserve(std::min(batch_size, count));
    if (batch_size == 1)
      single_sample_.reserve(layers_);
  }

  // Compute the outputs of rows [first, first + count).   y: (count, m_L)
  void outputs(std::size_t first, std::size_t count, Real *y) {
    reserve(count);
    forward(rows_from(first), count);
    activate_outputs(count);
    const Layer<Real> &last = layers_.back();
    for (std::size_t n = 0; n < count; ++n)
      std::copy_n(last.A.data() + n * last.stride, last.outputs, y + n * last.outputs);
  }

  // Return R over rows [first, first + count).
  double loss(std::size_t first, std::size_t count) {
    reserve(count);
    forward_keeping_Z(first, count);
    return loss(data_->targets_from(first), count);
  }

  // Return R over rows [first, first + count), and write its gradient.   gradient: (n_parameters)
  double loss_and_gradient(std::size_t first, std::size_t count, Real *gradient) {
    reserve(count);
    reserve_gradient();
    const double R = loss_and_gradient(first, count);
    for (const Layer<Real> &layer : layers_)
      layer.flatten(layer.dW, layer.db, layer.dS, gradient);
    return R;
  }

  // Run gradient descent over order[first .. first + count). Call prepare first, outside the clock.
  void train(std::size_t first, std::size_t count, std::size_t batch_size, Real rate) {
    if (batch_size == 1)
      return l2_ == 0 ? train_single<false>(first, count, rate) : train_single<true>(first, count, rate);
    steps<false, false>(first, count, batch_size, rate);
  }

  // Select an optimizer for train_with: see ../optimizer.hpp.   state: (vectors, n_parameters)
  void set_optimizer(const std::string &name, const std::vector<double> &settings, std::int64_t steps,
                     const Real *state) {
    reserve_gradient();
    optimizer_.select(layers_, name, settings);
    optimizer_.set_state(layers_, state, n_parameters(), steps);
  }
  const OptimizerStep<Real> &optimizer() const {
    return optimizer_;
  }
  // state: (vectors, n_parameters)
  void optimizer_state(Real *state) const {
    optimizer_.state(layers_, state, n_parameters());
  }

  // Train as train does, by the selected optimizer.
  void train_with(std::size_t first, std::size_t count, std::size_t batch_size, double rate) {
    steps<true, false>(first, count, batch_size, rate);
  }

  // Train as train_with does, or train, and return the running loss: the mean over the rows of R of their step's rows,
  // at the theta before that step.
  double train_with_loss(std::size_t first, std::size_t count, std::size_t batch_size, double rate, bool optimized) {
    return optimized ? steps<true, true>(first, count, batch_size, rate)
                     : steps<false, true>(first, count, batch_size, rate);
  }

  // Time `repeats` passes of `count` rows each. Their row ranges rotate through the data, so that no pass can be
  // hoisted out of the loop. The checksum sums one probed output of each pass, or its loss and one probed entry of its
  // gradient.   probes: (n_probes) entries of the outputs (count, m_L), or of a vector laid out as theta; pass r takes
  // probes[r mod n_probes]
  Timing timed_pass(Operation operation, std::size_t first, std::size_t count, std::size_t repeats,
                    const std::int64_t *probes, std::size_t n_probes) {
    reserve(count);
    reserve_gradient();
    find_probed(operation, probes, n_probes);
    double checksum = 0;
    const auto start = Clock::now();
    for (std::size_t r = 0, p = 0; r < repeats; ++r, p = p + 1 < n_probes ? p + 1 : 0) {
      const std::size_t s = (first + r * count) % (data_->rows - count + 1);
      if (operation == Operation::forward) {
        forward(rows_from(s), count);
        activate_outputs(count);
      } else {
        checksum += loss_and_gradient(s, count);
      }
      checksum += *probed_[p];
    }
    return {seconds_since(start), checksum};
  }

private:
  static Layers<Real> make_layers(const std::vector<std::size_t> &sizes, const std::vector<LayerFunction> &functions) {
    Layers<Real> layers;
    std::size_t at = 0;
    for (std::size_t l = 1; l < sizes.size(); ++l) {
      const LayerFunction &function = functions.at(l - 1);
      const Activation<Real> &usual = find(activations<Real>, function.name);
      const bool from_Z = function.parameter < 0 && !usual.slope_gradient;
      const Activation<Real> &f = from_Z ? find(activations_from_Z<Real>, function.name) : usual;
      layers.emplace_back(sizes[l - 1], sizes[l], at, f, static_cast<Real>(function.parameter), from_Z);
      const Layer<Real> &made = layers.back();
      at += (made.inputs + 1) * made.outputs * made.pieces + (made.learns() ? made.outputs : 0);
    }
    return layers;
  }

  static Blocking<Real> blocking(const Layers<Real> &layers) {
    std::size_t largest = 0;
    for (const Layer<Real> &layer : layers)
      largest = std::max(largest, layer.inputs * layer.outputs * sizeof(Real));
    return {caches(), largest};
  }

  // Make room for steps on B rows.
  void reserve(std::size_t B) {
    if (B > capacity_) {
      for (Layer<Real> &layer : layers_) {
        layer.A = Buffer<Real>(B * layer.A_stride);
        layer.delta = Buffer<Real>(B * layer.stride);
        if (layer.pieces > 1)
          layer.dA = Buffer<Real>(B * layer.A_stride);
        if (layer.keeps_Z)
          layer.Z = Buffer<Real>(B * layer.stride);
      }
      Z_ = Buffer<Real>(B * layers_.back().stride);
      capacity_ = B;
    }
    feature_major_.reserve(layers_, B);
    // Room for panels, even if B rows are not gathered into panels: a shorter last minibatch may be.
    const std::size_t x = round_up(B, micro_rows) / micro_rows * panel_stride(), t = B * data_->y_stride;
    if (X_.size() < x)
      X_ = Buffer<Real>(x);
    if (T_.size() < t)
      T_ = Buffer<Real>(t);
    minibatch_.reserve(layers_, B);
  }

  void reserve_gradient() {
    for (Layer<Real> &layer : layers_)
      if (layer.db.size() == 0) { // the last one: there was memory for both
        layer.dW = Buffer<Real>(layer.W_size());
        layer.db = Buffer<Real>(layer.columns);
      }
  }

  // Point probed_ at the probed entries: in A of the last layer, or in dW and db of all layers.
  void find_probed(Operation operation, const std::int64_t *probes, std::size_t n_probes) {
    const auto output = [this](std::size_t entry) {
      const Layer<Real> &last = layers_.back();
      return last.A.data() + entry / last.outputs * last.stride + entry % last.outputs;
    };
    const auto parameter = [this](std::size_t entry) {
      auto layer = layers_.rbegin();
      while (layer->at > entry)
        ++layer;
      return layer->gradient_entry(entry - layer->at);
    };
    probed_.resize(n_probes);
    for (std::size_t p = 0; p < n_probes; ++p) {
      const auto entry = static_cast<std::size_t>(probes[p]);
      probed_[p] = operation == Operation::forward ? output(entry) : parameter(entry);
    }
  }

  // Compute A of every layer except the last, and Z of the last, in its A.
  void forward(const Inputs<Real> &X, std::size_t B) {
    if (feature_major_.takes(B))
      feature_major_.forward(layers_, X.rows, B);
    else
      minibatch_.forward(layers_, X, B);
  }

  // A_L = f_L(Z_L), apart from `forward` because the loss may need Z_L.
  void activate_outputs(std::size_t B) {
    const Layer<Real> &last = layers_.back();
    last.activate(last.A.data(), B);
  }

  // delta_L = scale (A_L - T) * f_L'(Z_L), without f_L' if the loss is fused with f_L.   T: (B, m_L)
  void output_delta(Matrix<Real> T, std::size_t B, Real scale) {
    const Layer<Real> &last = layers_.back();
    last.output_delta(loss_function_, last.A.data(), T, B, scale);
  }

  // Compute the gradient from delta_L, into dW and db or, with Epilogue::update, added to W and b.
  void backward(const Inputs<Real> &X, std::size_t B, Epilogue epilogue, Real scale) {
    if (feature_major_.takes(B))
      feature_major_.backward(layers_, B, epilogue, scale);
    else
      minibatch_.backward(layers_, X, B, epilogue, scale);
  }

  // The loaded rows from row `first` on.
  Inputs<Real> rows_from(std::size_t first) const {
    return {data_->inputs_from(first), {}};
  }
  // Return true if a minibatch of B rows is gathered into panels, from which both products of the first layer read.
  bool gathers_panels(std::size_t B) const {
    return !feature_major_.takes(B) && minibatch_.takes_panels(layers_, B);
  }
  // From a panel of X_ to the next.
  std::size_t panel_stride() const {
    return row_stride<Real>(micro_rows * data_->x_stride);
  }
  // Where a minibatch of B rows is gathered.
  Inputs<Real> gathered(std::size_t B) const {
    if (gathers_panels(B))
      return {{}, {X_.data(), panel_stride()}};
    return {{X_.data(), data_->x_stride}, {}};
  }

  // Return R over the B rows of the last forward pass, whose Z_L is in Z_.   T: (B, m_L)
  double loss(Matrix<Real> T, std::size_t B) const {
    const Layer<Real> &last = layers_.back();
    double sum = 0;
    for (std::size_t n = 0; n < B; ++n)
      sum += loss_function_.value(Z_.data() + n * last.stride, last.A.data() + n * last.stride, T.data + n * T.stride,
                                  last.outputs);
    return sum / static_cast<double>(B) + (l2_ == 0 ? 0 : l2_ / 2 * squared_norm());
  }

  // Return the sum of all squared weights.
  double squared_norm() const {
    double norm = 0;
    for (const Layer<Real> &layer : layers_)
      for (std::size_t i = 0; i < layer.inputs; ++i) {
        Vector<Real> squares{};
        for (std::size_t j = 0; j < layer.columns; j += lanes<Real>) {
          const Vector<Real> w = tuned::load(layer.W.data() + i * layer.stride + j);
          squares += w * w;
        }
        norm += sum<Real>(squares);
      }
    return norm;
  }

  // Compute A of every layer for rows [first, first + count), and keep Z of the last, in Z_.
  void forward_keeping_Z(std::size_t first, std::size_t count) {
    forward(rows_from(first), count);
    keep_output_Z(count);
    activate_outputs(count);
  }

  // Return R over rows [first, first + count), and leave its gradient in dW and db.
  double loss_and_gradient(std::size_t first, std::size_t count) {
    const Matrix<Real> T = data_->targets_from(first);
    forward_keeping_Z(first, count);
    output_delta(T, count, loss_function_.derivative / static_cast<Real>(count));
    backward(rows_from(first), count, Epilogue::gradient, l2_);
    return loss(T, count);
  }

  // Make the steps of order[first .. first + count) in minibatches, by the selected optimizer or by gradient descent.
  // Return the running loss, if with_loss.
  template <bool optimized, bool with_loss>
  double steps(std::size_t first, std::size_t count, std::size_t batch_size, double rate) {
    const Real factor = optimized ? 1 : -static_cast<Real>(rate);
    double sum = 0;
    single_sample_.invalidate_transposes();
    for (std::size_t done = 0; done < count; done += batch_size) {
      const std::size_t B = std::min(batch_size, count - done);
      const Inputs<Real> X = gather_and_forward<with_loss>(first + done, B, factor * loss_function_.derivative);
      if constexpr (with_loss)
        sum += static_cast<double>(B) * loss({T_.data(), data_->y_stride}, B);
      if constexpr (optimized) {
        if (B == 1 && !feature_major_.takes(B)) {
          optimizer_.backward_and_step(layers_, X.rows.data, l2_, rate, pool_);
        } else {
          backward(X, B, Epilogue::gradient, l2_);
          optimizer_.step(layers_, rate, pool_);
        }
      } else {
        backward(X, B, Epilogue::update, factor * l2_);
      }
    }
    return sum / static_cast<double>(count);
  }

  // Compute A of every layer and delta_L, with this factor in it, for the rows order[first .. first + B); return X.
  template <bool keep_Z> Inputs<Real> gather_and_forward(std::size_t first, std::size_t B, Real factor) {
    const Inputs<Real> X = gathered(B);
    const Matrix<Real> T{T_.data(), data_->y_stride};
    gather(first, B, X.panels);
    forward(X, B);
    if constexpr (keep_Z)
      keep_output_Z(B);
    activate_outputs(B);
    output_delta(T, B, factor / static_cast<Real>(B));
    return X;
  }

  // Copy Z of the last layer, which the loss may need, to Z_.
  void keep_output_Z(std::size_t B) {
    const Layer<Real> &last = layers_.back();
    std::copy_n(last.A.data(), B * last.stride, Z_.data());
  }

  // Copy the rows order[first .. first + B) to X_, in panels if `panels` is not null, and to T_.
  void gather(std::size_t first, std::size_t B, Panels<Real> panels) {
    constexpr std::size_t ahead = 4;
    // Copying one number from a random row takes about as long as 40 multiply-adds.
    share(pool_, 40 * B * (data_->x_stride + data_->y_stride), [&](std::size_t part, std::size_t parts) {
      const Range rows = part_of(B, part, parts, panels.data ? micro_rows : 1);
      const Real *x[micro_rows];
      for (std::size_t n = rows.begin; n < rows.end; ++n) {
        if (first + n + ahead < order_.size())
          data_->prefetch(static_cast<std::size_t>(order_[first + n + ahead]));
        const auto row = static_cast<std::size_t>(order_[first + n]);
        copy_row(data_->targets_from(row).data, data_->y_stride, T_.data() + n * data_->y_stride);
        if (!panels.data) {
          copy_row(data_->inputs_from(row).data, data_->x_stride, X_.data() + n * data_->x_stride);
          continue;
        }
        const std::size_t in_panel = n % micro_rows;
        x[in_panel] = data_->inputs_from(row).data;
        if (in_panel + 1 == micro_rows || n + 1 == rows.end)
          transpose_rows<micro_rows, Padding::zeros>([&](std::size_t r) FNN_LAMBDA { return x[r]; }, in_panel + 1,
                                                     data_->x_stride, panels.data + n / micro_rows * panels.stride,
                                                     micro_rows);
      }
    });
  }

  static void copy_row(const Real *from, std::size_t size, Real *to) {
    for (std::size_t j = 0; j < size; j += lanes<Real>)
      store(to + j, tuned::load(from + j));
  }

  template <bool l2> void train_single(std::size_t first, std::size_t count, Real rate) {
    single_sample_.template train<l2>(layers_, loss_function_, l2_, *data_, order_, first, count, rate);
  }

  Layers<Real> layers_;
  const Loss<Real> &loss_function_;
  Real l2_;
  Pool *pool_;
  std::vector<Real> start_; // (n_parameters)
  MinibatchStep<Real> minibatch_;
  FeatureMajorStep<Real> feature_major_;
  SingleSampleStep<Real> single_sample_;
  OptimizerStep<Real> optimizer_;

  std::shared_ptr<const Data<Real>> data_;
  std::vector<std::int64_t> order_;

  Buffer<Real> X_, T_, Z_; // a minibatch: (B, m_0), in rows or in panels, and (B, m_L); Z of the last layer: (B, m_L)
  std::size_t capacity_ = 0;
  std::vector<const Real *> probed_; // of the last timed_pass: (n_probes)
};

} // namespace fnn::tuned
