/* Bytes read, changed and written one at a time, at places without pattern among 64 Ki. */
#define ROUNDS 300
#include "frame.h"

#define CELLS (64 << 10)

static unsigned char cells[CELLS];

static void setup(void) {}

static uint32_t work(void)
{
    memset(cells, 0, sizeof cells);
    uint32_t x = 1;
    for (int i = 0; i < 1000000; i++) {
        x = x * 1664525 + 1013904223;
        cells[x >> 16]++;
    }
    return checksum_bytes(CHECKSUM_START, cells, 256);
}
