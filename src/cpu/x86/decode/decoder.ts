/**
 * The x86 instruction decoder: bytes to `Insn`, for 16, 32 and 64-bit code. Intel SDM volume 2, chapter 2.
 *
 * What exists is in tables/; this file knows prefixes, ModRM, SIB, displacements and immediates. Bytes are read without
 * asking whether they are there: what lies past `limit` reads as garbage or 0, and a decode that went past it is reported
 * as truncated whatever came out. No allocation, no state between calls except the caller's `Insn`.
 *
 * Left to the caller: rows marked `protectedOnly` in real-address and virtual-8086 mode, and CPUID feature bits.
 */
import {
  type CompiledRow,
  compileTables,
  KEY_B,
  KEY_CODE64,
  KEY_L,
  KEY_MOD3,
  KEY_REG_SHIFT,
  KEY_RM_SHIFT,
  KEY_W,
  MAP_0F,
  MAP_0F38,
  MAP_0F3A,
  MAP_ONE_BYTE,
  MAP_VEX,
  PP_66,
  PP_F2,
  PP_F3,
  PP_NONE,
} from './compile.ts';
import {
  type Bits,
  DecodeStatus,
  type Insn,
  type InsnRow,
  type MemoryOperand,
  NO_REGISTER,
  type Operand,
  OperandKind,
} from './insn.ts';
import { byteAt, decodeMemory16, decodeMemory32, int16At, int32At, int8At } from './modrm.ts';
import { Method, widthOf } from './operand-codes.ts';
import { ALL_TABLES } from './tables/index.ts';

/** Longest instruction, in bytes (SDM vol. 2, 2.3.11); a longer one raises #GP. */
export const MAX_INSN_BYTES = 15;

const TABLES = compileTables(ALL_TABLES);

/** What `Insn.row` is when there is no instruction. */
const NO_ROW: InsnRow = { id: -1, name: '(bad)', mnemonic: '(bad)', encoding: '', operands: [] };

// ---- prefix bytes ----
const PREFIX_NONE = 0;
const PREFIX_SEGMENT = 1;
const PREFIX_OPERAND_SIZE = 2;
const PREFIX_ADDRESS_SIZE = 3;
const PREFIX_REPEAT = 4;
const PREFIX_LOCK = 5;
/** Only in 64-bit code. */
const PREFIX_REX = 6;
const PREFIX_CLASS = new Uint8Array(256);
for (const b of [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]) PREFIX_CLASS[b] = PREFIX_SEGMENT;
PREFIX_CLASS[0x66] = PREFIX_OPERAND_SIZE;
PREFIX_CLASS[0x67] = PREFIX_ADDRESS_SIZE;
PREFIX_CLASS[0xf0] = PREFIX_LOCK;
PREFIX_CLASS[0xf2] = PREFIX_REPEAT;
PREFIX_CLASS[0xf3] = PREFIX_REPEAT;
for (let b = 0x40; b < 0x50; b++) PREFIX_CLASS[b] = PREFIX_REX;

const REX_B = 1;
const REX_X = 2;
const REX_R = 4;
const REX_W = 8;

const SEGMENT_CS = 1;
const SEGMENT_DS = 3;
const SEGMENT_FS = 4;

/** CR0 CR2 CR3 CR4 CR8 exist. */
const VALID_CONTROL_REGISTERS = (1 << 0) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 8);

function setOperand(op: Operand, kind: OperandKind, reg: number, bytes: number): void {
  op.kind = kind;
  op.reg = reg;
  op.bytes = bytes;
}

/** A general register; one-byte 4..7 without REX are AH CH DH BH. */
function setGpr(op: Operand, reg: number, bytes: number, hasRex: boolean): void {
  if (bytes === 1 && reg >= 4 && !hasRex) setOperand(op, OperandKind.gpr8high, reg - 4, 1);
  else setOperand(op, OperandKind.gpr, reg, bytes);
}

function setImm(out: Insn, low: number): void {
  out.immLow = low;
  out.immHigh = low >> 31;
}

/** VSIB: the index field of the SIB byte names a vector register, whatever its number. */
function vectorIndex(sib: number, rex: number, mem: MemoryOperand): void {
  mem.vectorIndex = ((sib >> 3) & 7) | ((rex & REX_X) << 2);
  mem.index = NO_REGISTER;
  mem.scale = (sib >> 6) & 3;
}

/** Destination, indices and mask of a gather must be three registers. */
function clashes(out: Insn): boolean {
  const [destination, , mask] = out.operands;
  const index = out.mem.vectorIndex;
  return destination.reg === index || mask.reg === index || destination.reg === mask.reg;
}

function finish(out: Insn, status: DecodeStatus, offset: number, pos: number, limit: number): DecodeStatus {
  out.length = pos - offset;
  if (pos > limit && limit - offset < MAX_INSN_BYTES) return DecodeStatus.truncated;
  if (out.length > MAX_INSN_BYTES) return DecodeStatus.tooLong;
  return status;
}

function invalid(out: Insn, offset: number, pos: number, limit: number): DecodeStatus {
  out.row = NO_ROW;
  out.operandCount = 0;
  return finish(out, DecodeStatus.invalid, offset, pos, limit);
}

/**
 * Decodes the instruction at `bytes[offset]`; nothing at or after `limit` is believed.
 *
 * @returns `DecodeStatus`. `out` is meaningful only after `ok`; after `invalid` its `length` says how far the decoder looked.
 */
export function decode(bytes: Uint8Array, offset: number, limit: number, codeSize: Bits, out: Insn): DecodeStatus {
  const code64 = codeSize === 64;
  const maxPos = offset + MAX_INSN_BYTES;
  let pos = offset;
  let rex = 0;
  let has66 = false;
  let has67 = false;
  let rep = 0;
  let lock = false;
  let segmentOverride = -1;
  let b = 0;
  for (;;) {
    if (pos >= maxPos) return finish(out, DecodeStatus.tooLong, offset, pos + 1, limit);
    b = byteAt(bytes, pos++) | 0;
    const prefix = PREFIX_CLASS[b];
    if (prefix === PREFIX_NONE) break;
    if (prefix === PREFIX_REX) {
      if (!code64) break;
      rex = b;
      continue;
    }
    rex = 0; // REX counts only immediately before the opcode
    if (prefix === PREFIX_OPERAND_SIZE) has66 = true;
    else if (prefix === PREFIX_REPEAT) rep = b;
    else if (prefix === PREFIX_ADDRESS_SIZE) has67 = true;
    else if (prefix === PREFIX_LOCK) lock = true;
    else if (b >= 0x64) segmentOverride = b - 0x64 + SEGMENT_FS;
    else if (!code64) segmentOverride = (b >> 3) & 3; // ignored in 64-bit code
  }

  let map = MAP_ONE_BYTE;
  let pp = rep === 0xf3 ? PP_F3 : rep === 0xf2 ? PP_F2 : has66 ? PP_66 : PP_NONE;
  let w = rex & REX_W;
  let vex = false;
  let vvvv = 0;
  let vexL = 0;
  if (b === 0x0f) {
    map = MAP_0F;
    b = byteAt(bytes, pos++) | 0;
    if (b === 0x38 || b === 0x3a) {
      map = b === 0x38 ? MAP_0F38 : MAP_0F3A;
      b = byteAt(bytes, pos++) | 0;
    }
  } else if ((b === 0xc4 || b === 0xc5) && (code64 || (byteAt(bytes, pos) & 0xc0) === 0xc0)) {
    // VEX (SDM vol. 2, 2.3.5); outside 64-bit code LES and LDS unless the next byte would be a register form
    if (rex !== 0 || has66 || rep !== 0 || lock) return invalid(out, offset, pos, limit);
    vex = true;
    let last = byteAt(bytes, pos++) | 0;
    rex = 0x40 | ((~last >> 5) & REX_R);
    map = MAP_VEX + 1;
    if (b === 0xc4) {
      const first = last;
      const vexMap = first & 0x1f;
      if (vexMap < 1 || vexMap > 3) return invalid(out, offset, pos, limit);
      map = MAP_VEX + vexMap;
      rex |= (~first >> 5) & 7; // inverted R X B stand in REX order
      last = byteAt(bytes, pos++) | 0;
      w = (last >> 4) & REX_W;
    }
    if (!code64) rex = 0;
    vvvv = (~last >> 3) & 15;
    vexL = last & 4;
    pp = last & 3; // VEX.pp numbers them as PP_* does: none, 66, F3, F2
    b = byteAt(bytes, pos++) | 0;
  }

  const entry = TABLES.entries[(map << 8) | b];
  if (entry === undefined) return invalid(out, offset, pos, limit);
  let key =
    pp |
    (code64 ? KEY_CODE64 : 0) |
    (w !== 0 ? KEY_W : 0) |
    ((rex & REX_B) !== 0 ? KEY_B : 0) |
    (vexL !== 0 ? KEY_L : 0);
  let modrm = 0;
  let list = 0;
  if (entry.hasModrm) {
    modrm = byteAt(bytes, pos++) | 0;
    const reg = (modrm >> 3) & 7;
    key |= (reg << KEY_REG_SHIFT) | ((modrm & 7) << KEY_RM_SHIFT);
    list = reg;
    if (modrm >= 0xc0) {
      key |= KEY_MOD3;
      list |= 8;
    }
  }
  // INVARIANT: there are 16 lists with ModRM, one without.
  const candidates = entry.lists[list] as CompiledRow[];
  let found: CompiledRow | undefined;
  for (let i = 0; i < candidates.length; i++) {
    // INVARIANT: i < length.
    const candidate = candidates[i] as CompiledRow;
    if ((key & candidate.mask) === candidate.value) {
      found = candidate;
      break;
    }
  }
  if (found === undefined || (vex && !found.usesVvvv && vvvv !== 0)) return invalid(out, offset, pos, limit);

  let operandSize: Bits;
  const small = has66 && !found.consumes66;
  if (code64) {
    if (found.forced64 || w !== 0) operandSize = 64;
    else if (small) operandSize = 16;
    else operandSize = found.default64 ? 64 : 32;
  } else {
    operandSize = (codeSize === 16) === small ? 32 : 16;
  }
  const addressSize: Bits = code64 ? (has67 ? 32 : 64) : (codeSize === 16) === has67 ? 32 : 16;

  const mem = out.mem;
  mem.base = NO_REGISTER;
  mem.index = NO_REGISTER;
  mem.vectorIndex = NO_REGISTER;
  mem.scale = 0;
  mem.disp = 0;
  mem.dispHigh = 0;
  mem.segment = segmentOverride < 0 ? SEGMENT_DS : segmentOverride;
  const isMem = entry.hasModrm && modrm < 0xc0 && !found.anyMod;
  if (isMem) {
    const sib = pos;
    if (found.vsib && (addressSize === 16 || (modrm & 7) !== 4)) return invalid(out, offset, pos, limit);
    if (addressSize === 16) pos = decodeMemory16(bytes, pos, modrm >> 6, modrm & 7, segmentOverride, mem);
    else pos = decodeMemory32(bytes, pos, modrm >> 6, modrm & 7, rex, segmentOverride, code64, mem);
    if (found.vsib) vectorIndex(byteAt(bytes, sib), rex, mem);
  }

  const regField = ((modrm >> 3) & 7) | ((rex & REX_R) << 1);
  const rmField = (modrm & 7) | ((rex & REX_B) << 3);
  const hasRex = rex !== 0;
  const operandCount = found.operandCount;
  out.immLow = 0;
  out.immHigh = 0;
  out.imm2 = 0;
  for (let i = 0; i < operandCount; i++) {
    // INVARIANT: i < operandCount <= 4 in these arrays.
    const op = out.operands[i] as Operand;
    const width = widthOf(found.widths[i] as number, operandSize, codeSize, vexL);
    switch (found.methods[i]) {
      case Method.gprOrMem:
        if (isMem)
          setOperand(op, OperandKind.mem, 0, widthOf(found.memWidths[i] as number, operandSize, codeSize, vexL));
        else setGpr(op, rmField, width, hasRex);
        break;
      case Method.gprReg:
        setGpr(op, regField, width, hasRex);
        break;
      case Method.gprOpcode:
        setGpr(op, (b & 7) | ((rex & REX_B) << 3), width, hasRex);
        break;
      case Method.gprVvvv:
        setOperand(op, OperandKind.gpr, code64 ? vvvv : vvvv & 7, width);
        break;
      case Method.xmmOrMem:
        if (isMem) setOperand(op, OperandKind.mem, 0, width);
        else setOperand(op, OperandKind.xmm, rmField, width);
        break;
      case Method.xmmReg:
        setOperand(op, OperandKind.xmm, regField, width);
        break;
      case Method.xmmVvvv:
        setOperand(op, OperandKind.xmm, code64 ? vvvv : vvvv & 7, width);
        break;
      case Method.xmmImm: {
        const register = (byteAt(bytes, pos++) >> 4) & 15;
        setOperand(op, OperandKind.xmm, code64 ? register : register & 7, width);
        break;
      }
      case Method.vsib:
        setOperand(op, OperandKind.mem, 0, width);
        break;
      case Method.mmxOrMem:
        if (isMem) setOperand(op, OperandKind.mem, 0, width);
        else setOperand(op, OperandKind.mmx, rmField & 7, width);
        break;
      case Method.mmxReg:
        setOperand(op, OperandKind.mmx, regField & 7, width);
        break;
      case Method.segment: {
        const reg = regField & 7;
        if (reg > 5 || (i === 0 && reg === SEGMENT_CS)) return invalid(out, offset, pos, limit);
        setOperand(op, OperandKind.segment, reg, 2);
        break;
      }
      case Method.control:
        if (((VALID_CONTROL_REGISTERS >> regField) & 1) === 0) return invalid(out, offset, pos, limit);
        setOperand(op, OperandKind.control, regField, width);
        break;
      case Method.debug:
        if (regField > 7) return invalid(out, offset, pos, limit);
        setOperand(op, OperandKind.debug, regField, width);
        break;
      case Method.immZeroExtended:
        setOperand(op, OperandKind.imm, 0, width);
        setImm(out, width === 1 ? byteAt(bytes, pos) | 0 : int16At(bytes, pos) & 0xffff);
        pos += width;
        break;
      case Method.immSignExtended:
      case Method.immFull:
        setOperand(op, OperandKind.imm, 0, width);
        if (width === 1) setImm(out, int8At(bytes, pos));
        else if (width === 2) setImm(out, int16At(bytes, pos));
        else setImm(out, int32At(bytes, pos));
        if (width === 8) out.immHigh = int32At(bytes, pos + 4);
        pos += width;
        break;
      case Method.imm2:
        setOperand(op, OperandKind.imm2, 0, 1);
        out.imm2 = byteAt(bytes, pos++) | 0;
        break;
      case Method.rel:
        setOperand(op, OperandKind.rel, 0, width);
        setImm(out, width === 1 ? int8At(bytes, pos) : width === 2 ? int16At(bytes, pos) : int32At(bytes, pos));
        pos += width;
        break;
      case Method.far: {
        setOperand(op, OperandKind.far, 0, width);
        const offsetBytes = width - 2;
        out.immLow = offsetBytes === 2 ? int16At(bytes, pos) & 0xffff : int32At(bytes, pos);
        out.imm2 = int16At(bytes, pos + offsetBytes) & 0xffff;
        pos += width;
        break;
      }
      case Method.offset:
        setOperand(op, OperandKind.mem, 0, width);
        if (addressSize === 16) {
          mem.disp = int16At(bytes, pos) & 0xffff;
        } else {
          mem.disp = int32At(bytes, pos);
          if (addressSize === 64) mem.dispHigh = int32At(bytes, pos + 4);
        }
        pos += addressSize >> 3;
        break;
      case Method.stringSource:
        setOperand(op, OperandKind.stringSource, 0, width);
        break;
      case Method.stringDest:
        setOperand(op, OperandKind.stringDest, 0, width);
        break;
      case Method.fixedGpr:
        setOperand(op, OperandKind.gpr, found.regs[i] as number, width);
        break;
      case Method.fixedSegment:
        setOperand(op, OperandKind.segment, found.regs[i] as number, width);
        break;
      case Method.fixedSt:
        setOperand(op, OperandKind.st, 0, width);
        break;
      case Method.stRm:
        setOperand(op, OperandKind.st, modrm & 7, width);
        break;
      case Method.fixedXmm:
        setOperand(op, OperandKind.xmm, found.regs[i] as number, width);
        break;
      case Method.constant:
        setOperand(op, OperandKind.constant, found.regs[i] as number, width);
        break;
    }
  }
  if (found.vsib && clashes(out)) return invalid(out, offset, pos, limit);
  if (lock && !(found.row.lock === true && out.operands[0].kind === OperandKind.mem))
    return invalid(out, offset, pos, limit);

  out.row = found.row;
  out.operandSize = operandSize;
  out.addressSize = addressSize;
  out.codeSize = codeSize;
  out.operandCount = operandCount;
  // What looks at an operand's kind finds nothing of the instruction before.
  for (let i = operandCount; i < 4; i++) out.operands[i as 0 | 1 | 2 | 3].kind = OperandKind.none; // INVARIANT: 0 <= i < 4
  out.condition = b & 15;
  out.lock = lock;
  out.rep = rep;
  out.segmentOverride = segmentOverride;
  out.hasRex = hasRex && !vex;
  out.rexW = code64 && w !== 0;
  return finish(out, DecodeStatus.ok, offset, pos, limit);
}

function createOperand(): Operand {
  return { kind: OperandKind.none, reg: 0, bytes: 0 };
}

/** An empty `Insn` for `decode` to fill. */
export function createInsn(): Insn {
  return {
    row: NO_ROW,
    length: 0,
    operandSize: 32,
    addressSize: 32,
    codeSize: 32,
    operands: [createOperand(), createOperand(), createOperand(), createOperand()],
    operandCount: 0,
    mem: {
      base: NO_REGISTER,
      index: NO_REGISTER,
      scale: 0,
      disp: 0,
      dispHigh: 0,
      vectorIndex: NO_REGISTER,
      segment: SEGMENT_DS,
    },
    immLow: 0,
    immHigh: 0,
    imm2: 0,
    condition: 0,
    lock: false,
    rep: 0,
    segmentOverride: -1,
    hasRex: false,
    rexW: false,
  };
}

/** A copy that later decodes do not change. */
export function cloneInsn(i: Insn): Insn {
  const [a, b, c, d] = i.operands;
  return { ...i, operands: [{ ...a }, { ...b }, { ...c }, { ...d }], mem: { ...i.mem } };
}

/** Every row of the tables; a row's place is its `id`. */
export function allRows(): readonly InsnRow[] {
  return TABLES.rows;
}
