/*
 * What ordinary programs of the Dhrystone kind do: records that point at each other, strings compared and copied, small functions, some
 * of them called through pointers, choices among few cases, arrays of two dimensions.
 */
#define ROUNDS 100
#include "frame.h"

#define APART __attribute__((noinline, noclone))
#define PARTS 200

enum kind { SCREW, WHEEL, AXLE, FRAME, KINDS };

struct part {
    struct part *next, *made_of;
    enum kind kind;
    int weight, price;
    char name[32];
};

static struct part *shelf;
static int stock[KINDS][50];
static char last_name[32];

static APART int price_of_screw(const struct part *p) { return p->weight * 2 + 1; }
static APART int price_of_wheel(const struct part *p) { return p->weight * 3 + p->price / 2; }
static APART int price_of_axle(const struct part *p) { return p->weight > 50 ? p->weight * 5 : p->weight * 4; }
static APART int price_of_frame(const struct part *p) { return p->made_of ? p->made_of->price + p->weight : p->weight; }
static int (*const price_of[KINDS])(const struct part *) = {price_of_screw, price_of_wheel, price_of_axle, price_of_frame};

static APART int compare_names(const char *a, const char *b)
{
    int order = strcmp(a, b);
    return order < 0 ? -1 : order > 0;
}

static APART void name_part(struct part *p, int number)
{
    static const char *const kinds[KINDS] = {"SCREW, POLISHED, ", "WHEEL, SPOKED, ", "AXLE, TURNED, ", "FRAME, WELDED, "};
    strcpy(p->name, kinds[p->kind]);
    char *end = p->name + strlen(p->name);
    do *end++ = (char)('0' + number % 10);
    while (number /= 10);
    *end = 0;
}

static APART enum kind next_kind(enum kind kind, int weight)
{
    switch (kind) {
    case SCREW: return weight & 1 ? WHEEL : AXLE;
    case WHEEL: return AXLE;
    case AXLE: return weight > 40 ? FRAME : SCREW;
    default: return SCREW;
    }
}

static APART struct part *insert(struct part *list, struct part *p)
{
    struct part **at = &list;
    for (int steps = 0; *at && steps < 12 && compare_names((*at)->name, p->name) < 0; steps++) at = &(*at)->next;
    p->next = *at;
    *at = p;
    return list;
}

static APART void count_stock(int row, int column, int by)
{
    stock[row][column] += by;
    for (int i = column; i < column + 2; i++) stock[row][i] += stock[(row + 1) % KINDS][column] & 3;
}

static APART int depth(const struct part *p, int limit) { return p && limit ? 1 + depth(p->made_of, limit - 1) : 0; }

static void setup(void) {}

static uint32_t once(void)
{
    uint32_t sum = 0;
    enum kind kind = SCREW;
    shelf = NULL;
    struct part *previous = NULL;
    for (int i = 0; i < PARTS; i++) {
        struct part *p = malloc(sizeof *p);
        *p = (struct part){.kind = kind, .weight = (i * 37) % 97, .made_of = previous, .price = i};
        name_part(p, i * 7 % 1000);
        p->price = price_of[kind](p);
        shelf = insert(shelf, p);
        count_stock((int)kind, p->price % 48, p->weight);
        if (compare_names(p->name, last_name)) strcpy(last_name, p->name);
        kind = next_kind(kind, p->weight);
        previous = i % 9 ? p : NULL;
    }
    for (const struct part *p = shelf; p; p = p->next) {
        sum = sum * 31 + (uint32_t)(p->price + depth(p, 6));
        sum = checksum_bytes(sum, p->name, strlen(p->name));
    }
    for (struct part *p = shelf, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    return sum;
}

static uint32_t work(void)
{
    uint32_t sum = 0;
    memset(stock, 0, sizeof stock);
    for (int i = 0; i < 100; i++) sum = sum * 5 + once();
    return checksum_bytes(sum, stock, sizeof stock);
}
