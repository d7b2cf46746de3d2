/**
 * The memory form of ModRM: base, index, displacement (Intel SDM volume 2, 2.1.5 and 2.2.1), and how bytes are read.
 */
import { type MemoryOperand, NO_REGISTER, RIP_BASE } from './insn.ts';

const REX_B = 1;
const REX_X = 2;
const SEGMENT_SS = 2;

/** The byte at `pos`, or undefined (0 in arithmetic) past the end of the array: see the head of decoder.ts. */
export function byteAt(bytes: Uint8Array, pos: number): number {
  // INVARIANT: undefined is only ever used in bit operations, and the result of such a decode is thrown away.
  return bytes[pos] as number;
}

export function int8At(bytes: Uint8Array, pos: number): number {
  return (byteAt(bytes, pos) << 24) >> 24;
}

export function int16At(bytes: Uint8Array, pos: number): number {
  return ((byteAt(bytes, pos) | (byteAt(bytes, pos + 1) << 8)) << 16) >> 16;
}

export function int32At(bytes: Uint8Array, pos: number): number {
  return (
    byteAt(bytes, pos) | (byteAt(bytes, pos + 1) << 8) | (byteAt(bytes, pos + 2) << 16) | (byteAt(bytes, pos + 3) << 24)
  );
}

function setDisp(mem: MemoryOperand, disp: number): void {
  mem.disp = disp;
  mem.dispHigh = disp >> 31;
}

/** Base and index of the 16-bit forms by rm: BX+SI BX+DI BP+SI BP+DI SI DI BP BX. */
const BASE_16 = [3, 3, 5, 5, 6, 7, 5, 3];
const INDEX_16 = [6, 7, 6, 7, NO_REGISTER, NO_REGISTER, NO_REGISTER, NO_REGISTER];
const REG_BP = 5;
const REG_SP = 4;

/** Memory form of ModRM with 16-bit addresses (SDM vol. 2 table 2-1). Returns the position after the displacement. */
export function decodeMemory16(
  bytes: Uint8Array,
  pos: number,
  mod: number,
  rm: number,
  segmentOverride: number,
  mem: MemoryOperand,
): number {
  if (mod === 0 && rm === 6) {
    setDisp(mem, int16At(bytes, pos));
    return pos + 2;
  }
  // INVARIANT: rm is 0..7, the tables have eight entries.
  const base = BASE_16[rm] as number;
  mem.base = base;
  mem.index = INDEX_16[rm] as number;
  if (base === REG_BP && segmentOverride < 0) mem.segment = SEGMENT_SS;
  if (mod === 0) return pos;
  if (mod === 1) {
    setDisp(mem, int8At(bytes, pos));
    return pos + 1;
  }
  setDisp(mem, int16At(bytes, pos));
  return pos + 2;
}

/** Memory form of ModRM with 32 or 64-bit addresses (SDM vol. 2 tables 2-2 and 2-3, section 2.2.1). */
export function decodeMemory32(
  bytes: Uint8Array,
  start: number,
  mod: number,
  rm: number,
  rex: number,
  segmentOverride: number,
  code64: boolean,
  mem: MemoryOperand,
): number {
  let pos = start;
  let base = rm;
  if (rm === 4) {
    const sib = byteAt(bytes, pos++) | 0;
    const index = ((sib >> 3) & 7) | ((rex & REX_X) << 2);
    if (index !== 4) {
      mem.index = index;
      mem.scale = sib >> 6;
    }
    base = sib & 7;
  }
  if (base === 5 && mod === 0) {
    // disp32 without a base; without SIB in 64-bit code it counts from rip
    mem.base = code64 && rm === 5 ? RIP_BASE : NO_REGISTER;
    setDisp(mem, int32At(bytes, pos));
    return pos + 4;
  }
  base |= (rex & REX_B) << 3;
  mem.base = base;
  if ((base === REG_SP || base === REG_BP) && segmentOverride < 0) mem.segment = SEGMENT_SS;
  if (mod === 1) {
    setDisp(mem, int8At(bytes, pos++));
  } else if (mod === 2) {
    setDisp(mem, int32At(bytes, pos));
    pos += 4;
  }
  return pos;
}
