// minibatch.hpp: the forward and backward pass of a minibatch with one row per sample, the layout of the data. The
// threads share each product. feature_major.hpp has the passes of narrow networks.
#pragma once

#include "layer.hpp"
#include "pool.hpp"

namespace fnn::tuned {

// Return part number `part` of 0 .. n, divided into `parts` at multiples of `unit`.
inline Range part_of(std::size_t n, std::size_t part, std::size_t parts, std::size_t unit) {
  if (parts == 1)
    return {0, n};
  const std::size_t units = (n + unit - 1) / unit;
  return {std::min(n, units * part / parts * unit), std::min(n, units * (part + 1) / parts * unit)};
}

// The inputs of a layer, or the outputs of the one below: (B, n), in rows or, if these are null, in panels.
template <class Real> struct Inputs {
  Matrix<Real> rows;
  Panels<Real> panels;
};

template <class Real> class MinibatchStep {
public:
  // pool: null for one thread
  MinibatchStep(const Blocking<Real> &blocking, Pool *pool)
      : blocking_(blocking), pool_(pool), workspaces_(pool ? pool->size() : 1) {}

  void reserve(const Layers<Real> &layers, std::size_t B) {
    for (Workspace<Real> &workspace : workspaces_)
      for (const Layer<Real> &layer : layers) {
        const std::size_t n = layer.columns_below, m = layer.columns;
        const bool packs = blocking_.packs_P(B, m, n) || blocking_.packs_P(B, n, m) || blocking_.packs_P(n, m, B);
        const std::size_t rows = round_up(B, micro_rows);
        workspace.reserve(
            packs ? std::max({rows * n, rows * m, round_up(n, micro_rows) * B}) : 0,
            std::max({blocking_.block_of_Q(n, m), blocking_.block_of_Q(m, n), blocking_.block_of_Q(B, m)}));
      }
  }

  // Compute A of every layer except the last, and Z of the last, in its A.
  void forward(Layers<Real> &layers, const Inputs<Real> &X, std::size_t B) {
    Inputs<Real> below = X;
    for (Layer<Real> &layer : layers) {
      const bool last = &layer == &layers.back();
      share(pool_, B * layer.inputs * layer.columns, [&](std::size_t part, std::size_t parts) {
        // Threads share many columns by columns, so that each reads only its part of W; few columns, by rows.
        const bool wide = layer.columns >= parts * micro_vectors * lanes<Real>;
        const Range columns = part_of(layer.columns, wide ? part : 0, wide ? parts : 1, layer.pieces * lanes<Real>);
        const Range rows = part_of(B, wide ? 0 : part, wide ? 1 : parts, micro_rows);
        if (columns.size() == 0 || rows.size() == 0)
          return;
        Result<Real> Z{layer.Z_before(layer.A.data()), layer.stride};
        Z.bias = layer.b.data();
        product<Layout::rows>(blocking_, blocking_.depth_of(B * layer.columns), workspaces_[part], rows, columns,
                              layer.inputs, below.rows, below.panels, Factor<Real>{{layer.W.data(), layer.stride}}, Z,
                              [&](Range n, Range m) {
                                if (!last)
                                  layer.activate(layer.A.data(), n, m);
                              });
      });
      below = {{layer.A.data(), layer.A_stride}, {}};
    }
  }

  // Compute the gradient from delta_L. Epilogue::gradient: dW = the gradient, including scale * W, and db.
  // Epilogue::update: add the same to W and b; delta_L contains the factor -rate.
  void backward(Layers<Real> &layers, const Inputs<Real> &X, std::size_t B, Epilogue epilogue, Real scale) {
    for (std::size_t l = layers.size(); l-- > 0;) {
      Layer<Real> &layer = layers[l];
      Layer<Real> *below = l > 0 ? &layers[l - 1] : nullptr;
      const Inputs<Real> A_below = below ? Inputs<Real>{{below->A.data(), below->A_stride}, {}} : X;
      const Matrix<Real> delta{layer.delta.data(), layer.stride};
      // Each thread takes a range of inputs: columns of delta_below, then rows of W, which no other thread reads.
      share(pool_, B * layer.inputs * layer.columns * (below ? 2 : 1), [&](std::size_t part, std::size_t parts) {
        const Range inputs = part_of(layer.columns_below, part, parts, lanes<Real>);
        if (inputs.size() == 0)
          return;
        if (below)
          product<Layout::rows>(blocking_, blocking_.depth_of(B * layer.columns_below), workspaces_[part], {0, B},
                                inputs, layer.width, delta, {},
                                Factor<Real>{{layer.W.data(), layer.stride}, true, layer.inputs},
                                Result<Real>{below->dA_before_delta(), below->A_stride},
                                [&](Range n, Range m) { below->multiply_by_derivative(n, m, below->A.data()); });
        product<Layout::transposed>(blocking_, blocking_.depth_of(layer.inputs * layer.columns), workspaces_[part],
                                    {inputs.begin, std::min(inputs.end, layer.inputs)}, {0, layer.columns}, B,
                                    A_below.rows, A_below.panels, Factor<Real>{delta},
                                    layer.weight_gradient(epilogue, scale), [](Range, Range) {});
      });
      layer.sum_bias_gradient(B, epilogue);
    }
  }

  // Return true if the products of the first layer are faster with X in panels: where one thread would pack X for each
  // of them. The choice does not depend on the number of threads. Fewer rows than a panel has would be mostly padding.
  bool takes_panels(const Layers<Real> &layers, std::size_t B) const {
    const Layer<Real> &first = layers.front();
    return B >= micro_rows && blocking_.packs_P(B, first.columns, first.inputs) &&
           blocking_.keeps_panels(B, first.inputs);
  }

private:
  Blocking<Real> blocking_;
  Pool *pool_;
  std::vector<Workspace<Real>> workspaces_; // one per thread
};

} // namespace fnn::tuned
