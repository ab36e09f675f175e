// feature_major.hpp: the forward and backward pass of a minibatch with one row per feature, so that samples fill the
// vectors. It is faster for narrow networks, whose features would leave most lanes empty.
//
// A strip of samples passes through all layers before the next one begins, so that its activations stay in the cache.
#pragma once

#include "lane_sums.hpp"
#include "layer.hpp"
#include "pool.hpp"

namespace fnn::tuned {

template <class Real> class FeatureMajorStep {
public:
  FeatureMajorStep(const Layers<Real> &layers, const Blocking<Real> &blocking)
      : blocking_(blocking), n_layers_(layers.size()) {
    for (const Layer<Real> &layer : layers) {
      const bool lowest = &layer == &layers.front();
      products_ += layer.inputs * layer.outputs * (lowest ? 1 : 2);
      padded_products_ += layer.inputs * layer.columns + (lowest ? 0 : layer.outputs * layer.columns_below);
      largest_product_ = std::max(largest_product_, layer.inputs * layer.outputs);
      widest_ = std::max({widest_, layer.inputs, layer.outputs});
      elementwise_ = elementwise_ && !layer.has_own_layout();
    }
  }

  // Return true if this step is faster for B samples than MinibatchStep, and may compute them. This step runs on one
  // thread; what several would share is left to MinibatchStep, as are layers with slopes or several pieces a unit. The
  // choice does not depend on the number of threads, which must not change the bits.
  bool takes(std::size_t B) const {
    return narrow() && widest_ <= blocking_.depth && B * largest_product_ < parallel_threshold &&
           faster(B, padded<Real>(B));
  }

  void reserve(Layers<Real> &layers, std::size_t B) {
    if (!narrow())
      return;
    const std::size_t samples = round_up(padded<Real>(B), width_of(B)), inputs = layers.front().columns_below;
    for (Layer<Real> &layer : layers) {
      grow(layer.Z, layer.keeps_Z ? samples * layer.columns : 0); // MinibatchStep may need less
      grow(layer.At, samples * layer.columns);
      grow(layer.delta_t, samples * layer.columns);
    }
    grow(Xt_, samples * inputs);
  }

  // Compute A of every layer except the last, in At, and Z of the last, in its A.   X: (B, m_0)
  void forward(Layers<Real> &layers, Matrix<Real> X, std::size_t B) {
    width_ = width_of(B);
    const Strips<Real> Xt = strips(Xt_, layers.front().columns_below);
    for_strips(B, [&](std::size_t s, Range samples) FNN_LAMBDA {
      // The padding repeats a sample, so that it is finite where the activations are: its delta is 0.
      transpose<Padding::last>(X.data + samples.begin * X.stride, X.stride, samples.size(), layers.front().inputs,
                               Xt.strip(s), Xt.width);
      Strips<Real> below = Xt;
      for (Layer<Real> &layer : layers) {
        const Strips<Real> Zt = strips(layer.At, layer.columns);
        Result<Real> to{Zt.strip(s), Zt.width};
        to.bias = layer.b.data();
        to.bias_by_row = true;
        small_product<Layout::transposed>({0, layer.outputs}, {0, padded<Real>(samples.size())}, layer.inputs,
                                          {layer.W.data(), layer.stride}, {below.strip(s), below.width}, to);
        if (&layer != &layers.back()) {
          const Part<Real> part = part_of(Zt, s, layer.outputs, samples.size());
          layer.activate(part, part.columns.end);
        }
        below = Zt;
      }
      const Layer<Real> &last = layers.back();
      transpose(below.strip(s), below.width, last.outputs, samples.size(), last.A.data() + samples.begin * last.stride,
                last.stride);
    });
  }

  // Compute the gradient as MinibatchStep::backward does.
  void backward(Layers<Real> &layers, std::size_t B, Epilogue epilogue, Real scale) {
    const Layer<Real> &last = layers.back();
    for_strips(B, [&](std::size_t s, Range samples) FNN_LAMBDA {
      Strips<Real> delta = strips(last.delta_t, last.columns);
      transpose(last.delta.data() + samples.begin * last.stride, last.stride, samples.size(), last.outputs,
                delta.strip(s), delta.width);
      for (std::size_t l = layers.size(); l-- > 1;) {
        const Layer<Real> &layer = layers[l], &below = layers[l - 1];
        const Strips<Real> delta_below = strips(below.delta_t, below.columns);
        small_product<Layout::rows>({0, layer.inputs}, {0, padded<Real>(samples.size())}, layer.outputs,
                                    {layer.W.data(), layer.stride}, {delta.strip(s), delta.width},
                                    Result<Real>{delta_below.strip(s), delta_below.width});
        below.multiply_by_derivative(part_of(delta_below, s, below.outputs, samples.size()), below.At.data());
        delta = delta_below;
      }
    });
    for (std::size_t l = layers.size(); l-- > 0;)
      weight_gradient(layers[l],
                      l > 0 ? strips(layers[l - 1].At, layers[l].columns_below) : strips(Xt_, layers[l].columns_below),
                      B, epilogue, scale);
  }

private:
  // Compare the multiply-adds of whole vectors. A small micro-kernel takes 10 % more time per multiply-add; the
  // products of MinibatchStep take the time of about 160 vectors each to set up (measured from 4 to 256 features and 4
  // to 192 samples).
  bool faster(std::size_t samples, std::size_t samples_in_vectors) const {
    const std::size_t setup = (2 * n_layers_ - 1) * 160 * lanes<Real>;
    return 11 * samples_in_vectors * products_ < 10 * (samples * padded_products_ + setup);
  }
  // small_product does not pack W, so W of each layer must stay in the cache at any address.
  bool narrow() const {
    return elementwise_ && largest_product_ * sizeof(Real) <= blocking_.small;
  }

  static void grow(Buffer<Real> &buffer, std::size_t size) {
    if (buffer.size() < size)
      buffer = Buffer<Real>(size);
  }

  // Return the samples of a strip: at most eight vectors, all strips but the last of equal size.
  static std::size_t width_of(std::size_t B) {
    constexpr std::size_t most = 8 * lanes<Real>;
    if (B <= most)
      return padded<Real>(B); // the divisions below take too long for few samples
    const std::size_t n = (B + most - 1) / most;
    return padded<Real>((B + n - 1) / n);
  }
  FNN_INLINE Strips<Real> strips(const Buffer<Real> &buffer, std::size_t rows) const {
    return {buffer.data(), rows, width_};
  }
  // Call f(s, samples) for each strip s.
  template <class F> FNN_INLINE void for_strips(std::size_t B, F f) const {
    for (std::size_t s = 0, begin = 0; begin < B; ++s, begin += width_)
      f(s, Range{begin, std::min(begin + width_, B)});
  }
  // Return these features of strip s: as one long row if its samples fill it.
  FNN_INLINE static Part<Real> part_of(const Strips<Real> &of, std::size_t s, std::size_t features,
                                       std::size_t samples) {
    const std::size_t first = s * of.rows, columns = padded<Real>(samples);
    if (columns == of.width)
      return {of.data, 0, {0, 1}, {first * of.width, (first + features) * of.width}};
    return {of.data, of.width, {first, first + features}, {0, columns}};
  }

  // Compute dW and db, or update W and b.
  void weight_gradient(Layer<Real> &layer, const Strips<Real> &At_below, std::size_t B, Epilogue epilogue, Real scale) {
    const Strips<Real> delta_t = strips(layer.delta_t, layer.columns);
    Result<Real> to = layer.weight_gradient(epilogue, scale);
    if (sums_along_lanes(layer, B)) {
      const std::size_t samples = padded<Real>(B);
      Real *const db = epilogue == Epilogue::update ? layer.b.data() : layer.db.data();
      const auto sum_bias = [&](std::size_t j, Vector<Real> sums) FNN_LAMBDA {
        store(db + j, epilogue == Epilogue::update ? load(db + j) + sums : sums);
      };
      if (few_outputs(layer))
        narrow_lane_product(At_below, layer.inputs, delta_t, layer.outputs, samples, to, sum_bias);
      else
        lane_product(At_below, layer.inputs, delta_t, layer.outputs, samples, to, sum_bias);
      return;
    }
    for_strips(B, [&](std::size_t s, Range samples) FNN_LAMBDA {
      Real *const delta = layer.delta.data() + samples.begin * layer.stride;
      transpose(delta_t.strip(s), delta_t.width, layer.outputs, samples.size(), delta, layer.stride);
      small_product<Layout::rows>({0, layer.inputs}, {0, layer.columns}, samples.size(),
                                  {At_below.strip(s), At_below.width}, {delta, layer.stride}, to);
      to.scale = 0;
      if (epilogue == Epilogue::gradient)
        to.epilogue = Epilogue::add;
    });
    layer.sum_bias_gradient(B, epilogue);
  }

  static bool few_outputs(const Layer<Real> &layer) {
    return 2 * layer.outputs <= lanes<Real>;
  }

  // Compare the costs of the two ways to sum over the samples, in multiply-adds of vectors: with the outputs along the
  // vectors, delta is transposed first; with the samples along them, each vector of sums is added up across its lanes.
  static bool sums_along_lanes(const Layer<Real> &layer, std::size_t B) {
    constexpr std::size_t V = lanes<Real>;
    const std::size_t vectors = padded<Real>(B) / V, columns = layer.columns / V;
    const std::size_t along_outputs = columns * (B * (layer.inputs + 1) + vectors * 180);
    const bool few = few_outputs(layer); // their sums are stored one by one
    const std::size_t results = few ? layer.outputs * layer.columns_below / V : columns * layer.inputs;
    return results * (17 * vectors * V / 16 + (few ? 200 : 70)) < along_outputs;
  }

  Blocking<Real> blocking_;
  std::size_t n_layers_;
  bool elementwise_ = true; // every activation works number by number, with at most one parameter a layer
  // Multiply-adds per sample, without the gradients of W: unpadded, with features padded to whole vectors, and of the
  // largest layer; the largest number of inputs or outputs of a layer.
  std::size_t products_ = 0, padded_products_ = 0, largest_product_ = 0, widest_ = 0;
  std::size_t width_ = 0; // samples of a strip, in the last forward pass
  Buffer<Real> Xt_;       // (m_0 padded, samples), in strips
};

} // namespace fnn::tuned
