// network.hpp: a feed-forward network tuned to the machine: the mathematics of ../mlp.hpp, on whole vectors, in padded
// matrices, by several threads. Steps on one sample are in single.hpp's way, all others in product.hpp's. It does not
// validate (whoever calls it has), knows nothing of Python, and allocates nothing in a step.
#pragma once

#include "pool.hpp"
#include "product.hpp"
#include "single.hpp"
#include "tables.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace fnn::tuned {

// ---- The data: as it came, in rows of whole vectors ----

template <class Real> struct Data {
  Buffer<Real> x, y;
  std::size_t rows, x_stride, y_stride;

  // x: (rows, inputs)   y: (rows, outputs)
  Data(const Real *x_given, const Real *y_given, std::size_t n, std::size_t inputs, std::size_t outputs)
      : rows(n), x_stride(row_stride<Real>(inputs)), y_stride(row_stride<Real>(outputs)) {
    x = Buffer<Real>(rows * x_stride);
    y = Buffer<Real>(rows * y_stride);
    for (std::size_t i = 0; i < rows; ++i) {
      std::copy_n(x_given + i * inputs, inputs, x.data() + i * x_stride);
      std::copy_n(y_given + i * outputs, outputs, y.data() + i * y_stride);
    }
  }
};

// ---- The network ----

enum class Operation { forward, gradient };

struct Timing {
  double seconds, checksum;
};

// A function of a layer, by name, with its parameter where it has one.
struct Chosen {
  std::string name;
  double parameter;
};

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A product is shared among threads from so many multiply-adds on (measured: docs/speed.md); below, what each needs of
// the others' results takes longer to come than to compute.
constexpr std::size_t worth_sharing = 2'000'000;

template <class Real> class Mlp {
public:
  // sizes: m_0 .. m_L   functions: f_1 .. f_L, the last of them softmax or sigmoid where the loss fuses it
  // theta: W_1 row by row, b_1, W_2, b_2, ...   pool: null for one thread; it outlives the network
  Mlp(const std::vector<std::size_t> &sizes, const std::vector<Chosen> &functions, const std::string &loss, double l2,
      const Real *theta, Pool *pool)
      : loss_(find(losses<Real>, loss)), l2_(static_cast<Real>(l2)), pool_(pool), blocking_(caches()),
        rooms_(pool ? pool->size() : 1) {
    std::size_t at = 0;
    for (std::size_t l = 1; l < sizes.size(); ++l) {
      const Chosen &chosen = functions.at(l - 1);
      layers_.emplace_back(sizes[l - 1], sizes[l], at, find(tuned::activations<Real>, chosen.name),
                           static_cast<Real>(chosen.parameter));
      const Layer &layer = layers_.back();
      const bool lowest = l == 1;
      products_ += layer.inputs * layer.outputs * (lowest ? 1 : 2);
      padded_products_ += layer.inputs * layer.columns + (lowest ? 0 : layer.outputs * layer.columns_below);
      largest_product_ = std::max(largest_product_, layer.inputs * layer.outputs);
      widest_ = std::max({widest_, layer.inputs, layer.outputs});
      at += (sizes[l - 1] + 1) * sizes[l];
    }
    start_.assign(theta, theta + at);
    reset();
  }

  std::size_t inputs() const {
    return layers_.front().inputs;
  }
  std::size_t outputs() const {
    return layers_.back().outputs;
  }
  std::size_t n_parameters() const {
    return start_.size();
  }

  // flat: (n_parameters)
  void theta(Real *flat) const {
    for (const Layer &layer : layers_)
      layer.flatten(layer.W, layer.b, flat);
  }
  void reset() {
    for (Layer &layer : layers_)
      layer.unflatten(start_.data());
    transposes_current_ = false;
  }

  void load(std::shared_ptr<const Data<Real>> data, const std::int64_t *order, std::size_t n_order) {
    std::vector<std::int64_t> new_order(order, order + n_order);
    data_ = std::move(data);
    order_ = std::move(new_order);
  }

  // y: (count, m_L), of rows [first, first + count)
  void forward(std::size_t first, std::size_t count, Real *y) {
    reserve(count);
    forward(inputs_of(first), count);
    activate_outputs(layers_.back().A.data(), count);
    const Layer &last = layers_.back();
    for (std::size_t n = 0; n < count; ++n)
      std::copy_n(last.A.data() + n * last.stride, last.outputs, y + n * last.outputs);
  }

  // R over rows [first, first + count), and its gradient into flat: (n_parameters)
  double loss_and_gradient(std::size_t first, std::size_t count, Real *flat) {
    reserve(count);
    reserve_gradient();
    const double loss = loss_and_gradient(first, count);
    for (const Layer &layer : layers_)
      layer.flatten(layer.dW, layer.db, flat);
    return loss;
  }

  // Room for a training of minibatches of that size: all that a step works in is made here, and only here.
  void prepare(std::size_t count, std::size_t batch_size) {
    reserve(std::min(batch_size, count));
    if (batch_size == 1)
      prepare_single();
  }

  // Gradient descent over order[first .. first + count). Call prepare first, outside the clock.
  void train(std::size_t first, std::size_t count, std::size_t batch_size, Real rate) {
    if (batch_size == 1)
      return l2_ == 0 ? train_single<false>(first, count, rate) : train_single<true>(first, count, rate);
    transposes_current_ = false;
    for (std::size_t done = 0; done < count; done += batch_size) {
      const std::size_t batch = std::min(batch_size, count - done);
      gather(first + done, batch);
      const Matrix<Real> X{X_.data(), data_->x_stride}, T{T_.data(), data_->y_stride};
      forward(X, batch);
      Real *Y = layers_.back().A.data();
      activate_outputs(Y, batch);
      output_delta(Y, T, batch, -rate * loss_.slope / static_cast<Real>(batch));
      backward(X, batch, Finish::update, -rate * l2_);
    }
  }

  Timing time(Operation operation, std::size_t first, std::size_t count, std::size_t repeats) {
    reserve(count);
    reserve_gradient();
    const Layer &last = layers_.back();
    double checksum = 0;
    const auto start = Clock::now();
    for (std::size_t r = 0; r < repeats; ++r) {
      const std::size_t s = (first + r * count) % (data_->rows - count + 1);
      if (operation == Operation::forward) {
        forward(inputs_of(s), count);
        activate_outputs(layers_.back().A.data(), count);
        checksum += last.A.data()[0];
        checksum += last.A.data()[(count - 1) * last.stride + outputs() - 1];
      } else {
        checksum += loss_and_gradient(s, count);
        checksum += layers_.front().dW.data()[0];
      }
    }
    return {seconds_since(start), checksum};
  }

private:
  struct Layer {
    std::size_t inputs, outputs;
    std::size_t at;                   // where W starts in theta; b follows it
    std::size_t columns, stride;      // of all matrices with a column an output: padded outputs, and from row to row
    std::size_t columns_below, below; // the same for those with a column an input
    const Activation<Real> &f;
    Real parameter;
    Buffer<Real> W, b;        // (inputs, padded with zeros to row_multiple, columns), (columns)
    Buffer<Real> dW, db;      // as W and b
    Buffer<Real> Wt;          // (outputs, columns_below); for single samples
    Buffer<Real> A, delta;    // (batch, columns)
    Buffer<Real> At, delta_t; // (outputs, row_stride of the batch); for minibatches laid out feature-major
    Buffer<Real> one[2];      // (columns): A of a single sample and of the one before

    Layer(std::size_t n, std::size_t m, std::size_t where, const Activation<Real> &function, Real p)
        : inputs(n), outputs(m), at(where), columns(padded<Real>(m)), stride(row_stride<Real>(m)),
          columns_below(padded<Real>(n)), below(row_stride<Real>(n)), f(function), parameter(p), W(W_size()),
          b(columns) {}

    std::size_t W_size() const {
      return round_up(inputs, row_multiple) * stride;
    }
    void flatten(const Buffer<Real> &W_of, const Buffer<Real> &b_of, Real *flat) const {
      for (std::size_t i = 0; i < inputs; ++i)
        std::copy_n(W_of.data() + i * stride, outputs, flat + at + i * outputs);
      std::copy_n(b_of.data(), outputs, flat + at + inputs * outputs);
    }
    void unflatten(const Real *flat) {
      std::fill_n(W.data(), W_size(), Real(0)); // the padding too, which may have diverged with the rest
      std::fill_n(b.data(), columns, Real(0));
      for (std::size_t i = 0; i < inputs; ++i)
        std::copy_n(flat + at + i * outputs, outputs, W.data() + i * stride);
      std::copy_n(flat + at + inputs * outputs, outputs, b.data());
    }
  };

  Matrix<Real> inputs_of(std::size_t first) const {
    return {data_->x.data() + first * data_->x_stride, data_->x_stride};
  }

  // ---- Room ----

  void reserve(std::size_t batch) {
    if (batch > batch_) {
      for (Layer &layer : layers_) {
        layer.A = Buffer<Real>(batch * layer.stride);
        layer.delta = Buffer<Real>(batch * layer.stride);
      }
      Z_ = Buffer<Real>(batch * layers_.back().stride);
      batch_ = batch;
    }
    if (const std::size_t stride = row_stride<Real>(batch); narrow() && Xt_.size() < stride * inputs()) {
      Xt_ = Buffer<Real>(stride * inputs());
      for (Layer &layer : layers_) {
        layer.At = Buffer<Real>(stride * layer.outputs);
        layer.delta_t = Buffer<Real>(stride * layer.outputs);
      }
    }
    const std::size_t x = batch * data_->x_stride, t = batch * data_->y_stride;
    if (X_.size() < x)
      X_ = Buffer<Real>(x);
    if (T_.size() < t)
      T_ = Buffer<Real>(t);
    for (Workspace<Real> &room : rooms_)
      for (const Layer &layer : layers_) {
        const std::size_t n = layer.columns_below, m = layer.columns;
        const bool copies =
            blocking_.copies_P(batch, m, n) || blocking_.copies_P(batch, n, m) || blocking_.copies_P(n, m, batch);
        room.reserve(blocking_, copies ? batch : 0, std::max(n, m));
      }
  }

  void reserve_gradient() {
    for (Layer &layer : layers_)
      if (layer.dW.size() == 0) {
        layer.dW = Buffer<Real>(layer.W_size());
        layer.db = Buffer<Real>(layer.columns);
      }
  }

  void prepare_single() {
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      Layer &layer = layers_[l];
      for (Buffer<Real> &a : layer.one)
        if (a.size() == 0)
          a = Buffer<Real>(layer.stride);
      if (l == 0 || transposes_current_)
        continue;
      if (layer.Wt.size() == 0)
        layer.Wt = Buffer<Real>(layer.outputs * layer.below);
      transpose(layer.W.data(), layer.stride, layer.inputs, layer.outputs, layer.Wt.data(), layer.below);
    }
    transposes_current_ = true;
  }

  static void copy_row(const Real *from, std::size_t size, Real *to) {
    for (std::size_t j = 0; j < size; j += lanes<Real>)
      store(to + j, tuned::load(from + j));
  }

  // X and T of a minibatch: the rows that order[first .. first + batch) names.
  void gather(std::size_t first, std::size_t batch) {
    constexpr std::size_t ahead = 4;
    // A number copied from wherever its row is takes as long as some forty multiply-adds.
    share(40 * batch * (data_->x_stride + data_->y_stride), [&](std::size_t part, std::size_t parts) {
      const Range rows = part_of(batch, part, parts, 1);
      for (std::size_t n = rows.begin; n < rows.end; ++n) {
        if (first + n + ahead < order_.size())
          prefetch_row(static_cast<std::size_t>(order_[first + n + ahead]));
        const auto row = static_cast<std::size_t>(order_[first + n]);
        copy_row(data_->x.data() + row * data_->x_stride, data_->x_stride, X_.data() + n * data_->x_stride);
        copy_row(data_->y.data() + row * data_->y_stride, data_->y_stride, T_.data() + n * data_->y_stride);
      }
    });
  }

  // Rows lie anywhere: they are asked for before they are due.
  void prefetch_row(std::size_t row) const {
    constexpr std::size_t line = 64 / sizeof(Real);
    for (std::size_t j = 0; j < data_->x_stride; j += line)
      __builtin_prefetch(data_->x.data() + row * data_->x_stride + j);
    __builtin_prefetch(data_->y.data() + row * data_->y_stride);
  }

  // ---- Minibatches ----

  // f(part, parts) for each of some threads; by this one alone where there is too little to do.
  template <class F> void share(std::size_t multiply_adds, const F &f) {
    if (!pool_ || pool_->size() == 1 || multiply_adds < worth_sharing)
      f(std::size_t(0), std::size_t(1));
    else
      pool_->run([&](std::size_t i) { f(i, pool_->size()); });
  }

  // The part of 0 .. n that falls to one of `parts`, from and to multiples of `unit`.
  static Range part_of(std::size_t n, std::size_t part, std::size_t parts, std::size_t unit) {
    if (parts == 1)
      return {0, n};
    const std::size_t units = (n + unit - 1) / unit;
    return {std::min(n, units * part / parts * unit), std::min(n, units * (part + 1) / parts * unit)};
  }

  // A of every layer but the last, of which Z.   X: (batch, m_0)
  void forward(Matrix<Real> X, std::size_t batch) {
    if (feature_major(batch))
      return forward_feature_major(X, batch);
    Matrix<Real> A_below = X;
    for (Layer &layer : layers_) {
      const bool last = &layer == &layers_.back();
      share(batch * layer.inputs * layer.columns, [&](std::size_t part, std::size_t parts) {
        // Many columns are shared by columns, so that each thread reads its part of W alone; few, by rows.
        const bool wide = layer.columns >= parts * tile_vectors * lanes<Real>;
        const Range columns = part_of(layer.columns, wide ? part : 0, wide ? parts : 1, lanes<Real>);
        const Range rows = part_of(batch, wide ? 0 : part, wide ? 1 : parts, tile_rows);
        if (columns.size() == 0 || rows.size() == 0)
          return;
        Result<Real> Z{layer.A.data(), layer.stride};
        Z.bias = layer.b.data();
        product<Layout::rows>(blocking_, rooms_[part], rows, columns, layer.inputs, A_below,
                              Factor<Real>{{layer.W.data(), layer.stride}}, Z, [&](Range n, Range m) {
                                if (!last)
                                  layer.f.apply({layer.A.data(), layer.stride, n, m}, layer.outputs, layer.parameter);
                              });
      });
      A_below = {layer.A.data(), layer.stride};
    }
  }

  // f_L in place, which the loss may want to see before.   Z: (batch, m_L)
  void activate_outputs(Real *Z, std::size_t batch) {
    const Layer &last = layers_.back();
    last.f.apply({Z, last.stride, {0, batch}, {0, last.columns}}, last.outputs, last.parameter);
  }

  // delta_L = scale (Y - T) * f'(Z), without the slope where it is fused with the loss.   Y, T: (batch, m_L)
  void output_delta(const Real *Y, Matrix<Real> T, std::size_t batch, Real scale) {
    const Layer &last = layers_.back();
    for (std::size_t n = 0; n < batch; ++n)
      for (std::size_t j = 0; j < last.columns; j += lanes<Real>) {
        const std::size_t at = n * last.stride + j;
        store(last.delta.data() + at, scale * (tuned::load(Y + at) - tuned::load(T.data + n * T.stride + j)));
      }
    if (!loss_.fused)
      last.f.times_slope({last.delta.data(), last.stride, {0, batch}, {0, last.columns}}, Y, last.parameter);
  }

  // From delta_L down. Finish::update: delta is scaled by the negative rate, and W and b are moved by what comes out,
  // with `scale` times W; Finish::gradient: dW and db become it.   X: (batch, m_0)
  void backward(Matrix<Real> X, std::size_t batch, Finish finish, Real scale) {
    if (feature_major(batch))
      return backward_feature_major(batch, finish, scale);
    for (std::size_t l = layers_.size(); l-- > 0;) {
      Layer &layer = layers_[l];
      Layer *below = l > 0 ? &layers_[l - 1] : nullptr;
      const Matrix<Real> A_below = below ? Matrix<Real>{below->A.data(), below->stride} : X;
      const Matrix<Real> delta{layer.delta.data(), layer.stride};
      // Each thread has some of the inputs: the columns of delta_below, and then the rows of W, which no other reads.
      share(batch * layer.inputs * layer.columns * (below ? 2 : 1), [&](std::size_t part, std::size_t parts) {
        const Range inputs = part_of(layer.columns_below, part, parts, lanes<Real>);
        if (inputs.size() == 0)
          return;
        if (below)
          product<Layout::rows>(blocking_, rooms_[part], {0, batch}, inputs, layer.outputs, delta,
                                Factor<Real>{{layer.W.data(), layer.stride}, true, layer.inputs},
                                Result<Real>{below->delta.data(), below->stride}, [&](Range n, Range m) {
                                  below->f.times_slope({below->delta.data(), below->stride, n, m}, below->A.data(),
                                                       below->parameter);
                                });
        product<Layout::transposed>(blocking_, rooms_[part], {inputs.begin, std::min(inputs.end, layer.inputs)},
                                    {0, layer.columns}, batch, A_below, Factor<Real>{delta},
                                    weights(layer, finish, scale), [](Range, Range) {});
      });
      add_rows(delta, batch, finish, layer);
    }
  }

  // ---- Minibatches, feature-major: a row a feature, so that samples and not features fill the vectors ----

  // Whether that is faster, by the multiply-adds of whole vectors: small tiles take a tenth longer for theirs; the
  // products above take some 160 vectors' time each to set out (measured from 4 to 256 features and 4 to 192 samples).
  bool faster(std::size_t samples, std::size_t samples_in_vectors) const {
    const std::size_t setting_out = (2 * layers_.size() - 1) * 160 * lanes<Real>;
    return 11 * samples_in_vectors * products_ < 10 * (samples * padded_products_ + setting_out);
  }
  // Whether minibatches may be laid out so: no weights are copied, so those of a layer must lie well in the cache.
  bool narrow() const {
    return largest_product_ * sizeof(Real) <= blocking_.small;
  }
  // Whether this one is. What several threads had better share is left to the products above. The number of threads
  // must not show in the bits: sums so long that those take them in blocks are left to them too, by one thread as well.
  bool feature_major(std::size_t batch) const {
    return narrow() && std::max(batch, widest_) <= blocking_.depth && faster(batch, padded<Real>(batch)) &&
           (!pool_ || pool_->size() == 1 || batch * largest_product_ < worth_sharing);
  }

  // As `forward`, but A of every layer in At.
  void forward_feature_major(Matrix<Real> X, std::size_t batch) {
    const std::size_t stride = row_stride<Real>(batch);
    transpose(X.data, X.stride, batch, inputs(), Xt_.data(), stride);
    const Real *At_below = Xt_.data();
    for (Layer &layer : layers_) {
      Result<Real> Zt{layer.At.data(), stride};
      Zt.bias = layer.b.data();
      Zt.bias_by_row = true;
      small_product<Layout::transposed>(layer.outputs, padded<Real>(batch), layer.inputs,
                                        {layer.W.data(), layer.stride}, {At_below, stride}, Zt);
      const std::size_t size = layer.outputs * stride;
      if (&layer != &layers_.back())
        layer.f.apply({layer.At.data(), size, {0, 1}, {0, size}}, size, layer.parameter);
      At_below = layer.At.data();
    }
    const Layer &last = layers_.back();
    transpose(last.At.data(), stride, last.outputs, batch, last.A.data(), last.stride);
  }

  // As `backward`. The gradient of W sums over the samples, so for it delta is transposed back.
  void backward_feature_major(std::size_t batch, Finish finish, Real scale) {
    const std::size_t stride = row_stride<Real>(batch);
    const Layer &last = layers_.back();
    transpose(last.delta.data(), last.stride, batch, last.outputs, last.delta_t.data(), stride);
    for (std::size_t l = layers_.size(); l-- > 0;) {
      Layer &layer = layers_[l];
      const Real *At_below = Xt_.data();
      if (l > 0) {
        const Layer &below = layers_[l - 1];
        const std::size_t size = below.outputs * stride;
        Real *const delta_below = below.delta_t.data();
        At_below = below.At.data();
        small_product<Layout::rows>(layer.inputs, padded<Real>(batch), layer.outputs, {layer.W.data(), layer.stride},
                                    {layer.delta_t.data(), stride}, Result<Real>{delta_below, stride});
        below.f.times_slope({delta_below, size, {0, 1}, {0, size}}, At_below, below.parameter);
        transpose(delta_below, stride, below.outputs, batch, below.delta.data(), below.stride);
      }
      const Matrix<Real> delta{layer.delta.data(), layer.stride};
      small_product<Layout::rows>(layer.inputs, layer.columns, batch, {At_below, stride}, delta,
                                  weights(layer, finish, scale));
      add_rows(delta, batch, finish, layer);
    }
  }

  // Where the gradient of W goes.
  static Result<Real> weights(const Layer &layer, Finish finish, Real scale) {
    Result<Real> to{finish == Finish::update ? layer.W.data() : layer.dW.data(), layer.stride, finish};
    to.W = layer.W.data();
    to.scale = scale;
    return to;
  }

  // db, or b + db: the sum of delta's rows.
  void add_rows(Matrix<Real> delta, std::size_t batch, Finish finish, Layer &layer) {
    Real *db = finish == Finish::update ? layer.b.data() : layer.db.data();
    for (std::size_t j = 0; j < layer.columns; j += lanes<Real>) {
      constexpr std::size_t chains = 4; // sums that run side by side
      Vector<Real> sums[chains]{};
      std::size_t n = 0;
      for (; n + chains <= batch; n += chains)
#pragma GCC unroll 4
        for (std::size_t c = 0; c < chains; ++c)
          sums[c] += tuned::load(delta.data + (n + c) * delta.stride + j);
      for (; n < batch; ++n)
        sums[0] += tuned::load(delta.data + n * delta.stride + j);
      const Vector<Real> sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      store(db + j, finish == Finish::update ? tuned::load(db + j) + sum : sum);
    }
  }

  // R over rows [first, first + count), and its gradient into dW and db.
  double loss_and_gradient(std::size_t first, std::size_t count) {
    const Matrix<Real> X = inputs_of(first);
    const Matrix<Real> T{data_->y.data() + first * data_->y_stride, data_->y_stride};
    forward(X, count);
    const Layer &last = layers_.back();
    std::copy_n(last.A.data(), count * last.stride, Z_.data());
    activate_outputs(layers_.back().A.data(), count);
    output_delta(last.A.data(), T, count, loss_.slope / static_cast<Real>(count));
    backward(X, count, Finish::gradient, l2_);
    double loss = 0;
    for (std::size_t n = 0; n < count; ++n)
      loss += loss_.of_row(Z_.data() + n * last.stride, last.A.data() + n * last.stride, T.data + n * T.stride,
                           last.outputs);
    return loss / static_cast<double>(count) + (l2_ == 0 ? 0 : l2_ / 2 * squared_norm());
  }

  // The sum of all squared weights.
  double squared_norm() const {
    double norm = 0;
    for (const Layer &layer : layers_)
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

  // ---- Single samples ----

  template <bool l2> void train_single(std::size_t first, std::size_t count, Real rate) {
    const Real scale = -rate * loss_.slope;
    Layer &last = layers_.back();
    Real shrink = 0; // nothing is pending before the first sample
    for (Layer &layer : layers_) {
      std::fill_n(layer.delta.data(), layer.columns, Real(0));
      std::fill_n(layer.one[0].data(), layer.stride, Real(0));
    }
    const Real *x_before = data_->x.data();
    for (std::size_t s = first; s < first + count; ++s) {
      const auto row = static_cast<std::size_t>(order_[s]);
      const Real *x = data_->x.data() + row * data_->x_stride;
      if (s + 1 < order_.size())
        prefetch_row(static_cast<std::size_t>(order_[s + 1]));
      forward_single<l2>(x, x_before, shrink);
      shrink = -rate * l2_;
      output_delta(last.one[0].data(), {data_->y.data() + row * data_->y_stride, data_->y_stride}, 1, scale);
      for (std::size_t l = layers_.size(); --l > 0;) {
        Layer &layer = layers_[l], &below = layers_[l - 1];
        below.f.backward_one[l2](layer.Wt.data(), layer.outputs, layer.below, layer.columns_below / lanes<Real>,
                                 layer.delta.data(), below.one[0].data(), below.delta.data(), below.parameter, shrink);
        if (!below.f.built_in)
          below.f.times_slope({below.delta.data(), below.stride, {0, 1}, {0, below.columns}}, below.one[0].data(),
                              below.parameter);
      }
      x_before = x;
    }
    // What the last sample has left to be done.
    const Real *a_below = x_before;
    for (Layer &layer : layers_) {
      update_one<l2, Real>(layer.W.data(), layer.b.data(), layer.inputs, layer.stride, layer.columns / lanes<Real>,
                           layer.delta.data(), a_below, shrink);
      a_below = layer.one[0].data();
    }
  }

  // A of every layer, into one[0]; what was there, the sample before's, goes to one[1], and W and b are brought up to
  // date with it.
  template <bool l2> void forward_single(const Real *x, const Real *x_before, Real shrink) {
    const Real *a_below = x, *before = x_before;
    for (Layer &layer : layers_) {
      std::swap(layer.one[0], layer.one[1]);
      layer.f.forward_one[l2](layer.W.data(), layer.inputs, layer.stride, layer.columns / lanes<Real>, layer.b.data(),
                              a_below, layer.one[0].data(), layer.outputs, layer.parameter,
                              Pending<Real>{before, layer.delta.data(), shrink});
      if (!layer.f.built_in)
        layer.f.apply({layer.one[0].data(), layer.stride, {0, 1}, {0, layer.columns}}, layer.outputs, layer.parameter);
      a_below = layer.one[0].data();
      before = layer.one[1].data();
    }
  }

  std::vector<Layer> layers_;
  const Loss<Real> &loss_;
  Real l2_;
  Pool *pool_;
  Blocking<Real> blocking_;
  std::vector<Workspace<Real>> rooms_; // a thread
  std::vector<Real> start_;            // (n_parameters)
  bool transposes_current_ = false;

  std::shared_ptr<const Data<Real>> data_;
  std::vector<std::int64_t> order_;

  // Multiply-adds a sample, without the weights' gradients: as they are, and with features filled up to whole vectors;
  // of the largest layer. The widest layer.
  std::size_t products_ = 0, padded_products_ = 0, largest_product_ = 0, widest_ = 0;

  Buffer<Real> X_, T_, Z_; // a minibatch: (batch, m_0), (batch, m_L); pre-activations of the last layer: (batch, m_L)
  Buffer<Real> Xt_;        // (m_0, row_stride of the batch)
  std::size_t batch_ = 0;
};

} // namespace fnn::tuned
