/** Calls through a register, which translations wait for on the host's stack, and what can happen before they return. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type Assembler, type Bits, RAX, RBX, RCX, RDI, RDX, RSI, RSP } from '../support/programs/assembler.ts';
import { onEveryTier } from '../support/programs/compare.ts';

const WIDTHS: readonly Bits[] = [64, 32, 16];
const TIMES = 60;
const PAGE = 4096;

/** Calls a label through RAX. */
function callByRegister(asm: Assembler, label: string): Assembler {
  return asm.movLabel(RAX, label).callReg(RAX);
}

describe.each(WIDTHS)('%i-bit calls that are waited for', (bits) => {
  const word = bits / 8;

  it('within calls, deeper than anybody waits', () => {
    const depth = 700;
    const program = onEveryTier({
      bits,
      write: (asm) => {
        asm.movImm(RDI, 6).movImm(RSI, 0).label('again').movImm(RCX, depth);
        callByRegister(asm, 'f').dec(RDI).jcc('ne', 'again').hlt();
        asm.label('f').inc(RSI).dec(RCX).jcc('e', 'bottom');
        callByRegister(asm, 'f').aluImm('add', RSI, 2).label('bottom').ret();
      },
    });
    expect(program.reg(RSI)).toBe(6 * (depth + 2 * (depth - 1)));
  });

  it('by two tasks in turns, each on its own stack', () => {
    const program = onEveryTier({
      bits,
      write: (asm, it) => {
        const [other, stack] = [it.data, it.data + 2 * PAGE];
        asm.movImm(RSI, 0).movImm(RDI, 0).movImm(RCX, TIMES);
        // The second task's stack: as if it had called `switch` at its beginning.
        asm
          .movImm(RBX, stack - word)
          .movLabel(RDX, 'task')
          .store(RBX, 0, RDX)
          .store(undefined, other, RBX);
        asm.label('loop').inc(RSI);
        callByRegister(asm, 'twice').dec(RCX).jcc('ne', 'loop').hlt();
        asm.label('task').aluImm('add', RDI, 3);
        callByRegister(asm, 'twice').jmp('task');
        asm.label('twice');
        callByRegister(asm, 'switch');
        callByRegister(asm, 'switch').ret();
        asm.label('switch').mov(RDX, RSP).load(RSP, undefined, other).store(undefined, other, RDX).ret();
      },
    });
    expect([program.reg(RSI), program.reg(RDI)]).toEqual([TIMES, 3 * TIMES]);
  });

  it('by a function that somebody returns to out of turn', () => {
    const program = onEveryTier({
      bits,
      write: (asm) => {
        asm.movImm(RCX, TIMES).movImm(RSI, 0).movImm(RDI, 0).label('loop');
        callByRegister(asm, 'a').inc(RSI).dec(RCX).jcc('ne', 'loop').hlt();
        asm.label('a');
        callByRegister(asm, 'b').aluImm('add', RDI, 100).ret();
        // Every eighth time it returns to its caller's caller, or to its caller by another way.
        asm.label('b').mov(RDX, RCX).aluImm('and', RDX, 7).aluImm('cmp', RDX, 4).jcc('e', 'past');
        asm.aluImm('cmp', RDX, 0).jcc('e', 'twice').inc(RDI).ret();
        asm.label('past').aluImm('add', RSP, word).ret();
        asm.label('twice').aluImm('add', RSP, word).aluImm('sub', RSP, word).ret();
      },
    });
    expect(program.reg(RSI)).toBe(TIMES);
  });

  it('by code that the callee changes behind the call', () => {
    const program = onEveryTier({
      bits,
      write: (asm) => {
        asm.movImm(RCX, TIMES).movImm(RSI, 0).label('loop');
        callByRegister(asm, 'f').label('add').aluImm('add', RSI, 0).dec(RCX).jcc('ne', 'loop').hlt();
        asm.label('f').mov(RDX, RCX).aluImm('and', RDX, 3).jcc('ne', 'keep');
        asm
          .patchReg('add', bits === 32 ? 2 : 3, RCX)
          .label('keep')
          .ret();
      },
    });
    expect(program.reg(RSI)).toBeGreaterThan(0);
  });
});

describe.each([64, 32] as const)('%i-bit calls that are waited for', (bits) => {
  it('by code on a page that the callee exchanges', () => {
    const program = onEveryTier({
      bits,
      write: (asm, it) => {
        const caller = it.data;
        asm.movImm(RCX, TIMES).movImm(RSI, 0).movImm(RDI, 0).label('loop').movImm(RAX, caller);
        asm.callReg(RAX).dec(RCX).jcc('ne', 'loop').hlt();
        // The pages in turns, every third time.
        asm.label('f').inc(RDI).aluImm('cmp', RDI, 3).jcc('ne', 'stay').movImm(RDI, 0);
        asm.load(RDX, undefined, it.entryAt(caller), 4).aluImm('xor', RDX, 0x3000);
        asm.store(undefined, it.entryAt(caller), RDX, 4).movImm(RBX, caller).invlpg(RBX).label('stay').ret();
      },
      drive: (it) => {
        // Two pages that call `f` and differ in what they do afterwards; their numbers differ in the two lowest bits.
        const first = it.data + ((4 - ((it.data >> 12) & 3)) & 3) * PAGE;
        for (const [page, n] of [
          [first + PAGE, 1],
          [first + 2 * PAGE, 100],
        ] as const) {
          const code = it.asmAt(it.data).movImm(RAX, it.asm.address('f')).callReg(RAX).aluImm('add', RSI, n).ret();
          it.put(page, code.build());
        }
        it.map(it.data, first + PAGE);
        it.run();
      },
    });
    expect(program.reg(RSI)).toBe((TIMES / 2) * 101);
  });
});

it("calls within calls of functions with large frames leave enough of the host's stack", () => {
  // A process of its own has the stack that a user's has; a test's thread may have more.
  const script = fileURLToPath(new URL('../support/programs/deep-calls.ts', import.meta.url));
  const { stdout, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
  expect(stdout + stderr).toBe('2100\n');
});
