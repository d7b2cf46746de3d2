/** Every instruction's definition, by the row names of the decode tables. */
import { alu } from './alu.ts';
import { atomicAndFlags } from './atomic.ts';
import { bcd } from './bcd.ts';
import { bit } from './bit.ts';
import { bmi } from './bmi.ts';
import type { Semantics, SemanticsTable } from './context.ts';
import { control } from './control.ts';
import { crc } from './crc.ts';
import { farControl } from './far-control.ts';
import { mmx } from './mmx.ts';
import { move } from './move.ts';
import { multiply } from './multiply.ts';
import { random } from './random.ts';
import { segment } from './segment.ts';
import { shift } from './shift.ts';
import { sse } from './sse/index.ts';
import { string } from './string.ts';
import { system } from './system.ts';
import { x87 } from './x87.ts';

// prettier-ignore
const FAMILIES: readonly SemanticsTable[] = [
  alu, atomicAndFlags, bcd, bit, bmi, control, crc, farControl, mmx, move, multiply, random, segment, shift, sse, string,
  system, x87,
];

function merged(families: readonly SemanticsTable[]): SemanticsTable {
  const all: Record<string, Semantics> = {};
  for (const family of families) {
    for (const [name, definition] of Object.entries(family)) {
      if (all[name] !== undefined) throw new Error(`${name} is defined twice`);
      all[name] = definition;
    }
  }
  return all;
}

export const semantics: SemanticsTable = merged(FAMILIES);
