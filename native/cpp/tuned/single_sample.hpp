// single_sample.hpp: training in steps of one sample, on one thread. Each forward pass applies the update of the
// previous sample; matrix_vector.hpp has the products.
#pragma once

#include "layer.hpp"

#include <algorithm>
#include <cstdint>

namespace fnn::tuned {

template <class Real> class SingleSampleStep {
public:
  void reserve(Layers<Real> &layers) {
    for (std::size_t l = 0; l < layers.size(); ++l) {
      Layer<Real> &layer = layers[l];
      for (Buffer<Real> &a : layer.one)
        if (a.size() == 0)
          a = Buffer<Real>(layer.A_stride);
      if (l == 0 || transposes_current_)
        continue;
      if (layer.Wt.size() == 0)
        layer.Wt = Buffer<Real>(layer.width * layer.below);
      transpose(layer.W.data(), layer.stride, layer.inputs, layer.width, layer.Wt.data(), layer.below);
    }
    transposes_current_ = true;
  }

  // Record that W changed without its transpose.
  void invalidate_transposes() {
    transposes_current_ = false;
  }

  // Train on order[first .. first + count), one sample a step. Call reserve first.
  template <bool l2, class... Arguments> void train(Layers<Real> &layers, const Arguments &...arguments) {
    const auto own = [](const Layer<Real> &layer) { return layer.has_own_layout(); };
    if (std::any_of(layers.begin(), layers.end(), own))
      steps<l2, true>(layers, arguments...);
    else
      steps<l2, false>(layers, arguments...);
  }

private:
  // own_layouts: a layer learns slopes or has several pieces a unit. The steps of other networks do not test for it.
  template <bool l2, bool own_layouts>
  void steps(Layers<Real> &layers, const Loss<Real> &loss, Real lambda, const Data<Real> &data,
             const std::vector<std::int64_t> &order, std::size_t first, std::size_t count, Real rate) {
    const Real scale = -rate * loss.derivative;
    const Layer<Real> &last = layers.back();
    Real shrink = 0; // no update is pending before the first sample
    for (Layer<Real> &layer : layers) {
      std::fill_n(layer.delta.data(), layer.columns, Real(0));
      std::fill_n(layer.one[0].data(), layer.A_stride, Real(0));
    }
    const Real *x_before = data.x.data();
    for (std::size_t s = first; s < first + count; ++s) {
      const auto row = static_cast<std::size_t>(order[s]);
      const Real *x = data.inputs_from(row).data;
      if (s + 1 < order.size())
        data.prefetch(static_cast<std::size_t>(order[s + 1]));
      forward<l2, own_layouts>(layers, x, x_before, shrink);
      shrink = -rate * lambda;
      last.output_delta(loss, last.one[0].data(), data.targets_from(row), 1, scale);
      backward<l2, own_layouts>(layers, shrink);
      x_before = x;
    }
    apply_last_update<l2>(layers, x_before, shrink);
  }

  // Apply the pending update to W and b, and compute A of every layer into one[0]; that of the previous sample moves to
  // one[1].
  template <bool l2, bool own_layouts>
  void forward(Layers<Real> &layers, const Real *x, const Real *x_before, Real shrink) {
    const Real *a_below = x, *before = x_before;
    for (Layer<Real> &layer : layers) {
      std::swap(layer.one[0], layer.one[1]);
      Real *a = layer.one[0].data();
      layer.f.forward_one[l2](layer.W.data(), layer.inputs, layer.stride, layer.columns / lanes<Real>, layer.b.data(),
                              a_below, own_layouts ? layer.Z_before(a) : a, layer.outputs, layer.parameter,
                              PendingUpdate<Real>{before, layer.delta.data(), shrink});
      if (!layer.f.fused)
        layer.activate(a, 1);
      a_below = a;
      before = layer.one[1].data();
    }
  }

  // Compute delta of every layer below the last, and update the transposes, and the slopes that layers learn.
  template <bool l2, bool own_layouts> void backward(Layers<Real> &layers, Real shrink) {
    for (std::size_t l = layers.size(); --l > 0;) {
      Layer<Real> &layer = layers[l], &below = layers[l - 1];
      below.f.backward_one[l2](layer.Wt.data(), layer.width, layer.below, layer.columns_below / lanes<Real>,
                               layer.delta.data(), below.one[0].data(),
                               own_layouts ? below.dA_before_delta() : below.delta.data(), below.parameter, shrink);
      if (!below.f.fused)
        below.multiply_by_derivative(1, below.one[0].data());
      if constexpr (own_layouts)
        below.update_slopes();
    }
  }

  // Apply the update of the last sample, which no forward pass follows.
  template <bool l2> void apply_last_update(Layers<Real> &layers, const Real *x, Real shrink) {
    const Real *a_below = x;
    for (Layer<Real> &layer : layers) {
      update_one<l2, Real>(layer.W.data(), layer.b.data(), layer.inputs, layer.stride, layer.columns / lanes<Real>,
                           layer.delta.data(), a_below, shrink);
      a_below = layer.one[0].data();
    }
  }

  bool transposes_current_ = false;
};

} // namespace fnn::tuned
