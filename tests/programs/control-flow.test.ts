/** Calls that do not return as they were made, recursion, indirect jumps, flags that live across jumps, faults among it all. */
import { describe, expect, it } from 'vitest';
import { type Bits, R8, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP } from '../support/programs/assembler.ts';
import { onEveryTier } from '../support/programs/compare.ts';

const WIDTHS: readonly Bits[] = [64, 32, 16];
const TIMES = 60;
const INT3 = 0xcc;

describe.each(WIDTHS)('%i-bit calls and returns', (bits) => {
  /** Bytes of a return address. */
  const slot = bits / 8;
  /** `add [xSP], n` on the return address, which is 64, 32 or 16 bits wide. */
  const addToReturn = (n: number): number[] =>
    bits === 64 ? [0x48, 0x83, 0x04, 0x24, n] : bits === 32 ? [0x83, 0x04, 0x24, n] : [0x67, 0x83, 0x04, 0x24, n];

  it('a callee that changes where it returns to', () => {
    const program = onEveryTier({
      bits,
      write: (asm) => {
        asm.movImm(RCX, TIMES).movImm(RAX, 0).movImm(RBX, 0).label('loop').call('skips').db(INT3).inc(RAX);
        asm.call('plain').inc(RBX).dec(RCX).jcc('ne', 'loop').hlt();
        asm
          .label('skips')
          .db(...addToReturn(1))
          .ret();
        asm.label('plain').aluImm('add', RAX, 2).ret();
      },
    });
    expect([program.reg(RAX), program.reg(RBX), program.traps]).toEqual([TIMES * 3, TIMES, []]);
  });

  it('a callee that sometimes returns elsewhere', () => {
    const program = onEveryTier({
      bits,
      write: (asm) => {
        asm.movImm(RCX, TIMES).movImm(RAX, 0).label('loop').call('maybe').inc(RAX).dec(RCX).jcc('ne', 'loop').hlt();
        asm
          .label('maybe')
          .mov(RDX, RCX)
          .aluImm('and', RDX, 7)
          .jcc('ne', 'back')
          .db(...addToReturn(bits === 64 ? 3 : bits === 32 ? 2 : 3));
        asm.label('back').ret();
      },
    });
    expect(program.reg(RAX)).toBe(TIMES - Math.floor(TIMES / 8));
  });

  it('frames left behind by a jump out of deep calls', () => {
    const program = onEveryTier({
      bits,
      write: (asm) => {
        asm.movImm(RCX, TIMES).movImm(RAX, 0).mov(RBP, RSP).label('loop').mov(RDX, RCX).aluImm('and', RDX, 15);
        asm.call('deeper').inc(RAX).label('landed').dec(RCX).jcc('ne', 'loop').hlt();
        asm.label('deeper').inc(RAX).dec(RDX).jcc('s', 'out').call('deeper').ret();
        // Every other time back through all frames, else past them.
        asm.label('out').mov(RBX, RCX).aluImm('and', RBX, 1).jcc('ne', 'throw').ret();
        asm.label('throw').mov(RSP, RBP).jmp('landed');
      },
    });
    expect(program.reg(RSP)).toBe(program.stack);
  });

  it('a return used as a jump, a call used to know the place', () => {
    const program = onEveryTier({
      bits,
      write: (asm) => {
        asm.movImm(RCX, TIMES).movImm(RAX, 0).label('loop').movLabel(RDX, 'target');
        asm.db(0x52).ret().db(INT3); // push dx, edx or rdx
        asm.label('target').inc(RAX).call('here').label('here').db(0x5b).alu('add', RAX, RBX); // pop bx, ebx or rbx
        asm.dec(RCX).jcc('ne', 'loop').hlt();
      },
    });
    expect(program.reg(RAX)).toBe(TIMES * (1 + program.asm.address('here')));
  });

  it('a retpoline', () => {
    const program = onEveryTier({
      bits,
      write: (asm) => {
        asm.movImm(RCX, TIMES).movImm(RAX, 0).label('loop').movLabel(RDX, 'even').mov(RBX, RCX).aluImm('and', RBX, 1);
        asm.jcc('e', 'go').movLabel(RDX, 'odd').label('go').call('thunk').dec(RCX).jcc('ne', 'loop').hlt();
        asm.label('thunk').call('set').label('spin').db(0xf3, 0x90).jmp('spin');
        asm.label('set');
        if (bits === 64) asm.db(0x48, 0x89, 0x14, 0x24);
        else if (bits === 32) asm.db(0x89, 0x14, 0x24);
        else asm.db(0x67, 0x89, 0x14, 0x24);
        asm.ret().label('even').aluImm('add', RAX, 1).ret().label('odd').aluImm('add', RAX, 0x100).ret();
      },
    });
    expect(program.reg(RAX)).toBe((TIMES / 2) * 0x101);
  });

  it('recursion, wide and deep', () => {
    const program = onEveryTier({
      bits,
      write: (asm) => {
        asm.movImm(RAX, 13).call('fib').mov(RDI, RBX).movImm(RAX, 500).movImm(RSI, 0).call('deep').hlt();
        // RBX = fib(RAX)
        asm.label('fib').aluImm('cmp', RAX, 2).jcc('ae', 'more').mov(RBX, RAX).ret();
        asm.label('more').push(RAX).dec(RAX).call('fib').pop(RAX).push(RBX).aluImm('sub', RAX, 2).call('fib').pop(RDX);
        asm.alu('add', RBX, RDX).ret();
        asm.label('deep').alu('add', RSI, RAX).dec(RAX).jcc('e', 'bottom').call('deep').inc(RSI).label('bottom').ret();
      },
    });
    expect([program.reg(RDI), program.reg(RSI)]).toEqual([233, (500 * 501) / 2 + 499]);
  });

  it('RET with bytes to drop, through a call by register', () => {
    const program = onEveryTier({
      bits,
      write: (asm) => {
        asm.movImm(RCX, TIMES).movImm(RAX, 0).movLabel(RBX, 'two').label('loop').push(RCX).push(RAX).callReg(RBX);
        asm.dec(RCX).jcc('ne', 'loop').hlt();
        // Adds the first argument to RAX.
        const word = bits === 64 ? 8 : 4;
        asm
          .label('two')
          .load(RDX, RSP, slot + word)
          .alu('add', RAX, RDX)
          .db(0xc2, 2 * word, 0);
      },
    });
    expect([program.reg(RAX), program.reg(RSP)]).toEqual([(TIMES * (TIMES + 1)) / 2, program.stack]);
  });

  it('indirect jumps with many targets over several pages', () => {
    const TARGETS = 48;
    const STRIDE = bits === 16 ? 0x100 : 0x340;
    const program = onEveryTier({
      bits,
      write: (asm, it) => {
        const base = bits === 16 ? 0x1000 : it.data;
        asm.movImm(RCX, 600).movImm(RAX, 0).movImm(RSI, 12345).label('loop');
        asm.movImm(RDX, 1103515245).imul(RSI, RDX).aluImm('add', RSI, 12345);
        asm.mov(RDX, RSI);
        if (bits === 64) asm.db(0x89, 0xd2); // mov edx, edx
        asm.db(...(bits === 16 ? [0x66] : []), 0xc1, 0xea, 16).aluImm('and', RDX, 0xffff);
        asm.push(RAX).push(RCX).mov(RAX, RDX).movImm(RCX, TARGETS).movImm(RDX, 0);
        asm
          .db(...(bits === 16 ? [0x66] : []), 0xf7, 0xf1)
          .mov(RDI, RDX)
          .pop(RCX)
          .pop(RAX); // div ecx
        asm.movImm(RBX, STRIDE).imul(RDI, RBX).aluImm('add', RDI, base).movLabel(RBP, 'back').jmpReg(RDI);
        asm.label('back').dec(RCX).jcc('ne', 'loop').hlt();
      },
      drive: (it) => {
        const base = bits === 16 ? 0x1000 : it.data;
        const operand = bits === 16 ? [0x66] : [];
        for (let i = 0; i < TARGETS; i++) {
          // add eax, i + 1; jmp rbp
          [...operand, 0x05, i + 1, 0, 0, 0, 0xff, 0xe5].forEach((byte, n) => it.write8(base + i * STRIDE + n, byte));
        }
        it.run();
      },
    });
    expect(program.reg(RAX)).toBeGreaterThan(600);
  });

  it('a loop over a page boundary, with an instruction on both pages', () => {
    for (const before of [0, 1, 2, 3, 4, 5, 6]) {
      const program = onEveryTier({
        bits,
        write: (asm, it) => {
          asm.movImm(RCX, TIMES).movImm(RAX, 0).movImm(RBX, 7).jmp('loop');
          asm
            .org(it.code + 0x1000 - before - 12)
            .label('loop')
            .nops(12);
          asm.aluImm('add', RAX, 3).alu('xor', RAX, RBX).dec(RCX).jcc('ne', 'loop').hlt();
        },
      });
      let expected = 0;
      for (let i = 0; i < TIMES; i++) expected = (expected + 3) ^ 7;
      expect(program.reg(RAX)).toBe(expected);
    }
  });
});

describe.each(WIDTHS)('%i-bit flags', (bits) => {
  it('live across jumps, calls and returns', () => {
    const program = onEveryTier({
      bits,
      write: (asm) => {
        // RSI gathers all flags by PUSHF after a jump; RDI counts what conditions said on the other side.
        asm.movImm(RCX, 256).movImm(RSI, 0).movImm(RDI, 0).label('loop').mov(RAX, RCX).mov(RBX, RCX).rolImm(RBX, 3);
        asm.aluImm('xor', RBX, 0x7f).alu('cmp', RAX, RBX).jmp('there').db(INT3);
        asm.label('there').jcc('b', 'below').inc(RDI); // keeps CF
        asm.label('below').call('flags').alu('sub', RAX, RBX).jcc('o', 'o').call('flags').label('o').call('flags');
        asm
          .shlImm(RAX, bits === 64 ? 33 : 7)
          .jmp('shifted')
          .label('shifted')
          .call('flags')
          .jcc('p', 'even')
          .inc(RDI)
          .label('even');
        asm.aluImm('adc', RDI, 0).dec(RCX).jcc('ne', 'loop').hlt();
        // Undefined are AF behind a shift, and OF behind one by more than 1.
        asm.label('flags');
        if (bits === 16) asm.db(0x66);
        asm.db(0x9c).pop(RDX).aluImm('and', RDX, 0xc5).rolImm(RSI, 5).alu('xor', RSI, RDX);
        asm.ret();
      },
    });
    expect(program.reg(RDI)).toBeGreaterThan(0);
  });

  it('and registers are exact when an instruction faults in a loop', () => {
    const program = onEveryTier({
      bits,
      write: (asm) => {
        // Divides by RCX & 3: a quarter of the turns is #DE.
        asm
          .movImm(RCX, TIMES)
          .movImm(RSI, 0)
          .movImm(RDI, 0)
          .label('loop')
          .mov(RBX, RCX)
          .alu('add', RSI, RCX)
          .aluImm('and', RBX, 3);
        asm.movImm(RDX, 0).movImm(RAX, 1000).alu('cmp', RSI, RCX);
        asm
          .label('div')
          .db(...(bits === 16 ? [0x66] : []), 0xf7, 0xf3)
          .alu('add', RDI, RAX)
          .alu('cmp', RBX, RCX)
          .label('int3')
          .db(INT3);
        asm.jcc('a', 'loop2').inc(RSI).label('loop2').dec(RCX).jcc('ne', 'loop').hlt();
      },
      hooks: () => ({
        trap: (trap) => {
          if (trap.vector === 0) trap.rip += bits === 16 ? 3 : 2;
        },
      }),
    });
    const divided = program.traps.filter((text) => text.startsWith('#0'));
    expect(divided.length).toBe(TIMES / 4);
    expect(program.traps.length).toBe(TIMES / 4 + TIMES);
  });
});

it('registers of the second half are kept over calls', () => {
  const program = onEveryTier({
    bits: 64,
    write: (asm) => {
      for (let n = 8; n < 16; n++) asm.movImm(n, n * 1000);
      asm.movImm(RCX, TIMES).label('loop');
      for (let n = 8; n < 16; n++)
        asm
          .call(`f${n % 3}`)
          .alu('add', n, R8)
          .rolImm(n, n);
      asm.dec(RCX).jcc('ne', 'loop').hlt();
      asm.label('f0').push(9).push(10).imul(9, 10).pop(10).pop(9).ret();
      asm.label('f1').push(11).movImm(11, 5).alu('xor', R8, 11).pop(11).ret();
      asm.label('f2').push(R8).imul(R8, R8).alu('sub', 12, R8).pop(R8).ret();
    },
  });
  expect(program.traps).toEqual([]);
});
