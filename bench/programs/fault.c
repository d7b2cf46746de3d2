/* Page faults: 4 MiB of fresh memory mapped, each page touched, all given back. */
#define ROUNDS 150
#include "frame.h"
#include <sys/mman.h>

#define SIZE (4 << 20)
#define PAGE 4096

static void setup(void) {}

static uint32_t work(void)
{
    unsigned char *pages = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) fail("mmap");
    /* No large pages: each touch is to be a fault. */
    madvise(pages, SIZE, MADV_NOHUGEPAGE);
    uint32_t sum = 0;
    for (int at = 0; at < SIZE; at += PAGE) {
        sum += pages[at + 1];
        pages[at] = 1;
        sum += pages[at];
    }
    munmap(pages, SIZE);
    return sum;
}
