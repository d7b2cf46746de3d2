/** Runs a program on every tier and holds the others against the interpreter. */
import { expect } from 'vitest';
import { CONFIGURATIONS, GuestProgram, type ProgramHooks } from './guest-program.ts';
import type { Assembler, Bits } from './assembler.ts';

export interface ProgramTest {
  readonly bits: Bits;
  write(asm: Assembler, program: GuestProgram): void;
  /** A new set for each run, so that they may count. */
  hooks?(): ProgramHooks;
  /** Drives the program; default: runs it to its end. */
  drive?(program: GuestProgram): void;
}

function runOn(test: ProgramTest, name: string): GuestProgram {
  // INVARIANT: callers pass names of CONFIGURATIONS.
  const program = new GuestProgram(test.bits, CONFIGURATIONS[name]!, (asm, it) => test.write(asm, it), test.hooks?.());
  if (test.drive === undefined) program.run();
  else test.drive(program);
  return program;
}

/** What can be seen of a run. */
function summary(program: GuestProgram): Record<string, unknown> {
  return { traps: program.traps, values: program.values, state: program.state() };
}

/** Gives the interpreter's run, for what else is to be looked at. */
export function onEveryTier(test: ProgramTest): GuestProgram {
  const [first = '', ...others] = Object.keys(CONFIGURATIONS);
  const reference = runOn(test, first);
  const expected = summary(reference);
  for (const name of others) expect({ tier: name, ...summary(runOn(test, name)) }).toEqual({ tier: name, ...expected });
  return reference;
}
