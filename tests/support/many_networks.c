/* many_networks.c: many networks at once for fnn.c, one model of fnn.c each. Appended to fnn.c by faulty_library.py.
 *
 * The handle of many networks has `members` and `each`, and is never `created`: so fnn.c's functions refuse it.
 */

static int begin_many(fnn_model *many) {
  if (many == NULL)
    return FNN_INVALID;
  many->error[0] = '\0';
  if (many->members == 0)
    return fail(many, FNN_INVALID, "these are not many networks");
  return FNN_OK;
}

static void destroy_many(fnn_model *many) {
  for (int64_t k = 0; k < many->members; k++)
    fnn_destroy(many->each[k]);
  free(many->each);
  many->members = 0;
  many->each = NULL;
}

int fnn_create_many(const fnn_network *given, int64_t members, const void *thetas, const double *l2s,
                    fnn_model **handle) {
  if (handle == NULL)
    return FNN_INVALID;
  fnn_model *model = *handle = calloc(1, sizeof(fnn_model));
  if (model == NULL)
    return FNN_NO_MEMORY;
  if (given == NULL || thetas == NULL || l2s == NULL)
    return fail(model, FNN_INVALID, "NULL");
  if (members < 1)
    return fail(model, FNN_INVALID, "members must be at least 1");
  model->each = calloc(members, sizeof(fnn_model *));
  for (int64_t k = 0; k < members; k++) {
    fnn_network own = *given;
    own.l2 = l2s[k];
    const int64_t before = k == 0 ? 0 : k * model->each[0]->network.n_parameters * model->each[0]->network.arithmetic->size;
    const int status = fnn_create(&own, (const char *)thetas + before, &model->each[k]);
    model->members = k + 1;
    if (status != FNN_OK) {
      strcpy(model->error, model->each[k]->error);
      destroy_many(model);
      return status;
    }
  }
  return FNN_OK;
}

int fnn_load_many(fnn_model *model, const void *x, const void *y, int64_t rows, const int64_t *orders,
                  int64_t n_order) {
  int status = begin_many(model);
  if (status == FNN_OK && orders == NULL)
    return fail(model, FNN_INVALID, "orders must not be NULL");
  for (int64_t k = 0; status == FNN_OK && k < model->members && n_order > 0; k++)
    status = check_data(model, x, y, rows, orders + k * n_order, n_order);
  if (status == FNN_OK && n_order < 1)
    return fail(model, FNN_INVALID, "n_order must be at least 1");
  for (int64_t k = 0; status == FNN_OK && k < model->members; k++)
    status = fnn_load(model->each[k], x, y, rows, orders + k * n_order, n_order);
  return status;
}

int fnn_train_many(fnn_model *model, int64_t first, int64_t count, int64_t batch_size, const double *learning_rates,
                   double *seconds) {
  int status = begin_many(model);
  if (status != FNN_OK)
    return status;
  if (learning_rates == NULL || seconds == NULL)
    return fail(model, FNN_INVALID, "learning_rates and seconds must not be NULL");
  for (int64_t k = 0; k < model->members; k++)
    if (!(learning_rates[k] > 0 && learning_rates[k] < INFINITY))
      return fail(model, FNN_INVALID, "learning_rates must be finite and above 0");
  double sum = 0;
  for (int64_t k = 0; k < model->members; k++) {
    status = fnn_train(model->each[k], first, count, batch_size, learning_rates[k], seconds);
    if (status != FNN_OK) {
      strcpy(model->error, model->each[k]->error);
      return status;
    }
    sum += *seconds;
  }
  *seconds = sum;
  return FNN_OK;
}

static int theta_of_many(fnn_model *many, void *theta) {
  if (theta == NULL)
    return fail(many, FNN_INVALID, "theta must not be NULL");
  many->error[0] = '\0';
  const mlp *first = &many->each[0]->network;
  for (int64_t k = 0; k < many->members; k++)
    fnn_theta(many->each[k], (char *)theta + k * first->n_parameters * first->arithmetic->size);
  return FNN_OK;
}

static int reset_many(fnn_model *many) {
  many->error[0] = '\0';
  for (int64_t k = 0; k < many->members; k++)
    reset(&many->each[k]->network);
  return FNN_OK;
}
