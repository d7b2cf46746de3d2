/* One byte to another process on the same processor and back through two pipes: two switches of the process each time. */
#define ROUNDS 100
#include "frame.h"
#include <sched.h>

static int there[2], back[2];

static void setup(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof one, &one);
    if (pipe(there) || pipe(back)) fail("pipe");
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child > 0) return;
    /* Ends when the parent does, whose end of the pipe closes. */
    close(there[1]);
    close(back[0]);
    unsigned char byte;
    while (read(there[0], &byte, 1) == 1) {
        byte = (unsigned char)(byte * 5 + 1);
        if (write(back[1], &byte, 1) != 1) break;
    }
    _exit(0);
}

static uint32_t work(void)
{
    unsigned char byte = 3;
    uint32_t sum = 0;
    for (int i = 0; i < 500; i++) {
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) fail("the other process is gone");
        sum = sum * 31 + byte;
    }
    return sum;
}
