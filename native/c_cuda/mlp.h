/* mlp.h: the network behind fnn.c: its layers, its arrays, and the functions that compute with it in either dtype.
 *
 * Nothing here checks an argument, allocates, or reads a clock: fnn.c does. The letters are those of fnn.h.
 */
#ifndef MLP_H
#define MLP_H

#include <stdbool.h>
#include <stdint.h>

#ifdef FNN_TEXTBOOK /* the backend as which mlp.c is compiled */
#define FNN_NAME "c-textbook"
#elif defined FNN_LIBMVEC
#define FNN_NAME "c-libmvec"
#define FNN_MORE_FLAGS ", with the vector functions of glibc's libmvec"
#else
#define FNN_NAME "c"
#endif

#ifndef FNN_MORE_FLAGS
#define FNN_MORE_FLAGS ""
#endif

#define CACHE_LINE 64 /* bytes */
#define LENGTH(array) ((int)(sizeof(array) / sizeof(array)[0]))

typedef struct layer {
  int64_t inputs, outputs; /* m_{l-1}, m_l */
  int64_t columns;         /* of W and Z: outputs, times the pieces of each */
  int64_t W, b, slopes;    /* where W_l, b_l and the slopes that it may learn start in theta; each follows the other */
  int activation;          /* row of the table of activations */
  double parameter;        /* of the activation */
  void *Z, *A, *delta;     /* (capacity, columns), A (capacity, outputs), in the workspace */
} layer;

/* An optimizer with a state, for train_with. */
typedef struct optimizer {
  int row;            /* of the table of optimizers; -1 until one is selected */
  double settings[3]; /* mu, or beta_1, beta_2, epsilon */
  int64_t steps;      /* made so far */
  void *state;        /* (vectors, n_parameters) */
} optimizer;

typedef struct mlp {
  const struct arithmetic *arithmetic; /* the functions of the network's dtype */
  int64_t n_layers, n_parameters;
  layer *layers;     /* [n_layers] */
  int loss_function; /* row of the table of losses */
  double l2;
  void *theta, *start, *gradient; /* [n_parameters]: current, as fnn_create received it, and of the last step */
  optimizer *optimizer;           /* belongs to the model */

  int64_t rows, n_order; /* 0 until fnn_load */
  void *x, *y;           /* (rows, m_0), (rows, m_L) */
  int64_t *order;        /* [n_order] */

  int64_t capacity; /* rows that the workspace has room for */
  void *workspace;  /* holds X, T, and Z, A, delta of every layer */
  void *X, *T;      /* (capacity, m_0), (capacity, m_L): the rows of a minibatch */
} mlp;

/* One dtype: the size of its numbers in bytes, and the functions of the two kernel headers that fnn.c calls. */
typedef struct arithmetic {
  int64_t size;
  void (*outputs)(const mlp *network, int64_t first, int64_t count);
  double (*loss)(const mlp *network, int64_t first, int64_t count);
  double (*loss_and_gradient)(const mlp *network, int64_t first, int64_t count, void *gradient);
  void (*train)(const mlp *network, int64_t first, int64_t count, int64_t batch_size, double rate);
  void (*train_with)(const mlp *network, int64_t first, int64_t count, int64_t batch_size, double rate);
  double (*timed_pass)(const mlp *network, int32_t operation, int64_t first, int64_t count, int64_t probe);
  bool (*is_finite)(const mlp *network);
} arithmetic;

enum { N_DTYPES = 2 };
extern const arithmetic arithmetics[N_DTYPES]; /* by enum fnn_dtype */

/* Return the name of one row of the tables of activations and losses; NULL behind the last row. */
const char *activation_name(int row);
const char *loss_name(int row);

/* Return the name of one row of the table of optimizers; NULL behind the last row. */
const char *optimizer_name(int row);

/* Return the number of vectors in the state of an optimizer, and the number of its settings. */
int optimizer_vectors(int row);
int optimizer_settings(int row);

/* Return the row of an activation, written "name" or "name(parameter)", and its parameter; -1 if there is none such. */
int find_activation(const char *text, double *parameter);

/* Report whether hidden layers may have an activation: it needs no loss that fuses it. */
bool is_hidden(int activation);

/* Report whether the output layer may have it: it works number by number, without a layout of its own, too. */
bool is_elementwise(int activation);

/* Return the name of the output activation that a loss fuses, or NULL. */
const char *fused_activation(int loss);

/* Return the number of pieces of a unit, 1 for most activations, and of the slopes that it learns, 0 or 1. */
int64_t pieces(const layer *l);
int64_t slopes_of_unit(const layer *l);

/* Set the sizes and the offsets of the layers, whose activations are set, for sizes[n_layers + 1]; count the
 * parameters. */
void set_layers(mlp *network, const int64_t *sizes);

int64_t n_outputs(const mlp *network);

/* Return the bytes of a workspace for B rows; -1 where an int64_t cannot hold the number. */
int64_t workspace_bytes(const mlp *network, int64_t B);

/* Point X, T, and Z, A, delta of every layer into a workspace for B rows. The network keeps it, but does not own it. */
void set_workspace(mlp *network, void *workspace, int64_t B);

/* Copy theta[n_parameters] of the network's dtype. */
void set_theta(mlp *network, const void *theta);

/* Return to the parameters that fnn_create received. */
void reset(mlp *network);

#endif /* MLP_H */
