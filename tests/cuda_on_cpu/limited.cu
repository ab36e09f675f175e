/* mlp.cu with the limit of the persistent kernel as a constant of another file, so that it is compiled once for both
 * ways to train. */
extern const double persistent_operations;
#define FNN_PERSISTENT_OPERATIONS persistent_operations
#include "mlp.cu"
