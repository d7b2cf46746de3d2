/* Bodies that attract each other, in doubles: one after another (scalar SSE2, or x87 where the build says so), with roots and divisions. */
#define ROUNDS 2000
#include "frame.h"
#include <math.h>

#define BODIES 6
#define STEPS 1000

struct body {
    double x, y, z, vx, vy, vz, mass;
};

static struct body bodies[BODIES];

static void setup(void) {}

static void place(void)
{
    random_state = 7;
    for (int i = 0; i < BODIES; i++) {
        double r[6];
        for (int k = 0; k < 6; k++) r[k] = random_number() / 4294967296.0 - 0.5;
        bodies[i] = (struct body){r[0] * 20, r[1] * 20, r[2] * 20, r[3], r[4], r[5], i == 0 ? 40 : 0.1 * i};
    }
}

static void advance(double dt)
{
    for (int i = 0; i < BODIES; i++) {
        struct body *p = &bodies[i];
        for (int j = i + 1; j < BODIES; j++) {
            struct body *q = &bodies[j];
            double dx = p->x - q->x, dy = p->y - q->y, dz = p->z - q->z;
            double square = dx * dx + dy * dy + dz * dz + 0.01;
            double pull = dt / (square * sqrt(square));
            p->vx -= dx * q->mass * pull, p->vy -= dy * q->mass * pull, p->vz -= dz * q->mass * pull;
            q->vx += dx * p->mass * pull, q->vy += dy * p->mass * pull, q->vz += dz * p->mass * pull;
        }
    }
    for (int i = 0; i < BODIES; i++) {
        struct body *p = &bodies[i];
        p->x += dt * p->vx, p->y += dt * p->vy, p->z += dt * p->vz;
    }
}

static uint32_t work(void)
{
    place();
    for (int i = 0; i < STEPS; i++) advance(0.001);
    return checksum_bytes(CHECKSUM_START, &bodies[1], sizeof bodies[1]);
}
