/** Short names for the vCPU state that all rooms of the microcode use: registers, segments, flags, pending exception. */
import {
  CPU_BUDGET, CPU_BUDGET_GRANTED, CPU_EFER, CPU_EXACT, CPU_EXC, CPU_EXC_CR2, CPU_EXC_ERROR, CPU_EXIT_COUNTS, CPU_FLAG_AUX,
  CPU_FLAG_CF, CPU_FLAG_OV, CPU_FLAG_RES, CPU_CR0, CPU_IRQ_PENDING, CPU_RFLAGS, CPU_SEG, CPU_SINGLE, CS, EXACT_ALONE, EXC_GP, EXC_PF,
  SEG_ATTR, SEG_BASE, SEG_LIMIT, SEG_SELECTOR, SEG_SIZE, SS,
} from "../layout";
import {
  ATTR_DB, ATTR_L, CR0_PE, EFER_LMA, RFLAGS_AF, RFLAGS_ALL, RFLAGS_ARITHMETIC, RFLAGS_CF, RFLAGS_IF, RFLAGS_OF, RFLAGS_PF,
  RFLAGS_SF, RFLAGS_VM, RFLAGS_ZF,
} from "./bits";

export const RAX: u32 = 0;
export const RCX: u32 = 1;
export const RDX: u32 = 2;
export const RBX: u32 = 3;
export const RSP: u32 = 4;
export const RBP: u32 = 5;
export const RSI: u32 = 6;
export const RDI: u32 = 7;

@inline export function gpr(cpu: u32, i: u32): u64 { return load<u64>(cpu + (i << 3)); }
@inline export function setGpr(cpu: u32, i: u32, value: u64): void { store<u64>(cpu + (i << 3), value); }

/** Writes the low `bits` (16, 32, 64) of a register; 32 clears the high half, 16 keeps the rest. */
export function setGprBits(cpu: u32, i: u32, value: u64, bits: u32): void {
  if (bits == 64) store<u64>(cpu + (i << 3), value);
  else if (bits == 32) store<u64>(cpu + (i << 3), value & 0xffffffff);
  else store<u16>(cpu + (i << 3), <u16>value);
}

@inline export function segment(cpu: u32, seg: u32): u32 { return cpu + CPU_SEG + seg * SEG_SIZE; }
@inline export function segBase(cpu: u32, seg: u32): u64 { return load<u64>(segment(cpu, seg), SEG_BASE); }
@inline export function segLimit(cpu: u32, seg: u32): u32 { return load<u32>(segment(cpu, seg), SEG_LIMIT); }
@inline export function segAttr(cpu: u32, seg: u32): u32 { return load<u32>(segment(cpu, seg), SEG_ATTR); }
@inline export function segSelector(cpu: u32, seg: u32): u32 { return load<u16>(segment(cpu, seg), SEG_SELECTOR); }

export function setSegment(cpu: u32, seg: u32, selector: u32, base: u64, limit: u32, attr: u32): void {
  const s = segment(cpu, seg);
  store<u64>(s, base, SEG_BASE);
  store<u32>(s, limit, SEG_LIMIT);
  store<u32>(s, attr, SEG_ATTR);
  store<u16>(s, <u16>selector, SEG_SELECTOR);
}

@inline export function cpl(cpu: u32): u32 { return (load<u32>(cpu, CPU_SEG + SS * SEG_SIZE + SEG_ATTR) >> 5) & 3; }
@inline export function protectedMode(cpu: u32): bool { return (load<u32>(cpu, CPU_CR0) & CR0_PE) != 0; }
@inline export function vm86(cpu: u32): bool { return (load<u32>(cpu, CPU_RFLAGS) & RFLAGS_VM) != 0; }
/** Real-address or virtual-8086 mode: a selector is a paragraph number. */
@inline export function realSelectors(cpu: u32): bool { return !protectedMode(cpu) || vm86(cpu); }
/** IA-32e mode: 64-bit or compatibility. */
@inline export function longMode(cpu: u32): bool { return (load<u32>(cpu, CPU_EFER) & EFER_LMA) != 0; }
@inline export function code64(cpu: u32): bool {
  return longMode(cpu) && (load<u32>(cpu, CPU_SEG + CS * SEG_SIZE + SEG_ATTR) & ATTR_L) != 0;
}
@inline export function iopl(cpu: u32): u32 { return (load<u32>(cpu, CPU_RFLAGS) >> 12) & 3; }

/** What of RSP is the stack pointer, by SS.B and 64-bit mode. */
export function stackMask(cpu: u32): u64 {
  if (code64(cpu)) return ~(<u64>0);
  return segAttr(cpu, SS) & ATTR_DB ? 0xffffffff : 0xffff;
}

export function setStackPointer(cpu: u32, value: u64, mask: u64): void {
  const old = gpr(cpu, RSP);
  setGpr(cpu, RSP, mask == 0xffff ? (old & ~mask) | (value & mask) : value & mask);
}

export function canonical(va: u64): bool { return <u64>((<i64>(va << 16)) >> 16) == va; }

/** Makes an exception pending. Always 1, so that callers can return it. */
export function raise(cpu: u32, vector: i32, error: u32): i32 {
  store<i32>(cpu, vector, CPU_EXC);
  store<u32>(cpu, error, CPU_EXC_ERROR);
  return 1;
}

export function raiseGp(cpu: u32, error: u32): i32 { return raise(cpu, EXC_GP, error); }

export function raisePageFault(cpu: u32, va: u64, error: u32): i32 {
  store<u64>(cpu, va, CPU_EXC_CR2);
  return raise(cpu, EXC_PF, error);
}

@inline export function count(cpu: u32, what: u32): void {
  const at = cpu + CPU_EXIT_COUNTS + (what << 3);
  store<u64>(at, load<u64>(at) + 1);
}

/** RFLAGS as an image, the lazy arithmetic flags computed. */
export function getFlags(cpu: u32): u32 {
  const res = load<u64>(cpu, CPU_FLAG_RES), aux = load<u64>(cpu, CPU_FLAG_AUX);
  let f = load<u32>(cpu, CPU_RFLAGS) | 2;
  if (load<u32>(cpu, CPU_FLAG_CF)) f |= RFLAGS_CF;
  if (!(popcnt<u64>((res ^ (aux >> 8)) & 0xff) & 1)) f |= RFLAGS_PF;
  f |= <u32>aux & RFLAGS_AF;
  if (res == 0) f |= RFLAGS_ZF;
  if (<i64>(res ^ aux) < 0) f |= RFLAGS_SF;
  if (load<i64>(cpu, CPU_FLAG_OV) < 0) f |= RFLAGS_OF;
  return f;
}

/** Sets the arithmetic flags alone from an image. */
export function setArithmeticFlags(cpu: u32, f: u32): void {
  const res: u64 = f & RFLAGS_ZF ? 0 : 1;
  const parity: u64 = (f & RFLAGS_PF ? 0 : 1) ^ res;
  store<u64>(cpu, res, CPU_FLAG_RES);
  store<u64>(cpu, (<u64>(f & RFLAGS_SF) << 56) | (parity << 8) | <u64>(f & RFLAGS_AF), CPU_FLAG_AUX);
  store<u64>(cpu, <u64>(f & RFLAGS_CF), CPU_FLAG_CF);
  store<u64>(cpu, <u64>(f & RFLAGS_OF) << 52, CPU_FLAG_OV);
}

/** Sets every flag from an image; asks for attention when this opens the interrupt window. Callers run `updateMode`. */
export function setFlags(cpu: u32, f: u32): void {
  setArithmeticFlags(cpu, f);
  store<u32>(cpu, (f & RFLAGS_ALL & ~RFLAGS_ARITHMETIC) | 2, CPU_RFLAGS);
  if (f & RFLAGS_IF) offerInterrupts(cpu);
}

/** Interrupts may just have become deliverable: if one waits, the running block returns to the loop at its end. */
export function offerInterrupts(cpu: u32): void {
  if (atomic.load<u32>(cpu, CPU_IRQ_PENDING)) requestAttention(cpu);
}

/**
 * In deterministic time a device or a clock must see exactly how much was executed, and an interrupt it raises is taken right behind
 * the instruction, wherever blocks end. Nonzero: the instruction, of which nothing is done yet, leaves, and is repeated on its own.
 */
export function leftForAlone(cpu: u32): bool {
  if (!(load<u32>(cpu, CPU_EXACT) & EXACT_ALONE)) return false;
  store<u32>(cpu, 1, CPU_SINGLE);
  store<i32>(cpu, -1, CPU_EXC);
  return true;
}

/** Ends the budget without losing count of what was executed. */
export function requestAttention(cpu: u32): void {
  const budget = load<i32>(cpu, CPU_BUDGET);
  if (budget < 0) return;
  store<i32>(cpu, load<i32>(cpu, CPU_BUDGET_GRANTED) - budget - 1, CPU_BUDGET_GRANTED);
  store<i32>(cpu, -1, CPU_BUDGET);
}
