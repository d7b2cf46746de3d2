/**
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT (Intel SDM volume 2; SYSCALL from compatibility mode as AMD's APM volume 3 has it).
 * CPU_RIP is the next instruction's on entry and the target's on success.
 */
import {
  CPU_CSTAR, CPU_DR6, CPU_EFER, CPU_FMASK, CPU_LSTAR, CPU_NO_STEP, CPU_RFLAGS, CPU_RIP, CPU_STAR, CPU_SYSENTER_CS, CPU_SYSENTER_EIP, CPU_SYSENTER_ESP, CS,
  EXC_DB, EXC_UD, SS,
} from "../layout";
import { EFER_SCE, RFLAGS_IF, RFLAGS_RF, RFLAGS_TF, RFLAGS_VM } from "./bits";
import { updateMode } from "./mode";
import {
  canonical, code64, cpl, getFlags, gpr, longMode, protectedMode, raise, raiseGp, RCX, RDX, RSP, setFlags, setGpr, setSegment,
} from "./state";

// Flat segments as these instructions load them without looking at descriptors.
const CODE64: u32 = 0xa09b;
const CODE32: u32 = 0xc09b;
const DATA: u32 = 0xc093;
const DPL3: u32 = 0x60;
const R11: u32 = 11;
const DR6_BS: u64 = 0x4000;
/** What SYSRET takes of R11. */
const SYSRET_FLAGS: u32 = 0x3c7fd7;

function flat(cpu: u32, seg: u32, selector: u32, attr: u32): void {
  setSegment(cpu, seg, selector, 0, 0xffffffff, attr);
}

export function syscall(cpu: u32): i32 {
  if (!(load<u32>(cpu, CPU_EFER) & EFER_SCE) || !longMode(cpu)) return raise(cpu, EXC_UD, 0);
  const flags = getFlags(cpu) & ~RFLAGS_RF, wide = code64(cpu);
  setGpr(cpu, RCX, load<u64>(cpu, CPU_RIP));
  setGpr(cpu, R11, flags);
  const selector = <u32>(load<u64>(cpu, CPU_STAR) >> 32) & 0xfffc;
  flat(cpu, CS, selector, CODE64);
  flat(cpu, SS, selector + 8, DATA);
  const masked = flags & ~load<u32>(cpu, CPU_FMASK);
  setFlags(cpu, masked);
  // Whether SYSCALL and SYSRET are stepped over is decided by the flags they load.
  if (flags & ~masked & RFLAGS_TF) store<u32>(cpu, 1, CPU_NO_STEP);
  store<u64>(cpu, wide ? load<u64>(cpu, CPU_LSTAR) : load<u64>(cpu, CPU_CSTAR), CPU_RIP);
  updateMode(cpu);
  return 0;
}

/** `bits` is the operand size: 64 returns to 64-bit code, 32 to compatibility mode. */
export function sysret(cpu: u32, bits: u32): i32 {
  if (!(load<u32>(cpu, CPU_EFER) & EFER_SCE) || !code64(cpu)) return raise(cpu, EXC_UD, 0);
  if (cpl(cpu)) return raiseGp(cpu, 0);
  const rip = gpr(cpu, RCX), star = <u32>(load<u64>(cpu, CPU_STAR) >> 48);
  if (bits == 64) {
    if (!canonical(rip)) return raiseGp(cpu, 0);
    flat(cpu, CS, (star + 16) | 3, CODE64 | DPL3);
  } else flat(cpu, CS, star | 3, CODE32 | DPL3);
  flat(cpu, SS, (star + 8) | 3, DATA | DPL3);
  const stepping = (load<u32>(cpu, CPU_RFLAGS) & RFLAGS_TF) != 0;
  const flags = <u32>gpr(cpu, R11) & SYSRET_FLAGS & ~RFLAGS_RF;
  setFlags(cpu, flags);
  if (!stepping && (flags & RFLAGS_TF)) {
    store<u64>(cpu, load<u64>(cpu, CPU_DR6) | DR6_BS, CPU_DR6);
    raise(cpu, EXC_DB, 0);
  } else if (stepping && !(flags & RFLAGS_TF)) store<u32>(cpu, 1, CPU_NO_STEP);
  store<u64>(cpu, bits == 64 ? rip : rip & 0xffffffff, CPU_RIP);
  updateMode(cpu);
  return 0;
}

export function sysenter(cpu: u32): i32 {
  const selector = load<u32>(cpu, CPU_SYSENTER_CS) & 0xfffc;
  if (!protectedMode(cpu) || !selector) return raiseGp(cpu, 0);
  const wide = longMode(cpu);
  store<u32>(cpu, load<u32>(cpu, CPU_RFLAGS) & ~(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF), CPU_RFLAGS);
  flat(cpu, CS, selector, wide ? CODE64 : CODE32);
  flat(cpu, SS, selector + 8, DATA);
  setGpr(cpu, RSP, wide ? load<u64>(cpu, CPU_SYSENTER_ESP) : <u64>load<u32>(cpu, CPU_SYSENTER_ESP));
  store<u64>(cpu, wide ? load<u64>(cpu, CPU_SYSENTER_EIP) : <u64>load<u32>(cpu, CPU_SYSENTER_EIP), CPU_RIP);
  updateMode(cpu);
  return 0;
}

export function sysexit(cpu: u32, bits: u32): i32 {
  const selector = load<u32>(cpu, CPU_SYSENTER_CS) & 0xfffc;
  if (!protectedMode(cpu) || !selector || cpl(cpu)) return raiseGp(cpu, 0);
  const rip = gpr(cpu, RDX), rsp = gpr(cpu, RCX);
  if (bits == 64) {
    if (!canonical(rip) || !canonical(rsp)) return raiseGp(cpu, 0);
    flat(cpu, CS, (selector + 32) | 3, CODE64 | DPL3);
    flat(cpu, SS, (selector + 40) | 3, DATA | DPL3);
    setGpr(cpu, RSP, rsp);
    store<u64>(cpu, rip, CPU_RIP);
  } else {
    flat(cpu, CS, (selector + 16) | 3, CODE32 | DPL3);
    flat(cpu, SS, (selector + 24) | 3, DATA | DPL3);
    setGpr(cpu, RSP, rsp & 0xffffffff);
    store<u64>(cpu, rip & 0xffffffff, CPU_RIP);
  }
  updateMode(cpu);
  return 0;
}
