/* A tiny program (tiny.c, beside this one) started, run and waited for. */
#define ROUNDS 300
#include "frame.h"
#include <sys/wait.h>

static char path[4096];

static void setup(void)
{
    const char *slash = strrchr(program_path, '/');
    snprintf(path, sizeof path, "%.*stiny", slash ? (int)(slash - program_path) + 1 : 0, program_path);
}

static uint32_t work(void)
{
    volatile uint32_t sum = 0; /* vfork's other return must find it */
    for (int i = 0; i < 10; i++) {
        pid_t child = vfork();
        if (child < 0) fail("vfork");
        if (child == 0) {
            execl(path, path, (char *)NULL);
            _exit(127);
        }
        int status;
        if (waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 42) fail("the tiny program cannot be run");
        sum = sum + (uint32_t)WEXITSTATUS(status);
    }
    return sum;
}
