/**
 * Images of the FPU state: FNSTENV, FNSAVE, FXSAVE and back (Intel SDM volume 1, 8.1.10 and 10.5.1).
 *
 * Built in and read from a buffer in wasm memory (CPU_FPU_IMAGE is one); whoever calls moves it from or to the guest.
 */
import { setMxcsr } from "../mxcsr";
import {
  CPU_FCS, CPU_FCW, CPU_FDP, CPU_FDS, CPU_FIP, CPU_FOP, CPU_FPR, CPU_FPU_IMAGE, CPU_FTAG, CPU_MODE, CPU_MXCSR, CPU_XMM,
  MODE_64, MODE_SIZE_MASK, XMM_STRIDE,
} from "../../layout";
import { INTEGER_BIT } from "./core";
import { fpuInit, setControl, setStatus, statusWord, summarise } from "./control";
import { slot, stAt } from "./registers";

/** MXCSR bits that may be set: all flags, DAZ, masks, RC, FTZ. */
const MXCSR_MASK: u32 = 0xffff;
/** Bytes of an FXSAVE image that hold something: header, ST0..7, XMM0..7; XMM8..15 with 64-bit code. */
export const FXSAVE_BYTES: u32 = 288;
export const FXSAVE_BYTES_64: u32 = 416;

/** The two-bit tags: 0 valid, 1 zero, 2 special, 3 empty. */
function fullTags(cpu: u32): u32 {
  let tags: u32 = 0;
  const valid: u32 = load<u8>(cpu, CPU_FTAG);
  for (let i: u32 = 0; i < 8; i++) {
    let tag: u32 = 3;
    if ((valid >> i) & 1) {
      const at = slot(cpu, i);
      const sig = load<u64>(at, CPU_FPR);
      const e: u32 = <u32>load<u16>(at, CPU_FPR + 8) & 0x7fff;
      if (e == 0) tag = sig == 0 ? 1 : 2;
      else tag = e == 0x7fff || !(sig & INTEGER_BIT) ? 2 : 0;
    }
    tags |= tag << (i << 1);
  }
  return tags;
}

function setFullTags(cpu: u32, tags: u32): void {
  let valid: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) if (((tags >> (i << 1)) & 3) != 3) valid |= <u32>1 << i;
  store<u8>(cpu, <u8>valid, CPU_FTAG);
}

/** Environment at CPU_FPU_IMAGE: 28 bytes (`bits` 32) or 14 (16), with protected mode's or real mode's pointers. Returns its length. */
function environment(cpu: u32, bits: u32, isProtected: u32): u32 {
  const fcw: u32 = load<u16>(cpu, CPU_FCW), fsw = statusWord(cpu), tags = fullTags(cpu);
  const fip: u32 = load<u32>(cpu, CPU_FIP), fdp: u32 = load<u32>(cpu, CPU_FDP), fop: u32 = <u32>load<u16>(cpu, CPU_FOP) & 0x7ff;
  const fcs: u32 = load<u16>(cpu, CPU_FCS), fds: u32 = load<u16>(cpu, CPU_FDS);
  const to = cpu + CPU_FPU_IMAGE;
  if (bits == 16) {
    store<u16>(to, <u16>fcw);
    store<u16>(to, <u16>fsw, 2);
    store<u16>(to, <u16>tags, 4);
    const ip = isProtected ? fip : fip + (fcs << 4), dp = isProtected ? fdp : fdp + (fds << 4);
    store<u16>(to, <u16>ip, 6);
    store<u16>(to, <u16>(isProtected ? fcs : ((ip >> 4) & 0xf000) | fop), 8);
    store<u16>(to, <u16>dp, 10);
    store<u16>(to, <u16>(isProtected ? fds : (dp >> 4) & 0xf000), 12);
    return 14;
  }
  store<u32>(to, fcw | 0xffff0000);
  store<u32>(to, fsw | 0xffff0000, 4);
  store<u32>(to, tags | 0xffff0000, 8);
  if (isProtected) {
    store<u32>(to, fip, 12);
    store<u32>(to, fcs | (fop << 16), 16);
    store<u32>(to, fdp, 20);
    store<u32>(to, fds | 0xffff0000, 24);
  } else {
    const ip = fip + (fcs << 4), dp = fdp + (fds << 4);
    store<u32>(to, (ip & 0xffff) | 0xffff0000, 12);
    store<u32>(to, ((ip >> 4) & 0x0ffff000) | fop, 16);
    store<u32>(to, (dp & 0xffff) | 0xffff0000, 20);
    store<u32>(to, (dp >> 4) & 0x0ffff000, 24);
  }
  return 28;
}

function loadEnvironment(cpu: u32, bits: u32, isProtected: u32): u32 {
  const from = cpu + CPU_FPU_IMAGE;
  const step: u32 = bits == 16 ? 2 : 4;
  setControl(cpu, load<u16>(from));
  setStatus(cpu, load<u16>(from + step));
  setFullTags(cpu, load<u16>(from + 2 * step));
  let fip: u32, fdp: u32, fcs: u32 = 0, fds: u32 = 0, fop: u32 = 0;
  if (bits == 16) {
    fip = load<u16>(from, 6);
    fdp = load<u16>(from, 10);
    fcs = load<u16>(from, 8);
    fds = load<u16>(from, 12);
    if (!isProtected) {
      fop = fcs;
      fip |= (fcs & 0xf000) << 4;
      fdp |= (fds & 0xf000) << 4;
      fcs = 0;
      fds = 0;
    }
  } else if (isProtected) {
    fip = load<u32>(from, 12);
    fcs = load<u16>(from, 16);
    fop = load<u16>(from, 18);
    fdp = load<u32>(from, 20);
    fds = load<u16>(from, 24);
  } else {
    fop = load<u32>(from, 16);
    fip = load<u16>(from, 12) | ((fop & 0x0ffff000) << 4);
    fdp = load<u16>(from, 20) | ((load<u32>(from, 24) & 0x0ffff000) << 4);
  }
  store<u64>(cpu, <u64>fip, CPU_FIP);
  store<u64>(cpu, <u64>fdp, CPU_FDP);
  store<u16>(cpu, <u16>fcs, CPU_FCS);
  store<u16>(cpu, <u16>fds, CPU_FDS);
  store<u16>(cpu, <u16>(fop & 0x7ff), CPU_FOP);
  summarise(cpu);
  return step * 7;
}

/** FNSTENV, first half: the image. fpuEnvStored() when it is in memory. Returns its length. */
export function fpuEnv(cpu: u32, bits: u32, isProtected: u32): u32 { return environment(cpu, bits, isProtected); }

/** FNSTENV masks all exceptions afterwards. */
export function fpuEnvStored(cpu: u32): void {
  store<u16>(cpu, <u16>(<u32>load<u16>(cpu, CPU_FCW) | 0x3f), CPU_FCW);
  summarise(cpu);
}

/** FLDENV from CPU_FPU_IMAGE. */
export function fpuLoadEnv(cpu: u32, bits: u32, isProtected: u32): void { loadEnvironment(cpu, bits, isProtected); }

/** FNSAVE, first half: environment and registers, 108 or 94 bytes. fpuInit() when it is in memory. */
export function fpuSave(cpu: u32, bits: u32, isProtected: u32): u32 {
  const length = environment(cpu, bits, isProtected);
  let to = cpu + CPU_FPU_IMAGE + length;
  for (let i: u32 = 0; i < 8; i++) {
    const at = stAt(cpu, i);
    store<u64>(to, load<u64>(at, CPU_FPR));
    store<u16>(to, load<u16>(at, CPU_FPR + 8), 8);
    to += 10;
  }
  return length + 80;
}

/** FRSTOR from CPU_FPU_IMAGE. */
export function fpuRestore(cpu: u32, bits: u32, isProtected: u32): void {
  let from = cpu + CPU_FPU_IMAGE + loadEnvironment(cpu, bits, isProtected);
  for (let i: u32 = 0; i < 8; i++) {
    const at = stAt(cpu, i);
    store<u64>(at, load<u64>(from), CPU_FPR);
    store<u16>(at, load<u16>(from, 8), CPU_FPR + 8);
    from += 10;
  }
}

@inline function xmmCount(cpu: u32): u32 { return (load<u32>(cpu, CPU_MODE) & MODE_SIZE_MASK) == MODE_64 ? 16 : 8; }

/** The x87 part of the legacy area (bytes 0..23 and 32..159) at `host`. `rexW`: 64-bit pointers. */
export function x87Image(cpu: u32, host: u32, rexW: u32): void {
  store<u16>(host, load<u16>(cpu, CPU_FCW));
  store<u16>(host, <u16>statusWord(cpu), 2);
  store<u16>(host, <u16>load<u8>(cpu, CPU_FTAG), 4);
  store<u16>(host, <u16>(<u32>load<u16>(cpu, CPU_FOP) & 0x7ff), 6);
  if (rexW) {
    store<u64>(host, load<u64>(cpu, CPU_FIP), 8);
    store<u64>(host, load<u64>(cpu, CPU_FDP), 16);
  } else {
    store<u64>(host, u64(load<u32>(cpu, CPU_FIP)) | (u64(load<u16>(cpu, CPU_FCS)) << 32), 8);
    store<u64>(host, u64(load<u32>(cpu, CPU_FDP)) | (u64(load<u16>(cpu, CPU_FDS)) << 32), 16);
  }
  for (let i: u32 = 0; i < 8; i++) {
    const at = stAt(cpu, i);
    store<u64>(host + (i << 4), load<u64>(at, CPU_FPR), 32);
    store<u64>(host + (i << 4), <u64>load<u16>(at, CPU_FPR + 8), 40);
  }
}

export function loadX87Image(cpu: u32, host: u32, rexW: u32): void {
  setControl(cpu, load<u16>(host));
  setStatus(cpu, load<u16>(host, 2));
  store<u8>(cpu, load<u8>(host, 4), CPU_FTAG);
  store<u16>(cpu, <u16>(<u32>load<u16>(host, 6) & 0x7ff), CPU_FOP);
  if (rexW) {
    store<u64>(cpu, load<u64>(host, 8), CPU_FIP);
    store<u64>(cpu, load<u64>(host, 16), CPU_FDP);
    store<u16>(cpu, 0, CPU_FCS);
    store<u16>(cpu, 0, CPU_FDS);
  } else {
    store<u64>(cpu, <u64>load<u32>(host, 8), CPU_FIP);
    store<u64>(cpu, <u64>load<u32>(host, 16), CPU_FDP);
    store<u16>(cpu, load<u16>(host, 12), CPU_FCS);
    store<u16>(cpu, load<u16>(host, 20), CPU_FDS);
  }
  for (let i: u32 = 0; i < 8; i++) {
    const at = stAt(cpu, i);
    store<u64>(at, load<u64>(host + (i << 4), 32), CPU_FPR);
    store<u16>(at, load<u16>(host + (i << 4), 40), CPU_FPR + 8);
  }
  summarise(cpu);
}

/** Builds an FXSAVE image at `host`; returns how many bytes of it are to be written (the rest of the 512 keeps what it was). */
export function fxsaveImage(cpu: u32, host: u32, rexW: u32): u32 {
  x87Image(cpu, host, rexW);
  store<u32>(host, load<u32>(cpu, CPU_MXCSR), 24);
  store<u32>(host, MXCSR_MASK, 28);
  const count = xmmCount(cpu);
  for (let i: u32 = 0; i < count; i++) v128.store(host + (i << 4), v128.load(cpu + i * XMM_STRIDE, CPU_XMM), 160);
  return count == 16 ? FXSAVE_BYTES_64 : FXSAVE_BYTES;
}

/** Loads an FXSAVE image from `host`; nonzero, and nothing loaded, when MXCSR has reserved bits (#GP). */
export function fxrstorImage(cpu: u32, host: u32, rexW: u32): i32 {
  const mxcsr = load<u32>(host, 24);
  if ((mxcsr & ~MXCSR_MASK) != 0) return 1;
  loadX87Image(cpu, host, rexW);
  setMxcsr(cpu, mxcsr);
  const count = xmmCount(cpu);
  for (let i: u32 = 0; i < count; i++) v128.store(cpu + i * XMM_STRIDE, v128.load(host + (i << 4), 160), CPU_XMM);
  return 0;
}
