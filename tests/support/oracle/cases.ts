/**
 * Test cases of a form: encodings with registers, addresses and immediates filled in, and states that make them do something.
 *
 * An encoding is used for several states (translating it once is what costs time in the JIT). For every state a target address
 * is chosen - mostly inside the data area, sometimes misaligned, across pages, read only, unmapped or non-canonical - and the
 * address registers are solved for it.
 */
import { cloneInsn, createInsn, decode } from '../../../src/cpu/x86/decode/decoder.ts';
import type { Insn } from '../../../src/cpu/x86/decode/insn.ts';
import { DecodeStatus, NO_REGISTER, OperandKind, RIP_BASE } from '../../../src/cpu/x86/decode/insn.ts';
import { type Form, formKey, templateBytes } from './forms.ts';
import { CODE_BASE, DATA_BASE, dataSegmentBase, ESP_HIGH_16, type MachineState, RSP } from './machine-state.ts';
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

interface MemoryBytes {
  readonly bytes: number[];
  /** Where a displacement that is the whole address stands, or -1. */
  readonly dispAt: number;
}

function pushDisplacement(random: Random, bytes: number[], size: number): void {
  const disp = random.oneIn(2) ? random.u32() : random.below(512) - 256;
  for (let i = 0; i < size; i++) bytes.push((disp >> (8 * i)) & 255);
}

/** ModRM (memory form), SIB and displacement for a reg field, with 32 or 64-bit addresses. */
function randomMemory(random: Random, reg: number): MemoryBytes {
  const mod = random.below(3);
  const rm = random.below(8);
  const bytes = [(mod << 6) | (reg << 3) | rm];
  let base = rm;
  if (rm === 4) {
    const sib = random.u32() & 255;
    bytes.push(sib);
    base = sib & 7;
  }
  if (mod === 0 && base === 5) return { bytes: [...bytes, 0, 0, 0, 0], dispAt: bytes.length };
  if (mod === 1) pushDisplacement(random, bytes, 1);
  if (mod === 2) pushDisplacement(random, bytes, 4);
  return { bytes, dispAt: -1 };
}

/** The same with 16-bit addresses. */
function randomMemory16(random: Random, reg: number): MemoryBytes {
  const mod = random.below(3);
  const rm = random.below(8);
  const bytes = [(mod << 6) | (reg << 3) | rm];
  if (mod === 0 && rm === 6) return { bytes: [...bytes, 0, 0], dispAt: bytes.length };
  if (mod !== 0) pushDisplacement(random, bytes, mod);
  return { bytes, dispAt: -1 };
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

/** Prefixes beside those that make the form: address size, segment overrides. */
function extraPrefixes(form: Form, random: Random): number[] {
  const prefixes: number[] = [];
  const usesAddress = form.modrmMemory || form.row.string === true;
  // In 32-bit code it makes a 16-bit address, where nothing is mapped.
  if (random.oneIn(form.codeSize === 32 ? 50 : usesAddress ? 8 : 64)) prefixes.push(0x67);
  // ES, CS, SS, DS: ignored in 64-bit code; the 16-bit code segment lies elsewhere.
  const overrides = form.codeSize === 16 ? [0x26, 0x36, 0x3e] : [0x26, 0x2e, 0x36, 0x3e];
  // GS has base 0 in 64-bit code on both sides.
  if (form.codeSize === 64) overrides.push(0x65);
  if (random.oneIn(24)) prefixes.push(random.pick(overrides));
  return prefixes;
}

function tryEncoding(form: Form, random: Random): Encoding | undefined {
  const { codeSize } = form;
  const template = random.pick(form.templates);
  const extraRex = codeSize === 64 && random.oneIn(2) ? random.below(8) : 0;
  const bytes = extraPrefixes(form, random);
  const has67 = bytes.includes(0x67);
  let dispAt = -1;
  const isMemory = form.modrmMemory && template.modrm < 0xc0;
  const vvvv = random.below(codeSize === 64 ? 16 : 8);
  bytes.push(...templateBytes(template, extraRex, vvvv, isMemory ? -1 : template.modrm));
  if (isMemory) {
    const is16 = codeSize === 16 ? !has67 : codeSize === 32 && has67;
    const memory = is16 ? randomMemory16(random, template.modrm >> 3) : randomMemory(random, template.modrm >> 3);
    if (memory.dispAt >= 0) dispAt = bytes.length + memory.dispAt;
    bytes.push(...memory.bytes);
  }
  bytes.push(...randomTail(random));
  if (decode(Uint8Array.from(bytes), 0, bytes.length, codeSize, scratch) !== DecodeStatus.ok) return undefined;
  if (formKey(scratch) !== form.key) return undefined;
  const segmentBase = BigInt(dataSegmentBase(codeSize));
  let fixedTarget: bigint | undefined;
  if (dispAt >= 0 && scratch.mem.index === NO_REGISTER) {
    fixedTarget = pickLowTarget(random, accessBytes(scratch));
    const offset = fixedTarget - segmentBase;
    const ripRelative = scratch.mem.base === RIP_BASE;
    const size = scratch.addressSize === 16 ? 2 : 4;
    writeLittleEndian(bytes, dispAt, size, ripRelative ? offset - BigInt(CODE_BASE + scratch.length) : offset);
  } else if (form.memory && !form.modrmMemory) {
    fixedTarget = pickLowTarget(random, accessBytes(scratch));
    const size = scratch.addressSize / 8;
    writeLittleEndian(bytes, scratch.length - size, size, fixedTarget - segmentBase);
  }
  const code = Uint8Array.from(bytes.slice(0, scratch.length));
  decode(code, 0, code.length, codeSize, scratch);
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

/** Registers such that the memory operand lies at `offset` in its segment; other registers keep their random values. */
function solveAddress(insn: Insn, offset: bigint, state: MachineState, random: Random): void {
  const { base, index, scale, disp } = insn.mem;
  const wanted = offset - BigInt(disp);
  // What lies above the address size does not count, so it is noise (as far as registers go).
  const cut = (value: bigint): bigint => {
    if (insn.addressSize === 64) return BigInt.asUintN(64, value);
    const noise = BigInt(random.u32()) << BigInt(insn.addressSize);
    return BigInt.asUintN(insn.addressSize, value) | BigInt.asUintN(state.codeSize === 64 ? 64 : 32, noise);
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

/** Cuts registers to what code of the width has; in 16-bit code addresses in the area become offsets in its segment. */
function fitRegisters(state: MachineState): void {
  const { codeSize, gpr } = state;
  if (codeSize === 64) return;
  for (let i = 0; i < 16; i++) {
    const value = BigInt.asUintN(32, gpr[i] ?? 0n);
    const near = value - BigInt(DATA_BASE);
    gpr[i] = i >= 8 ? 0n : codeSize === 16 && near > -4096n && near <= 0xffffn ? BigInt.asUintN(16, near) : value;
  }
  if (codeSize === 16) gpr[RSP] = ((gpr[RSP] ?? 0n) & 0xffffn) | BigInt(ESP_HIGH_16 << 16);
}

/** Fills `state` for one run of the encoding. The data area is filled by `newArea` once an encoding. */
export function randomState(encoding: Encoding, state: MachineState, random: Random): void {
  const { form, insn } = encoding;
  const style = styleOf(form);
  state.codeSize = form.codeSize;
  fillState(random, state, form.family === 'x87' ? 'x87' : form.family === 'mmx' ? 'mmx' : 'sse', style);
  const target = encoding.fixedTarget ?? pickTarget(random, accessBytes(insn));
  prepare(encoding, state, random, Number(BigInt.asUintN(64, target)) - DATA_BASE);
  fitRegisters(state);
  if (form.memory && encoding.fixedTarget === undefined) {
    solveAddress(insn, target - BigInt(dataSegmentBase(form.codeSize)), state, random);
    if (form.codeSize === 16) state.gpr[RSP] = BigInt.asUintN(16, state.gpr[RSP] ?? 0n) | BigInt(ESP_HIGH_16 << 16);
  }
}

export function newArea(encoding: Encoding, state: MachineState, random: Random): void {
  fillArea(random, state.data, styleOf(encoding.form), encoding.form.family === 'x87');
}
