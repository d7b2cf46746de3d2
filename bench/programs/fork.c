/* Processes that are made, end at once and are waited for. */
#define ROUNDS 100
#include "frame.h"
#include <sys/wait.h>

static void setup(void) {}

static uint32_t work(void)
{
    uint32_t sum = 0;
    for (int i = 0; i < 30; i++) {
        pid_t child = fork();
        if (child < 0) fail("fork");
        if (child == 0) _exit(i & 63);
        int status;
        if (waitpid(child, &status, 0) != child) fail("waitpid");
        sum = sum * 31 + (uint32_t)WEXITSTATUS(status);
    }
    return sum;
}
