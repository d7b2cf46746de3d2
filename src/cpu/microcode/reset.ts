/** State of a processor after RESET or INIT (Intel SDM volume 3, table 9-1). */
import {
  CPU_CR0, CPU_CR2, CPU_CR3, CPU_CR4, CPU_CR8, CPU_DR0, CPU_DR6, CPU_DR7, CPU_EFER, CPU_EXC, CPU_EXIT, CPU_FCW, CPU_FSW, CPU_FTAG, CPU_FTOP,
  CPU_GDTR_BASE, CPU_GDTR_LIMIT, CPU_IDTR_BASE, CPU_IDTR_LIMIT, CPU_INT_SHADOW, CPU_KERNEL_GS_BASE, CPU_MISC_ENABLE, CPU_MONITOR,
  CPU_MTRR, CPU_NMI_BLOCKED, CPU_PAT, CPU_PKRU, CPU_RIP, CPU_SINGLE, CPU_STAR, CPU_XCR0, CPU_XMM, CPU_XSS, CPU_ZERO, CS, DS,
  ES, FS, GS, LDTR, SS, TR, CPU_FPR, XMM_STRIDE,
} from "../layout";
import { setMxcsr } from "./mxcsr";
import { updateMode } from "./mode";
import { RDX, setFlags, setGpr, setSegment } from "./state";
import { resetTlb } from "./tlb-banks";

/** Puts the vCPU into its state after RESET; with `init` nonzero after INIT, which keeps MSRs, MTRRs and the FPU. */
export function resetCpu(cpu: u32, init: i32, signature: u32): void {
  for (let i: u32 = 0; i < 16; i++) setGpr(cpu, i, 0);
  setGpr(cpu, RDX, signature);
  store<u64>(cpu, 0, CPU_ZERO);
  setFlags(cpu, 2);
  store<u64>(cpu, 0xfff0, CPU_RIP);
  setSegment(cpu, CS, 0xf000, 0xffff0000, 0xffff, 0x9b);
  setSegment(cpu, SS, 0, 0, 0xffff, 0x93);
  setSegment(cpu, DS, 0, 0, 0xffff, 0x93);
  setSegment(cpu, ES, 0, 0, 0xffff, 0x93);
  setSegment(cpu, FS, 0, 0, 0xffff, 0x93);
  setSegment(cpu, GS, 0, 0, 0xffff, 0x93);
  setSegment(cpu, LDTR, 0, 0, 0xffff, 0x82);
  setSegment(cpu, TR, 0, 0, 0xffff, 0x8b);
  store<u64>(cpu, 0, CPU_GDTR_BASE);
  store<u32>(cpu, 0xffff, CPU_GDTR_LIMIT);
  store<u64>(cpu, 0, CPU_IDTR_BASE);
  store<u32>(cpu, 0xffff, CPU_IDTR_LIMIT);
  const cacheBits = init ? load<u64>(cpu, CPU_CR0) & 0x60000000 : 0x60000000;
  store<u64>(cpu, 0x10 | cacheBits, CPU_CR0);
  store<u64>(cpu, 0, CPU_CR2);
  store<u64>(cpu, 0, CPU_CR3);
  store<u64>(cpu, 0, CPU_CR4);
  store<u64>(cpu, 0, CPU_CR8);
  store<u64>(cpu, 0, CPU_EFER);
  memory.fill(cpu + CPU_DR0, 0, 32);
  store<u64>(cpu, 0xffff0ff0, CPU_DR6);
  store<u64>(cpu, 0x400, CPU_DR7);
  store<i32>(cpu, -1, CPU_EXC);
  store<u32>(cpu, 0, CPU_EXIT);
  store<u32>(cpu, 0, CPU_INT_SHADOW);
  store<u32>(cpu, 0, CPU_SINGLE);
  store<u32>(cpu, 0, CPU_NMI_BLOCKED);
  store<u64>(cpu, ~(<u64>0), CPU_MONITOR);
  if (!init) {
    memory.fill(cpu + CPU_STAR, 0, CPU_PAT - CPU_STAR);
    store<u64>(cpu, 0, CPU_KERNEL_GS_BASE);
    store<u64>(cpu, 0x0007040600070406, CPU_PAT);
    store<u64>(cpu, 1, CPU_MISC_ENABLE); // fast strings
    store<u64>(cpu, 1, CPU_XCR0);
    store<u64>(cpu, 0, CPU_XSS);
    store<u32>(cpu, 0, CPU_PKRU);
    memory.fill(cpu + CPU_MTRR, 0, 28 * 8);
    store<u16>(cpu, 0x40, CPU_FCW);
    store<u16>(cpu, 0, CPU_FSW);
    store<u32>(cpu, 0, CPU_FTOP);
    store<u8>(cpu, 0xff, CPU_FTAG);
    setMxcsr(cpu, 0x1f80);
    memory.fill(cpu + CPU_FPR, 0, 128);
    memory.fill(cpu + CPU_XMM, 0, 32 * XMM_STRIDE);
  }
  resetTlb(cpu);
  updateMode(cpu);
}
