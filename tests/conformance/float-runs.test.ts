/**
 * Runs of SSE, AVX, FMA and x87 arithmetic, in which a tier knows of earlier results what it need not look at again: mostly ordinary
 * numbers, now and then a denormal, a zero, an infinity or a NaN, in the default mode and in others. Half of the runs of SSE go round a
 * loop.
 */
import { describe, expect, it } from 'vitest';
import { newArea, randomEncoding } from '../support/oracle/cases.ts';
import { compare, failureText } from '../support/oracle/compare.ts';
import type { Encoding } from '../support/oracle/encoding.ts';
import type { EngineOracle } from '../support/oracle/engine.ts';
import { allForms } from '../support/oracle/forms.ts';
import {
  createOutcome,
  createState,
  FX_FCW,
  FX_FSW,
  FX_MXCSR,
  FX_XMM,
  FX_YMM,
  type MachineState,
  type Oracle,
} from '../support/oracle/machine-state.ts';
import { fillState } from '../support/oracle/states.ts';
import { hasNativeOracle, hostHasAvx, nativeOracle } from '../support/oracle/native.ts';
import { Random } from '../support/oracle/random.ts';
import { engineOracle, TIERS } from '../support/oracle/tiers.ts';

const RUNS = process.env['ORRERY_CONFORMANCE'] === 'full' ? 50_000 : 1000;
const LENGTH = 12;
const TURNS = 6;
const UD2 = [0x0f, 0x0b];
const REGISTERS = 5;
const FSW_CONDITION = 0x4700;

/** Opcodes in map 0F: SQRT ADD MUL SUB MIN DIV MAX. */
const OPCODES = [0x51, 0x58, 0x59, 0x5c, 0x5d, 0x5e, 0x5f];
const PREFIXES = [[], [0x66], [0xf2], [0xf3]];
/** MOVAPS, MOVAPD, MOVSD, MOVSS, UNPCKLPD, CVTSS2SD, CVTSD2SS, HADDPD, ADDSUBPS, UCOMISD, CMPLTSD. */
const OTHERS = [
  [0x0f, 0x28],
  [0x66, 0x0f, 0x28],
  [0xf2, 0x0f, 0x10],
  [0xf3, 0x0f, 0x10],
  [0x66, 0x0f, 0x14],
  [0xf3, 0x0f, 0x5a],
  [0xf2, 0x0f, 0x5a],
  [0x66, 0x0f, 0x7c],
  [0xf2, 0x0f, 0xd0],
  [0x66, 0x0f, 0x2e],
];

/** FMA in map 0F38: 132, 213, 231 of every kind. */
const FMA_OPCODES = [0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f];
const FMA_ORDERS = [0, 0x10, 0x20];
/** VEX.pp: none, 66, F3, F2. */
const PP = { single: [0, 2], double: [1, 3] } as const;

/** A VEX form: xmm or ymm registers, three operands where the instruction has them. */
function randomVex(random: Random, double: boolean): number[] {
  const [reg, vvvv, rm] = [random.below(REGISTERS), random.below(REGISTERS), random.below(REGISTERS)];
  const length = random.oneIn(2) ? 4 : 0;
  const modrm = 0xc0 | (reg << 3) | rm;
  if (random.oneIn(2)) {
    const opcode = random.pick(FMA_OPCODES) + random.pick(FMA_ORDERS);
    return [0xc4, 0xe2, (double ? 0x80 : 0) | ((~vvvv & 15) << 3) | length | 1, opcode, modrm];
  }
  const opcode = random.oneIn(6) ? 0x28 : random.pick(OPCODES);
  const pp = opcode === 0x28 ? Number(double) : random.pick(double ? PP.double : PP.single);
  const unary = opcode === 0x28 || (opcode === 0x51 && pp < 2);
  return [0xc4, 0xe1, ((unary ? 15 : ~vvvv & 15) << 3) | length | pp, opcode, modrm];
}

function randomCode(random: Random): Uint8Array {
  // Mostly of one width, as programs are.
  const width = random.pick([0, 1]);
  const vex = hostHasAvx && random.oneIn(2);
  const bytes: number[] = [];
  const turns = random.oneIn(2) ? 2 + random.below(TURNS) : 0;
  const length = turns > 0 ? 1 + random.below(LENGTH) : LENGTH;
  for (let i = 0; i < length; i++) {
    const modrm = 0xc0 | (random.below(REGISTERS) << 3) | random.below(REGISTERS);
    if (vex && random.oneIn(2)) bytes.push(...randomVex(random, width === 1));
    else if (random.oneIn(5)) bytes.push(...random.pick(OTHERS), modrm);
    else {
      const prefix = random.oneIn(8) ? random.pick(PREFIXES) : random.pick(width ? [[0x66], [0xf2]] : [[], [0xf3]]);
      bytes.push(...prefix, 0x0f, random.pick(OPCODES), modrm);
    }
  }
  return new Uint8Array([...(turns > 0 ? looped(bytes, turns) : bytes), ...UD2]);
}

/** MOV ECX, turns; the instructions; DEC ECX; JNZ. */
function looped(bytes: readonly number[], turns: number): number[] {
  const all = [0xb9, turns, 0, 0, 0, ...bytes, 0xff, 0xc9, 0x0f, 0x85];
  const back = -(bytes.length + 8);
  return [...all, back & 0xff, (back >> 8) & 0xff, 0xff, 0xff];
}

const ODD64 = [
  0n,
  1n << 63n,
  1n,
  0x000fffffffffffffn,
  0x8000000000000001n,
  0x0010000000000000n,
  0x7ff0000000000000n,
].concat([0xfff0000000000000n, 0x7ff8000000000001n, 0x7ff0000000000001n, 0x7fefffffffffffffn, 0x0010000000000001n]);
const ODD32 = [0, 0x80000000, 1, 0x7fffff, 0x80000001, 0x800000, 0x7f800000, 0xff800000, 0x7fc00001, 0x7f800001].concat(
  [0x7f7fffff, 0x00800001],
);

function fill(fx: DataView, random: Random): void {
  const doubles = random.oneIn(2);
  const scale = random.oneIn(6) ? 1000 : 4;
  for (const start of [FX_XMM, FX_YMM]) {
    for (let at = start; at < start + REGISTERS * 16; at += doubles ? 8 : 4) {
      const odd = random.oneIn(12);
      const number = (random.u32() / 2 ** 32 - 0.5) * 2 ** (random.below(2 * scale) - scale);
      if (doubles && odd) fx.setBigUint64(at, random.pick(ODD64), true);
      else if (doubles) fx.setFloat64(at, number, true);
      else if (odd) fx.setUint32(at, random.pick(ODD32), true);
      else fx.setFloat32(at, number, true);
    }
  }
  const masks = random.oneIn(8) ? random.u32() & 0x1f80 : 0x1f80;
  const modes = random.oneIn(5) ? (random.u32() & 0xe000) | (random.u32() & 0x40) : 0;
  fx.setUint32(FX_MXCSR, masks | modes | (random.oneIn(3) ? 0 : 0x20), true);
}

/** x87 arithmetic and moves between registers, MMX, EMMS, FNINIT, FNCLEX, FFREE, FINCSTP: [first byte, second or its row]. */
const X87_ROWS = [
  [0xd8, 0xc0],
  [0xd8, 0xc8],
  [0xd8, 0xe0],
  [0xd8, 0xf8],
  [0xdc, 0xc8],
  [0xde, 0xc0],
  [0xde, 0xc8],
  [0xde, 0xe8],
  [0xd9, 0xc0],
  [0xd9, 0xc0],
  [0xd9, 0xc8],
  [0xdd, 0xd0],
  [0xdd, 0xd8],
  [0xdd, 0xc0],
] as const;
const X87_OTHERS = [
  [0xd9, 0xe0],
  [0xd9, 0xe1],
  [0xd9, 0xe8],
  [0xd9, 0xfa],
  [0xd9, 0xf7],
  [0x0f, 0x77],
  [0x0f, 0xfc, 0xc1],
  [0xdb, 0xe2],
  [0xdb, 0xe3],
] as const;

function randomX87Code(random: Random): Uint8Array {
  const bytes: number[] = [];
  for (let i = 0; i < LENGTH; i++) {
    const [first, row] = random.pick(X87_ROWS);
    if (random.oneIn(8)) bytes.push(...random.pick(X87_OTHERS));
    else bytes.push(first, row + random.below(random.oneIn(4) ? 8 : 4));
  }
  return new Uint8Array([...bytes, ...UD2]);
}

/** Most x87 instructions leave some of the condition codes undefined. */
function dropConditions(state: MachineState): void {
  const fx = new DataView(state.fx.buffer, state.fx.byteOffset);
  fx.setUint16(FX_FSW, fx.getUint16(FX_FSW, true) & ~FSW_CONDITION, true);
}

function firstFailures(host: Oracle, engine: EngineOracle, x87: boolean): string[] {
  // INVARIANT: UD2 is in the tables.
  const neutral: Encoding = randomEncoding(
    allForms(64).find((form) => form.row.name === 'UD2')!,
    new Random(1),
  );
  const state = createState();
  const [expected, got] = [createOutcome(), createOutcome()];
  const failures: string[] = [];
  for (let seed = 1; seed <= RUNS && failures.length < 3; seed++) {
    const random = new Random(seed);
    newArea(neutral, state, random);
    const fx = new DataView(state.fx.buffer, state.fx.byteOffset);
    if (x87) {
      fillState(random, state, 'x87', 'f64');
      // Mostly the default mode; no exception pending.
      if (!random.oneIn(4)) fx.setUint16(FX_FCW, 0x37f, true);
      fx.setUint16(FX_FSW, fx.getUint16(FX_FSW, true) & 0x3800, true);
    } else fill(fx, random);
    const code = x87 ? randomX87Code(random) : randomCode(random);
    host.run(code, state, expected);
    engine.runProgram(code, state, got, 1000);
    if (x87) for (const outcome of [expected, got]) dropConditions(outcome.state);
    const differences = compare(neutral, state, expected, got, -1);
    if (differences.length === 0) continue;
    const bytes = Array.from(code, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
    failures.push(`seed ${seed}: ${bytes}\n${failureText(neutral, state, differences, -1)}`);
  }
  return failures;
}

describe.runIf(hasNativeOracle).each(TIERS)('runs of float arithmetic, %s', (tier) => {
  it.each(['SSE', 'x87'])(
    'of %s end as on the host CPU',
    (unit) => {
      const host = nativeOracle();
      if (host === undefined) return;
      expect(firstFailures(host, engineOracle(tier), unit === 'x87').join('\n\n')).toBe('');
    },
    600_000,
  );
});
