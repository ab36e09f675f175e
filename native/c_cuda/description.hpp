/* description.hpp: what fnn_create receives, checked: the device that PYFNN_CUDA_DEVICE names (0 by default), and the
 * network. Nothing here is computed or allocated on a device.
 */
#pragma once
#include "device.hpp"
#include "functions.cuh"
#include "matrix.cuh"
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace fnn {

constexpr int oldest = 75; /* the lowest compute capability that the kernels are compiled for, in tenths */

/* --- The device. -------------------------------------------------------------------------------------------------- */

struct Device {
  int ordinal, multiprocessors;
  int64_t shared_bytes; /* the most that a block may have */
};

inline int attribute(cudaDeviceAttr which, int ordinal) {
  int value = 0;
  CHECK(cudaDeviceGetAttribute, &value, which, ordinal);
  return value;
}

inline std::string list_devices(int count) {
  std::string list;
  for (int ordinal = 0; ordinal < count; ordinal++) {
    cudaDeviceProp properties;
    CHECK(cudaGetDeviceProperties, &properties, ordinal);
    list += (ordinal ? ", " : "") + std::to_string(ordinal) + " (" + properties.name + ")";
  }
  return list;
}

/* Return CUDA's version as text: 12040 is 12.4. */
inline std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

inline int count_devices() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0)
    return count;
  cudaGetLastError();
  int driver = 0; /* CUDA calls a missing driver insufficient too */
  const bool missing = cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0;
  if (error == cudaErrorInsufficientDriver && !missing)
    throw DeviceUnavailable{"the driver is for CUDA " + version_text(driver) + ", older than that of these kernels, " +
                                version_text(CUDART_VERSION),
                            "update NVIDIA's driver, or reinstall with an nvcc of a CUDA that the driver supports"};
  const std::string found =
      (missing ? "there is no NVIDIA driver; " : "") + (error == cudaSuccess ? "none" : message_of(error));
  throw DeviceUnavailable{
      "no NVIDIA device can be used: " + found,
      "install NVIDIA's driver for a GPU of compute capability 7.5 or above, until nvidia-smi lists it"};
}

inline int chosen_ordinal(int count) {
  const char *named = std::getenv("PYFNN_CUDA_DEVICE");
  if (named == nullptr || *named == '\0')
    return 0;
  char *end;
  const long ordinal = std::strtol(named, &end, 10);
  if (*named < '0' || *named > '9' || *end != '\0' || ordinal < 0 || ordinal >= count)
    throw DeviceUnavailable{"PYFNN_CUDA_DEVICE=" + std::string(named) + ": the devices are " + list_devices(count),
                            "set PYFNN_CUDA_DEVICE to the number of one of them, or unset it to use device 0"};
  return static_cast<int>(ordinal);
}

inline Device choose_device() {
  const int count = count_devices(), ordinal = chosen_ordinal(count);
  const int capability = 10 * attribute(cudaDevAttrComputeCapabilityMajor, ordinal) +
                         attribute(cudaDevAttrComputeCapabilityMinor, ordinal);
  if (capability < oldest)
    throw DeviceUnavailable{"device " + std::to_string(ordinal) + " has compute capability " +
                                std::to_string(capability / 10) + "." + std::to_string(capability % 10) +
                                ", and the kernels need 7.5",
                            "set PYFNN_CUDA_DEVICE to another device: " + list_devices(count)};
  return {ordinal, attribute(cudaDevAttrMultiProcessorCount, ordinal),
          attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, ordinal)};
}

/* --- The network's description. ----------------------------------------------------------------------------------- */

struct Layer {
  int64_t inputs, outputs; /* m_{l-1}, m_l */
  int activation;          /* row of the table of activations */
  double parameter;        /* of the activation */
  int64_t stride;          /* of W_l's rows on the device */
  int64_t W, b;            /* where W_l and b_l start in a theta on the device */
};

/* A network as fnn_create receives it, checked. */
struct Network {
  std::vector<Layer> layers;
  int loss_function; /* row of the table of losses */
  double l2;
  int64_t n_parameters = 0, theta_size = 0; /* numbers in the caller's theta, and, padded, in the device's */

  Network(const fnn_network &given, int64_t pack) : loss_function(find_loss(given.loss)), l2(given.l2) {
    take_sizes(given, pack);
    take_functions(given);
  }

#ifndef FNN_CUBLAS
  /* Count the operations of a step on one row: 2 (2 sum_l P_l + sum_{l>=2} P_l), P_l = m_{l-1} m_l. */
  double operations() const {
    double sum = 0;
    for (const Layer &l : layers)
      sum += (&l == layers.data() ? 4.0 : 6.0) * double(l.inputs) * double(l.outputs);
    return sum;
  }
#endif

private:
  static int find_loss(const char *name) {
    for (int row = 0; row < int(std::size(losses)); row++)
      if (std::strcmp(losses[row].name, name) == 0)
        return row;
    throw Failure(FNN_UNSUPPORTED, "no loss '" + std::string(name).substr(0, 40) + "'");
  }

  /* Return the row of an activation, written "name" or "name(parameter)", and its parameter; -1 if there is none. */
  static int find_activation(const std::string &text, double &parameter) {
    const std::size_t length = std::min(text.find('('), text.size());
    for (int row = 0; row < int(std::size(activations)); row++) {
      if (text.compare(0, length, activations[row].name) != 0)
        continue;
      parameter = activations[row].parameter;
      if (length == text.size())
        return row;
      const bool takes_one = !std::isnan(parameter);
      const char *const digits = text.c_str() + length + 1;
      char *end;
      parameter = std::strtod(digits, &end);
      return takes_one && end > digits && std::strcmp(end, ")") == 0 && std::isfinite(parameter) ? row : -1;
    }
    return -1;
  }

  void take_sizes(const fnn_network &given, int64_t pack) {
    const int64_t most = INT64_MAX / 64; /* parameters: keeps every later sum of sizes in range */
    for (int64_t l = 0; l <= given.n_layers; l++)
      if (given.sizes[l] < 1)
        throw Failure(FNN_INVALID,
                      "sizes[" + std::to_string(l) + "] = " + std::to_string(given.sizes[l]) + ": must be at least 1");
    for (int64_t l = 0; l < given.n_layers; l++) {
      const int64_t inputs = given.sizes[l], outputs = given.sizes[l + 1];
      if (inputs >= most || outputs >= most || round_up(outputs, pack) > (most - theta_size) / (inputs + 1))
        throw Failure(FNN_UNSUPPORTED,
                      "layer " + std::to_string(l + 1) + " is too large: its parameters cannot be counted");
      const int64_t stride = round_up(outputs, pack), W = theta_size;
      layers.push_back({inputs, outputs, 0, 0, stride, W, W + inputs * stride});
      theta_size += (inputs + 1) * stride;
      n_parameters += (inputs + 1) * outputs;
    }
  }

  void take_functions(const fnn_network &given) {
    const int fused = losses[loss_function].fuses;
    for (std::size_t l = 0; l < layers.size(); l++) {
      const char *name = given.activations[l];
      if (name == nullptr)
        throw Failure(FNN_INVALID, "activations[" + std::to_string(l) + "] is NULL");
      const bool fuses = fused >= 0 && l + 1 == layers.size();
      if (fuses && std::strcmp(name, activations[fused].name) != 0)
        throw Failure(FNN_INVALID, std::string(losses[loss_function].name) + " fuses " + activations[fused].name +
                                       ": its output activation cannot be '" + std::string(name).substr(0, 40) + "'");
      const int row = find_activation(name, layers[l].parameter);
      if (row < 0 || (!is_elementwise(row) && !fuses))
        throw Failure(FNN_UNSUPPORTED,
                      "no activation '" + std::string(name).substr(0, 40) + "' for layer " + std::to_string(l + 1));
      layers[l].activation = row;
    }
  }
};

inline void check_fields(const fnn_network *network) {
  if (network == nullptr || network->sizes == nullptr || network->activations == nullptr || network->loss == nullptr)
    throw Failure(FNN_INVALID, "network, sizes, activations and loss must not be NULL");
  if (network->n_layers < 1)
    throw Failure(FNN_INVALID, "n_layers = " + std::to_string(network->n_layers) + ": must be at least 1");
  if (!(network->l2 >= 0 && network->l2 < INFINITY))
    throw Failure(FNN_INVALID, "l2 = " + std::to_string(network->l2) + ": must be finite, 0 or more");
  if (network->threads < 1)
    throw Failure(FNN_INVALID, "threads = " + std::to_string(network->threads) + ": must be at least 1");
  if (network->dtype != FNN_FLOAT32 && network->dtype != FNN_FLOAT64)
    throw Failure(FNN_UNSUPPORTED, "no dtype " + std::to_string(network->dtype) + ": 0 is float32, 1 is float64");
}

} // namespace fnn
