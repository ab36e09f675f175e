/* mlp_kernel.h: the training step in one dtype: activations, losses, forward, output delta, backward, update.
 *
 * mlp.c includes this file once a dtype, with REAL the type and NAME(x) the name x has for it. Nothing here checks an
 * argument, allocates or reads a clock. The letters are those of fnn.h; lower-case z, a, y, t are single rows.
 */

/* --- Activations: one row of m values a call, z = Z_l[n] and a = A_l[n]. ------------------------------------------ */

static void NAME(identity)(int64_t m, const REAL *z, REAL *a) {
  for (int64_t j = 0; j < m; j++)
    a[j] = z[j];
}

static void NAME(sigmoid)(int64_t m, const REAL *z, REAL *a) {
  for (int64_t j = 0; j < m; j++)
    a[j] = 1 / (1 + exp(-z[j]));
}

static void NAME(tanh)(int64_t m, const REAL *z, REAL *a) {
  for (int64_t j = 0; j < m; j++)
    a[j] = tanh(z[j]);
}

static void NAME(relu)(int64_t m, const REAL *z, REAL *a) {
  for (int64_t j = 0; j < m; j++)
    a[j] = z[j] < 0 ? 0 : z[j]; /* this way round, NaN stays NaN */
}

static void NAME(softmax)(int64_t m, const REAL *z, REAL *a) {
  REAL top = z[0], sum = 0;
  for (int64_t j = 1; j < m; j++)
    top = z[j] > top ? z[j] : top;
  for (int64_t j = 0; j < m; j++)
    sum += a[j] = exp(z[j] - top);
  for (int64_t j = 0; j < m; j++)
    a[j] /= sum;
}

/* delta <- f'(z) delta, where a = f(z). */

static void NAME(identity_slope)(int64_t m, const REAL *a, REAL *delta) {
  (void)m, (void)a, (void)delta;
}

static void NAME(sigmoid_slope)(int64_t m, const REAL *a, REAL *delta) {
  for (int64_t j = 0; j < m; j++)
    delta[j] *= a[j] * (1 - a[j]);
}

static void NAME(tanh_slope)(int64_t m, const REAL *a, REAL *delta) {
  for (int64_t j = 0; j < m; j++)
    delta[j] *= 1 - a[j] * a[j];
}

static void NAME(relu_slope)(int64_t m, const REAL *a, REAL *delta) {
  for (int64_t j = 0; j < m; j++)
    delta[j] = a[j] > 0 ? delta[j] : 0;
}

static const struct {
  const char *name;
  void (*function)(int64_t m, const REAL *z, REAL *a);
  void (*slope)(int64_t m, const REAL *a, REAL *delta); /* NULL: only a loss that fuses it can use it */
} NAME(activations)[] = {
    {"identity", NAME(identity), NAME(identity_slope)},
    {"sigmoid", NAME(sigmoid), NAME(sigmoid_slope)},
    {"tanh", NAME(tanh), NAME(tanh_slope)},
    {"relu", NAME(relu), NAME(relu_slope)},
    {"softmax", NAME(softmax), NULL},
};

/* --- Losses: L of one row, z = Z_L[n], y = A_L[n] and t its targets. ---------------------------------------------- */

static double NAME(squared_error)(int64_t m, const REAL *z, const REAL *y, const REAL *t) {
  (void)z;
  double sum = 0;
  for (int64_t j = 0; j < m; j++)
    sum += (y[j] - t[j]) * (y[j] - t[j]);
  return sum;
}

static double NAME(half_squared_error)(int64_t m, const REAL *z, const REAL *y, const REAL *t) {
  return NAME(squared_error)(m, z, y, t) / 2;
}

/* -sum t log softmax(z) = sum t (log sum exp z - z), with the largest z taken out of the exponentials. */
static double NAME(softmax_cross_entropy)(int64_t m, const REAL *z, const REAL *y, const REAL *t) {
  (void)y;
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
  (void)y;
  double loss = 0;
  for (int64_t j = 0; j < m; j++)
    loss += (z[j] > 0 ? z[j] : 0) - z[j] * t[j] + log1p(exp(-fabs(z[j])));
  return loss;
}

static const struct {
  const char *name;
  const char *fuses; /* the output activation that belongs to it; NULL: any elementwise one */
  double (*value)(int64_t m, const REAL *z, const REAL *y, const REAL *t);
  REAL slope; /* dL/dy, or where fused dL/dz, is this times y - t */
} NAME(losses)[] = {
    {"squared_error", NULL, NAME(squared_error), 2},
    {"half_squared_error", NULL, NAME(half_squared_error), 1},
    {"softmax_cross_entropy", "softmax", NAME(softmax_cross_entropy), 1},
    {"sigmoid_cross_entropy", "sigmoid", NAME(sigmoid_cross_entropy), 1},
};

/* --- The two products that a step is made of. --------------------------------------------------------------------- */

/* C += A B for m rows of A and C, A: (m, k), B: (k, n), C: (m, n); A[i][p] is A[i * row + p * column]. m is a constant,
 * 4 or 1, at every call, so that its loops unroll: four rows of B at a time, each used for m rows of C. */
static inline void NAME(add_rows)(int m, int64_t k, int64_t n, const REAL *restrict A, int64_t row, int64_t column,
                                  const REAL *restrict B, REAL *restrict C) {
  for (; k >= 4; k -= 4, A += 4 * column, B += 4 * n) {
    REAL a[4][4];
    for (int i = 0; i < m; i++)
      for (int p = 0; p < 4; p++)
        a[i][p] = A[i * row + p * column];
    for (int64_t j = 0; j < n; j++)
      for (int i = 0; i < m; i++)
        C[i * n + j] += a[i][0] * B[j] + a[i][1] * B[n + j] + a[i][2] * B[2 * n + j] + a[i][3] * B[3 * n + j];
  }
  for (; k > 0; k--, A += column, B += n)
    for (int i = 0; i < m; i++)
      for (int64_t j = 0; j < n; j++)
        C[i * n + j] += A[i * row] * B[j];
}

/* C += A B for A: (m, k), B: (k, n), C: (m, n). The strides of A let the same loops read it transposed. */
static void NAME(add_product)(int64_t m, int64_t k, int64_t n, const REAL *A, int64_t row, int64_t column,
                              const REAL *B, REAL *C) {
  for (; m >= 4; m -= 4, A += 4 * row, C += 4 * n)
    NAME(add_rows)(4, k, n, A, row, column, B, C);
  for (; m > 0; m--, A += row, C += n)
    NAME(add_rows)(1, k, n, A, row, column, B, C);
}

/* sum_j a[j] b[j] in eight partial sums: one alone would wait for itself at every addition. */
static REAL NAME(dot)(int64_t m, const REAL *restrict a, const REAL *restrict b) {
  REAL part[8] = {0}, sum = 0;
  int64_t j = 0;
  for (; j + 8 <= m; j += 8)
    for (int64_t k = 0; k < 8; k++)
      part[k] += a[j + k] * b[j + k];
  for (; j < m; j++)
    sum += a[j] * b[j];
  for (int64_t k = 0; k < 8; k++)
    sum += part[k];
  return sum;
}

/* --- The step over B rows: X: (B, m_0), T: (B, m_L); Z, A, delta of layer l: (B, m_l). ---------------------------- */

static void NAME(forward)(const fnn_model *model, const REAL *X, int64_t B) {
  const REAL *theta = model->theta, *A_below = X;
  for (const layer *l = model->layers; l < model->layers + model->n_layers; l++) {
    const int64_t m = l->outputs;
    const REAL *W = theta + l->W, *b = theta + l->b;
    REAL *Z = l->Z, *A = l->A;
    for (int64_t n = 0; n < B; n++)
      memcpy(Z + n * m, b, m * sizeof(REAL));
    NAME(add_product)(B, l->inputs, m, A_below, l->inputs, 1, W, Z);
    for (int64_t n = 0; n < B; n++)
      NAME(activations)[l->activation].function(m, Z + n * m, A + n * m);
    A_below = A;
  }
}

/* R over the rows that went forward. */
static double NAME(mean_loss)(const fnn_model *model, const REAL *T, int64_t B) {
  const layer *last = model->layers + model->n_layers - 1;
  const int64_t m = last->outputs;
  const REAL *theta = model->theta, *Z = last->Z, *Y = last->A;
  double loss = 0, squares = 0;
  for (int64_t n = 0; n < B; n++)
    loss += NAME(losses)[model->loss].value(m, Z + n * m, Y + n * m, T + n * m);
  for (const layer *l = model->layers; l <= last; l++)
    for (int64_t i = l->W; i < l->b; i++)
      squares += (double)theta[i] * theta[i];
  return loss / B + model->l2 / 2 * squares;
}

/* delta_L = dR/dZ_L. */
static void NAME(output_delta)(const fnn_model *model, const REAL *T, int64_t B) {
  const layer *last = model->layers + model->n_layers - 1;
  const int64_t size = B * last->outputs;
  const REAL *Y = last->A, scale = NAME(losses)[model->loss].slope / B;
  REAL *delta = last->delta;
  for (int64_t j = 0; j < size; j++)
    delta[j] = scale * (Y[j] - T[j]);
  if (NAME(losses)[model->loss].fuses == NULL)
    NAME(activations)[last->activation].slope(size, Y, delta);
}

/* delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T), from layer l into the one below. */
static void NAME(propagate)(const fnn_model *model, const layer *l, const layer *below, int64_t B) {
  const int64_t m = l->outputs, inputs = l->inputs;
  const REAL *W = (const REAL *)model->theta + l->W, *delta = l->delta;
  REAL *delta_below = below->delta;
  for (int64_t n = 0; n < B; n++)
    for (int64_t i = 0; i < inputs; i++)
      delta_below[n * inputs + i] = NAME(dot)(m, delta + n * m, W + i * m);
  NAME(activations)[below->activation].slope(B * inputs, below->A, delta_below);
}

/* gradient[n_parameters], laid out as theta; theta itself stays as the forward pass found it. */
static void NAME(backward)(const fnn_model *model, const REAL *X, int64_t B, REAL *gradient) {
  const REAL *theta = model->theta, l2 = model->l2;
  for (int64_t at = model->n_layers - 1; at >= 0; at--) {
    const layer *l = &model->layers[at];
    const int64_t m = l->outputs, inputs = l->inputs;
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
      NAME(propagate)(model, l, l - 1, B);
  }
}

static void NAME(update)(const fnn_model *model, REAL rate) {
  REAL *theta = model->theta;
  const REAL *gradient = model->gradient;
  for (int64_t i = 0; i < model->n_parameters; i++)
    theta[i] -= rate * gradient[i];
}

/* --- What mlp.c calls. -------------------------------------------------------------------------------------------- */

/* Outputs of rows [first, first + count), left in the last layer's A. */
static void NAME(outputs)(const fnn_model *model, int64_t first, int64_t count) {
  NAME(forward)(model, (const REAL *)model->x + first * model->layers[0].inputs, count);
}

static double NAME(loss_and_gradient)(const fnn_model *model, int64_t first, int64_t count, void *gradient) {
  const REAL *X = (const REAL *)model->x + first * model->layers[0].inputs;
  const REAL *T = (const REAL *)model->y + first * model->layers[model->n_layers - 1].outputs;
  NAME(forward)(model, X, count);
  NAME(output_delta)(model, T, count);
  NAME(backward)(model, X, count, gradient);
  return NAME(mean_loss)(model, T, count);
}

/* X and T of a minibatch: the rows that order[first .. first + B) names. */
static void NAME(gather)(const fnn_model *model, int64_t first, int64_t B) {
  const int64_t m_0 = model->layers[0].inputs, m_L = model->layers[model->n_layers - 1].outputs;
  const REAL *x = model->x, *y = model->y;
  REAL *X = model->X, *T = model->T;
  for (int64_t n = 0; n < B; n++) {
    const int64_t row = model->order[first + n];
    memcpy(X + n * m_0, x + row * m_0, m_0 * sizeof(REAL));
    memcpy(T + n * m_L, y + row * m_L, m_L * sizeof(REAL));
  }
}

static void NAME(train)(const fnn_model *model, int64_t first, int64_t count, int64_t batch_size, double rate) {
  const int64_t end = first + count;
  for (int64_t at = first; at < end; at += batch_size) {
    const int64_t B = batch_size < end - at ? batch_size : end - at;
    NAME(gather)(model, at, B);
    NAME(forward)(model, model->X, B);
    NAME(output_delta)(model, model->T, B);
    NAME(backward)(model, model->X, B, model->gradient);
    NAME(update)(model, rate);
  }
}

/* One pass of fnn_time: what it adds to the checksum. */
static double NAME(timed_pass)(const fnn_model *model, int32_t operation, int64_t first, int64_t count) {
  if (operation == FNN_FORWARD) {
    NAME(outputs)(model, first, count);
    const layer *last = &model->layers[model->n_layers - 1];
    const REAL *Y = last->A;
    return (double)Y[0] + Y[count * last->outputs - 1];
  }
  const REAL *dtheta = model->gradient;
  const double loss = NAME(loss_and_gradient)(model, first, count, model->gradient);
  return loss + dtheta[0];
}
