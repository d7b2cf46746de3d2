/**
 * XSAVE, XSAVEOPT, XSAVEC, XSAVES and XRSTOR, XRSTORS (Intel SDM volume 1, chapter 13) for the x87, SSE and PKRU components, in
 * the standard and the compacted format, which lie the same: PKRU comes right after the header. All enabled components count as in use; what is saved is never skipped as unmodified.
 */
import { CPU_IMAGE, CPU_MODE, CPU_MXCSR, CPU_PKRU, CPU_XCR0, CPU_XMM, MODE_64, MODE_SIZE_MASK, XMM_STRIDE } from "../layout";
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
const MXCSR_MASK: u32 = 0xffff;
const MXCSR_INITIAL: u32 = 0x1f80;
const FCW_INITIAL: u16 = 0x37f;
const X87: u64 = 1;
const SSE: u64 = 2;
const PKRU: u64 = 0x200;
const PKRU_BYTES: u32 = 8;
const COMPACTED: u64 = 0x8000000000000000;

/** What EDX:EAX asks for of what is enabled. */
function requested(cpu: u32): u64 {
  return ((gpr(cpu, RAX) & 0xffffffff) | (gpr(cpu, RDX) << 32)) & load<u64>(cpu, CPU_XCR0);
}

function areaBytes(components: u64): u32 { return components & PKRU ? AREA_BYTES + PKRU_BYTES : AREA_BYTES; }

function xmmCount(cpu: u32): u32 {
  return (load<u32>(cpu, CPU_MODE) & MODE_SIZE_MASK) == MODE_64 ? 16 : 8;
}

/** Saves to `va`, which must be aligned to 64 bytes; `kind` is XSAVE_*, `rexW` widens the x87 pointers. */
export function xsave(cpu: u32, va: u64, rexW: u32, kind: u32): i32 {
  if (va & 63) return raiseGp(cpu, 0);
  const image: u32 = cpu + CPU_IMAGE, components = requested(cpu);
  const bytes = areaBytes(components);
  if (probe(cpu, va, bytes, 1)) return 1;
  // What is not saved keeps its bytes.
  if (readGuest(cpu, va, image, bytes)) return 1;
  if (components & PKRU) store<u64>(image + AREA_BYTES, load<u32>(cpu, CPU_PKRU));
  if (components & X87) x87Image(cpu, image, rexW);
  if (components & SSE) {
    store<u32>(image + MXCSR_AT, load<u32>(cpu, CPU_MXCSR));
    store<u32>(image + MXCSR_AT, MXCSR_MASK, 4);
    const registers = xmmCount(cpu);
    for (let i: u32 = 0; i < registers; i++) v128.store(image + XMM_AT + (i << 4), v128.load(cpu + i * XMM_STRIDE, CPU_XMM));
  }
  if (kind >= XSAVE_COMPACTED) {
    store<u64>(image + HEADER, components);
    store<u64>(image + HEADER, components | COMPACTED, 8);
  } else {
    store<u64>(image + HEADER, load<u64>(image + HEADER) | components);
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
  if (readGuest(cpu, va, image, areaBytes(components))) return 1;
  const saved = load<u64>(image + HEADER), layout = load<u64>(image + HEADER, 8), enabled = load<u64>(cpu, CPU_XCR0);
  const compacted = (layout & COMPACTED) != 0;
  if (compacted) {
    if ((layout & ~COMPACTED & ~enabled) || (saved & ~layout) || !headerZero(image, 16)) return raiseGp(cpu, 0);
  } else if (supervisor || (saved & ~enabled) || layout || load<u64>(image + HEADER, 16)) return raiseGp(cpu, 0);
  const mxcsr = load<u32>(image + MXCSR_AT);
  const loadsMxcsr = (components & SSE) != 0 && (!compacted || (saved & SSE) != 0);
  if (loadsMxcsr && (mxcsr & ~MXCSR_MASK)) return raiseGp(cpu, 0);

  if (components & SSE) {
    const registers = xmmCount(cpu);
    for (let i: u32 = 0; i < registers; i++) {
      const at = cpu + i * XMM_STRIDE;
      if (saved & SSE) v128.store(at, v128.load(image + XMM_AT + (i << 4)), CPU_XMM);
      else v128.store(at, i64x2(0, 0), CPU_XMM);
    }
    setMxcsr(cpu, loadsMxcsr ? mxcsr : MXCSR_INITIAL);
  }
  if (components & X87) {
    if (!(saved & X87)) {
      memory.fill(image, 0, 160);
      store<u16>(image, FCW_INITIAL);
    }
    loadX87Image(cpu, image, rexW);
  }
  if (components & PKRU) setPkru(cpu, saved & PKRU ? load<u32>(image + AREA_BYTES) : 0);
  return 0;
}
