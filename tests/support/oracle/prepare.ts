/** States that particular instructions need to do something interesting, or nothing harmful. */
import type { Insn, Operand } from '../../../src/cpu/x86/decode/insn.ts';
import { NO_REGISTER, OperandKind } from '../../../src/cpu/x86/decode/insn.ts';
import type { Encoding } from './encoding.ts';
import {
  CODE_PAGE,
  DATA_BASE,
  DATA_SIZE,
  DATA_WRITABLE,
  FX_MXCSR,
  FX_XMM,
  FX_YMM,
  type MachineState,
  RAX,
  RBP,
  RBX,
  RCX,
  RDI,
  RDX,
  RSI,
  RSP,
} from './machine-state.ts';
import { edgeF80, edgeInteger, type Random } from './random.ts';
import { fillOperand } from './states.ts';
import { pickTarget } from './targets.ts';

interface Context {
  readonly insn: Insn;
  readonly state: MachineState;
  readonly random: Random;
  /** Offset of the memory operand in the data area; may lie outside it. */
  readonly at: number;
}

function operand(insn: Insn, i: number): Operand {
  return insn.operands[i as 0 | 1 | 2 | 3]; // INVARIANT: callers ask for operands the instruction has
}

/** Writes 64 bits at an offset of the area, as far as it lies in its writable part. */
function poke(state: MachineState, offset: number, value: bigint): void {
  const wrapped = BigInt.asUintN(64, value);
  for (let i = 0; i < 8; i++)
    if (offset + i >= 0 && offset + i < DATA_WRITABLE)
      state.data[offset + i] = Number((wrapped >> BigInt(8 * i)) & 0xffn);
}

function peek(state: MachineState, offset: number): bigint {
  let value = 0n;
  for (let i = 7; i >= 0; i--) value = (value << 8n) | BigInt(state.data[offset + i] ?? 0);
  return value;
}

/** A register that no memory operand of the instruction uses for its address. */
function isFree(insn: Insn, reg: number): boolean {
  const usesMemory = insn.mem.base !== NO_REGISTER || insn.mem.index !== NO_REGISTER;
  return !usesMemory || (insn.mem.base !== reg && insn.mem.index !== reg);
}

function readOperand(c: Context, i: number): bigint {
  const o = operand(c.insn, i);
  if (o.kind === OperandKind.mem) return peek(c.state, c.at);
  return c.state.gpr[o.reg] ?? 0n;
}

function set(c: Context, i: number, value: bigint): void {
  const o = operand(c.insn, i);
  if (o.kind === OperandKind.mem) poke(c.state, c.at, value);
  else if (o.kind === OperandKind.gpr) c.state.gpr[o.reg] = BigInt.asUintN(64, value);
}

/** A dividend that mostly fits: its upper half is below the divisor. */
function divide(c: Context, signed: boolean): void {
  const { random, state } = c;
  if (random.oneIn(6)) return;
  const bits = BigInt(operand(c.insn, 0).bytes * 8);
  let divisor = readOperand(c, 0);
  divisor = signed ? BigInt.asIntN(Number(bits), divisor) : BigInt.asUintN(Number(bits), divisor);
  const magnitude = divisor < 0n ? -divisor : divisor;
  const quotientBits = random.oneIn(4) ? Number(bits) : 1 + random.below(Number(bits));
  const quotient = BigInt.asUintN(quotientBits, (BigInt(random.u32()) << 32n) | BigInt(random.u32()));
  let dividend = magnitude * quotient + (magnitude > 1n ? BigInt(random.u32()) % magnitude : 0n);
  if (signed && random.oneIn(2)) dividend = -dividend;
  if (bits === 8n) {
    state.gpr[RAX] = ((state.gpr[RAX] ?? 0n) & ~0xffffn) | BigInt.asUintN(16, dividend);
  } else {
    const mask = (1n << bits) - 1n;
    state.gpr[RAX] = ((state.gpr[RAX] ?? 0n) & ~mask) | (dividend & mask);
    state.gpr[RDX] = ((state.gpr[RDX] ?? 0n) & ~mask) | ((dividend >> bits) & mask);
  }
}

/** A bit offset that stays near, since it moves the address. */
function bitOffset(c: Context): void {
  if (operand(c.insn, 1).kind === OperandKind.gpr && operand(c.insn, 0).kind === OperandKind.mem)
    c.state.gpr[operand(c.insn, 1).reg] = BigInt.asUintN(64, BigInt(c.random.below(8192) - 4096));
}

function compareExchange(c: Context): void {
  if (!c.random.oneIn(2)) return;
  const value = readOperand(c, 0);
  if (isFree(c.insn, RAX)) c.state.gpr[RAX] = value;
}

function compareExchangeWide(c: Context): void {
  if (!c.random.oneIn(2) || !isFree(c.insn, RAX) || !isFree(c.insn, RDX)) return;
  const bytes = operand(c.insn, 0).bytes / 2;
  const mask = (1n << BigInt(bytes * 8)) - 1n;
  c.state.gpr[RAX] = ((c.state.gpr[RAX] ?? 0n) & ~mask) | (peek(c.state, c.at) & mask);
  c.state.gpr[RDX] = ((c.state.gpr[RDX] ?? 0n) & ~mask) | (peek(c.state, c.at + bytes) & mask);
}

/** rSI, rDI in the area and a small rCX; the parts above the address size are noise. */
function strings(c: Context): void {
  const { state, random, insn } = c;
  const bytes = operand(insn, 0).bytes;
  const noise = (value: bigint): bigint =>
    insn.addressSize === 32 ? BigInt.asUintN(32, value) | (BigInt(random.u32()) << 32n) : value;
  state.gpr[RSI] = noise(pickTarget(random, bytes));
  state.gpr[RDI] = noise(pickTarget(random, bytes));
  if (random.oneIn(8))
    state.gpr[RDI] = noise(BigInt.asUintN(64, (state.gpr[RSI] ?? 0n) + BigInt(random.below(33) - 16)));
  state.gpr[RCX] = noise(BigInt(random.oneIn(16) ? random.below(600) : random.below(24)));
  // Runs of equal elements, so that REPE and REPNE go on for a while.
  if (random.oneIn(2)) {
    const value = random.pick([0, 0x41, Number((state.gpr[RAX] ?? 0n) & 0xffn)]);
    for (const reg of [RSI, RDI]) {
      const from = Number((state.gpr[reg] ?? 0n) & 0xffffffffn) - DATA_BASE - 96;
      const span = random.below(192);
      for (let i = Math.max(from, 0); i < from + span && i < DATA_WRITABLE; i++) state.data[i] = value;
    }
  }
}

/** A branch target that exists in every sense that matters: in the code page. */
function nearTarget({ state, random }: Context): bigint {
  return BigInt((state.codeSize === 16 ? 0 : CODE_PAGE) + random.below(4096));
}

function stackAt(state: MachineState): number {
  return Number(BigInt.asUintN(32, state.gpr[RSP] ?? 0n)) - DATA_BASE;
}

const POPF_ALLOWED = 0xcd5n; // arithmetic flags and DF

function bcd(c: Context): void {
  for (let i = 0; i < 10; i++) {
    const byte = i === 9 ? c.random.pick([0, 0x80, 0x7f]) : (c.random.below(10) << 4) | c.random.below(10);
    if (c.at + i >= 0 && c.at + i < DATA_WRITABLE) c.state.data[c.at + i] = byte;
  }
}

/** Reserved MXCSR bits raise #GP: mostly none of them. */
function mxcsrAt(c: Context, offset: number): void {
  const value = (c.random.u32() & 0xffff) | (c.random.oneIn(12) ? 0x10000 << c.random.pick([0, 3, 15]) : 0);
  for (let i = 0; i < 4; i++)
    if (offset + i >= 0 && offset + i < DATA_WRITABLE) c.state.data[offset + i] = (value >>> (8 * i)) & 255;
}

/** An operand for the transcendental instructions, where their domain is what matters. */
function within(c: Context, register: number, exponent: number, spread: number): void {
  const view = new DataView(c.state.fx.buffer, c.state.fx.byteOffset);
  const at = 32 + register * 16;
  edgeF80(c.random, view, at);
  if (c.random.oneIn(3)) return;
  const sign = c.random.u32() & 0x8000;
  view.setUint32(at + 4, c.random.u32() | 0x80000000, true);
  view.setUint16(at + 8, sign | (0x3fff + exponent - c.random.below(spread)), true);
}

/** Indices of a gather that mostly stay in the area; wild ones could hit memory of this very process. */
function indices({ insn, state, random }: Context): void {
  const { vectorIndex, scale } = insn.mem;
  const wide = /GATHERQ/.test(insn.row.name);
  const fx = new DataView(state.fx.buffer, state.fx.byteOffset);
  for (let i = 0; i < 8; i++) {
    const at = (i < 4 ? FX_XMM : FX_YMM) + vectorIndex * 16 + (i & 3) * 4;
    let index = (random.below(2048) - 1024) >> scale;
    if (random.oneIn(12)) index = (random.below(0x40000) - 0x20000) >> scale; // beyond the area, where nothing is
    if (!wide) fx.setInt32(at, index, true);
    else if ((i & 1) === 0) fx.setBigInt64(at, BigInt(index), true);
  }
}

const HOOKS: Readonly<Record<string, (c: Context) => void>> = {
  DIV: (c) => divide(c, false),
  IDIV: (c) => divide(c, true),
  BT: bitOffset,
  BTS: bitOffset,
  BTR: bitOffset,
  BTC: bitOffset,
  CMPXCHG: compareExchange,
  CMPXCHG8B: compareExchangeWide,
  CMPXCHG16B: compareExchangeWide,
  BEXTR: (c) => {
    if (c.random.oneIn(2)) set(c, 2, BigInt(c.random.below(70) | (c.random.below(70) << 8)));
  },
  BZHI: (c) => {
    if (c.random.oneIn(2)) set(c, 2, BigInt(c.random.below(70)));
  },
  XLAT: (c) => {
    c.state.gpr[RBX] = BigInt(DATA_BASE + 256 + c.random.below(DATA_WRITABLE - 1024));
  },
  LEAVE: (c) => {
    c.state.gpr[RBP] = pickTarget(c.random, 8);
  },
  ENTER: (c) => {
    c.state.gpr[RBP] = c.random.oneIn(8) ? pickTarget(c.random, 8) : BigInt(DATA_BASE + 4096 + c.random.below(4096));
  },
  POPF: (c) => {
    const at = stackAt(c.state);
    if (at >= 0 && at < DATA_SIZE) poke(c.state, at, peek(c.state, at) & POPF_ALLOWED);
  },
  RET: (c) => poke(c.state, stackAt(c.state), nearTarget(c)),
  CALL_indirect: (c) => set(c, 0, nearTarget(c)),
  JMP_indirect: (c) => set(c, 0, nearTarget(c)),
  MASKMOVQ: (c) => {
    c.state.gpr[RDI] = pickTarget(c.random, 8);
  },
  MASKMOVDQU: (c) => {
    c.state.gpr[RDI] = pickTarget(c.random, 16);
  },
  VMASKMOVDQU: (c) => {
    c.state.gpr[RDI] = pickTarget(c.random, 16);
  },
  VLDMXCSR: (c) => mxcsrAt(c, c.at),
  LDMXCSR: (c) => mxcsrAt(c, c.at),
  FXRSTOR: (c) => mxcsrAt(c, c.at + FX_MXCSR),
  FBLD: (c) => {
    if (!c.random.oneIn(8)) bcd(c);
  },
  FSIN: (c) => within(c, 0, 3, 30),
  FCOS: (c) => within(c, 0, 3, 30),
  FSINCOS: (c) => within(c, 0, 3, 30),
  FPTAN: (c) => within(c, 0, 3, 30),
  F2XM1: (c) => within(c, 0, -1, 30),
  FYL2XP1: (c) => within(c, 0, -3, 30),
  FYL2X: (c) => within(c, 0, 6, 12),
  FPATAN: (c) => within(c, 0, 8, 16),
  FSCALE: (c) => within(c, 1, 9, 12),
  FPREM: (c) => within(c, 1, c.random.below(70), 70),
  FPREM1: (c) => within(c, 1, c.random.below(70), 70),
};

/** Adapts a random state to the instruction. Address registers are solved afterwards. */
export function prepare(encoding: Encoding, state: MachineState, random: Random, at: number): void {
  const { insn, form } = encoding;
  const context: Context = { insn, state, random, at };
  if (form.memory && at >= 0 && at < DATA_WRITABLE) {
    if (form.family === 'sse' || form.family === 'mmx' || form.family === 'crypto' || form.family === 'avx') {
      const style = /[DS]$/.test(form.row.name) ? (form.row.name.endsWith('D') ? 'f64' : 'f32') : 'integer';
      fillOperand(random, state.data, at, style);
      if (form.family === 'avx') fillOperand(random, state.data, at + 16, style);
    } else if (form.family === 'x87') {
      if (random.oneIn(2)) fillX87Operand(context);
    } else {
      const halves = new Uint32Array(2);
      edgeInteger(random, halves, 0);
      poke(state, at, (BigInt(halves[1] ?? 0) << 32n) | BigInt(halves[0] ?? 0));
    }
  }
  if (form.row.string === true) strings(context);
  if (insn.mem.vectorIndex !== NO_REGISTER) indices(context);
  HOOKS[form.row.name]?.(context);
}

/** A value of the width the instruction reads. */
function fillX87Operand(c: Context): void {
  const { bytes } = operand(c.insn, 0);
  if (bytes === 4) fillOperand(c.random, c.state.data, c.at, 'f32');
  else if (bytes === 8) fillOperand(c.random, c.state.data, c.at, 'f64');
  else if (bytes === 10 && c.at + 10 <= DATA_WRITABLE)
    edgeF80(c.random, new DataView(c.state.data.buffer, c.state.data.byteOffset), c.at);
  else if (bytes === 2) fillOperand(c.random, c.state.data, c.at, 'integer');
}
