/* mlp_kernel.h: the training step in one dtype: activations, losses, forward, output_delta, backward, update.
 *
 * mlp.c includes this file once for each dtype: REAL is the type, NAME(x) is the name of x for that type. Nothing here
 * checks an argument, allocates, or reads a clock. The letters are those of fnn.h; lower-case z, a, y, t are one row.
 */

/* --- Activations: a = f(z) for one row of m numbers, z = Z_l[n] and a = A_l[n]; p: the parameter. --------------- */

static void NAME(identity)(int64_t m, const REAL *z, REAL *a, REAL p) {
  for (int64_t j = 0; j < m; j++)
    a[j] = z[j];
}

static void NAME(sigmoid)(int64_t m, const REAL *z, REAL *a, REAL p) {
  for (int64_t j = 0; j < m; j++)
    a[j] = 1 / (1 + exp(-z[j]));
}

static void NAME(tanh)(int64_t m, const REAL *z, REAL *a, REAL p) {
  for (int64_t j = 0; j < m; j++)
    a[j] = tanh(z[j]);
}

/* In these comparisons, NaN stays NaN. */

static void NAME(relu)(int64_t m, const REAL *z, REAL *a, REAL p) {
  for (int64_t j = 0; j < m; j++)
    a[j] = z[j] < 0 ? 0 : z[j];
}

static void NAME(leaky_relu)(int64_t m, const REAL *z, REAL *a, REAL p) {
  for (int64_t j = 0; j < m; j++)
    a[j] = z[j] > 0 ? z[j] : p * z[j];
}

static void NAME(elu)(int64_t m, const REAL *z, REAL *a, REAL p) {
  for (int64_t j = 0; j < m; j++)
    a[j] = z[j] > 0 ? z[j] : p * expm1(z[j]);
}

/* log(1 + exp(z)), without overflow. */
static void NAME(softplus)(int64_t m, const REAL *z, REAL *a, REAL p) {
  for (int64_t j = 0; j < m; j++)
    a[j] = (z[j] < 0 ? 0 : z[j]) + log1p(exp(-fabs(z[j])));
}

static void NAME(hard_sigmoid)(int64_t m, const REAL *z, REAL *a, REAL p) {
  for (int64_t j = 0; j < m; j++)
    a[j] = z[j] <= -2 ? 0 : z[j] >= 2 ? 1 : z[j] / 4 + (REAL)0.5;
}

static void NAME(hard_tanh)(int64_t m, const REAL *z, REAL *a, REAL p) {
  for (int64_t j = 0; j < m; j++)
    a[j] = z[j] < -1 ? -1 : z[j] > 1 ? 1 : z[j];
}

static void NAME(softmax)(int64_t m, const REAL *z, REAL *a, REAL p) {
  REAL top = z[0], sum = 0;
  for (int64_t j = 1; j < m; j++)
    top = z[j] > top ? z[j] : top;
  for (int64_t j = 0; j < m; j++)
    sum += a[j] = exp(z[j] - top);
  for (int64_t j = 0; j < m; j++)
    a[j] /= sum;
}

/* Derivatives: delta <- f'(z) delta, where a = f(z). */

static void NAME(identity_derivative)(int64_t m, const REAL *z, const REAL *a, REAL *delta, REAL p) {}

static void NAME(sigmoid_derivative)(int64_t m, const REAL *z, const REAL *a, REAL *delta, REAL p) {
  for (int64_t j = 0; j < m; j++)
    delta[j] *= a[j] * (1 - a[j]);
}

static void NAME(tanh_derivative)(int64_t m, const REAL *z, const REAL *a, REAL *delta, REAL p) {
  for (int64_t j = 0; j < m; j++)
    delta[j] *= 1 - a[j] * a[j];
}

static void NAME(relu_derivative)(int64_t m, const REAL *z, const REAL *a, REAL *delta, REAL p) {
  for (int64_t j = 0; j < m; j++)
    delta[j] = a[j] > 0 ? delta[j] : 0;
}

static void NAME(leaky_relu_derivative)(int64_t m, const REAL *z, const REAL *a, REAL *delta, REAL p) {
  for (int64_t j = 0; j < m; j++)
    delta[j] = z[j] > 0 ? delta[j] : p * delta[j];
}

/* p exp(z) = p (exp(z) - 1) + p = a + p. */
static void NAME(elu_derivative)(int64_t m, const REAL *z, const REAL *a, REAL *delta, REAL p) {
  for (int64_t j = 0; j < m; j++)
    delta[j] = z[j] > 0 ? delta[j] : (a[j] + p) * delta[j];
}

static void NAME(softplus_derivative)(int64_t m, const REAL *z, const REAL *a, REAL *delta, REAL p) {
  for (int64_t j = 0; j < m; j++)
    delta[j] *= 1 / (1 + exp(-z[j]));
}

static void NAME(hard_sigmoid_derivative)(int64_t m, const REAL *z, const REAL *a, REAL *delta, REAL p) {
  for (int64_t j = 0; j < m; j++)
    delta[j] = fabs(z[j]) < 2 ? delta[j] / 4 : 0;
}

static void NAME(hard_tanh_derivative)(int64_t m, const REAL *z, const REAL *a, REAL *delta, REAL p) {
  for (int64_t j = 0; j < m; j++)
    delta[j] = fabs(z[j]) < 1 ? delta[j] : 0;
}

/* Activations with a layout of their own: of B rows of a layer. Z: (B, columns), A: (B, outputs). The derivative finds
 * dR/dA in the first B * outputs numbers of delta, and leaves dR/dZ there: (B, columns). */

static void NAME(prelu)(const layer *l, int64_t B, const REAL *slopes) {
  const int64_t m = l->outputs;
  const REAL *Z = l->Z;
  REAL *A = l->A;
  for (int64_t n = 0; n < B; n++)
    for (int64_t j = 0; j < m; j++)
      A[n * m + j] = Z[n * m + j] > 0 ? Z[n * m + j] : slopes[j] * Z[n * m + j];
}

/* dslopes: the sum of dR/dA min(z, 0) over the rows. */
static void NAME(prelu_derivative)(const layer *l, int64_t B, const REAL *slopes, REAL *dslopes) {
  const int64_t m = l->outputs;
  const REAL *Z = l->Z;
  REAL *delta = l->delta;
  memset(dslopes, 0, m * sizeof(REAL));
  for (int64_t n = 0; n < B; n++)
    for (int64_t j = 0; j < m; j++) {
      const REAL z = Z[n * m + j], d = delta[n * m + j];
      dslopes[j] += z > 0 ? 0 : d * z;
      delta[n * m + j] = z > 0 ? d : slopes[j] * d;
    }
}

static void NAME(maxout)(const layer *l, int64_t B, const REAL *slopes) {
  const int64_t units = B * l->outputs, k = l->columns / l->outputs;
  const REAL *z = l->Z;
  REAL *A = l->A;
  for (int64_t unit = 0; unit < units; unit++, z += k) {
    REAL top = z[0];
    for (int64_t i = 1; i < k; i++)
      top = z[i] <= top ? top : z[i];
    A[unit] = top;
  }
}

/* The first of a unit's largest pieces takes all of the unit's gradient. From the last unit to the first: each gradient
 * is read before another takes its place. */
static void NAME(maxout_derivative)(const layer *l, int64_t B, const REAL *slopes, REAL *dslopes) {
  const int64_t units = B * l->outputs, k = l->columns / l->outputs;
  for (int64_t unit = units - 1; unit >= 0; unit--) {
    const REAL *z = (const REAL *)l->Z + unit * k;
    const REAL gradient = ((const REAL *)l->delta)[unit];
    REAL *d = (REAL *)l->delta + unit * k;
    int64_t first = 0;
    for (int64_t i = 1; i < k; i++)
      first = z[i] <= z[first] ? first : i;
    for (int64_t i = 0; i < k; i++)
      d[i] = i == first ? gradient : 0;
  }
}

static const struct {
  const char *name;
  void (*value)(int64_t m, const REAL *z, REAL *a, REAL p);
  void (*derivative)(int64_t m, const REAL *z, const REAL *a, REAL *delta, REAL p); /* NULL: a loss must fuse it */
  double parameter; /* if none is given; NAN: it takes none */
  /* Where the layout is its own, these two in place of those above. slopes: those of the layer in theta, (outputs) */
  void (*layer_value)(const layer *l, int64_t B, const REAL *slopes);
  void (*layer_derivative)(const layer *l, int64_t B, const REAL *slopes, REAL *dslopes);
  bool learns;         /* slopes */
  int64_t most_pieces; /* of a unit: the parameter is their number; 0: a unit has one */
} NAME(activations)[] = {
    {"identity", NAME(identity), NAME(identity_derivative), NAN, NO_LAYOUT},
    {"sigmoid", NAME(sigmoid), NAME(sigmoid_derivative), NAN, NO_LAYOUT},
    {"tanh", NAME(tanh), NAME(tanh_derivative), NAN, NO_LAYOUT},
    {"relu", NAME(relu), NAME(relu_derivative), NAN, NO_LAYOUT},
    {"leaky_relu", NAME(leaky_relu), NAME(leaky_relu_derivative), 0.01, NO_LAYOUT},
    {"elu", NAME(elu), NAME(elu_derivative), 1, NO_LAYOUT},
    {"softplus", NAME(softplus), NAME(softplus_derivative), NAN, NO_LAYOUT},
    {"hard_sigmoid", NAME(hard_sigmoid), NAME(hard_sigmoid_derivative), NAN, NO_LAYOUT},
    {"hard_tanh", NAME(hard_tanh), NAME(hard_tanh_derivative), NAN, NO_LAYOUT},
    {"prelu", NULL, NULL, 0.25, NAME(prelu), NAME(prelu_derivative), true, 0},
    {"maxout", NULL, NULL, 2, NAME(maxout), NAME(maxout_derivative), false, 16},
    {"softmax", NAME(softmax), NULL, NAN, NO_LAYOUT},
};

/* --- Losses: L of one row, from z = Z_L[n], y = A_L[n] and the targets t. ----------------------------------------- */

static double NAME(squared_error)(int64_t m, const REAL *z, const REAL *y, const REAL *t) {
  double sum = 0;
  for (int64_t j = 0; j < m; j++)
    sum += (y[j] - t[j]) * (y[j] - t[j]);
  return sum;
}

static double NAME(half_squared_error)(int64_t m, const REAL *z, const REAL *y, const REAL *t) {
  return NAME(squared_error)(m, z, y, t) / 2;
}

/* -sum t log softmax(z) = sum t (log sum exp z - z), with the largest z subtracted before each exp. */
static double NAME(softmax_cross_entropy)(int64_t m, const REAL *z, const REAL *y, const REAL *t) {
  REAL top = z[0], sum = 0;
  for (int64_t j = 1; j < m; j++)
    top = z[j] > top ? z[j] : top;
  for (int64_t j = 0; j < m; j++)
    sum += exp(z[j] - top);
  const REAL log_sum = log(sum);
  double loss = 0;
  for (int64_t j = 0; j < m; j++)
    loss += t[j] * (log_sum - (z[j] - top));
  return loss;
}

/* -t log sigmoid(z) - (1-t) log(1 - sigmoid(z)) = max(z, 0) - z t + log(1 + exp(-|z|)). */
static double NAME(sigmoid_cross_entropy)(int64_t m, const REAL *z, const REAL *y, const REAL *t) {
  double loss = 0;
  for (int64_t j = 0; j < m; j++)
    loss += (z[j] > 0 ? z[j] : 0) - z[j] * t[j] + log1p(exp(-fabs(z[j])));
  return loss;
}

static const struct {
  const char *name;
  const char *fuses; /* the only output activation it takes; NULL: it takes any elementwise one */
  double (*value)(int64_t m, const REAL *z, const REAL *y, const REAL *t);
  REAL derivative; /* c in dL/dy = c (y - t); where an activation is fused, in dL/dz = c (y - t) */
} NAME(losses)[] = {
    {"squared_error", NULL, NAME(squared_error), 2},
    {"half_squared_error", NULL, NAME(half_squared_error), 1},
    {"softmax_cross_entropy", "softmax", NAME(softmax_cross_entropy), 1},
    {"sigmoid_cross_entropy", "sigmoid", NAME(sigmoid_cross_entropy), 1},
};

/* --- The two products of a step: add_product and dot. ------------------------------------------------------------- */

#include PRODUCT_KERNEL /* product_kernel.h, or for c-textbook textbook_kernel.h */

/* --- The step on B rows: X: (B, m_0), T: (B, m_L); Z, A, delta of layer l: (B, m_l). ------------------------------ */

/* Z_l = A_{l-1} W_l + b_l, A_l = f_l(Z_l) for l = 1 .. L. */
static void NAME(forward)(const mlp *network, const REAL *X, int64_t B) {
  const REAL *theta = network->theta, *A_below = X;
  for (const layer *l = network->layers; l < network->layers + network->n_layers; l++) {
    const int64_t m = l->columns;
    const REAL *W = theta + l->W, *b = theta + l->b;
    REAL *Z = l->Z, *A = l->A;
    for (int64_t n = 0; n < B; n++)
      memcpy(Z + n * m, b, m * sizeof(REAL));
    NAME(add_product)(B, l->inputs, m, A_below, l->inputs, 1, W, Z);
    if (NAME(activations)[l->activation].layer_value != NULL)
      NAME(activations)[l->activation].layer_value(l, B, theta + l->slopes);
    else
      for (int64_t n = 0; n < B; n++)
        NAME(activations)[l->activation].value(m, Z + n * m, A + n * m, l->parameter);
    A_below = A;
  }
}

/* delta_L = dR/dZ_L. */
static void NAME(output_delta)(const mlp *network, const REAL *T, int64_t B) {
  const layer *last = network->layers + network->n_layers - 1;
  const int64_t size = B * last->outputs;
  const REAL *Y = last->A, scale = NAME(losses)[network->loss_function].derivative / B;
  REAL *delta = last->delta;
  for (int64_t j = 0; j < size; j++)
    delta[j] = scale * (Y[j] - T[j]);
  if (NAME(losses)[network->loss_function].fuses == NULL)
    NAME(activations)[last->activation].derivative(size, last->Z, Y, delta, last->parameter);
}

static void NAME(propagate)(const mlp *network, const layer *l, const layer *below, int64_t B, REAL *gradient);

/* Compute gradient[n_parameters] from delta_L down, laid out as theta. theta does not change. */
static void NAME(backward)(const mlp *network, const REAL *X, int64_t B, REAL *gradient) {
  const REAL *theta = network->theta, l2 = network->l2;
  for (int64_t at = network->n_layers - 1; at >= 0; at--) {
    const layer *l = &network->layers[at];
    const int64_t m = l->columns, inputs = l->inputs;
    const REAL *W = theta + l->W, *delta = l->delta, *A_below = at > 0 ? l[-1].A : X;
    REAL *dW = gradient + l->W, *db = gradient + l->b;

    for (int64_t i = 0; i < inputs * m; i++)
      dW[i] = l2 * W[i];
    NAME(add_product)(inputs, B, m, A_below, 1, inputs, delta, dW);

    memset(db, 0, m * sizeof(REAL));
    for (int64_t n = 0; n < B; n++)
      for (int64_t j = 0; j < m; j++)
        db[j] += delta[n * m + j];

    if (at > 0)
      NAME(propagate)(network, l, l - 1, B, gradient);
  }
}

/* delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T), from layer l to the layer below; the gradient of its slopes, too.
 */
static void NAME(propagate)(const mlp *network, const layer *l, const layer *below, int64_t B, REAL *gradient) {
  const int64_t m = l->columns, inputs = l->inputs;
  const REAL *theta = network->theta, *W = theta + l->W, *delta = l->delta;
  REAL *delta_below = below->delta;
  for (int64_t n = 0; n < B; n++)
    for (int64_t i = 0; i < inputs; i++)
      delta_below[n * inputs + i] = NAME(dot)(m, delta + n * m, W + i * m);
  if (NAME(activations)[below->activation].layer_derivative != NULL)
    NAME(activations)[below->activation].layer_derivative(below, B, theta + below->slopes, gradient + below->slopes);
  else
    NAME(activations)[below->activation].derivative(B * inputs, below->Z, below->A, delta_below, below->parameter);
}

/* theta <- theta - rate * gradient. */
static void NAME(update)(const mlp *network, double learning_rate) {
  const REAL rate = learning_rate;
  REAL *theta = network->theta;
  const REAL *gradient = network->gradient;
  for (int64_t i = 0; i < network->n_parameters; i++)
    theta[i] -= rate * gradient[i];
}

/* R of the last forward pass. */
static double NAME(loss)(const mlp *network, const REAL *T, int64_t B) {
  const layer *last = network->layers + network->n_layers - 1;
  const int64_t m = last->outputs;
  const REAL *theta = network->theta, *Z = last->Z, *Y = last->A;
  double loss = 0, squares = 0;
  for (int64_t n = 0; n < B; n++)
    loss += NAME(losses)[network->loss_function].value(m, Z + n * m, Y + n * m, T + n * m);
  for (const layer *l = network->layers; l <= last; l++)
    for (int64_t i = l->W; i < l->b; i++)
      squares += (double)theta[i] * theta[i];
  return loss / B + network->l2 / 2 * squares;
}

/* --- The functions of `arithmetic`, and the minibatch. ------------------------------------------------------------ */

/* Compute the outputs of rows [first, first + count) into A of the last layer. */
static void NAME(outputs)(const mlp *network, int64_t first, int64_t count) {
  NAME(forward)(network, (const REAL *)network->x + first * network->layers[0].inputs, count);
}

static double NAME(loss_of_rows)(const mlp *network, int64_t first, int64_t count) {
  NAME(outputs)(network, first, count);
  return NAME(loss)(network, (const REAL *)network->y + first * network->layers[network->n_layers - 1].outputs, count);
}

static double NAME(loss_and_gradient)(const mlp *network, int64_t first, int64_t count, void *gradient) {
  const REAL *X = (const REAL *)network->x + first * network->layers[0].inputs;
  const REAL *T = (const REAL *)network->y + first * network->layers[network->n_layers - 1].outputs;
  NAME(forward)(network, X, count);
  NAME(output_delta)(network, T, count);
  NAME(backward)(network, X, count, gradient);
  return NAME(loss)(network, T, count);
}

/* Copy the rows that order[first .. first + B) names into X and T. */
static void NAME(gather)(const mlp *network, int64_t first, int64_t B) {
  const int64_t m_0 = network->layers[0].inputs, m_L = network->layers[network->n_layers - 1].outputs;
  const REAL *x = network->x, *y = network->y;
  REAL *X = network->X, *T = network->T;
  for (int64_t n = 0; n < B; n++) {
    const int64_t row = network->order[first + n];
    memcpy(X + n * m_0, x + row * m_0, m_0 * sizeof(REAL));
    memcpy(T + n * m_L, y + row * m_L, m_L * sizeof(REAL));
  }
}

/* Make the steps of training; `update` sets theta from the gradient of each. */
static inline void NAME(steps)(const mlp *network, int64_t first, int64_t count, int64_t batch_size, double rate,
                               void (*update)(const mlp *network, double rate)) {
  const int64_t end = first + count;
  for (int64_t at = first; at < end; at += batch_size) {
    const int64_t B = batch_size < end - at ? batch_size : end - at;
    NAME(gather)(network, at, B);
    NAME(forward)(network, network->X, B);
    NAME(output_delta)(network, network->T, B);
    NAME(backward)(network, network->X, B, network->gradient);
    update(network, rate);
  }
}

static void NAME(train)(const mlp *network, int64_t first, int64_t count, int64_t batch_size, double rate) {
  NAME(steps)(network, first, count, batch_size, rate, NAME(update));
}

/* Do one pass of fnn_time; return its addend to the checksum. */
static double NAME(timed_pass)(const mlp *network, int32_t operation, int64_t first, int64_t count, int64_t probe) {
  if (operation == FNN_FORWARD) {
    NAME(outputs)(network, first, count);
    const REAL *Y = network->layers[network->n_layers - 1].A;
    return Y[probe];
  }
  const REAL *dtheta = network->gradient;
  const double loss = NAME(loss_and_gradient)(network, first, count, network->gradient);
  return loss + dtheta[probe];
}

/* Report whether every number of theta is finite. The loop is one that compilers vectorize. */
static bool NAME(is_finite)(const mlp *network) {
  const REAL *theta = network->theta;
  int others = 0;
  for (int64_t i = 0; i < network->n_parameters; i++)
    others |= !(theta[i] - theta[i] == 0);
  return others == 0;
}
