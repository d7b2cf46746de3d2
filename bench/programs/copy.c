/* memcpy of 8 MiB, by whatever way the C library chooses on the processor at hand. */
#define ROUNDS 1200
#include "frame.h"

#define SIZE (8 << 20)

static unsigned char *from, *to;

static void setup(void)
{
    from = malloc(SIZE), to = malloc(SIZE);
    for (int i = 0; i < SIZE; i += 4) {
        uint32_t r = random_number();
        memcpy(from + i, &r, 4);
    }
    memset(to, 1, SIZE);
}

static uint32_t work(void)
{
    memcpy(to, from, SIZE);
    return checksum_bytes(CHECKSUM_START, to + SIZE - 64, 64) ^ to[SIZE / 2];
}
