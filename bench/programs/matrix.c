/*
 * Product of two matrices of doubles, 96 by 96, in plain C; the compiler makes SSE2 of it, with AVX2 four lanes and fused multiply-add.
 */
#ifdef AVX2
#define ROUNDS 8000
#include "frame.h"
#include "avx2.h"
#else
#define ROUNDS 2000
#include "frame.h"
#define require_avx2()
#endif

#define N 96

static double a[N][N], b[N][N], c[N][N];

static void setup(void)
{
    require_avx2();
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) a[i][j] = random_number() / 4294967296.0 - 0.5, b[i][j] = random_number() / 4294967296.0 - 0.5;
}

static uint32_t work(void)
{
    memset(c, 0, sizeof c);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N; k++) {
            double factor = a[i][k];
            for (int j = 0; j < N; j++) c[i][j] += factor * b[k][j];
        }
    return checksum_bytes(CHECKSUM_START, c[N / 2], sizeof c[0]);
}
