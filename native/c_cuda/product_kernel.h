/* product_kernel.h: the two products of a step in one dtype, blocked by four rows and summed in eight partial sums.
 *
 * mlp_kernel.h includes this file once for each dtype. textbook_kernel.h has the same functions without the blocking.
 */

/* C += A B for m rows of A and C. A: (m, k), B: (k, n), C: (m, n); A[i][p] is A[i * row + p * column]. Every call
 * passes a constant m, 4 or 1, so that the loops over it unroll: each of four rows of B is loaded once for m rows of C.
 */
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

/* C += A B. A: (m, k), B: (k, n), C: (m, n). The strides `row` and `column` of A also describe a transposed A. */
static void NAME(add_product)(int64_t m, int64_t k, int64_t n, const REAL *A, int64_t row, int64_t column,
                              const REAL *B, REAL *C) {
  for (; m >= 4; m -= 4, A += 4 * row, C += 4 * n)
    NAME(add_rows)(4, k, n, A, row, column, B, C);
  for (; m > 0; m--, A += row, C += n)
    NAME(add_rows)(1, k, n, A, row, column, B, C);
}

/* sum_j a[j] b[j] in eight partial sums: in a single sum, every addition would wait for the one before it. */
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
