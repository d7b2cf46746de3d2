/*
 * The frame of every program of the benchmark. A program says `ROUNDS` (what it does in about half a second on the bare host) and
 * defines `setup`, which is not timed, and `work`, one round, whose checksum is the same in every round and on every peer.
 *
 *     sha256 [PERCENT]        runs PERCENT of its rounds (100 unless given) and prints
 *     bench sha256 40 198204113 198001200 6e340b9c      name, rounds, nanoseconds, those of them on a processor, checksum
 *
 * NAME is given by the build. Programs compile with -O2 -static, for 64 and, most of them, 32 bits.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void setup(void);
static uint32_t work(void);
/* The path under which the program was started. */
static const char *program_path;

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *why)
{
    printf("bench %s failed: %s\n", NAME, why);
    exit(1);
}

/* FNV-1a over bytes. */
static inline uint32_t checksum_bytes(uint32_t sum, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++) sum = (sum ^ bytes[i]) * 16777619u;
    return sum;
}
#define CHECKSUM_START 2166136261u

/* Numbers without pattern, the same everywhere. */
static uint32_t random_state = 12345;
static inline uint32_t random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

/* Text of words that recur as words do, for what compresses and searches. */
static inline void make_text(unsigned char *text, size_t size)
{
    static char words[512][12];
    for (int w = 0; w < 512; w++) {
        int letters = 2 + random_number() % 9;
        for (int i = 0; i < letters; i++) words[w][i] = "etaoinshrdlucmfwypvbgkjqxz"[random_number() % (i % 2 ? 10 : 26)];
        words[w][letters] = 0;
    }
    for (size_t at = 0; at < size;) {
        uint32_t r = random_number();
        const char *word = words[(r & 511) * ((r >> 9) & 511) >> 9];
        while (*word && at < size) text[at++] = (unsigned char)*word++;
        if (at < size) text[at++] = (r >> 20) % 12 ? ' ' : '\n';
    }
}

int main(int argc, char **argv)
{
    long percent = argc > 1 ? atol(argv[1]) : 100;
    long rounds = ROUNDS * percent / 100;
    if (rounds < 1) rounds = 1;
    program_path = argv[0];
    setup();
    uint32_t checksum = 0;
    uint64_t start = now_ns(CLOCK_MONOTONIC), cpu_start = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (long round = 0; round < rounds; round++) {
        uint32_t sum = work();
        if (round > 0 && sum != checksum) fail("two rounds differ");
        checksum = sum;
    }
    unsigned long long elapsed = now_ns(CLOCK_MONOTONIC) - start, cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_start;
    printf("bench %s %ld %llu %llu %08x\n", NAME, rounds, elapsed, cpu, checksum);
    fflush(stdout);
    return 0;
}
