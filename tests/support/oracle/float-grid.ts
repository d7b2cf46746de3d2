/**
 * Every pair of interesting values through every arithmetic instruction of x87 and SSE, in every rounding mode (and x87
 * precision, and DAZ/FTZ), with exceptions masked: where random testing would take long to meet a corner.
 */
import { createInsn, decode, cloneInsn } from '../../../src/cpu/x86/decode/decoder.ts';
import { compare, failureText } from './compare.ts';
import type { Encoding } from './encoding.ts';
import { allForms, formKey } from './forms.ts';
import { createOutcome, createState, FX_FCW, FX_FSW, FX_MXCSR, FX_ST, FX_XMM, type Oracle } from './machine-state.ts';
import { hostHasAvx } from './native.ts';
import { F32_EDGES, F64_EDGES, F80_EDGES } from './random.ts';

export interface GridResult {
  cases: number;
  failed: number;
  failures: string[];
}

interface Operation {
  readonly name: string;
  readonly code: readonly number[];
  readonly kind: 'f32' | 'f64' | 'f80';
  /** Only the second operand matters (square root, conversion). */
  readonly unary?: boolean;
}

const SSE_OPERATIONS: readonly (readonly [string, number, boolean])[] = [
  ['SQRT', 0x51, true],
  ['ADD', 0x58, false],
  ['MUL', 0x59, false],
  ['CVT', 0x5a, true],
  ['SUB', 0x5c, false],
  ['MIN', 0x5d, false],
  ['DIV', 0x5e, false],
  ['MAX', 0x5f, false],
  ['COMIS', 0x2f, false],
  ['UCOMIS', 0x2e, false],
  ['CVTT2SI', 0x2c, true],
  ['CVT2SI', 0x2d, true],
];

const X87_OPERATIONS: readonly (readonly [string, readonly number[], boolean])[] = [
  ['FADD', [0xd8, 0xc1], false],
  ['FMUL', [0xd8, 0xc9], false],
  ['FSUB', [0xd8, 0xe1], false],
  ['FSUBR', [0xd8, 0xe9], false],
  ['FDIV', [0xd8, 0xf1], false],
  ['FDIVR', [0xd8, 0xf9], false],
  ['FCOM', [0xd8, 0xd1], false],
  ['FUCOM', [0xdd, 0xe1], false],
  ['FCOMI', [0xdb, 0xf1], false],
  ['FPREM', [0xd9, 0xf8], false],
  ['FPREM1', [0xd9, 0xf5], false],
  ['FSCALE', [0xd9, 0xfd], false],
  ['FSQRT', [0xd9, 0xfa], true],
  ['FRNDINT', [0xd9, 0xfc], true],
  ['FXTRACT', [0xd9, 0xf4], true],
  ['FXAM', [0xd9, 0xe5], true],
  ['FTST', [0xd9, 0xe4], true],
];

/** What AVX, FMA and F16C have that SSE has not; with FMA one operand stands twice. */
function avxOperations(): Operation[] {
  const operations: Operation[] = [];
  for (let predicate = 8; predicate < 32; predicate++) {
    const code = [0xc4, 0xe1, predicate & 1 ? 0x79 : 0x78, 0xc2, 0xc1, predicate];
    operations.push({ name: `VCMPP ${predicate}`, code, kind: predicate & 1 ? 'f64' : 'f32' });
  }
  for (const [kind, last] of [['f32', 0x71] as const, ['f64', 0xf1] as const]) {
    for (const opcode of [0x98, 0x9a, 0xac, 0xae, 0xb6, 0xb7, 0xb8, 0xbc])
      operations.push({ name: `FMA ${opcode.toString(16)} ${kind}`, code: [0xc4, 0xe2, last, opcode, 0xc1], kind });
    operations.push({ name: `FMA 9b ${kind}`, code: [0xc4, 0xe2, last, 0x9b, 0xc1], kind });
  }
  for (let mode = 0; mode < 8; mode++) {
    const code = [0xc4, 0xe3, 0x79, 0x1d, 0xc8, mode];
    operations.push({ name: `VCVTPS2PH ${mode}`, code, kind: 'f32', unary: true });
  }
  operations.push({ name: 'VCVTPH2PS', code: [0xc4, 0xe2, 0x79, 0x13, 0xc1], kind: 'f32', unary: true });
  return operations;
}

/** All operations of the grid. */
export function gridOperations(): readonly Operation[] {
  const operations: Operation[] = [];
  for (const [name, opcode, unary] of SSE_OPERATIONS) {
    const isScalarOnly = name.includes('COMIS') || name.includes('SI');
    for (const kind of ['f32', 'f64'] as const) {
      const suffix = kind === 'f32' ? 'S' : 'D';
      const scalar = name.includes('COMIS') ? (kind === 'f32' ? [] : [0x66]) : [kind === 'f32' ? 0xf3 : 0xf2];
      operations.push({ name: `${name}S${suffix}`, code: [...scalar, 0x0f, opcode, 0xc1], kind, unary });
      if (!isScalarOnly)
        operations.push({
          name: `${name}P${suffix}`,
          code: [...(kind === 'f32' ? [] : [0x66]), 0x0f, opcode, 0xc1],
          kind,
          unary,
        });
      if (name.includes('SI'))
        operations.push({ name: `${name}64 S${suffix}`, code: [...scalar, 0x48, 0x0f, opcode, 0xc1], kind, unary });
    }
  }
  for (let predicate = 0; predicate < 8; predicate++) {
    operations.push({ name: `CMPPS ${predicate}`, code: [0x0f, 0xc2, 0xc1, predicate], kind: 'f32' });
    operations.push({ name: `CMPSD ${predicate}`, code: [0xf2, 0x0f, 0xc2, 0xc1, predicate], kind: 'f64' });
  }
  operations.push({ name: 'CVTPS2DQ', code: [0x66, 0x0f, 0x5b, 0xc1], kind: 'f32', unary: true });
  operations.push({ name: 'CVTTPS2DQ', code: [0xf3, 0x0f, 0x5b, 0xc1], kind: 'f32', unary: true });
  operations.push({ name: 'CVTPD2DQ', code: [0xf2, 0x0f, 0xe6, 0xc1], kind: 'f64', unary: true });
  operations.push({ name: 'CVTTPD2DQ', code: [0x66, 0x0f, 0xe6, 0xc1], kind: 'f64', unary: true });
  for (let mode = 0; mode < 16; mode++) {
    operations.push({ name: `ROUNDPS ${mode}`, code: [0x66, 0x0f, 0x3a, 0x08, 0xc1, mode], kind: 'f32', unary: true });
    operations.push({ name: `ROUNDSD ${mode}`, code: [0x66, 0x0f, 0x3a, 0x0b, 0xc1, mode], kind: 'f64', unary: true });
  }
  if (hostHasAvx) operations.push(...avxOperations());
  for (const [name, code, unary] of X87_OPERATIONS) operations.push({ name, code, kind: 'f80', unary });
  return operations;
}

function encodingOf(operation: Operation): Encoding {
  const code = Uint8Array.from(operation.code);
  const insn = createInsn();
  decode(code, 0, code.length, 64, insn);
  const key = formKey(insn);
  const form = allForms().find((f) => f.key === key);
  if (form === undefined) throw new Error(`${operation.name} is not in the tables`);
  return { form, code, insn: cloneInsn(insn), fixedTarget: undefined, step: false };
}

const ROUNDING_MODES = 4;
/** Of all pairs one in so many. */
const STRIDE = process.env['ORRERY_CONFORMANCE'] === 'full' ? 1 : 11;

/** Runs one operation over all pairs, or every eleventh in each mode. */
export function runGrid(operation: Operation, host: Oracle, engine: Oracle): GridResult {
  const result: GridResult = { cases: 0, failed: 0, failures: [] };
  const encoding = encodingOf(operation);
  const state = createState();
  const expected = createOutcome();
  const got = createOutcome();
  const fx = new DataView(state.fx.buffer);
  const run = (): void => {
    host.run(encoding.code, state, expected);
    engine.run(encoding.code, state, got);
    result.cases++;
    const differences = compare(encoding, state, expected, got, -1);
    if (differences.length === 0) return;
    if (result.failed++ === 0)
      result.failures.push(`${operation.name}: ${failureText(encoding, state, differences, -1)}`);
  };
  const f32 = (at: number, i: number): void => {
    for (let lane = 0; lane < 4; lane++)
      fx.setUint32(at + lane * 4, F32_EDGES[(i + lane * 7) % F32_EDGES.length] ?? 0, true);
  };
  const f64 = (at: number, i: number): void => {
    for (let lane = 0; lane < 2; lane++) {
      const [low, high] = F64_EDGES[(i + lane * 7) % F64_EDGES.length] ?? [0, 0];
      fx.setUint32(at + lane * 8, low, true);
      fx.setUint32(at + lane * 8 + 4, high, true);
    }
  };
  const f80 = (at: number, i: number): void => {
    const [exponent, high, low] = F80_EDGES[i] ?? [0, 0, 0];
    fx.setUint32(at, low, true);
    fx.setUint32(at + 4, high, true);
    fx.setUint16(at + 8, exponent, true);
  };
  const { kind, unary } = operation;
  const fill = kind === 'f32' ? f32 : kind === 'f64' ? f64 : f80;
  const count = kind === 'f32' ? F32_EDGES.length : kind === 'f64' ? F64_EDGES.length : F80_EDGES.length;
  const first = kind === 'f80' ? FX_ST : FX_XMM;
  const second = first + 16;
  state.fx[4] = 0xff; // all x87 registers in use
  fx.setUint16(FX_FSW, 0x1800, true);
  for (let rounding = 0; rounding < ROUNDING_MODES; rounding++) {
    const variants = kind === 'f80' ? [0x000, 0x200, 0x300] : [0x0000, 0x8040];
    for (const variant of variants) {
      // x87: precision control; SSE: DAZ and FTZ together.
      fx.setUint16(FX_FCW, 0x7f | (rounding << 10) | (kind === 'f80' ? variant : 0x300), true);
      fx.setUint32(FX_MXCSR, 0x1f80 | (rounding << 13) | (kind === 'f80' ? 0 : variant), true);
      for (let a = 0; a < count; a++) {
        fill(unary === true && kind !== 'f80' ? second : first, a);
        if (unary === true) run();
        else
          for (let b = (a + rounding) % STRIDE; b < count; b += STRIDE) {
            fill(second, b);
            run();
          }
      }
    }
  }
  return result;
}
