/*
 * An interpreter of bytecode for a small stack machine: by a loop around a switch, or, with COMPUTED_GOTO, by a jump at the end of
 * each operation through a table of labels. The bytecode sieves primes, follows the Collatz sequences and sorts by insertion.
 */
#define ROUNDS 500
#include "frame.h"

enum { PUSH, LOAD, STORE, ADD, SUB, MUL, AND, SHR, LESS, EQUAL, GET, PUT, JUMP, JUMP_IF_ZERO, INC, HALT };

static int32_t code[512];
static int code_size;
static int32_t heap[16384];

static int here(void) { return code_size; }
static void op(int32_t operation) { code[code_size++] = operation; }
static void op1(int32_t operation, int32_t operand) { op(operation), op(operand); }
/* Emits a jump forward and gives the place of its target. */
static int forward(int32_t operation)
{
    op1(operation, 0);
    return code_size - 1;
}
static void land(int at) { code[at] = code_size; }

/* while (local < limit), where `limit` is pushed by the caller's code. */
static int while_less(int local, int32_t limit)
{
    op1(LOAD, local), op1(PUSH, limit), op(LESS);
    return forward(JUMP_IF_ZERO);
}

enum { I, J, SUM, X, COUNT, LOCALS };
#define PRIMES 8192
#define SORTED 120
#define STARTS 400

static void setup(void)
{
    op1(PUSH, 0), op1(STORE, SUM);

    op1(PUSH, 0), op1(STORE, I); /* clear the sieve */
    int top = here(), out = while_less(I, PRIMES);
    op1(LOAD, I), op1(PUSH, 1), op(PUT), op1(INC, I), op1(JUMP, top), land(out);
    op1(PUSH, 2), op1(STORE, I);
    top = here(), out = while_less(I, PRIMES);
    op1(LOAD, I), op(GET);
    int composite = forward(JUMP_IF_ZERO);
    op1(LOAD, SUM), op1(LOAD, I), op(ADD), op1(STORE, SUM);
    op1(LOAD, I), op1(LOAD, I), op(ADD), op1(STORE, J);
    int inner = here(), inner_out = while_less(J, PRIMES);
    op1(LOAD, J), op1(PUSH, 0), op(PUT), op1(LOAD, J), op1(LOAD, I), op(ADD), op1(STORE, J), op1(JUMP, inner), land(inner_out);
    land(composite);
    op1(INC, I), op1(JUMP, top), land(out);

    op1(PUSH, 1), op1(STORE, I); /* lengths of Collatz sequences */
    top = here(), out = while_less(I, STARTS);
    op1(LOAD, I), op1(STORE, X), op1(PUSH, 0), op1(STORE, COUNT);
    inner = here();
    op1(PUSH, 1), op1(LOAD, X), op(LESS), inner_out = forward(JUMP_IF_ZERO);
    op1(LOAD, X), op1(PUSH, 1), op(AND);
    int even = forward(JUMP_IF_ZERO);
    op1(LOAD, X), op1(PUSH, 3), op(MUL), op1(PUSH, 1), op(ADD), op1(STORE, X);
    int next = forward(JUMP);
    land(even), op1(LOAD, X), op1(PUSH, 1), op(SHR), op1(STORE, X);
    land(next), op1(INC, COUNT), op1(JUMP, inner), land(inner_out);
    op1(LOAD, SUM), op1(LOAD, COUNT), op(ADD), op1(STORE, SUM), op1(INC, I), op1(JUMP, top), land(out);

    op1(PUSH, 0), op1(STORE, I), op1(PUSH, 7), op1(STORE, X); /* numbers in disorder */
    top = here(), out = while_less(I, SORTED);
    op1(LOAD, X), op1(PUSH, 75), op(MUL), op1(PUSH, 74), op(ADD), op1(PUSH, 65535), op(AND), op1(STORE, X);
    op1(LOAD, I), op1(LOAD, X), op(PUT), op1(INC, I), op1(JUMP, top), land(out);
    op1(PUSH, 1), op1(STORE, I); /* and in order */
    top = here(), out = while_less(I, SORTED);
    op1(LOAD, I), op(GET), op1(STORE, X), op1(LOAD, I), op1(STORE, J);
    inner = here();
    op1(PUSH, 0), op1(LOAD, J), op(LESS), inner_out = forward(JUMP_IF_ZERO);
    op1(LOAD, X), op1(LOAD, J), op1(PUSH, 1), op(SUB), op(GET), op(LESS);
    int found = forward(JUMP_IF_ZERO);
    op1(LOAD, J), op1(LOAD, J), op1(PUSH, 1), op(SUB), op(GET), op(PUT);
    op1(LOAD, J), op1(PUSH, 1), op(SUB), op1(STORE, J), op1(JUMP, inner), land(inner_out), land(found);
    op1(LOAD, J), op1(LOAD, X), op(PUT), op1(INC, I), op1(JUMP, top), land(out);

    op1(LOAD, SUM), op1(PUSH, SORTED / 2), op(GET), op(ADD), op(HALT);
}

#ifdef COMPUTED_GOTO
#define BEGIN                                                                                                                   \
    static const void *const labels[] = {&&do_PUSH, &&do_LOAD, &&do_STORE, &&do_ADD, &&do_SUB, &&do_MUL, &&do_AND, &&do_SHR,    \
                                         &&do_LESS, &&do_EQUAL, &&do_GET, &&do_PUT, &&do_JUMP, &&do_JUMP_IF_ZERO, &&do_INC,     \
                                         &&do_HALT};                                                                            \
    goto *labels[*pc++];
#define CASE(name) do_##name:
#define NEXT goto *labels[*pc++]
#define END
#else
#define BEGIN                                                                                                                   \
    for (;;) switch (*pc++) {
#define CASE(name) case name:
#define NEXT break
#define END }
#endif

static uint32_t work(void)
{
    int32_t stack[32], locals[LOCALS];
    int32_t *sp = stack;
    const int32_t *pc = code;
    BEGIN
    CASE(PUSH) *sp++ = *pc++; NEXT;
    CASE(LOAD) *sp++ = locals[*pc++]; NEXT;
    CASE(STORE) locals[*pc++] = *--sp; NEXT;
    CASE(ADD) sp--; sp[-1] = (int32_t)((uint32_t)sp[-1] + (uint32_t)sp[0]); NEXT;
    CASE(SUB) sp--; sp[-1] = (int32_t)((uint32_t)sp[-1] - (uint32_t)sp[0]); NEXT;
    CASE(MUL) sp--; sp[-1] = (int32_t)((uint32_t)sp[-1] * (uint32_t)sp[0]); NEXT;
    CASE(AND) sp--; sp[-1] &= sp[0]; NEXT;
    CASE(SHR) sp--; sp[-1] = (int32_t)((uint32_t)sp[-1] >> sp[0]); NEXT;
    CASE(LESS) sp--; sp[-1] = sp[-1] < sp[0]; NEXT;
    CASE(EQUAL) sp--; sp[-1] = sp[-1] == sp[0]; NEXT;
    CASE(GET) sp[-1] = heap[sp[-1] & 16383]; NEXT;
    CASE(PUT) sp -= 2; heap[sp[0] & 16383] = sp[1]; NEXT;
    CASE(JUMP) pc = code + *pc; NEXT;
    CASE(JUMP_IF_ZERO) if (*--sp) pc++; else pc = code + *pc; NEXT;
    CASE(INC) locals[*pc++]++; NEXT;
    CASE(HALT) return (uint32_t)sp[-1];
    END
}
