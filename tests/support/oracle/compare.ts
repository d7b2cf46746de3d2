/** Compares what an engine made of an instruction with what the host CPU (or a recorded vector) says, and prints differences. */
import { formatInsn } from '../../../src/cpu/x86/decode/format.ts';
import type { Insn } from '../../../src/cpu/x86/decode/insn.ts';
import { OperandKind } from '../../../src/cpu/x86/decode/insn.ts';
import {
  ARITHMETIC_FLAGS,
  codeOffset,
  DATA_BASE,
  DF,
  FX_FCW,
  FX_FSW,
  FX_FTW,
  FX_MXCSR,
  FX_ST,
  FX_XMM,
  FX_YMM,
  type MachineState,
  type Outcome,
} from './machine-state.ts';
import type { Encoding } from './encoding.ts';
import {
  faultsAnywhere,
  mayKeepFlags,
  toleranceExponent,
  toleranceUlp,
  undefinedBytes,
  undefinedDestination,
  undefinedFlags,
  undefinedStatus,
  undefinedTransition,
} from './undefined.ts';

const REGISTERS = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;
const FLAG_NAMES: readonly (readonly [number, string])[] = [
  [0x001, 'CF'],
  [0x004, 'PF'],
  [0x010, 'AF'],
  [0x040, 'ZF'],
  [0x080, 'SF'],
  [0x400, 'DF'],
  [0x800, 'OF'],
];

function hex(value: number | bigint, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

export function flagNames(flags: number): string {
  const names = FLAG_NAMES.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name);
  return names.length === 0 ? '-' : names.join(' ');
}

/** Most significant byte first. */
export function bytesText(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => hex(b, 2)).reverse().join(''); // prettier-ignore
}

const HOST_PAGES = 0x7fff00000000n;
const PAGE_PRESENT = 1;

function exceptionText(o: Outcome): string {
  const e = o.exception;
  if (e === null) return 'none';
  // The host has pages of its own at the end of the lower half and in the upper half: whether one is present is its business.
  const errorCode = e.vector === 14 && e.cr2 >= HOST_PAGES ? e.errorCode & ~PAGE_PRESENT : e.errorCode;
  return `#${e.vector}(${hex(errorCode, 1)})${e.vector === 14 ? ` cr2=${hex(e.cr2, 1)}` : ''}`;
}

/** One difference: what, expected, got. */
export type Difference = readonly [what: string, expected: string, got: string];

function sameBytes(a: Uint8Array, b: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Are two singles within the relative error of the approximation instructions? */
function closeF32(a: number, b: number, exponent: number): boolean {
  if (Object.is(a, b) || (Number.isNaN(a) && Number.isNaN(b))) return true;
  return Math.abs(a - b) <= Math.abs(a) * 2 ** -exponent;
}

function closeXmm(a: Uint8Array, b: Uint8Array, at: number, exponent: number): boolean {
  const x = new DataView(a.buffer, a.byteOffset + at, 16);
  const y = new DataView(b.buffer, b.byteOffset + at, 16);
  for (let i = 0; i < 16; i += 4) if (!closeF32(x.getFloat32(i, true), y.getFloat32(i, true), exponent)) return false;
  return true;
}

/** Do two 80-bit values differ by at most `ulp` in the significand (of the larger exponent)? */
function closeF80(a: Uint8Array, b: Uint8Array, at: number, ulp: number): boolean {
  const x = new DataView(a.buffer, a.byteOffset + at, 10);
  const y = new DataView(b.buffer, b.byteOffset + at, 10);
  const key = (v: DataView): bigint =>
    ((BigInt(v.getUint16(8, true)) & 0x7fffn) << 63n) + (v.getBigUint64(0, true) & 0x7fffffffffffffffn);
  if ((x.getUint16(8, true) ^ y.getUint16(8, true)) & 0x8000) return false;
  const distance = key(x) - key(y);
  return (distance < 0n ? -distance : distance) <= BigInt(ulp);
}

function compareX87(encoding: Encoding, expected: Uint8Array, got: Uint8Array, out: Difference[]): void {
  const { insn } = encoding;
  const a = new DataView(expected.buffer, expected.byteOffset);
  const b = new DataView(got.buffer, got.byteOffset);
  const field16 = (name: string, at: number, mask: number): void => {
    const x = a.getUint16(at, true);
    const y = b.getUint16(at, true);
    if (((x ^ y) & mask) !== 0) out.push([name, hex(x, 4), hex(y, 4)]);
  };
  const ulp = toleranceUlp(insn);
  field16('fcw', FX_FCW, 0xffff);
  const isX87 = encoding.form.family === 'x87';
  // With a tolerance the direction of the last rounding (C1) and exactness cannot be compared either.
  field16('fsw', FX_FSW, 0xffff & ~(isX87 ? undefinedStatus(insn) : 0) & ~(ulp === 0 ? 0 : 0x0220));
  if (expected[FX_FTW] !== got[FX_FTW]) out.push(['ftw', hex(expected[FX_FTW] ?? 0, 2), hex(got[FX_FTW] ?? 0, 2)]);
  for (let i = 0; i < 8; i++) {
    const at = FX_ST + i * 16;
    if (sameBytes(expected, got, at, at + 10) || (ulp !== 0 && closeF80(expected, got, at, ulp))) continue;
    out.push([`st${i}`, bytesText(expected.subarray(at, at + 10)), bytesText(got.subarray(at, at + 10))]);
  }
}

function compareSse(insn: Insn, expected: Uint8Array, got: Uint8Array, out: Difference[]): void {
  const a = new DataView(expected.buffer, expected.byteOffset);
  const b = new DataView(got.buffer, got.byteOffset);
  const approximate = toleranceExponent(insn);
  const mxcsr = a.getUint32(FX_MXCSR, true);
  if (mxcsr !== b.getUint32(FX_MXCSR, true)) out.push(['mxcsr', hex(mxcsr, 4), hex(b.getUint32(FX_MXCSR, true), 4)]);
  for (let i = 0; i < 16; i++) {
    for (const [at, name] of [
      [FX_XMM + i * 16, `xmm${i}`],
      [FX_YMM + i * 16, `ymm${i} up`],
    ] as const) {
      if (sameBytes(expected, got, at, at + 16) || (approximate !== 0 && closeXmm(expected, got, at, approximate)))
        continue;
      out.push([name, bytesText(expected.subarray(at, at + 16)), bytesText(got.subarray(at, at + 16))]);
    }
  }
}

function compareMemory(
  ignored: (offset: number) => boolean,
  expected: Uint8Array,
  got: Uint8Array,
  out: Difference[],
): void {
  if (Buffer.compare(expected, got) === 0) return;
  for (let i = 0; i < expected.length; i++) {
    if (expected[i] === got[i] || ignored(i)) continue;
    const end = Math.min(i + 16, expected.length);
    out.push([`[${hex(DATA_BASE + i, 8)}] up`, bytesText(expected.subarray(i, end)), bytesText(got.subarray(i, end))]);
    return;
  }
}

/** A misaligned SSE operand beyond its segment's limit: which of the two is seen first is up to the processor. */
function segmentOrAlignment(encoding: Encoding, before: MachineState, expected: Outcome, got: Outcome): boolean {
  const either = (o: Outcome): boolean => o.exception?.vector === 12 || o.exception?.vector === 13;
  return before.codeSize === 16 && /^(sse|crypto|avx.*)$/.test(encoding.form.family) && either(expected) && either(got);
}

/** An operand that ends beyond 4 GiB in a flat segment: whether that is a fault is up to the processor (SDM volume 3, 6.3). */
function wraps({ insn }: Encoding, before: MachineState, operandAt: number): boolean {
  const bytes = insn.operands.find((operand) => operand.kind === OperandKind.mem)?.bytes ?? 0;
  return before.codeSize === 32 && operandAt + DATA_BASE + bytes > 2 ** 32;
}

/** Differences that count; empty when the engine did what it should. `operandAt` is the memory operand's offset in the area. */
export function compare(
  encoding: Encoding,
  before: MachineState,
  expected: Outcome,
  got: Outcome,
  operandAt: number,
): Difference[] {
  const out: Difference[] = [];
  const { insn } = encoding;
  const isPageFault = (o: Outcome): boolean => o.exception?.vector === 14 || insn.row.name === 'CMPS';
  const bothFault = expected.exception !== null && isPageFault(expected) && got.exception !== null && isPageFault(got);
  const loose =
    (bothFault && faultsAnywhere(insn)) ||
    segmentOrAlignment(encoding, before, expected, got) ||
    (expected.exception !== null && got.exception !== null && wraps(encoding, before, operandAt));
  if (exceptionText(expected) !== exceptionText(got) && !loose)
    out.push(['exception', exceptionText(expected), exceptionText(got)]);
  if (expected.rip !== got.rip) out.push(['rip', hex(expected.rip, 8), hex(got.rip, 8)]);
  // A repeated string instruction that faults half-way and a shift out of range leave things undefined.
  const undefinedResult = undefinedDestination(insn, before);
  const is64 = before.codeSize === 64;
  for (let i = 0; i < (is64 ? 16 : 8); i++) {
    const difference = (expected.state.gpr[i] ?? 0n) ^ (got.state.gpr[i] ?? 0n);
    if (difference === 0n || (!is64 && BigInt.asUintN(32, difference) === 0n)) continue;
    if (undefinedResult && insn.operands[0].kind === OperandKind.gpr && insn.operands[0].reg === i) continue;
    out.push([REGISTERS[i] ?? '', hex(expected.state.gpr[i] ?? 0n, 16), hex(got.state.gpr[i] ?? 0n, 16)]);
  }
  const undefinedBits = expected.exception === null ? undefinedFlags(insn, before) : 0;
  const flags = (ARITHMETIC_FLAGS | DF) & ~undefinedBits;
  const kept = mayKeepFlags(insn) && ((before.rflags ^ got.state.rflags) & flags) === 0;
  if (((expected.state.rflags ^ got.state.rflags) & flags) !== 0 && !kept)
    out.push(['flags', flagNames(expected.state.rflags & flags), flagNames(got.state.rflags & flags)]);
  if (!undefinedTransition(insn, expected.exception !== null))
    compareX87(encoding, expected.state.fx, got.state.fx, out);
  compareSse(insn, expected.state.fx, got.state.fx, out);
  const holes = undefinedBytes(insn);
  const ignored = (offset: number): boolean => {
    if (undefinedResult && offset >= operandAt && offset < operandAt + insn.operands[0].bytes) return true;
    return holes.some(([from, to]) => offset >= operandAt + from && offset < operandAt + to);
  };
  if (!loose) compareMemory(ignored, expected.state.data, got.state.data, out);
  return out;
}

function stateText(encoding: Encoding, state: MachineState): string {
  const lines: string[] = [];
  const named = new Set<number>([0, 1, 2, 4]);
  const { insn } = encoding;
  for (let i = 0; i < insn.operandCount; i++) {
    const operand = insn.operands[i as 0 | 1 | 2 | 3]; // INVARIANT: operandCount <= 4
    if (operand.kind === OperandKind.gpr) named.add(operand.reg);
    if (operand.kind === OperandKind.gpr8high) named.add(operand.reg);
    const at = operand.kind === OperandKind.xmm ? FX_XMM + operand.reg * 16 : FX_ST + operand.reg * 16;
    const isVector =
      operand.kind === OperandKind.xmm || operand.kind === OperandKind.mmx || operand.kind === OperandKind.st;
    if (isVector)
      lines.push(
        `  ${operand.kind === OperandKind.xmm ? 'xmm' : 'st'}${operand.reg}=${bytesText(state.fx.subarray(at, at + 16))}`,
      );
    const upper = FX_YMM + operand.reg * 16;
    if (operand.kind === OperandKind.xmm && operand.bytes === 32)
      lines.push(`  ymm${operand.reg} up=${bytesText(state.fx.subarray(upper, upper + 16))}`);
  }
  for (const reg of [insn.mem.base, insn.mem.index]) if (reg >= 0 && reg < 16) named.add(reg);
  if (insn.row.string === true) for (const reg of [6, 7]) named.add(reg);
  const registers = [...named].sort((a, b) => a - b).map((i) => `${REGISTERS[i]}=${hex(state.gpr[i] ?? 0n, 16)}`);
  const fx = new DataView(state.fx.buffer, state.fx.byteOffset);
  const control = `fcw=${hex(fx.getUint16(FX_FCW, true), 4)} fsw=${hex(fx.getUint16(FX_FSW, true), 4)} ftw=${hex(state.fx[FX_FTW] ?? 0, 2)} mxcsr=${hex(fx.getUint32(FX_MXCSR, true), 4)}`;
  if (encoding.form.family === 'x87')
    for (let i = 0; i < 2; i++)
      lines.push(`  st${i}=${bytesText(state.fx.subarray(FX_ST + i * 16, FX_ST + i * 16 + 10))}`);
  return `  ${registers.join(' ')} flags=${flagNames(state.rflags)}\n  ${control}${lines.length === 0 ? '' : `\n${lines.join('\n')}`}`;
}

/** Bytes, disassembly, the state before, and each difference on a line. */
export function failureText(
  encoding: Encoding,
  before: MachineState,
  differences: readonly Difference[],
  operandAt: number,
): string {
  const bytes = Array.from(encoding.code, (b) => hex(b, 2)).join(' ');
  const code = before.codeSize === 64 ? '' : `code${before.codeSize} `;
  let text = `${code}${bytes}   ${formatInsn(encoding.insn, BigInt(codeOffset(before.codeSize)))}   [${encoding.form.row.encoding} ${encoding.form.row.name}]\n`;
  text += stateText(encoding, before);
  if (encoding.form.memory && operandAt >= 0)
    text += `\n  mem[${hex(DATA_BASE + operandAt, 8)}]=${bytesText(before.data.subarray(operandAt, operandAt + 16))}`;
  for (const [what, expected, got] of differences) text += `\n    ${what}: expected ${expected}, got ${got}`;
  return text;
}
