/* Integer AVX2 on 64 KiB: two pictures blended in 16-bit lanes, then bits counted with byte shuffles, sums of differences and multiplies. */
#define ROUNDS 80000
#include "frame.h"
#include "avx2.h"

#define SIZE (64 << 10)

static unsigned char first[SIZE] __attribute__((aligned(32))), second[SIZE] __attribute__((aligned(32)));
static unsigned char blended[SIZE] __attribute__((aligned(32)));

static void setup(void)
{
    require_avx2();
    for (int i = 0; i < SIZE; i++) first[i] = (unsigned char)random_number(), second[i] = (unsigned char)(random_number() >> 8);
}

static void blend(int weight)
{
    const __m256i zero = _mm256_setzero_si256(), w1 = _mm256_set1_epi16((short)weight), w2 = _mm256_set1_epi16((short)(256 - weight));
    for (int i = 0; i < SIZE; i += 32) {
        __m256i a = _mm256_load_si256((const __m256i *)(first + i)), b = _mm256_load_si256((const __m256i *)(second + i));
        __m256i low = _mm256_add_epi16(_mm256_mullo_epi16(_mm256_unpacklo_epi8(a, zero), w1),
                                       _mm256_mullo_epi16(_mm256_unpacklo_epi8(b, zero), w2));
        __m256i high = _mm256_add_epi16(_mm256_mullo_epi16(_mm256_unpackhi_epi8(a, zero), w1),
                                        _mm256_mullo_epi16(_mm256_unpackhi_epi8(b, zero), w2));
        _mm256_store_si256((__m256i *)(blended + i), _mm256_packus_epi16(_mm256_srli_epi16(low, 8), _mm256_srli_epi16(high, 8)));
    }
}

static uint32_t measure(void)
{
    const __m256i bits = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(15), mix = _mm256_set1_epi32((int)2654435761u);
    __m256i count = _mm256_setzero_si256(), hash = count;
    for (int i = 0; i < SIZE; i += 32) {
        __m256i v = _mm256_load_si256((const __m256i *)(blended + i));
        __m256i ones = _mm256_add_epi8(_mm256_shuffle_epi8(bits, _mm256_and_si256(v, nibble)),
                                       _mm256_shuffle_epi8(bits, _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble)));
        count = _mm256_add_epi64(count, _mm256_sad_epu8(ones, _mm256_setzero_si256()));
        hash = _mm256_add_epi32(_mm256_mullo_epi32(_mm256_xor_si256(hash, v), mix), _mm256_srli_epi32(hash, 15));
    }
    uint32_t lanes[16];
    _mm256_storeu_si256((__m256i *)lanes, count);
    _mm256_storeu_si256((__m256i *)(lanes + 8), hash);
    return checksum_bytes(CHECKSUM_START, lanes, sizeof lanes);
}

static uint32_t work(void)
{
    blend(77);
    return measure();
}
