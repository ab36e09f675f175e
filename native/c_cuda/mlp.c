/* mlp.c: the network in plain C11: mlp_kernel.h compiled for float and for double, and the layout of its arrays.
 *
 * With FNN_TEXTBOOK defined its products are those of textbook_kernel.h. No threads, no BLAS, no intrinsics, and no
 * memory of its own: fnn.c allocates.
 */
#include "mlp.h"
#include "fnn.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tgmath.h> /* tanh of a float is tanhf, and so on */

/* All functions of a table have the same arguments; few of them use all. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

#ifdef FNN_LIBMVEC
/* GCC may call the vector versions of these functions, which are in glibc's libmvec, accurate to 4 units in the last
 * place. glibc declares them in this way to Fortran always, and to C under fast-math alone. */
#define VECTORIZED __attribute__((simd("notinbranch")))
VECTORIZED float tanhf(float);
VECTORIZED float expf(float);
VECTORIZED float expm1f(float);
VECTORIZED float log1pf(float);
VECTORIZED double(tanh)(double);
VECTORIZED double(exp)(double);
VECTORIZED double(expm1)(double);
VECTORIZED double(log1p)(double);
#endif

#define NO_LAYOUT NULL, NULL, false, 0 /* of its own: the last columns of most activations */

#ifdef FNN_TEXTBOOK
#define PRODUCT_KERNEL "textbook_kernel.h"
#else
#define PRODUCT_KERNEL "product_kernel.h"
#endif

#define REAL float
#define NAME(x) x##_float
#include "mlp_kernel.h"
#include "optimizer_kernel.h"
#undef REAL
#undef NAME

#define REAL double
#define NAME(x) x##_double
#include "mlp_kernel.h"
#include "optimizer_kernel.h"
#undef REAL
#undef NAME

const arithmetic arithmetics[N_DTYPES] = {
    [FNN_FLOAT32] = {sizeof(float), outputs_float, loss_of_rows_float, loss_and_gradient_float, train_float,
                     train_with_float, timed_pass_float, is_finite_float},
    [FNN_FLOAT64] = {sizeof(double), outputs_double, loss_of_rows_double, loss_and_gradient_double, train_double,
                     train_with_double, timed_pass_double, is_finite_double},
};

/* --- The tables' rows: the same in both dtypes. ------------------------------------------------------------------- */

const char *activation_name(int row) {
  return row < LENGTH(activations_float) ? activations_float[row].name : NULL;
}

const char *loss_name(int row) {
  return row < LENGTH(losses_float) ? losses_float[row].name : NULL;
}

/* Report whether an activation takes this parameter: a number of pieces is whole, from 2 on. */
static bool fits(int row, double parameter) {
  const int64_t most = activations_float[row].most_pieces;
  return most == 0 || (parameter >= 2 && parameter <= most && parameter == (int64_t)parameter);
}

const char *optimizer_name(int row) {
  return row < LENGTH(optimizers_float) ? optimizers_float[row].name : NULL;
}

int optimizer_vectors(int row) {
  return optimizers_float[row].vectors;
}

int optimizer_settings(int row) {
  return optimizers_float[row].settings;
}

int find_activation(const char *text, double *parameter) {
  const size_t length = strcspn(text, "(");
  for (int row = 0; row < LENGTH(activations_float); row++) {
    const char *name = activations_float[row].name;
    if (strlen(name) != length || strncmp(name, text, length) != 0)
      continue;
    *parameter = activations_float[row].parameter;
    if (text[length] == '\0')
      return row;
    const bool takes_one = !isnan(*parameter);
    char *end;
    *parameter = strtod(text + length + 1, &end);
    const bool read = takes_one && end > text + length + 1 && strcmp(end, ")") == 0 && isfinite(*parameter);
    return read && fits(row, *parameter) ? row : -1;
  }
  return -1;
}

bool is_hidden(int activation) {
  return is_elementwise(activation) || activations_float[activation].layer_derivative != NULL;
}

bool is_elementwise(int activation) {
  return activations_float[activation].derivative != NULL;
}

int64_t pieces(const layer *l) {
  return activations_float[l->activation].most_pieces > 0 ? (int64_t)l->parameter : 1;
}

int64_t slopes_of_unit(const layer *l) {
  return activations_float[l->activation].learns;
}

const char *fused_activation(int loss) {
  return losses_float[loss].fuses;
}

/* --- The layout of the parameters and of the workspace. ----------------------------------------------------------- */

void set_layers(mlp *network, const int64_t *sizes) {
  int64_t at = 0;
  for (int64_t l = 0; l < network->n_layers; l++) {
    layer *each = &network->layers[l];
    each->inputs = sizes[l];
    each->outputs = sizes[l + 1];
    each->columns = each->outputs * pieces(each);
    each->W = at;
    each->b = each->W + each->inputs * each->columns;
    each->slopes = each->b + each->columns;
    at = each->slopes + each->outputs * slopes_of_unit(each);
  }
  network->n_parameters = at;
}

int64_t n_outputs(const mlp *network) {
  return network->layers[network->n_layers - 1].outputs;
}

int64_t workspace_bytes(const mlp *network, int64_t B) {
  int64_t width = network->layers[0].inputs + n_outputs(network);
  for (int64_t l = 0; l < network->n_layers; l++)
    width += network->layers[l].outputs + 2 * network->layers[l].columns;
  const int64_t size = network->arithmetic->size, padding = (2 + 3 * network->n_layers) * CACHE_LINE;
  return B > (PTRDIFF_MAX - CACHE_LINE - padding) / size / width ? -1 : B * width * size + padding;
}

/* Return the next array of so many bytes, and move `at` to the cache line behind it. */
static void *carve(char **at, int64_t bytes) {
  void *array = *at;
  *at += (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
  return array;
}

void set_workspace(mlp *network, void *workspace, int64_t B) {
  const int64_t size = network->arithmetic->size;
  char *at = network->workspace = workspace;
  network->capacity = B;
  network->X = carve(&at, B * network->layers[0].inputs * size);
  network->T = carve(&at, B * n_outputs(network) * size);
  for (layer *l = network->layers; l < network->layers + network->n_layers; l++) {
    l->Z = carve(&at, B * l->columns * size);
    l->A = carve(&at, B * l->outputs * size);
    l->delta = carve(&at, B * l->columns * size);
  }
}

void set_theta(mlp *network, const void *theta) {
  memcpy(network->theta, theta, network->n_parameters * network->arithmetic->size);
}

void reset(mlp *network) {
  set_theta(network, network->start);
}
