/* For programs that are built for AVX2 and FMA: says so and ends well where the processor lacks them. */
#include <immintrin.h>

__attribute__((target("no-avx"))) static void require_avx2(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return;
    printf("bench %s skipped: no AVX2\n", NAME);
    exit(0);
}
