/**
 * XSAVE, XSAVEOPT, XSAVEC, XSAVES and XRSTOR, XRSTORS (Intel SDM volume 1, chapter 13) for the x87, SSE, AVX and PKRU components, in
 * the standard and the compacted format, which differ in where PKRU lies. AVX is in use when an upper half is not zero, and what is
 * not in use XSAVEOPT, XSAVEC and XSAVES do not write; the other components always count as in use, and as modified.
 */
import {
  CPU_IMAGE, CPU_MODE, CPU_MXCSR, CPU_PKRU, CPU_XCR0, CPU_XMM, MODE_64, MODE_SIZE_MASK, XMM_STRIDE,
} from "../layout";
import { loadX87Image, x87Image } from "./fpu/image";
import { probe, readGuest, writeGuest } from "./memory";
import { setMxcsr } from "./mxcsr";
import { setPkru } from "./processor";
import { gpr, raiseGp, RAX, RDX } from "./state";

export const XSAVE_STANDARD: u32 = 0;
export const XSAVE_OPT: u32 = 1;
export const XSAVE_COMPACTED: u32 = 2;
export const XSAVE_SUPERVISOR: u32 = 3;

const AREA_BYTES: u32 = 576;
const HEADER: u32 = 512; // XSTATE_BV u64, XCOMP_BV u64, zeros
const MXCSR_AT: u32 = 24;
const XMM_AT: u32 = 160;
const AVX_AT: u32 = 576;
const AVX_BYTES: u32 = 256;
const MXCSR_MASK: u32 = 0xffff;
const MXCSR_INITIAL: u32 = 0x1f80;
const FCW_INITIAL: u16 = 0x37f;
const X87: u64 = 1;
const SSE: u64 = 2;
const AVX: u64 = 4;
const PKRU: u64 = 0x200;
const PKRU_BYTES: u32 = 8;
const COMPACTED: u64 = 0x8000000000000000;
/** Upper half of a ymm register in its slot of the state. */
const UPPER: usize = CPU_XMM + 16;

/** What EDX:EAX asks for of what is enabled. */
function requested(cpu: u32): u64 {
  return ((gpr(cpu, RAX) & 0xffffffff) | (gpr(cpu, RDX) << 32)) & load<u64>(cpu, CPU_XCR0);
}

/** Where PKRU lies: in the compacted format behind the components that the area has. */
function pkruAt(compacted: bool, layout: u64): u32 {
  return compacted && !(layout & AVX) ? AVX_AT : AVX_AT + AVX_BYTES;
}

/** Bytes of an area that ends with the last of `components`. */
function areaBytes(components: u64, compacted: bool, layout: u64): u32 {
  if (components & PKRU) return pkruAt(compacted, layout) + PKRU_BYTES;
  return components & AVX ? AVX_AT + AVX_BYTES : AREA_BYTES;
}

function registerCount(cpu: u32): u32 {
  return (load<u32>(cpu, CPU_MODE) & MODE_SIZE_MASK) == MODE_64 ? 16 : 8;
}

/** The components that are not in their initial state, as far as that is looked at. */
export function inUse(cpu: u32): u64 {
  let upper = v128.load(cpu, UPPER);
  for (let i: u32 = 1; i < 16; i++) upper = v128.or(upper, v128.load(cpu + i * XMM_STRIDE, UPPER));
  return v128.any_true(upper) ? X87 | SSE | AVX | PKRU : X87 | SSE | PKRU;
}

/** Copies 16 bytes a register between the state at `offset` and the image at `at`. */
function saveRegisters(cpu: u32, at: u32, offset: u32): void {
  for (let i: u32 = 0, n = registerCount(cpu); i < n; i++) v128.store(at + (i << 4), v128.load(cpu + offset + i * XMM_STRIDE));
}

function loadRegisters(cpu: u32, at: u32, offset: u32): void {
  for (let i: u32 = 0, n = registerCount(cpu); i < n; i++) v128.store(cpu + offset + i * XMM_STRIDE, v128.load(at + (i << 4)));
}

function clearRegisters(cpu: u32, offset: u32): void {
  for (let i: u32 = 0, n = registerCount(cpu); i < n; i++) v128.store(cpu + offset + i * XMM_STRIDE, i64x2(0, 0));
}

/** Saves to `va`, which must be aligned to 64 bytes; `kind` is XSAVE_*, `rexW` widens the x87 pointers. */
export function xsave(cpu: u32, va: u64, rexW: u32, kind: u32): i32 {
  if (va & 63) return raiseGp(cpu, 0);
  const image: u32 = cpu + CPU_IMAGE, asked = requested(cpu), used = asked & inUse(cpu);
  const compacted = kind >= XSAVE_COMPACTED, saved = kind == XSAVE_STANDARD ? asked : used;
  const bytes = areaBytes(saved, compacted, asked);
  if (probe(cpu, va, bytes, 1)) return 1;
  // What is not saved keeps its bytes.
  if (readGuest(cpu, va, image, bytes)) return 1;
  if (saved & PKRU) store<u64>(image + pkruAt(compacted, asked), load<u32>(cpu, CPU_PKRU));
  if (saved & X87) x87Image(cpu, image, rexW);
  if (compacted ? saved & SSE : asked & (SSE | AVX)) {
    store<u32>(image + MXCSR_AT, load<u32>(cpu, CPU_MXCSR));
    store<u32>(image + MXCSR_AT, MXCSR_MASK, 4);
  }
  if (saved & SSE) saveRegisters(cpu, image + XMM_AT, CPU_XMM);
  if (saved & AVX) saveRegisters(cpu, image + AVX_AT, <u32>UPPER);
  if (compacted) {
    store<u64>(image + HEADER, used);
    store<u64>(image + HEADER, asked | COMPACTED, 8);
  } else {
    store<u64>(image + HEADER, (load<u64>(image + HEADER) & ~asked) | used);
  }
  return writeGuest(cpu, va, image, bytes);
}

/** Bytes `from` to the end of the header are zero. */
function headerZero(image: u32, from: u32): bool {
  for (let at = from; at < 64; at += 8) if (load<u64>(image + HEADER + at)) return false;
  return true;
}

/** Restores from `va`. `supervisor` (XRSTORS) takes only the compacted format. */
export function xrstor(cpu: u32, va: u64, rexW: u32, supervisor: i32): i32 {
  if (va & 63) return raiseGp(cpu, 0);
  const image: u32 = cpu + CPU_IMAGE, components = requested(cpu);
  if (readGuest(cpu, va, image, AREA_BYTES)) return 1;
  const saved = load<u64>(image + HEADER), layout = load<u64>(image + HEADER, 8), enabled = load<u64>(cpu, CPU_XCR0);
  const compacted = (layout & COMPACTED) != 0;
  if (compacted) {
    if ((layout & ~COMPACTED & ~enabled) || (saved & ~layout) || !headerZero(image, 16)) return raiseGp(cpu, 0);
  } else if (supervisor || (saved & ~enabled) || layout || load<u64>(image + HEADER, 16)) return raiseGp(cpu, 0);
  const mxcsr = load<u32>(image + MXCSR_AT);
  const loadsMxcsr = compacted ? (components & saved & SSE) != 0 : (components & (SSE | AVX)) != 0;
  if (loadsMxcsr && (mxcsr & ~MXCSR_MASK)) return raiseGp(cpu, 0);
  const bytes = areaBytes(components & saved, compacted, layout);
  if (bytes > AREA_BYTES && readGuest(cpu, va + AREA_BYTES, image + AREA_BYTES, bytes - AREA_BYTES)) return 1;

  if (components & SSE) {
    if (saved & SSE) loadRegisters(cpu, image + XMM_AT, CPU_XMM);
    else clearRegisters(cpu, CPU_XMM);
  }
  if (loadsMxcsr) setMxcsr(cpu, mxcsr);
  else if (components & SSE) setMxcsr(cpu, MXCSR_INITIAL);
  if (components & AVX) {
    if (saved & AVX) loadRegisters(cpu, image + AVX_AT, <u32>UPPER);
    else clearRegisters(cpu, <u32>UPPER);
  }
  if (components & X87) {
    if (!(saved & X87)) {
      memory.fill(image, 0, 160);
      store<u16>(image, FCW_INITIAL);
    }
    loadX87Image(cpu, image, rexW);
  }
  if (components & PKRU) setPkru(cpu, saved & PKRU ? load<u32>(image + pkruAt(compacted, layout)) : 0);
  return 0;
}
