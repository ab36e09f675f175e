/* textbook_kernel.h: the two products of a step in one dtype as a textbook has them: every number is one sum, from its
 * first term to its last. No blocking and no partial sums: product_kernel.h has those.
 *
 * mlp_kernel.h includes this file once for each dtype, for the backend c-textbook.
 */

/* C += A B. A: (m, k), B: (k, n), C: (m, n). The strides `row` and `column` of A also describe a transposed A. */
static void NAME(add_product)(int64_t m, int64_t k, int64_t n, const REAL *A, int64_t row, int64_t column,
                              const REAL *B, REAL *C) {
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      REAL sum = C[i * n + j];
      for (int64_t p = 0; p < k; p++)
        sum += A[i * row + p * column] * B[p * n + j];
      C[i * n + j] = sum;
    }
}

/* sum_j a[j] b[j]. */
static REAL NAME(dot)(int64_t m, const REAL *a, const REAL *b) {
  REAL sum = 0;
  for (int64_t j = 0; j < m; j++)
    sum += a[j] * b[j];
  return sum;
}
