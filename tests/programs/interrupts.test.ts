/** Interrupts at every place where they can arrive, and tasks that a timer takes the processor from. */
import { describe, expect, it } from 'vitest';
import { type Assembler, type Bits, RAX, RBP, RBX, RCX, RDI, RDX, RSI } from '../support/programs/assembler.ts';
import { CONFIGURATIONS, GuestProgram } from '../support/programs/guest-program.ts';

const WIDTHS: readonly Bits[] = [64, 32, 16];
const TIMER = 0x30;
const IF = 0x202n;

/** Loops in loops with a call, memory and flags that are looked at later. */
function busy(asm: Assembler, it: GuestProgram): void {
  asm.movImm(RCX, 9).movImm(RAX, 1).movImm(RBX, it.data).movImm(RSI, 0).label('outer').movImm(RDX, 5).label('inner');
  asm.alu('add', RAX, RDX).store(RBX, 0, RAX, 4).call('f').aluImm('adc', RSI, 3).dec(RDX).jcc('ne', 'inner');
  asm
    .alu('cmp', RAX, RSI)
    .jcc('b', 'less')
    .aluImm('xor', RSI, 0x55)
    .label('less')
    .dec(RCX)
    .jcc('ne', 'outer')
    .db(0xfa)
    .hlt();
  asm.label('f').load(RDI, RBX, 0, 4).rolImm(RDI, 5).alu('xor', RAX, RDI).alu('sub', RSI, RDI).ret();
}

function start(bits: Bits, name: string, exact: boolean, write = busy): GuestProgram {
  // INVARIANT: callers pass names of CONFIGURATIONS.
  const program = new GuestProgram(bits, { ...CONFIGURATIONS[name]!, exact }, write);
  program.vcpu.registers.set('rflags', IF);
  return program;
}

/** Runs in slices, with an interrupt behind every second of those that end where one is taken: the others are for getting on. */
function interruptAll(program: GuestProgram, budget: number): void {
  for (let chances = 0; program.runFor(budget) !== 'halted';) {
    if (program.interruptible && chances++ % 2 === 1) program.interrupt(TIMER);
  }
}

/** What the handler sees when an interrupt comes after each number of instructions from 0 to the end. */
function everywhere(bits: Bits, name: string): string[] {
  const seen: string[] = [];
  // One machine for all: its code is hot, and entered anywhere.
  const program = start(bits, name, true);
  for (let after = 1; ; after++) {
    program.start();
    program.vcpu.registers.set('rflags', IF);
    const before = program.vcpu.instructionCount;
    program.traps.length = 0;
    if (program.runFor(after) === 'halted') return seen;
    program.interrupt(TIMER);
    program.run();
    seen.push(
      `${program.vcpu.instructionCount - before} ${program.traps.join('; ')} ${program.reg(RAX)} ${program.reg(RSI)}`,
    );
  }
}

describe.each(WIDTHS)('%i-bit code', (bits) => {
  it('is interrupted behind every instruction of a run, with the same state on every tier', () => {
    const [first = '', ...others] = Object.keys(CONFIGURATIONS);
    const expected = everywhere(bits, first);
    expect(expected.length).toBeGreaterThan(400);
    // However it was interrupted, it ends with the same result and after the same number of instructions.
    expect(new Set(expected.map((text) => text.split(' ').slice(-2).join(' '))).size).toBe(1);
    for (const name of others) expect({ name, seen: everywhere(bits, name) }).toEqual({ name, seen: expected });
  });

  it('is interrupted between blocks in states that the interpreter passes through', () => {
    const states = new Set(
      everywhere(bits, 'interp').map((text) =>
        text.split('; ')[0]?.replace(/^\d+ /, '').split(' ').slice(0, -2).join(' '),
      ),
    );
    for (const name of Object.keys(CONFIGURATIONS)) {
      for (const budget of [1, 2, 3, 5, 8, 13, 40, 90]) {
        const program = start(bits, name, false);
        interruptAll(program, budget);
        for (const trap of program.traps) expect(states.has(trap), `${name}: ${trap}`).toBe(true);
      }
    }
  });
});

describe.each([64, 32] as const)('%i-bit tasks', (bits) => {
  const TURNS = 700;
  const DONE = 0x100;

  /** Two tasks that compute with all registers; the timer's handler changes from one to the other. */
  function tasks(asm: Assembler, it: GuestProgram): void {
    const registers = bits === 64 ? [0, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] : [0, 2, 3, 5, 6, 7];
    const saved = [1, ...registers];
    const word = bits / 8;
    const task = (name: string, n: number): void => {
      asm.label(name).movImm(RCX, TURNS);
      registers.forEach((register, i) => asm.movImm(register, (i + 1) * 0x1234567 * n));
      asm.label(`${name} loop`);
      registers.forEach((register, i) => {
        const next = registers[(i + 1) % registers.length] ?? 0;
        if (i % 3 === 0) asm.alu('add', register, next).rolImm(register, 7);
        else if (i % 3 === 1) asm.alu('xor', register, next).aluImm('adc', register, n);
        else asm.imul(register, next).aluImm('sbb', register, 99);
      });
      asm.push(RAX).call('nothing').pop(RAX).dec(RCX).jcc('ne', `${name} loop`);
      registers.forEach((register, i) => asm.store(undefined, it.data + n * 0x200 + i * 8, register));
      asm.storeByte(undefined, it.data + DONE + n, 1);
      if (n === 1)
        asm
          .label('wait')
          .load(RAX, undefined, it.data + DONE + 2, 1)
          .db(0x3c, 1)
          .jcc('ne', 'wait')
          .db(0xfa)
          .hlt();
      else asm.label('idle').jmp('idle');
    };
    // The second task's stack looks as if it had been interrupted at its beginning.
    asm
      .movImm(RBP, it.stack - 0x2000 - (bits === 64 ? 5 : 3) * word - saved.length * word)
      .store(undefined, it.data + DONE + 0x10, RBP);
    const frame = it.stack - 0x2000 - (bits === 64 ? 5 : 3) * word;
    asm
      .movLabel(RAX, 'second')
      .store(undefined, frame, RAX)
      .movImm(RAX, 0x10)
      .store(undefined, frame + word, RAX);
    asm.movImm(RAX, 0x202).store(undefined, frame + 2 * word, RAX);
    if (bits === 64)
      asm
        .movImm(RAX, it.stack - 0x3000)
        .store(undefined, frame + 3 * word, RAX)
        .movImm(RAX, 0x18)
        .store(undefined, frame + 4 * word, RAX);
    task('first', 1);
    task('second', 2);
    asm.label('nothing').ret().label('handler');
    for (const register of saved) asm.push(register);
    asm
      .load(RAX, undefined, it.data + DONE + 0x10)
      .store(undefined, it.data + DONE + 0x10, 4)
      .mov(4, RAX);
    for (const register of saved.toReversed()) asm.pop(register);
    asm.db(...(bits === 64 ? [0x48, 0xcf] : [0xcf]));
  }

  it('keep all their registers when a timer changes from one to the other', () => {
    const results = Object.keys(CONFIGURATIONS).flatMap((name) =>
      [17, 101, 997].map((budget) => {
        const program = start(bits, name, false, tasks);
        program.gate(TIMER, program.asm.address('handler'));
        interruptAll(program, budget);
        expect(program.traps).toEqual([]);
        return Array.from({ length: 0x100 }, (_, i) => program.read32(program.data + 0x200 + i * 4)).join();
      }),
    );
    expect(new Set(results).size).toBe(1);
    expect(results[0]).toMatch(/[1-9]/);
  });
});
