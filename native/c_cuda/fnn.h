/* fnn.h: a feed-forward network behind a C interface, version 2.
 *
 * pyfnn can train, check against the oracle, and time any library that exports these functions, in any language. This
 * header is the whole contract: an implementation needs to read nothing else.
 *
 * A library does not read files, print, exit, abort, keep state outside a model, or call back.
 *
 * The network. Rows are samples. For l = 1 .. L, with m_0 inputs, m_L outputs and a batch of B rows:
 *
 *     Z_l = A_{l-1} W_l + b_l       W_l: (m_{l-1}, m_l)   b_l: (m_l)   Z_l, A_l: (B, m_l)   A_0 = X
 *     A_l = f_l(Z_l)
 *     R   = (1/B) sum_n L(y_n, t_n) + (l2/2) sum_l |W_l|^2
 *     delta_L = dR/dZ_L             delta_l = f_l'(Z_l) * (delta_{l+1} W_{l+1}^T)
 *     dW_l = A_{l-1}^T delta_l + l2 W_l        db_l = sum_n delta_l        theta <- theta - rate * dtheta
 *
 * Parameters are one flat vector theta: W_1 row by row, b_1, W_2, b_2, ... Every array is dense, row-major and of the
 * network's dtype, except row numbers, which are int64_t.
 *
 * Losses, with y the outputs A_L and t the targets:
 *     squared_error          (y-t)^T (y-t)
 *     half_squared_error     (y-t)^T (y-t) / 2
 *     softmax_cross_entropy  -sum t log y, y = softmax(Z_L); rows of t sum to 1, so dL/dZ_L = y - t
 *     sigmoid_cross_entropy  -sum (t log y + (1-t) log(1-y)), y = sigmoid(Z_L); dL/dZ_L = y - t
 * The cross-entropies are computed from Z_L, and stay finite for |Z_L| up to 1000.
 *
 * Activations: every library has identity, sigmoid, tanh and relu (relu'(0) = 0). Others may carry a parameter in
 * parentheses, as in "leaky_relu(0.01)". A library lists its activations in fnn_about, and returns FNN_UNSUPPORTED for
 * all others. Two have a layout of their own in theta, and are for hidden layers:
 *     prelu(a)   z where z > 0, else s z, with a slope s of each unit: s_l: (m_l) follows b_l. a is where the slopes
 *                start; theta has them. ds_l = sum_n dR/dA_l min(Z_l, 0)
 *     maxout(k)  the largest of k pieces, 2 <= k <= 16: W_l: (m_{l-1}, k m_l), b_l: (k m_l), Z_l: (B, k m_l), a unit's
 *                pieces adjacent. Its gradient goes to the largest, of equal ones to the first.
 *
 * Ownership: the caller owns every array; a model copies what it must keep. A pointer is const unless written.
 * Threads: one model is used by one thread at a time; two models never share anything.
 * Arguments: a function that returns a status returns FNN_INVALID, and changes nothing, for a NULL model or array, a
 * handle whose fnn_create failed, a range outside the data, a probe outside what it probes, or data not yet loaded.
 */
#ifndef FNN_H
#define FNN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FNN_VERSION 2

/* The status that every function that can fail returns. */
enum fnn_status {
  FNN_OK = 0,
  FNN_INVALID = 1,     /* an argument breaks a rule of this header */
  FNN_UNSUPPORTED = 2, /* a function, dtype or size this implementation does not have */
  FNN_NO_MEMORY = 3,
  FNN_DEVICE = 4 /* the device or its driver failed */
};

enum fnn_dtype { FNN_FLOAT32 = 0, FNN_FLOAT64 = 1 };

enum fnn_operation { FNN_FORWARD = 0, FNN_GRADIENT = 1 };

typedef struct fnn_model fnn_model;

/* The description of a network. fnn_create copies what it needs of it. */
typedef struct fnn_network {
  int32_t n_layers;               /* L >= 1, the layers with weights */
  const int64_t *sizes;           /* sizes[L + 1]: m_0 .. m_L, each >= 1 */
  const char *const *activations; /* activations[L]: f_1 .. f_L. For a cross-entropy the last is the function it
                                     fuses, "softmax" or "sigmoid" */
  const char *loss;
  double l2;
  int32_t dtype;   /* enum fnn_dtype */
  int32_t threads; /* the most threads this model may use, >= 1 */
} fnn_network;

/* Return FNN_VERSION of the header that the library was compiled with. The host refuses any other version. */
int32_t fnn_version(void);

/* Return facts about the library, as "key=value" lines valid for the life of the process. Keys: name, language,
 * compiler, flags, clock (the monotonic clock behind `seconds`), activations and losses (names separated by commas),
 * arithmetic ("native", or "float64" where everything is computed in double), deterministic ("yes": the same call
 * twice gives the same bits). */
const char *fnn_about(void);

/* Create a model that starts at theta[n_parameters]. On success *model is its handle. On failure *model is a handle
 * that fnn_last_error explains and fnn_destroy frees, or NULL where there was no memory for a handle. */
int fnn_create(const fnn_network *network, const void *theta, fnn_model **model);

/* Free a model, or do nothing for NULL. */
void fnn_destroy(fnn_model *model);

/* Return the reason why the last call on this model failed, valid until its next call; "" if it succeeded. For NULL:
 * "out of memory". */
const char *fnn_last_error(const fnn_model *model);

/* Return the number of threads that this model computes with, <= network.threads. */
int32_t fnn_threads(const fnn_model *model);

/* Copy data in: x[rows][m_0], y[rows][m_L], order[n_order] with every entry in [0, rows); rows >= 1, n_order >= 1.
 * Earlier data is replaced; on failure the model keeps it. Minibatches must not be prepared here: gathering the rows
 * that `order` names is part of fnn_train. */
int fnn_load(fnn_model *model, const void *x, const void *y, int64_t rows, const int64_t *order, int64_t n_order);

/* Compute outputs[count][m_L] of rows [first, first + count). */
int fnn_forward(fnn_model *model, int64_t first, int64_t count, void *outputs);

/* Compute the loss R over rows [first, first + count), and gradient[n_parameters], laid out as theta. */
int fnn_loss_and_gradient(fnn_model *model, int64_t first, int64_t count, double *loss, void *gradient);

/* Do gradient descent over order[first .. first + count), batch_size >= 1 rows a step. The last step takes the rows
 * that are left, and divides by their number. learning_rate is finite and above 0. *seconds is the time of the steps
 * alone, by a monotonic clock: allocation, and all else that can be prepared without the rows, happens before the clock
 * starts, and all work is done before it stops. */
int fnn_train(fnn_model *model, int64_t first, int64_t count, int64_t batch_size, double learning_rate,
              double *seconds);

/* Time `repeats` >= 1 passes of `count` rows each. Repeat r = 0 .. repeats-1 works on rows [s, s + count) with
 *     s = (first + r * count) mod (rows - count + 1).
 * *checksum is the sum over the repeats of
 *     FNN_FORWARD     outputs[p] of the pass, p in [0, count * m_L), the outputs laid out as those of fnn_forward
 *     FNN_GRADIENT    the loss + gradient[p], p in [0, n_parameters)
 * with p = probes[r mod n_probes], n_probes >= 1. The caller draws the probes at random: every pass computes all of its
 * outputs, or its whole gradient, because any entry of them may be asked for. The clock starts after the probes are
 * checked and, where the arrays are stored in another layout, turned into places of that layout. */
int fnn_time(fnn_model *model, int32_t operation, int64_t first, int64_t count, int64_t repeats, const int64_t *probes,
             int64_t n_probes, double *seconds, double *checksum);

/* Copy out theta[n_parameters]. */
int fnn_theta(fnn_model *model, void *theta);

/* Return to the theta given to fnn_create. Data stays loaded. */
int fnn_reset(fnn_model *model);

/* --- Optional: the reason why the library cannot run here. --------------------------------------------------------
 *
 * Return NULL where models can be created; otherwise the reason (no device, no driver), and on a second line a remedy,
 * valid until the thread's next call. The library must load in either case. */
const char *fnn_unavailable(void);

/* --- Optional: many networks at once; all three or none. ----------------------------------------------------------
 *
 * `members` networks of one shape, each with its own theta, order, rate and l2, over the same rows. Each ends with the
 * theta that a model of its own would have. fnn_about has the line many=yes. The handle works with fnn_destroy,
 * fnn_last_error, fnn_threads, fnn_reset and fnn_theta (theta[members][n_parameters]) as a model's does; all other
 * functions return FNN_INVALID for it.
 *
 * Create `members` networks from thetas[members][n_parameters] and l2s[members]; network->l2 is not read. */
int fnn_create_many(const fnn_network *network, int64_t members, const void *thetas, const double *l2s,
                    fnn_model **model);

/* Do as fnn_load, with orders[members][n_order]. */
int fnn_load_many(fnn_model *model, const void *x, const void *y, int64_t rows, const int64_t *orders, int64_t n_order);

/* Do as fnn_train, each member over its own order at learning_rates[member]; *seconds is the time of all of them. */
int fnn_train_many(fnn_model *model, int64_t first, int64_t count, int64_t batch_size, const double *learning_rates,
                   double *seconds);

/* --- Optional: any theta, for training that goes on from one. -----------------------------------------------------
 *
 * Copy theta[n_parameters] in. fnn_reset still returns to the theta given to fnn_create. */
int fnn_set_theta(fnn_model *model, const void *theta);

/* --- Optional: the loss without its gradient. ---------------------------------------------------------------------
 *
 * Compute the loss R over rows [first, first + count): the number that fnn_loss_and_gradient computes. */
int fnn_loss(fnn_model *model, int64_t first, int64_t count, double *loss);

/* --- Optional: whether training has diverged. ---------------------------------------------------------------------
 *
 * Set *finite to 1 if every number of theta is finite, otherwise to 0. The host asks after each training; without this
 * function it copies theta out. */
int fnn_is_finite(fnn_model *model, int32_t *finite);

/* --- Optional: optimizers with a state; all three or none. --------------------------------------------------------
 *
 * fnn_about then has the line optimizers=sgd,... with the names that the library has, of these, where g is dtheta and v
 * and m start at 0:
 *     momentum  mu                        v <- mu v - rate g; theta <- theta + v
 *     nesterov  mu                        v <- mu v - rate g; theta <- theta + mu v - rate g
 *     adam      beta_1, beta_2, epsilon   m <- beta_1 m + (1 - beta_1) g; v <- beta_2 v + (1 - beta_2) g^2;
 *                                         theta <- theta - step m / (sqrt(v) + epsilon), where in step t, from 1,
 *                                         step = rate sqrt(1 - beta_2^t) / (1 - beta_1^t), computed in double
 * Their settings: mu, beta_1 and beta_2 in [0, 1), epsilon above 0. The state of momentum and nesterov is v, that of
 * adam m, then v: state[vectors][n_parameters].
 *
 * Select an optimizer for fnn_train_with, copy its state in, and set the number of steps that it has made. fnn_load,
 * fnn_set_theta and fnn_reset leave both as they are. FNN_UNSUPPORTED for another name. */
int fnn_set_optimizer(fnn_model *model, const char *optimizer, const double *settings, int64_t steps,
                      const void *state);

/* Copy out the number of steps and state[vectors][n_parameters]. FNN_INVALID before fnn_set_optimizer. */
int fnn_optimizer_state(fnn_model *model, int64_t *steps_made, void *state);

/* Do as fnn_train, by the optimizer selected; FNN_INVALID before fnn_set_optimizer. */
int fnn_train_with(fnn_model *model, int64_t first, int64_t count, int64_t batch_size, double learning_rate,
                   double *seconds);

/* --- Optional: the device's own clock. ----------------------------------------------------------------------------
 *
 * Return the time of the last fnn_train, fnn_train_many or fnn_time by the device's events, in *seconds; FNN_INVALID
 * before the first of them. */
int fnn_device_seconds(const fnn_model *model, double *seconds);

#ifdef __cplusplus
}
#endif

#endif /* FNN_H */
