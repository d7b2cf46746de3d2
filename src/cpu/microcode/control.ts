/** Control registers, XCR0 and debug registers: what may be written, and what follows (Intel SDM volume 3, 2.5, 2.6, 17.2). */
import {
  CPU_ABSENT_CR4, CPU_CR0, CPU_CR2, CPU_CR3, CPU_CR4, CPU_CR8, CPU_DR0, CPU_DR6, CPU_DR7, CPU_EFER, CPU_PDPTE, CPU_SCRATCH, CPU_XCR0, CS,
  EXC_UD,
} from "../layout";
import {
  ATTR_L, CR0_CD, CR0_ET, CR0_NW, CR0_PE, CR0_PG, CR0_WP, CR4_DE, CR4_FSGSBASE, CR4_MCE, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE,
  CR4_PAE, CR4_PCE, CR4_PCIDE, CR4_PGE, CR4_PKE, CR4_PSE, CR4_SMAP, CR4_SMEP, CR4_TSD, CR4_UMIP, EFER_LMA, EFER_LME,
} from "./bits";
import { breakpointsEnabled, raiseGeneralDetect } from "./debug";
import { hostCpuid, tprWritten } from "./host";
import { updateMode } from "./mode";
import { PHYSICAL_BITS } from "./paging";
import { physRead } from "./physical";
import { code64, leftForAlone, longMode, offerInterrupts, raise, raiseGp, segAttr } from "./state";
import { flushTlb, switchContext } from "./tlb-banks";

const CR0_DEFINED: u64 = 0xe005003f;
/** What this processor has. VME, PVI, SMX, VMX, LA57, CET are absent, and setting them is #GP. */
const CR4_DEFINED: u32 =
  CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE |
  CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP | CR4_PKE;
const CR4_PAGING: u32 = CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE;
const PDPTE_RESERVED: u64 = 0x1e6 | ~(((<u64>1) << PHYSICAL_BITS) - 1);
const XCR0_X87: u64 = 1;
const XCR0_SSE: u64 = 2;
const XCR0_AVX: u64 = 4;

/** Loads the four PAE pointers that `cr3` names. Nonzero = a reserved bit was set, #GP pending, nothing changed. */
export function loadPdptes(cpu: u32, cr3: u64): i32 {
  const table = cr3 & 0xffffffe0;
  for (let i: u32 = 0; i < 4; i++) {
    const entry = physRead(cpu, table + (i << 3), 8);
    if ((entry & 1) && (entry & PDPTE_RESERVED)) return raiseGp(cpu, 0);
    store<u64>(cpu + CPU_SCRATCH + (i << 3), entry);
  }
  memory.copy(cpu + CPU_PDPTE, cpu + CPU_SCRATCH, 32);
  return 0;
}

function writeCr0(cpu: u32, value: u64): i32 {
  if (value >> 32) return raiseGp(cpu, 0);
  const old = load<u32>(cpu, CPU_CR0), cr0 = <u32>(value & CR0_DEFINED) | CR0_ET, cr4 = load<u32>(cpu, CPU_CR4);
  if ((cr0 & CR0_NW) && !(cr0 & CR0_CD)) return raiseGp(cpu, 0);
  if ((cr0 & CR0_PG) && !(cr0 & CR0_PE)) return raiseGp(cpu, 0);
  let efer = load<u32>(cpu, CPU_EFER);
  if (!(old & CR0_PG) && (cr0 & CR0_PG)) {
    if (efer & EFER_LME) {
      if (!(cr4 & CR4_PAE) || (segAttr(cpu, CS) & ATTR_L)) return raiseGp(cpu, 0);
      efer |= EFER_LMA;
    } else if ((cr4 & CR4_PAE) && loadPdptes(cpu, load<u64>(cpu, CPU_CR3))) return 1;
  } else if ((old & CR0_PG) && !(cr0 & CR0_PG)) {
    if (code64(cpu) || (cr4 & CR4_PCIDE)) return raiseGp(cpu, 0);
    efer &= ~EFER_LMA;
  } else if ((cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA) && ((old ^ cr0) & (CR0_CD | CR0_NW))) {
    if (loadPdptes(cpu, load<u64>(cpu, CPU_CR3))) return 1;
  }
  store<u64>(cpu, cr0, CPU_CR0);
  store<u32>(cpu, efer, CPU_EFER);
  if ((old ^ cr0) & (CR0_PG | CR0_WP)) flushTlb(cpu, 0);
  updateMode(cpu);
  return 0;
}

function writeCr3(cpu: u32, value: u64): i32 {
  const cr4 = load<u32>(cpu, CPU_CR4);
  let keep = false;
  if (longMode(cpu)) {
    if (cr4 & CR4_PCIDE) {
      keep = value >> 63 != 0;
      value &= ~((<u64>1) << 63);
    }
    if (value >> PHYSICAL_BITS) return raiseGp(cpu, 0);
  } else {
    value &= 0xffffffff;
    if ((load<u32>(cpu, CPU_CR0) & CR0_PG) && (cr4 & CR4_PAE) && loadPdptes(cpu, value)) return 1;
  }
  store<u64>(cpu, value, CPU_CR3);
  switchContext(cpu, keep);
  return 0;
}

function writeCr4(cpu: u32, value: u64): i32 {
  if (value & ~(<u64>(CR4_DEFINED & ~load<u32>(cpu, CPU_ABSENT_CR4)))) return raiseGp(cpu, 0);
  const old = load<u32>(cpu, CPU_CR4), cr4 = <u32>value;
  if (longMode(cpu)) {
    if (!(cr4 & CR4_PAE)) return raiseGp(cpu, 0);
    if ((cr4 & ~old & CR4_PCIDE) && (load<u64>(cpu, CPU_CR3) & 0xfff)) return raiseGp(cpu, 0);
  } else {
    if (cr4 & CR4_PCIDE) return raiseGp(cpu, 0);
    if ((load<u32>(cpu, CPU_CR0) & CR0_PG) && (cr4 & CR4_PAE) && ((old ^ cr4) & CR4_PAGING)) {
      if (loadPdptes(cpu, load<u64>(cpu, CPU_CR3))) return 1;
    }
  }
  store<u64>(cpu, cr4, CPU_CR4);
  if ((old ^ cr4) & CR4_PAGING) flushTlb(cpu, 0);
  updateMode(cpu);
  return 0;
}

/** MOV to CRn at CPL 0, and LMSW's and CLTS's effect. */
export function writeCr(cpu: u32, n: u32, value: u64): i32 {
  if (n == 0) return writeCr0(cpu, value);
  if (n == 2) {
    store<u64>(cpu, value, CPU_CR2);
    return 0;
  }
  if (n == 3) return writeCr3(cpu, value);
  if (n == 4) return writeCr4(cpu, value);
  if (n != 8) return raise(cpu, EXC_UD, 0);
  if (value >> 4) return raiseGp(cpu, 0);
  if (leftForAlone(cpu)) return 1;
  store<u64>(cpu, value, CPU_CR8);
  tprWritten(cpu);
  offerInterrupts(cpu);
  return 0;
}

/** Value of CRn into CPU_SCRATCH. Nonzero = #UD pending: there is no such register. */
export function readCr(cpu: u32, n: u32): i32 {
  let value: u64;
  if (n == 0) value = load<u64>(cpu, CPU_CR0);
  else if (n == 2) value = load<u64>(cpu, CPU_CR2);
  else if (n == 3) value = load<u64>(cpu, CPU_CR3);
  else if (n == 4) value = load<u64>(cpu, CPU_CR4);
  else if (n == 8) value = load<u64>(cpu, CPU_CR8);
  else return raise(cpu, EXC_UD, 0);
  store<u64>(cpu, value, CPU_SCRATCH);
  return 0;
}

/** XSETBV at CPL 0. */
export function xsetbv(cpu: u32, index: u32, value: u64): i32 {
  // What there is, CPUID tells.
  store<u64>(cpu, 0xd, CPU_SCRATCH);
  hostCpuid(cpu);
  const defined = <u64>load<u32>(cpu, CPU_SCRATCH);
  if (index != 0 || !(value & XCR0_X87) || (value & ~defined)) return raiseGp(cpu, 0);
  if ((value & XCR0_AVX) && !(value & XCR0_SSE)) return raiseGp(cpu, 0);
  store<u64>(cpu, value, CPU_XCR0);
  updateMode(cpu);
  return 0;
}

const DR6_FIXED: u64 = 0xffff0ff0;
const DR6_BD: u64 = 0x2000;
const DR7_GD: u64 = 0x2000;

/** Checks common to moves to and from debug registers; the register's number after aliasing, or 8 with an exception pending. */
function debugRegister(cpu: u32, n: u32): u32 {
  if (n == 4 || n == 5) {
    if (load<u32>(cpu, CPU_CR4) & CR4_DE) n = 8;
    else n += 2;
  }
  if (n > 7) {
    raise(cpu, EXC_UD, 0);
    return 8;
  }
  const dr7 = load<u64>(cpu, CPU_DR7);
  if (dr7 & DR7_GD) {
    store<u64>(cpu, dr7 & ~DR7_GD, CPU_DR7);
    store<u64>(cpu, load<u64>(cpu, CPU_DR6) | DR6_BD, CPU_DR6);
    raiseGeneralDetect(cpu);
    return 8;
  }
  return n;
}

export function writeDr(cpu: u32, n: u32, value: u64): i32 {
  n = debugRegister(cpu, n);
  if (n == 8) return 1;
  if (n >= 6 && value >> 32) return raiseGp(cpu, 0);
  const before = breakpointsEnabled(cpu);
  if (n < 4) store<u64>(cpu + CPU_DR0 + (n << 3), value);
  else if (n == 6) store<u64>(cpu, (value & 0xe00f) | DR6_FIXED, CPU_DR6);
  else store<u64>(cpu, (value & 0xffff23ff) | 0x400, CPU_DR7);
  if (n != 6 && (before || breakpointsEnabled(cpu))) {
    flushTlb(cpu, 0);
    updateMode(cpu);
  }
  return 0;
}

/** Value of DRn into CPU_SCRATCH. */
export function readDr(cpu: u32, n: u32): i32 {
  n = debugRegister(cpu, n);
  if (n == 8) return 1;
  store<u64>(cpu, n < 4 ? load<u64>(cpu + CPU_DR0 + (n << 3)) : n == 6 ? load<u64>(cpu, CPU_DR6) : load<u64>(cpu, CPU_DR7), CPU_SCRATCH);
  return 0;
}
