/**
 * Model-specific registers (Intel SDM volume 4). Those that only the processor looks at live in the vCPU state; all others
 * (local APIC, TSC deadline, paravirtual clocks, unknown ones) are the host's business, which says #GP for what is absent.
 */
import {
  CPU_CSTAR, CPU_EFER, CPU_FMASK, CPU_KERNEL_GS_BASE, CPU_LSTAR, CPU_MISC_ENABLE, CPU_MTRR, CPU_PAT, CPU_SCRATCH, CPU_STAR,
  CPU_SYSENTER_CS, CPU_SYSENTER_EIP, CPU_SYSENTER_ESP, CPU_TSC_AUX, CPU_TSC_OFFSET, CPU_XSS, CPU_CR0, EXIT_MSR, FS, GS, SEG_BASE,
} from "../layout";
import { CR0_PG, EFER_AIBRSE, EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE } from "./bits";
import { hostMsr, hostTsc } from "./host";
import { canonical, count, leftForAlone, offerInterrupts, raiseGp, segment } from "./state";
import { flushTlb } from "./tlb-banks";

const MSR_TSC: u32 = 0x10;
const MSR_PLATFORM_ID: u32 = 0x17;
const MSR_FEATURE_CONTROL: u32 = 0x3a;
const MSR_BIOS_SIGN_ID: u32 = 0x8b;
const MSR_MTRRCAP: u32 = 0xfe;
const MSR_SYSENTER_CS: u32 = 0x174;
const MSR_SYSENTER_ESP: u32 = 0x175;
const MSR_SYSENTER_EIP: u32 = 0x176;
const MSR_MCG_CAP: u32 = 0x179;
const MSR_MCG_STATUS: u32 = 0x17a;
const MSR_MISC_ENABLE: u32 = 0x1a0;
const MSR_DEBUGCTL: u32 = 0x1d9;
const MSR_MTRR_PHYSBASE0: u32 = 0x200;
const MSR_MTRR_PHYSMASK7: u32 = 0x20f;
const MSR_PAT: u32 = 0x277;
const MSR_MTRR_DEF_TYPE: u32 = 0x2ff;
const MSR_XSS: u32 = 0xda0;
const MSR_EFER: u32 = 0xc0000080;
const MSR_STAR: u32 = 0xc0000081;
const MSR_LSTAR: u32 = 0xc0000082;
const MSR_CSTAR: u32 = 0xc0000083;
const MSR_FMASK: u32 = 0xc0000084;
const MSR_FS_BASE: u32 = 0xc0000100;
const MSR_GS_BASE: u32 = 0xc0000101;
const MSR_KERNEL_GS_BASE: u32 = 0xc0000102;
const MSR_TSC_AUX: u32 = 0xc0000103;

// AMD's (BIOS and Kernel Developer's Guide), which kernels touch without asking.
const MSR_K7_EVNTSEL0: u32 = 0xc0010000; // four event selects, then four counters, that count nothing
const MSR_K7_PERFCTR3: u32 = 0xc0010007;
const MSR_SYSCFG: u32 = 0xc0010010;
const MSR_HWCR: u32 = 0xc0010015;
const MSR_NB_CFG: u32 = 0xc001001f;
const MSR_INT_PENDING: u32 = 0xc0010055;

const MTRRCAP: u64 = 0x508; // 8 variable ranges, fixed ranges, write combining
const FEATURE_CONTROL_LOCKED: u64 = 1;

/** Where an MTRR lives in the state, 0 when the number is none. */
function mtrrAddress(cpu: u32, msr: u32): u32 {
  const base = cpu + CPU_MTRR;
  if (msr == MSR_MTRR_DEF_TYPE) return base;
  if (msr == 0x250) return base + 8;
  if (msr == 0x258 || msr == 0x259) return base + 16 + ((msr - 0x258) << 3);
  if (msr >= 0x268 && msr <= 0x26f) return base + 32 + ((msr - 0x268) << 3);
  if (msr >= MSR_MTRR_PHYSBASE0 && msr <= MSR_MTRR_PHYSMASK7) return base + 96 + ((msr - MSR_MTRR_PHYSBASE0) << 3);
  return 0;
}

/** Plain 64-bit registers: their place in the state, 0 for all others. */
function plainAddress(cpu: u32, msr: u32): u32 {
  if (msr == MSR_STAR) return cpu + CPU_STAR;
  if (msr == MSR_LSTAR) return cpu + CPU_LSTAR;
  if (msr == MSR_CSTAR) return cpu + CPU_CSTAR;
  if (msr == MSR_FMASK) return cpu + CPU_FMASK;
  if (msr == MSR_FS_BASE) return segment(cpu, FS) + SEG_BASE;
  if (msr == MSR_GS_BASE) return segment(cpu, GS) + SEG_BASE;
  if (msr == MSR_KERNEL_GS_BASE) return cpu + CPU_KERNEL_GS_BASE;
  if (msr == MSR_TSC_AUX) return cpu + CPU_TSC_AUX;
  if (msr == MSR_SYSENTER_CS) return cpu + CPU_SYSENTER_CS;
  if (msr == MSR_SYSENTER_ESP) return cpu + CPU_SYSENTER_ESP;
  if (msr == MSR_SYSENTER_EIP) return cpu + CPU_SYSENTER_EIP;
  if (msr == MSR_PAT) return cpu + CPU_PAT;
  if (msr == MSR_MISC_ENABLE) return cpu + CPU_MISC_ENABLE;
  if (msr == MSR_XSS) return cpu + CPU_XSS;
  if (msr == MSR_EFER) return cpu + CPU_EFER;
  return mtrrAddress(cpu, msr);
}

/** Registers that read as 0 and take any write: nothing here depends on them. */
function ignored(msr: u32): bool {
  return msr == MSR_BIOS_SIGN_ID || msr == MSR_MCG_STATUS || msr == MSR_DEBUGCTL || msr == MSR_SYSCFG || msr == MSR_HWCR || msr == MSR_NB_CFG || msr == MSR_INT_PENDING ||
    (msr >= MSR_K7_EVNTSEL0 && msr <= MSR_K7_PERFCTR3);
}

/** The guest's time-stamp counter. */
export function readTsc(cpu: u32): u64 {
  hostTsc(cpu);
  return load<u64>(cpu, CPU_SCRATCH) + load<u64>(cpu, CPU_TSC_OFFSET);
}

/** RDMSR at CPL 0: value in CPU_SCRATCH. */
export function readMsr(cpu: u32, msr: u32): i32 {
  count(cpu, EXIT_MSR);
  const at = plainAddress(cpu, msr);
  let value: u64 = 0;
  if (at) value = load<u64>(at);
  else if (msr == MSR_TSC) {
    if (leftForAlone(cpu)) return 1;
    value = readTsc(cpu);
  }
  else if (msr == MSR_MTRRCAP) value = MTRRCAP;
  else if (msr == MSR_FEATURE_CONTROL) value = FEATURE_CONTROL_LOCKED;
  else if (msr != MSR_PLATFORM_ID && msr != MSR_MCG_CAP && !ignored(msr)) {
    if (leftForAlone(cpu)) return 1;
    if (hostMsr(cpu, msr, 0)) return raiseGp(cpu, 0);
    return 0;
  }
  store<u64>(cpu, value, CPU_SCRATCH);
  return 0;
}

function memoryTypeValid(type: u32): bool {
  return type < 2 || (type > 3 && type < 7);
}

function patValid(value: u64): bool {
  for (let i: u32 = 0; i < 64; i += 8) {
    const type = <u32>(value >> i) & 0xff;
    if (!memoryTypeValid(type) && type != 7) return false;
  }
  return true;
}

function writeEfer(cpu: u32, value: u64): i32 {
  const old = load<u64>(cpu, CPU_EFER);
  if (value & ~(<u64>(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_AIBRSE))) return raiseGp(cpu, 0);
  if (((old ^ value) & EFER_LME) && (load<u32>(cpu, CPU_CR0) & CR0_PG)) return raiseGp(cpu, 0);
  store<u64>(cpu, (value & ~(<u64>EFER_LMA)) | (old & EFER_LMA), CPU_EFER);
  if ((old ^ value) & EFER_NXE) flushTlb(cpu, 0);
  return 0;
}

/** WRMSR at CPL 0. */
export function writeMsr(cpu: u32, msr: u32, value: u64): i32 {
  count(cpu, EXIT_MSR);
  if (msr == MSR_EFER) return writeEfer(cpu, value);
  const at = plainAddress(cpu, msr);
  if (at) {
    if (msr == MSR_LSTAR || msr == MSR_CSTAR || msr == MSR_SYSENTER_ESP || msr == MSR_SYSENTER_EIP ||
        (msr >= MSR_FS_BASE && msr <= MSR_KERNEL_GS_BASE)) {
      if (!canonical(value)) return raiseGp(cpu, 0);
    } else if (msr == MSR_FMASK || msr == MSR_TSC_AUX || msr == MSR_SYSENTER_CS) {
      if (value >> 32 && msr != MSR_SYSENTER_CS) return raiseGp(cpu, 0);
    } else if (msr == MSR_PAT) {
      if (!patValid(value)) return raiseGp(cpu, 0);
    } else if (msr == MSR_MTRR_DEF_TYPE) {
      if ((value & ~(<u64>0xcff)) || !memoryTypeValid(<u32>value & 0xff)) return raiseGp(cpu, 0);
    } else if (msr == MSR_XSS && value) return raiseGp(cpu, 0);
    store<u64>(at, value);
    return 0;
  }
  if (msr == MSR_TSC) {
    if (leftForAlone(cpu)) return 1;
    hostTsc(cpu);
    store<u64>(cpu, value - load<u64>(cpu, CPU_SCRATCH), CPU_TSC_OFFSET);
    return 0;
  }
  // Microcode updates change nothing; machine checks never happen, so their status stays 0.
  if (ignored(msr)) return 0;
  if (msr == MSR_MTRRCAP || msr == MSR_FEATURE_CONTROL || msr == MSR_PLATFORM_ID || msr == MSR_MCG_CAP) return raiseGp(cpu, 0);
  if (leftForAlone(cpu)) return 1;
  store<u64>(cpu, value, CPU_SCRATCH);
  if (hostMsr(cpu, msr, 1)) return raiseGp(cpu, 0);
  offerInterrupts(cpu);
  return 0;
}
