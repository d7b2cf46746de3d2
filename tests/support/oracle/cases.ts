/**
 * Test cases of a form: encodings with registers, addresses and immediates filled in, and states that make them do something.
 *
 * An encoding is used for several states (translating it once is what costs time in the JIT). For every state a target address
 * is chosen - mostly inside the data area, sometimes misaligned, across pages, read only, unmapped or non-canonical - and the
 * address registers are solved for it.
 */
import { cloneInsn, createInsn, decode } from '../../../src/cpu/x86/decode/decoder.ts';
import type { Insn, MemoryOperand } from '../../../src/cpu/x86/decode/insn.ts';
import { DecodeStatus, NO_REGISTER, OperandKind, RIP_BASE } from '../../../src/cpu/x86/decode/insn.ts';
import { type Form, formKey, templateBytes } from './forms.ts';
import { CODE_BASE, DATA_BASE, type MachineState } from './machine-state.ts';
import type { Random } from './random.ts';
import { fillArea, fillState, type ValueStyle } from './states.ts';
import { prepare } from './prepare.ts';
import { pickLowTarget, pickTarget } from './targets.ts';
import type { Encoding } from './encoding.ts';

/** Bytes that an access to the memory operand covers, for alignment and distance from the edges. */
export function accessBytes(insn: Insn): number {
  for (let i = 0; i < insn.operandCount; i++) {
    const operand = insn.operands[i as 0 | 1 | 2 | 3]; // INVARIANT: operandCount <= 4
    if (operand.kind === OperandKind.mem || operand.kind >= OperandKind.stringSource) return operand.bytes || 16;
  }
  return 8;
}

const scratch: Insn = createInsn();

function writeLittleEndian(bytes: number[], at: number, size: number, value: bigint): void {
  for (let i = 0; i < size; i++) bytes[at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
}

/** ModRM (memory form), SIB and displacement for a reg field; `dispAt` tells where a displacement to be patched stands. */
function randomMemory(random: Random, reg: number): { bytes: number[]; dispAt: number } {
  const mod = random.below(3);
  const rm = random.below(8);
  const bytes = [(mod << 6) | (reg << 3) | rm];
  let base = rm;
  if (rm === 4) {
    const sib = random.u32() & 255;
    bytes.push(sib);
    base = sib & 7;
  }
  let dispAt = -1;
  if (mod === 0 && base === 5) {
    dispAt = bytes.length;
    bytes.push(0, 0, 0, 0);
  } else if (mod === 1) {
    bytes.push(random.u32() & 255);
  } else if (mod === 2) {
    const disp = random.oneIn(2) ? random.u32() : random.below(512) - 256;
    bytes.push(disp & 255, (disp >> 8) & 255, (disp >> 16) & 255, disp >>> 24);
  }
  return { bytes, dispAt };
}

/** Immediates: edges are likelier than chance makes them. */
function randomTail(random: Random): number[] {
  const style = random.below(4);
  return Array.from({ length: 10 }, (_, i) => {
    if (style === 0) return i === 0 ? random.pick([0, 1, 2, 3, 7, 8, 31, 32, 63, 64, 0x7f, 0x80, 0xff]) : 0;
    if (style === 1) return i === 0 ? random.pick([0x80, 0xff, 0x7f, 0xfe]) : 0xff;
    return random.u32() >>> 24;
  });
}

function tryEncoding(form: Form, random: Random): Encoding | undefined {
  const template = random.pick(form.templates);
  const extraRex = random.oneIn(2) ? random.below(8) : 0;
  const bytes: number[] = [];
  const addressSize32 = random.oneIn(form.modrmMemory || form.row.string === true ? 8 : 64);
  if (addressSize32) bytes.push(0x67);
  if (random.oneIn(24)) bytes.push(random.pick([0x26, 0x2e, 0x36, 0x3e])); // ignored in 64-bit code
  let dispAt = -1;
  const isMemory = form.modrmMemory && template.modrm < 0xc0;
  bytes.push(...templateBytes(template, extraRex, random.below(16), isMemory ? -1 : template.modrm));
  if (isMemory) {
    const memory = randomMemory(random, template.modrm >> 3);
    if (memory.dispAt >= 0) dispAt = bytes.length + memory.dispAt;
    bytes.push(...memory.bytes);
  }
  bytes.push(...randomTail(random));
  const width = accessBytes(scratch);
  if (decode(Uint8Array.from(bytes), 0, bytes.length, 64, scratch) !== DecodeStatus.ok) return undefined;
  if (formKey(scratch) !== form.key) return undefined;
  let fixedTarget: bigint | undefined;
  if (dispAt >= 0 && scratch.mem.index === NO_REGISTER) {
    fixedTarget = pickLowTarget(random, width);
    const ripRelative = scratch.mem.base === RIP_BASE;
    writeLittleEndian(bytes, dispAt, 4, ripRelative ? fixedTarget - BigInt(CODE_BASE + scratch.length) : fixedTarget);
  } else if (form.memory && !form.modrmMemory) {
    fixedTarget = pickLowTarget(random, width);
    const size = scratch.addressSize / 8;
    writeLittleEndian(bytes, scratch.length - size, size, fixedTarget);
  }
  const code = Uint8Array.from(bytes.slice(0, scratch.length));
  decode(code, 0, code.length, 64, scratch);
  return { form, code, insn: cloneInsn(scratch), fixedTarget, step: form.family === 'control' };
}

/** A random encoding of the form. */
export function randomEncoding(form: Form, random: Random): Encoding {
  for (let attempt = 0; attempt < 1000; attempt++) {
    const encoding = tryEncoding(form, random);
    if (encoding !== undefined) return encoding;
  }
  throw new Error(`no encoding leads to the form ${form.key}`);
}

/** Registers such that the memory operand lies at `target`; other registers keep their random values. */
function solveAddress(
  mem: MemoryOperand,
  addressSize: number,
  target: bigint,
  state: MachineState,
  random: Random,
): void {
  const { base, index, scale } = mem;
  const wanted = target - BigInt(mem.disp);
  const cut = (value: bigint): bigint => {
    if (addressSize === 64) return BigInt.asUintN(64, value);
    return BigInt.asUintN(32, value) | (BigInt(random.u32()) << 32n); // the upper half does not count
  };
  if (base === NO_REGISTER) {
    if (index !== NO_REGISTER) state.gpr[index] = cut(BigInt.asIntN(64, wanted) >> BigInt(scale));
  } else if (base === index) {
    state.gpr[base] = cut(BigInt.asIntN(64, wanted) / BigInt(1 + (1 << scale)));
  } else if (base !== RIP_BASE) {
    const indexValue = index === NO_REGISTER ? 0n : (state.gpr[index] ?? 0n) << BigInt(scale);
    state.gpr[base] = cut(wanted - indexValue);
  }
}

/** What kind of values the form's vector operands should hold. */
function styleOf(form: Form): ValueStyle {
  const { mnemonic } = form.row;
  if (/(PS|SS|PS2..|SS2SI|PI2PS|DQ2PS|SI2SS)$/.test(mnemonic)) return 'f32';
  if (/(PD|SD|SD2SI|PD2PI|DQ2PD|SI2SD)$/.test(mnemonic) && !/^MOVSD?$/.test(mnemonic)) return 'f64';
  return 'integer';
}

/** Fills `state` for one run of the encoding. The data area is filled by `newArea` once an encoding. */
export function randomState(encoding: Encoding, state: MachineState, random: Random): void {
  const { form, insn } = encoding;
  const style = styleOf(form);
  const bytes = accessBytes(insn);
  fillState(random, state, form.family === 'x87' ? 'x87' : form.family === 'mmx' ? 'mmx' : 'sse', style);
  const target = encoding.fixedTarget ?? pickTarget(random, bytes);
  const inArea = (address: bigint): number => Number(BigInt.asUintN(64, address)) - DATA_BASE;
  prepare(encoding, state, random, inArea(target));
  if (form.memory && encoding.fixedTarget === undefined)
    solveAddress(insn.mem, insn.addressSize, target, state, random);
}

export function newArea(encoding: Encoding, state: MachineState, random: Random): void {
  fillArea(random, state.data, styleOf(encoding.form), encoding.form.family === 'x87');
}
