/** Code that changes under the feet of whoever decoded or translated it. */
import { describe, expect, it } from 'vitest';
import { type Assembler, type Bits, RAX, RBX, RCX, RDX, RSI } from '../support/programs/assembler.ts';
import { onEveryTier } from '../support/programs/compare.ts';
import { ALIAS } from '../support/programs/guest-program.ts';

const WIDTHS: readonly Bits[] = [64, 32, 16];
const TIMES = 60;

/** 1 + 2 + … + n */
const triangle = (n: number): number => (n * (n + 1)) / 2;

describe.each(WIDTHS)('%i-bit code that changes', (bits) => {
  it('the very next instruction, in every turn of a loop', () => {
    const program = onEveryTier({
      bits,
      write: (asm) => {
        asm.movImm(RCX, TIMES).movImm(RAX, 0).label('loop');
        asm.patchReg('add', bits === 16 ? 3 : bits === 64 ? 3 : 2, RCX);
        asm.label('add').aluImm('add', RAX, 0).dec(RCX).jcc('ne', 'loop').hlt();
      },
    });
    expect(program.reg(RAX)).toBe(triangle(TIMES));
  });

  it('an instruction before itself, and one behind a jump', () => {
    const program = onEveryTier({
      bits,
      write: (asm) => {
        asm.movImm(RCX, TIMES).movImm(RAX, 0).movImm(RBX, 0).label('loop');
        asm.label('before').aluImm('add', RAX, 0);
        asm
          .patchReg('before', bits === 32 ? 2 : 3, RCX)
          .patchReg('behind', bits === 32 ? 2 : 3, RCX)
          .jmp('behind')
          .nops(7);
        asm.label('behind').aluImm('add', RBX, 0).dec(RCX).jcc('ne', 'loop').hlt();
      },
    });
    expect(program.reg(RAX)).toBe(triangle(TIMES) - 1);
    expect(program.reg(RBX)).toBe(triangle(TIMES));
  });

  it('its own jump: the loop ends when it says so', () => {
    const program = onEveryTier({
      bits,
      write: (asm) => {
        // Turns `jmp loop` into two NOPs when the counter is 1.
        asm.movImm(RCX, TIMES).movImm(RAX, 0).label('loop').inc(RAX).aluImm('cmp', RCX, 1).jcc('ne', 'keep');
        asm.patchByte('jump', 0, 0x90).patchByte('jump', 1, 0x90).label('keep').dec(RCX).label('jump').db(0xeb, 0);
        const at = asm.here;
        asm.hlt();
        asm.org(at + 0x20).label('end');
      },
      hooks: () => ({}),
      drive: (program) => {
        // The short jump's distance is known when the program is there.
        program.write8(program.asm.address('jump') + 1, program.asm.address('loop') - program.asm.address('jump') - 2);
        program.run();
      },
    });
    expect(program.reg(RAX)).toBe(TIMES);
  });

  it('data in its own page, in other cache lines and right behind it', () => {
    const program = onEveryTier({
      bits,
      write: (asm, it) => {
        asm
          .movImm(RCX, TIMES)
          .movImm(RBX, it.code + 0x800)
          .movImm(RAX, 0)
          .label('loop');
        asm
          .alu('add', RAX, RCX)
          .store(RBX, 0, RAX)
          .load(RDX, RBX, 0)
          .aluMem('add', RBX, 8, RDX)
          .store(RBX, 0x40 - 0x800 + 0x7c0, RAX);
        asm.dec(RCX).jcc('ne', 'loop').hlt();
      },
    });
    expect(program.read32(program.code + 0x800)).toBe(triangle(TIMES));
  });

  it('a function in another page that is written, called and rewritten', () => {
    const program = onEveryTier({ bits, write: (asm, it) => writesFunctions(asm, it.data, it.data) });
    expect(program.reg(RAX)).toBe(triangle(TIMES) * 2);
  });
});

/** `TIMES` turns: writes `mov edx, counter; add esi, edx; ret` by the address `to`, calls it twice at `at`, adds up. */
function writesFunctions(asm: Assembler, to: number, at: number): void {
  const operand = asm.bits === 16 ? [0x66] : [];
  const bytes = [...operand, 0xba, 0, 0, 0, 0, ...operand, 0x01, 0xd6, 0xc3];
  asm.movImm(RCX, TIMES).movImm(RSI, 0).movImm(RBX, to).label('loop');
  bytes.forEach((byte, i) => asm.storeByte(RBX, i, byte));
  asm.store(RBX, operand.length + 1, RCX, 4);
  asm.movImm(RAX, at).callReg(RAX).callReg(RAX).dec(RCX).jcc('ne', 'loop').mov(RAX, RSI).hlt();
}

describe.each([64, 32] as const)('%i-bit code with two addresses', (bits) => {
  it('is written through one and called through the other', () => {
    const there = onEveryTier({ bits, write: (asm, it) => writesFunctions(asm, it.data + ALIAS, it.data) });
    const back = onEveryTier({ bits, write: (asm, it) => writesFunctions(asm, it.data, it.data + ALIAS) });
    expect([there.reg(RAX), back.reg(RAX)]).toEqual([triangle(TIMES) * 2, triangle(TIMES) * 2]);
  });

  it('runs at both, and knows where', () => {
    const program = onEveryTier({
      bits,
      write: (asm, it) => {
        asm
          .movImm(RCX, TIMES)
          .movImm(RSI, 0)
          .movImm(RAX, it.data)
          .movImm(RBX, it.data + ALIAS)
          .label('loop');
        asm.callReg(RAX).callReg(RBX).dec(RCX).jcc('ne', 'loop').hlt();
      },
      drive: (program) => {
        // call +0; pop rdx; add rsi, rdx; jmp +1; nop; ret
        const wide = bits === 64 ? [0x48] : [];
        [0xe8, 0, 0, 0, 0, 0x5a, ...wide, 0x01, 0xd6, 0xeb, 0x01, 0x90, 0xc3].forEach((byte, i) =>
          program.write8(program.data + i, byte),
        );
        program.run();
      },
    });
    expect(program.reg(RSI)).toBe(TIMES * (2 * (program.data + 5) + ALIAS));
  });

  it('changes under the one that is running through the other', () => {
    const program = onEveryTier({
      bits,
      write: (asm) => {
        // As the first test, but the store goes to the alias of this page.
        asm.movImm(RCX, TIMES).movImm(RAX, 0).movLabel(RBX, 'add').aluImm('add', RBX, ALIAS).label('loop');
        asm
          .store(RBX, bits === 64 ? 3 : 2, RCX, 1)
          .label('add')
          .aluImm('add', RAX, 0)
          .dec(RCX)
          .jcc('ne', 'loop')
          .hlt();
      },
    });
    expect(program.reg(RAX)).toBe(triangle(TIMES));
  });
});

/** Pages of code, each written anew while the others run. */
it('a guest that keeps generating code in many pages', () => {
  const PAGES = 6;
  const program = onEveryTier({
    bits: 64,
    write: (asm, it) => {
      // For each turn and page: writes `add esi, turn; jmp next page`, the last one returns; then runs through all.
      asm.movImm(RCX, 40).movImm(RSI, 0).label('loop');
      for (let page = 0; page < PAGES; page++) {
        const at = it.data + page * 4096;
        asm.movImm(RBX, at).storeByte(RBX, 0, 0x81).storeByte(RBX, 1, 0xc6).store(RBX, 2, RCX, 4);
        if (page === PAGES - 1) asm.storeByte(RBX, 6, 0xc3);
        else
          asm
            .storeByte(RBX, 6, 0xe9)
            .movImm(RDX, 4096 - 11)
            .store(RBX, 7, RDX, 4);
      }
      asm.movImm(RAX, it.data).callReg(RAX).callReg(RAX).dec(RCX).jcc('ne', 'loop').hlt();
    },
  });
  expect(program.reg(RSI)).toBe(triangle(40) * PAGES * 2);
});
