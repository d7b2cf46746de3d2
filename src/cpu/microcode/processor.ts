/** Instructions about the processor itself: CPUID, time-stamp counter, MSR moves by register, INVPCID, protection keys. */
import { ABSENT_INVPCID, CPU_ABSENT, CPU_CR4, CPU_PKRU, CPU_SCRATCH, CPU_TSC_AUX, CPU_XCR0, EXC_UD, EXIT_CPUID } from "../layout";
import { CR4_PCIDE, CR4_TSD } from "./bits";
import { hostCpuid } from "./host";
import { readGuest } from "./memory";
import { readMsr, readTsc, writeMsr } from "./msr";
import { canonical, count, cpl, gpr, leftForAlone, protectedMode, raise, raiseGp, RAX, RBX, RCX, RDX, setGpr } from "./state";
import { xsetbv } from "./control";
import { flushPcid, flushTlb, invlpgPcid } from "./tlb-banks";
import { inUse } from "./xsave";

@inline function setEdxEax(cpu: u32, value: u64): void {
  setGpr(cpu, RAX, value & 0xffffffff);
  setGpr(cpu, RDX, value >> 32);
}

@inline function edxEax(cpu: u32): u64 {
  return (gpr(cpu, RAX) & 0xffffffff) | (gpr(cpu, RDX) << 32);
}

export function cpuid(cpu: u32): void {
  count(cpu, EXIT_CPUID);
  store<u32>(cpu, <u32>gpr(cpu, RAX), CPU_SCRATCH);
  store<u32>(cpu, <u32>gpr(cpu, RCX), CPU_SCRATCH + 4);
  hostCpuid(cpu);
  setGpr(cpu, RAX, load<u32>(cpu, CPU_SCRATCH));
  setGpr(cpu, RBX, load<u32>(cpu, CPU_SCRATCH + 4));
  setGpr(cpu, RCX, load<u32>(cpu, CPU_SCRATCH + 8));
  setGpr(cpu, RDX, load<u32>(cpu, CPU_SCRATCH + 12));
}

/** RDTSC, and RDTSCP with `aux`. */
export function rdtsc(cpu: u32, aux: i32): i32 {
  if ((load<u32>(cpu, CPU_CR4) & CR4_TSD) && protectedMode(cpu) && cpl(cpu)) return raiseGp(cpu, 0);
  if (leftForAlone(cpu)) return 1;
  setEdxEax(cpu, readTsc(cpu));
  if (aux) setGpr(cpu, RCX, load<u32>(cpu, CPU_TSC_AUX));
  return 0;
}

/** RDMSR at CPL 0. */
export function rdmsr(cpu: u32): i32 {
  if (readMsr(cpu, <u32>gpr(cpu, RCX))) return 1;
  setEdxEax(cpu, load<u64>(cpu, CPU_SCRATCH));
  return 0;
}

/** WRMSR at CPL 0. */
export function wrmsr(cpu: u32): i32 {
  return writeMsr(cpu, <u32>gpr(cpu, RCX), edxEax(cpu));
}

/** XGETBV: XCR0, and what of it is in use (1). */
export function xgetbv(cpu: u32): i32 {
  if (<u32>gpr(cpu, RCX) > 1) return raiseGp(cpu, 0);
  const xcr0 = load<u64>(cpu, CPU_XCR0);
  setEdxEax(cpu, gpr(cpu, RCX) ? xcr0 & inUse(cpu) : xcr0);
  return 0;
}

/** XSETBV at CPL 0. */
export function xsetbvRegisters(cpu: u32): i32 {
  return xsetbv(cpu, <u32>gpr(cpu, RCX), edxEax(cpu));
}

export function rdpkru(cpu: u32): i32 {
  if (<u32>gpr(cpu, RCX)) return raiseGp(cpu, 0);
  setEdxEax(cpu, load<u32>(cpu, CPU_PKRU));
  return 0;
}

/** Keys are looked at when the TLB is filled, so a change empties it. */
export function setPkru(cpu: u32, value: u32): void {
  if (value == load<u32>(cpu, CPU_PKRU)) return;
  store<u32>(cpu, value, CPU_PKRU);
  flushTlb(cpu, 0);
}

/** WRPKRU. */
export function wrpkru(cpu: u32): i32 {
  if (<u32>gpr(cpu, RCX) || <u32>gpr(cpu, RDX)) return raiseGp(cpu, 0);
  setPkru(cpu, <u32>gpr(cpu, RAX));
  return 0;
}

/** INVPCID at CPL 0: `va` is the descriptor's linear address. */
export function invpcid(cpu: u32, type: u64, va: u64): i32 {
  if (load<u32>(cpu, CPU_ABSENT) & ABSENT_INVPCID) return raise(cpu, EXC_UD, 0);
  if (type > 3) return raiseGp(cpu, 0);
  if (readGuest(cpu, va, cpu + CPU_SCRATCH, 16)) return 1;
  const pcid = load<u64>(cpu, CPU_SCRATCH), address = load<u64>(cpu, CPU_SCRATCH + 8);
  if (type < 2) {
    if (pcid >> 12 || (pcid && !(load<u32>(cpu, CPU_CR4) & CR4_PCIDE))) return raiseGp(cpu, 0);
    if (type == 0) {
      if (!canonical(address)) return raiseGp(cpu, 0);
      invlpgPcid(cpu, address, <u32>pcid);
    } else flushPcid(cpu, <u32>pcid);
    return 0;
  }
  flushTlb(cpu, type == 2 ? 0 : 1);
  return 0;
}
