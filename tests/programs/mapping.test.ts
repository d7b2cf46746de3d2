/** Code and data whose pages are not there, come, go and are exchanged, while they are decoded and translated. */
import { describe, expect, it } from 'vitest';
import { type Assembler, RAX, RBX, RCX, RDI, RDX, RSI } from '../support/programs/assembler.ts';
import { onEveryTier } from '../support/programs/compare.ts';
import type { GuestProgram } from '../support/programs/guest-program.ts';

const TIMES = 60;
const PAGE = 4096;
const PF = 14;

/** `add esi, n; ret` at a physical address. */
function addFunction(program: GuestProgram, at: number, n: number): void {
  [0x81, 0xc6, n & 255, n >> 8, 0, 0, 0xc3].forEach((byte, i) => program.write8(at + i, byte));
}

/** Maps a page anew, by a store to its entry, and flushes it. Spoils RBX and RDX. */
function remap(asm: Assembler, it: GuestProgram, linear: number, physical: number): void {
  asm
    .movImm(RDX, physical | 3)
    .store(undefined, it.entryAt(linear), RDX, 4)
    .movImm(RBX, linear)
    .invlpg(RBX);
}

describe.each([64, 32] as const)('%i-bit code', (bits) => {
  it('crosses into a page that is not there, which then comes, and goes again', () => {
    for (const before of [1, 2, 3, 4]) {
      const program = onEveryTier({
        bits,
        write: (asm, it) => {
          const next = it.data + PAGE;
          asm.movImm(RCX, TIMES).movImm(RSI, 0).label('loop');
          asm.movImm(RAX, it.data + PAGE - before).callReg(RAX);
          // Every fourth time the second page is taken away.
          asm.mov(RDX, RCX).aluImm('and', RDX, 3).jcc('ne', 'keep');
          asm.movImm(RDX, 0).store(undefined, it.entryAt(next), RDX, 4).movImm(RBX, next).invlpg(RBX);
          asm.label('keep').dec(RCX).jcc('ne', 'loop').hlt();
        },
        hooks: () => {
          let faults = 0;
          return {
            trap: (trap, it) => {
              expect([trap.vector, trap.cr2]).toEqual([PF, it.data + PAGE]);
              // One of two pages, which differ in the immediate's last bytes.
              const page = it.data + (++faults % 2 === 0 ? 3 : 4) * PAGE;
              it.map(it.data + PAGE, page);
            },
          };
        },
        drive: (it) => {
          // The first page has the beginning; the second either of two ends.
          const bytes = (n: number): number[] => [0x81, 0xc6, n, n, 0, 0, 0xc3];
          for (const [page, n] of [
            [0, 1],
            [3, 1],
            [4, 2],
          ] as const) {
            bytes(n).forEach((byte, i) => {
              const offset = PAGE - before + i;
              if (page === 0 && offset < PAGE) it.write8(it.data + offset, byte);
              if (page !== 0 && offset >= PAGE) it.write8(it.data + page * PAGE + offset - PAGE, byte);
            });
          }
          it.map(it.data + PAGE, undefined);
          it.run();
        },
      });
      expect(program.traps.length).toBe(TIMES / 4 + 1);
    }
  });

  it('falls from the end of a page into one that is exchanged', () => {
    const program = onEveryTier({
      bits,
      write: (asm, it) => {
        const next = it.data + PAGE;
        asm
          .movImm(RCX, TIMES)
          .movImm(RSI, 0)
          .movImm(RAX, next - 8)
          .label('loop')
          .callReg(RAX)
          .mov(RDX, RCX);
        asm.aluImm('and', RDX, 7).jcc('ne', 'other');
        remap(asm, it, next, it.data + 3 * PAGE);
        asm.jmp('done').label('other').aluImm('cmp', RDX, 3).jcc('ne', 'done');
        remap(asm, it, next, it.data + 4 * PAGE);
        asm.label('done').dec(RCX).jcc('ne', 'loop').hlt();
      },
      drive: (it) => {
        for (let i = 0; i < 8; i++) it.write8(it.data + PAGE - 8 + i, 0x90);
        addFunction(it, it.data + 3 * PAGE, 1);
        addFunction(it, it.data + 4 * PAGE, 0x100);
        addFunction(it, it.data + PAGE, 5);
        it.run();
      },
    });
    expect(program.reg(RSI)).toBeGreaterThan(0x100);
  });

  it('of a function that was called often is exchanged by its page table entry', () => {
    const program = onEveryTier({
      bits,
      write: (asm, it) => {
        const linear = it.data;
        asm.movImm(RSI, 0).movImm(RDI, 6).label('outer');
        for (const page of [1, 2, 1]) {
          remap(asm, it, linear, it.data + page * PAGE);
          asm.movImm(RCX, TIMES).movImm(RAX, linear);
          const loop = `loop ${asm.here}`;
          asm.label(loop).callReg(RAX).dec(RCX).jcc('ne', loop);
        }
        asm.dec(RDI).jcc('ne', 'outer').hlt();
      },
      drive: (it) => {
        addFunction(it, it.data + PAGE, 1);
        addFunction(it, it.data + 2 * PAGE, 0x100);
        it.run();
      },
    });
    expect(program.reg(RSI)).toBe(6 * TIMES * 0x102);
  });

  it('called directly, on a page that is exchanged between the calls of one turn', () => {
    const program = onEveryTier({
      bits,
      write: (asm, it) => {
        const linear = it.code + 2 * PAGE;
        asm.movImm(RCX, TIMES).movImm(RSI, 0).label('loop');
        remap(asm, it, linear, it.data);
        asm.call('f');
        remap(asm, it, linear, it.data + PAGE);
        asm.call('f').call('f').dec(RCX).jcc('ne', 'loop').hlt();
        asm.org(linear).label('f').ret();
      },
      drive: (it) => {
        addFunction(it, it.data, 1);
        addFunction(it, it.data + PAGE, 0x100);
        it.run();
      },
    });
    expect(program.reg(RSI)).toBe(TIMES * 0x201);
  });

  it('exchanges the page it is running in', () => {
    const program = onEveryTier({
      bits,
      write: (asm, it) => {
        // Two copies of a page that differ in what they add, each of which maps the other.
        const linear = it.data;
        asm
          .movImm(RCX, TIMES)
          .movImm(RSI, 0)
          .movImm(RDI, linear)
          .jmpReg(RDI)
          .org(it.code + 0x200)
          .label('end')
          .hlt();
      },
      drive: (it) => {
        const linear = it.data;
        for (const [page, other, n] of [
          [1, 2, 1],
          [2, 1, 0x100],
        ] as const) {
          const copy = it.asmAt(linear);
          copy
            .aluImm('add', RSI, n)
            .movImm(RBX, linear)
            .movImm(RDX, (it.data + other * PAGE) | 3);
          copy.store(undefined, it.entryAt(linear), RDX, 4).invlpg(RBX);
          // The next instruction comes from the other copy.
          copy
            .aluImm('add', RSI, n * 2)
            .dec(RCX)
            .jcc('ne', 'again')
            .movImm(RDI, it.code + 0x200)
            .jmpReg(RDI)
            .label('again')
            .jmpReg(RDI);
          it.put(it.data + page * PAGE, copy.build());
        }
        it.map(linear, it.data + PAGE);
        it.run();
      },
    });
    expect(program.reg(RSI)).toBe((TIMES / 2) * 0x303);
  });

  it('executes at an address whose page goes away: fetch faults', () => {
    const program = onEveryTier({
      bits,
      write: (asm, it) => {
        asm
          .movImm(RCX, 40)
          .movImm(RSI, 0)
          .movImm(RAX, it.data)
          .label('loop')
          .callReg(RAX)
          .mov(RDX, RCX)
          .aluImm('and', RDX, 7);
        asm
          .jcc('ne', 'keep')
          .movImm(RDX, 0)
          .store(undefined, it.entryAt(it.data), RDX, 4)
          .movImm(RBX, it.data)
          .invlpg(RBX);
        asm.label('keep').dec(RCX).jcc('ne', 'loop').hlt();
      },
      hooks: () => ({ trap: (trap, it) => it.map(trap.cr2, it.data + PAGE) }),
      drive: (it) => {
        addFunction(it, it.data, 1);
        addFunction(it, it.data + PAGE, 0x10);
        it.run();
      },
    });
    expect(program.traps.length).toBe(5);
  });
});

describe.each([64, 32] as const)('%i-bit repeated strings', (bits) => {
  const wide = bits === 64 ? [0x48] : [];
  const FORMS: Readonly<Record<string, readonly [number[], number]>> = {
    'rep movsb': [[0xf3, 0xa4], 1],
    'rep movsd': [[0xf3, 0xa5], 4],
    'rep movs of words': [[0xf3, ...wide, 0xa5], bits / 8],
    'rep stosb': [[0xf3, 0xaa], 1],
    'rep stosd': [[0xf3, 0xab], 4],
    'rep lodsd': [[0xf3, 0xad], 4],
    'repe cmpsb': [[0xf3, 0xa6], 1],
    'repne scasb': [[0xf2, 0xae], 1],
  };

  it.each(Object.entries(FORMS))('%s faults in the middle with exact registers, and goes on', (_, [bytes, width]) => {
    for (const [sourceOffset, targetOffset, down] of [
      [PAGE - 40, PAGE - 24, false],
      [PAGE - 24, PAGE - 40, false],
      [PAGE - 42, PAGE - 42, false],
      [PAGE + 39 * width, PAGE + 20 * width, true],
    ] as const) {
      onEveryTier({
        bits,
        write: (asm, it) => {
          asm
            .movImm(RBX, 12)
            .label('loop')
            .movImm(RCX, 100)
            .movImm(RSI, it.data + sourceOffset);
          asm
            .movImm(RDI, it.data + 8 * PAGE + targetOffset)
            .movImm(RAX, 0x44)
            .alu('cmp', RBX, RAX);
          asm
            .db(down ? 0xfd : 0xfc, ...bytes)
            .db(0xfc)
            .out(0xf1);
          // Take both second pages away again.
          asm.movImm(RDX, 0);
          for (const linear of [it.data + (down ? 0 : PAGE), it.data + (down ? 8 : 9) * PAGE]) {
            asm.store(undefined, it.entryAt(linear), RDX, 4).movImm(RAX, linear).invlpg(RAX);
          }
          asm.dec(RBX).jcc('ne', 'loop').hlt();
        },
        hooks: () => ({ trap: (trap, it) => it.map(trap.cr2 & -PAGE, trap.cr2 & -PAGE) }),
        drive: (it) => {
          for (let i = 0; i < 2 * PAGE; i++) {
            it.write8(it.data + i, (i * 7) & 0x3f);
            it.write8(it.data + 8 * PAGE + targetOffset - sourceOffset + i, (i * 7) & 0x3f);
          }
          it.run();
        },
      });
    }
  });

  it('onto a page that may not be written', () => {
    const program = onEveryTier({
      bits,
      write: (asm, it) => {
        asm
          .movImm(RBX, 10)
          .label('loop')
          .movImm(RCX, 64)
          .movImm(RSI, it.data)
          .movImm(RDI, it.data + 9 * PAGE - 16);
        asm.db(0xf3, 0xa5).dec(RBX).jcc('ne', 'loop').hlt();
      },
      hooks: () => ({
        trap: (trap) => {
          expect([trap.vector, trap.error, trap.reg(RCX)]).toEqual([PF, 3, 60]);
          trap.rip += 2;
        },
      }),
      drive: (it) => {
        it.map(it.data + 9 * PAGE, it.data + 9 * PAGE, 1);
        it.run();
      },
    });
    expect(program.traps.length).toBe(10);
  });

  it('over the code that runs', () => {
    // Copies a new version over the loop's second half, which then runs.
    const program = onEveryTier({
      bits,
      write: (asm) => {
        asm.movImm(RBX, TIMES).movImm(RDX, 0).label('loop').movLabel(RSI, 'one').aluImm('xor', RBX, 0).mov(RAX, RBX);
        asm
          .aluImm('and', RAX, 1)
          .jcc('e', 'copy')
          .movLabel(RSI, 'two')
          .label('copy')
          .movLabel(RDI, 'here')
          .movImm(RCX, 8);
        asm.db(0xf3, 0xa4).label('here').nops(8).dec(RBX).jcc('ne', 'loop').hlt();
        asm
          .label('one')
          .aluImm('add', RDX, 1)
          .nops(8 - (asm.here - asm.address('one')));
        asm
          .label('two')
          .aluImm('add', RDX, 0x100)
          .nops(8 - (asm.here - asm.address('two')));
      },
    });
    expect(program.reg(RDX)).toBe((TIMES / 2) * 0x101);
  });
});
