/* persistent_plan.hpp: which networks the persistent kernel trains, and how a block lays one out in shared memory. */
#pragma once
#include "description.hpp"
#include "persistent.cuh"

#include <algorithm>
#include <optional>

/* The persistent kernel takes a step of at most this many operations, times the members that train at once, up to one a
 * multiprocessor; larger steps are spread over the device. Counted, not measured: a multiprocessor at a quarter of its
 * peak does that many in about the time of the dozen launches of a spread step. Tests compile with 0, so that small
 * networks are spread too. */
#ifndef FNN_PERSISTENT_OPERATIONS
#define FNN_PERSISTENT_OPERATIONS 4e6
#endif

namespace fnn {

template <typename Real> struct PersistentPlan {
  PersistentArguments<Real> arguments;
  int64_t shared_bytes;
  int warps;
};

/* Return the first layer of those at the end that have so few weights that one warp is expected to walk them faster
 * than a block can synchronize. */
inline int first_narrow_layer(const Network &network) {
  constexpr int64_t narrow = 256; /* weights, eight a lane; counted, not measured */
  std::size_t l = network.layers.size();
  while (l > 0 && network.layers[l - 1].inputs * network.layers[l - 1].outputs <= narrow)
    l--;
  return int(l);
}

/* Return how a block holds the network and its minibatches; nothing where it is too large, or has too much work, for
 * one block. */
template <typename Real>
std::optional<PersistentPlan<Real>> plan_persistent(const Network &network, const Device &device, int64_t members,
                                                    int64_t batch) {
  constexpr int64_t pack = Pack<Real>::length;
  const double at_once = double(std::min<int64_t>(members, device.multiprocessors));
  if (network.layers.size() > most_persistent_layers || batch > 4096 || members > INT32_MAX ||
      network.operations() * double(batch) > FNN_PERSISTENT_OPERATIONS * at_once ||
      network.theta_size * int64_t(sizeof(Real)) > device.shared_bytes)
    return std::nullopt;
  PersistentPlan<Real> plan{};
  PersistentArguments<Real> &arguments = plan.arguments;
  int64_t at = 0; /* a network of that size keeps every sum below within an int64_t, and most within an int */
  const auto carve = [&](int64_t rows, int64_t stride) {
    const int64_t start = at;
    at += round_up(rows * stride, 4);
    return int(start);
  };
  const int64_t inputs = network.layers.front().inputs, outputs = network.layers.back().outputs;
  arguments.n_layers = int(network.layers.size()), arguments.loss = network.loss_function, arguments.batch = int(batch);
  arguments.loss_derivative = Real(losses[network.loss_function].derivative);
  arguments.X_stride = int(round_up(inputs, 4)), arguments.T_stride = int(round_up(outputs, 4));
  arguments.X_packs = int(round_up(inputs, pack) / pack), arguments.T_packs = int(round_up(outputs, pack) / pack);
  arguments.X = carve(2 * batch, arguments.X_stride), arguments.T = carve(2 * batch, arguments.T_stride);
  int most_tasks = 1;
  for (std::size_t l = 0; l < network.layers.size(); l++) {
    const Layer &layer = network.layers[l];
    PersistentLayer &here = arguments.layers[l];
    here.inputs = int(layer.inputs), here.outputs = int(layer.outputs);
    here.activation = layer.activation, here.parameter = layer.parameter;
    here.W_stride = int(round_up(layer.outputs + 2, 4) - 2); /* 2 * odd: see persistent.cuh */
    here.W = carve(round_up(layer.inputs, 4), here.W_stride), here.b = carve(1, layer.outputs);
    here.A_stride = here.delta_stride = int(round_up(layer.outputs, 4));
    here.A = carve(batch, here.A_stride), here.delta = carve(batch, here.delta_stride);
    here.kept = keeps_slope(layer.activation) ? here.delta : here.A;
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
  /* One network gets as many warps as have work. Many networks get few each, so that blocks share a multiprocessor. */
  plan.warps = members > device.multiprocessors ? 4 : 1;
  if (members <= device.multiprocessors)
    while (plan.warps < 16 && plan.warps < most_tasks)
      plan.warps *= 2;
  arguments.first_narrow = first_narrow_layer(network);
  return plan;
}

} // namespace fnn
