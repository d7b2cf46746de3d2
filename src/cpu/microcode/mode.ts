/** The translation mode: what decoding, addressing and the TLB set depend on, recomputed whenever one of its sources changes. */
import {
  CPU_ALIGN_CHECK, CPU_CR0, CPU_CR4, CPU_LAST_CS_BASE, CPU_LAST_CS_LIMIT, CPU_MODE, CPU_RFLAGS,
  CPU_SSE_FAULT, CPU_TLB_SET, CPU_XCR0, CS, DS, ES, EXC_NM, EXC_UD, MODE_32, MODE_64, MODE_AVX, MODE_CPL_SHIFT,
  MODE_FLAT, MODE_PROTECTED, MODE_STACK32, MODE_TF, MODE_VM86,
  SEG_ATTR_UNUSABLE, SS,
} from "../layout";
import {
  ATTR_CODE, ATTR_CONFORMING, ATTR_DB, ATTR_L, ATTR_PRESENT, ATTR_S, ATTR_WRITABLE, CR0_AM, CR0_EM, CR0_PE, CR0_TS, CR4_OSFXSR, CR4_OSXSAVE, CR4_SMAP,
  RFLAGS_AC, RFLAGS_TF, RFLAGS_VM,
} from "./bits";
import { breakpointsEnabled } from "./debug";
import { cpl, longMode, raise, segAttr, segBase, segLimit } from "./state";
import { bumpGeneration, flushTlb, supervisorSet, suspendedSet, updateJumpGeneration, userSet } from "./tlb-banks";

const FLAT_MASK: u32 = SEG_ATTR_UNUSABLE | ATTR_PRESENT | ATTR_S | ATTR_CODE | ATTR_CONFORMING | ATTR_WRITABLE;
const FLAT_DATA: u32 = ATTR_PRESENT | ATTR_S | ATTR_WRITABLE;

function flatData(cpu: u32, seg: u32): bool {
  return segBase(cpu, seg) == 0 && segLimit(cpu, seg) == 0xffffffff && (segAttr(cpu, seg) & FLAT_MASK) == FLAT_DATA;
}

function flatCode(cpu: u32): bool {
  const readable = ATTR_PRESENT | ATTR_S | ATTR_CODE | ATTR_WRITABLE;
  return segBase(cpu, CS) == 0 && segLimit(cpu, CS) == 0xffffffff && (segAttr(cpu, CS) & readable) == readable;
}

/** SDM volume 3, chapter 14.3.1: how SSE instructions fault. */
function sseExceptionBy(cr0: u32, cr4: u32): u32 {
  if ((cr0 & CR0_EM) || !(cr4 & CR4_OSFXSR)) return EXC_UD;
  return cr0 & CR0_TS ? EXC_NM : 0;
}

const XCR0_SSE_AVX: u64 = 6;

/** The same for AVX instructions. */
function avxExceptionBy(cpu: u32): u32 {
  if (!(load<u32>(cpu, CPU_CR4) & CR4_OSXSAVE) || (load<u64>(cpu, CPU_XCR0) & XCR0_SSE_AVX) != XCR0_SSE_AVX) return EXC_UD;
  return load<u32>(cpu, CPU_CR0) & CR0_TS ? EXC_NM : 0;
}

/** Raises what an AVX instruction raises outside MODE_AVX. */
export function avxFault(cpu: u32): void {
  raise(cpu, avxExceptionBy(cpu), 0);
}

/** Recomputes CPU_TLB_SET alone, at CPL < 3. */
export function updateTlbSet(cpu: u32): void {
  const suspended = (load<u32>(cpu, CPU_RFLAGS) & RFLAGS_AC) && (load<u32>(cpu, CPU_CR4) & CR4_SMAP);
  store<u32>(cpu, suspended ? suspendedSet(cpu) : supervisorSet(cpu), CPU_TLB_SET);
}

/** Recomputes CPU_MODE, CPU_TLB_SET, CPU_SSE_FAULT and CPU_JUMP_GEN from CR0, CR4, XCR0, EFER, the segments and RFLAGS. */
export function updateMode(cpu: u32): void {
  const rflags = load<u32>(cpu, CPU_RFLAGS), csAttr = segAttr(cpu, CS);
  let mode: u32 = (rflags & RFLAGS_TF) || breakpointsEnabled(cpu) ? MODE_TF : 0;
  let set: u32 = supervisorSet(cpu);
  let privilege: u32 = 0;
  if (load<u32>(cpu, CPU_CR0) & CR0_PE) {
    mode |= MODE_PROTECTED;
    privilege = rflags & RFLAGS_VM ? 3 : cpl(cpu);
    mode |= privilege << MODE_CPL_SHIFT;
    if (rflags & RFLAGS_VM) mode |= MODE_VM86;
  }
  if (longMode(cpu) && (csAttr & ATTR_L)) {
    mode |= MODE_64 | MODE_FLAT;
  } else {
    if (csAttr & ATTR_DB) mode |= MODE_32;
    if (segAttr(cpu, SS) & ATTR_DB) mode |= MODE_STACK32;
    if ((mode & MODE_PROTECTED) && flatCode(cpu) && flatData(cpu, DS) && flatData(cpu, ES) && flatData(cpu, SS)) mode |= MODE_FLAT;
    if (segBase(cpu, CS) != load<u64>(cpu, CPU_LAST_CS_BASE) || segLimit(cpu, CS) != load<u32>(cpu, CPU_LAST_CS_LIMIT)) {
      store<u64>(cpu, segBase(cpu, CS), CPU_LAST_CS_BASE);
      store<u32>(cpu, segLimit(cpu, CS), CPU_LAST_CS_LIMIT);
      bumpGeneration(cpu);
    }
  }
  if (privilege == 3) {
    set = userSet(cpu);
    const checked: u32 = (rflags & RFLAGS_AC) && (load<u32>(cpu, CPU_CR0) & CR0_AM) ? 1 : 0;
    if (checked != load<u32>(cpu, CPU_ALIGN_CHECK)) {
      store<u32>(cpu, checked, CPU_ALIGN_CHECK);
      flushTlb(cpu, 0);
    }
  }
  else if ((rflags & RFLAGS_AC) && (load<u32>(cpu, CPU_CR4) & CR4_SMAP)) set = suspendedSet(cpu);
  if (!avxExceptionBy(cpu)) mode |= MODE_AVX;
  store<u32>(cpu, mode, CPU_MODE);
  store<u32>(cpu, sseExceptionBy(load<u32>(cpu, CPU_CR0), load<u32>(cpu, CPU_CR4)), CPU_SSE_FAULT);
  store<u32>(cpu, set, CPU_TLB_SET);
  updateJumpGeneration(cpu);
}
