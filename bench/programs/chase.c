/* A chain of pointers through all cache lines of CHASE_KIB KiB in an order without pattern: each load waits for the one before. */
#if CHASE_KIB > 4096
#define ROUNDS 400
#define STEPS 10000
#elif CHASE_KIB > 32
#define ROUNDS 500
#define STEPS 200000
#else
#define ROUNDS 1500
#define STEPS 200000
#endif
#include "frame.h"

#define LINE 64
#define LINES (CHASE_KIB * 1024 / LINE)

struct line {
    struct line *next;
    /* In the order of the chain. */
    uint32_t place;
} __attribute__((aligned(LINE)));

static struct line lines[LINES];
static const struct line *at;

static void setup(void)
{
    static uint32_t order[LINES];
    for (uint32_t i = 0; i < LINES; i++) order[i] = i;
    for (uint32_t i = LINES - 1; i > 0; i--) {
        uint32_t j = random_number() % (i + 1), swap = order[i];
        order[i] = order[j], order[j] = swap;
    }
    for (uint32_t i = 0; i < LINES; i++) {
        lines[order[i]].next = &lines[order[(i + 1) % LINES]];
        lines[order[i]].place = i;
    }
    at = &lines[0];
}

/* Goes on where the round before stopped; how far that is from where it began tells that no step was lost. */
static uint32_t work(void)
{
    uint32_t began = at->place;
    for (int i = 0; i < STEPS; i++) at = at->next;
    return (at->place + LINES - began) % LINES;
}
