/*
 * Measures a block device as fio does: `disk DEVICE MILLISECONDS` reads and writes it past the page cache, sequentially in 128 KiB and
 * at random in 4 KiB, with 1 and with 32 requests under way, twice that long each, and prints a line before and behind the second half:
 *
 *     disk starts
 *     disk randread 32 4096 51200 2000113000      job, depth, block bytes, requests, nanoseconds
 *
 * What is written says where it was written; `disk DEVICE verify` afterwards tells how many blocks of 4 KiB say so rightly and how many
 * wrongly (those that were never written say nothing).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_DEPTH 32
#define SEQUENTIAL 131072u
#define RANDOM 4096u
#define MARK 0x6f7272657279ull

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what)
{
    printf("disk failed: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t state = 88172645463325252ull;
static uint64_t random_number(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void mark(uint8_t *buffer, uint64_t offset, uint32_t bytes)
{
    for (uint32_t at = 0; at < bytes; at += RANDOM) {
        uint64_t words[2] = { MARK, offset + at };
        memcpy(buffer + at, words, sizeof words);
    }
}

static void run(int fd, uint64_t size, const char *name, int random, int write, int depth, uint64_t limit_ns)
{
    uint32_t block = random ? RANDOM : SEQUENTIAL;
    uint64_t blocks = size / block, next = 0, done = 0;
    aio_context_t context = 0;
    struct iocb requests[MAX_DEPTH], *list[MAX_DEPTH];
    struct io_event events[MAX_DEPTH];
    uint8_t *buffers;
    if (syscall(SYS_io_setup, depth, &context) < 0) fail("io_setup");
    if (posix_memalign((void **)&buffers, 4096, (size_t)block * depth)) fail("memory");
    memset(buffers, 0x5a, (size_t)block * depth);
    uint64_t start = now_ns(CLOCK_MONOTONIC);
    int ready = depth, running = 0;
    for (int i = 0; i < depth; i++) {
        memset(&requests[i], 0, sizeof requests[i]);
        requests[i].aio_data = (uint64_t)i;
        list[i] = &requests[i];
    }
    for (;;) {
        int stop = now_ns(CLOCK_MONOTONIC) - start >= limit_ns;
        if (stop && running == 0) break;
        if (!stop && ready > 0) {
            for (int i = 0; i < ready; i++) {
                struct iocb *request = list[i];
                uint8_t *buffer = buffers + (size_t)block * request->aio_data;
                request->aio_fildes = (uint32_t)fd;
                request->aio_lio_opcode = write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
                request->aio_buf = (uint64_t)buffer;
                request->aio_nbytes = block;
                request->aio_offset = (int64_t)((random ? random_number() % blocks : next++ % blocks) * block);
                if (write) mark(buffer, (uint64_t)request->aio_offset, block);
            }
            if (syscall(SYS_io_submit, context, ready, list) != ready) fail("io_submit");
            running += ready;
            ready = 0;
        }
        long count = syscall(SYS_io_getevents, context, 1, MAX_DEPTH, events, NULL);
        if (count < 1) fail("io_getevents");
        for (long i = 0; i < count; i++) {
            if (events[i].res != (int64_t)block) {
                errno = (int)-events[i].res;
                fail(name);
            }
            list[ready++] = &requests[events[i].data];
        }
        running -= (int)count;
        done += (uint64_t)count;
    }
    if (write && fdatasync(fd)) fail("fdatasync");
    uint64_t ns = now_ns(CLOCK_MONOTONIC) - start;
    printf("disk %s %d %u %llu %llu\n", name, depth, block, (unsigned long long)done, (unsigned long long)ns);
    fflush(stdout);
    syscall(SYS_io_destroy, context);
    free(buffers);
}

static void verify(int fd, uint64_t size)
{
    uint8_t *buffer;
    uint64_t right = 0, wrong = 0;
    if (posix_memalign((void **)&buffer, 4096, SEQUENTIAL)) fail("memory");
    for (uint64_t at = 0; at + SEQUENTIAL <= size; at += SEQUENTIAL) {
        if (pread(fd, buffer, SEQUENTIAL, (off_t)at) != SEQUENTIAL) fail("verify");
        for (uint32_t i = 0; i < SEQUENTIAL; i += RANDOM) {
            uint64_t words[2];
            memcpy(words, buffer + i, sizeof words);
            if (words[0] != MARK) continue;
            if (words[1] == at + i) right++;
            else wrong++;
        }
    }
    printf("disk verify %llu %llu\n", (unsigned long long)right, (unsigned long long)wrong);
}

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    int checking = strcmp(argv[2], "verify") == 0;
    int fd = open(argv[1], (checking ? O_RDONLY : O_RDWR) | O_DIRECT);
    uint64_t size;
    if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size)) fail(argv[1]);
    if (checking) {
        verify(fd, size);
        return 0;
    }
    uint64_t limit_ns = strtoull(argv[2], NULL, 10) * 1000000u;
    for (int depth = 1; depth <= MAX_DEPTH; depth *= MAX_DEPTH) {
        for (int job = 0; job < 4; job++) {
            int random = job >= 2, write = job & 1;
            const char *name = random ? write ? "randwrite" : "randread" : write ? "seqwrite" : "seqread";
            /* At first everything is cold: code, page tables, the host's cache. */
            run(fd, size, "warm-up", random, write, depth, limit_ns);
            printf("disk starts\n");
            fflush(stdout);
            run(fd, size, name, random, write, depth, limit_ns);
        }
    }
    return 0;
}
