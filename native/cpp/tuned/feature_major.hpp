// feature_major.hpp: the forward and backward pass of a minibatch with one row per feature, so that samples fill the
// vectors. It is faster for narrow networks, whose features would leave most lanes empty, and runs on one thread.
#pragma once

#include "layer.hpp"
#include "pool.hpp"

namespace fnn::tuned {

template <class Real> class FeatureMajorStep {
public:
  FeatureMajorStep(const Layers<Real> &layers, const Blocking<Real> &blocking, const Pool *pool)
      : blocking_(blocking), threads_(pool ? pool->size() : 1), n_layers_(layers.size()) {
    for (const Layer<Real> &layer : layers) {
      const bool lowest = &layer == &layers.front();
      products_ += layer.inputs * layer.outputs * (lowest ? 1 : 2);
      padded_products_ += layer.inputs * layer.columns + (lowest ? 0 : layer.outputs * layer.columns_below);
      largest_product_ = std::max(largest_product_, layer.inputs * layer.outputs);
      widest_ = std::max({widest_, layer.inputs, layer.outputs});
      elementwise_ = elementwise_ && !layer.has_own_layout();
    }
  }

  // Return true if this step is faster for B samples than MinibatchStep, and may compute them. It leaves work for
  // several threads to MinibatchStep. It also leaves to it sums that are long enough to be blocked, on one thread too:
  // the number of threads must not change the bits. And it leaves to it layers with slopes or several pieces a unit.
  bool takes(std::size_t B) const {
    return narrow() && std::max(B, widest_) <= blocking_.depth && faster(B, padded<Real>(B)) &&
           (threads_ == 1 || B * largest_product_ < parallel_threshold);
  }

  void reserve(Layers<Real> &layers, std::size_t B) {
    const std::size_t stride = row_stride<Real>(B), inputs = layers.front().inputs;
    if (!narrow() || Xt_.size() >= stride * inputs)
      return;
    for (Layer<Real> &layer : layers) {
      layer.At = Buffer<Real>(stride * layer.outputs);
      layer.delta_t = Buffer<Real>(stride * layer.outputs);
    }
    Xt_ = Buffer<Real>(stride * inputs); // last: its size shows that there was memory for all
  }

  // Compute A of every layer except the last, in At, and Z of the last, in its A.   X: (B, m_0)
  void forward(Layers<Real> &layers, Matrix<Real> X, std::size_t B) {
    const std::size_t stride = row_stride<Real>(B);
    transpose(X.data, X.stride, B, layers.front().inputs, Xt_.data(), stride);
    const Real *At_below = Xt_.data();
    for (Layer<Real> &layer : layers) {
      Result<Real> Zt{layer.At.data(), stride};
      Zt.bias = layer.b.data();
      Zt.bias_by_row = true;
      small_product<Layout::transposed>({0, layer.outputs}, {0, padded<Real>(B)}, layer.inputs,
                                        {layer.W.data(), layer.stride}, {At_below, stride}, Zt);
      const std::size_t size = layer.outputs * stride;
      if (&layer != &layers.back())
        layer.activate({layer.At.data(), size, {0, 1}, {0, size}}, size);
      At_below = layer.At.data();
    }
    const Layer<Real> &last = layers.back();
    transpose(last.At.data(), stride, last.outputs, B, last.A.data(), last.stride);
  }

  // Compute the gradient as MinibatchStep::backward does. The gradient of W sums over the samples, so delta is
  // transposed back for it.
  void backward(Layers<Real> &layers, std::size_t B, Epilogue epilogue, Real scale) {
    const std::size_t stride = row_stride<Real>(B);
    const Layer<Real> &last = layers.back();
    transpose(last.delta.data(), last.stride, B, last.outputs, last.delta_t.data(), stride);
    for (std::size_t l = layers.size(); l-- > 0;) {
      Layer<Real> &layer = layers[l];
      const Real *At_below = Xt_.data();
      if (l > 0) {
        const Layer<Real> &below = layers[l - 1];
        const std::size_t size = below.outputs * stride;
        Real *const delta_below = below.delta_t.data();
        At_below = below.At.data();
        small_product<Layout::rows>({0, layer.inputs}, {0, padded<Real>(B)}, layer.outputs,
                                    {layer.W.data(), layer.stride}, {layer.delta_t.data(), stride},
                                    Result<Real>{delta_below, stride});
        below.multiply_by_derivative({delta_below, size, {0, 1}, {0, size}}, At_below);
        transpose(delta_below, stride, below.outputs, B, below.delta.data(), below.stride);
      }
      small_product<Layout::rows>({0, layer.inputs}, {0, layer.columns}, B, {At_below, stride},
                                  {layer.delta.data(), layer.stride}, layer.weight_gradient(epilogue, scale));
      layer.sum_bias_gradient(B, epilogue);
    }
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

  Blocking<Real> blocking_;
  std::size_t threads_, n_layers_;
  bool elementwise_ = true; // every activation works number by number, with at most one parameter a layer
  // Multiply-adds per sample, without the gradients of W: unpadded, with features padded to whole vectors, and of the
  // largest layer; the largest number of inputs or outputs of a layer.
  std::size_t products_ = 0, padded_products_ = 0, largest_product_ = 0, widest_ = 0;
  Buffer<Real> Xt_; // (m_0, row_stride of B)
};

} // namespace fnn::tuned
