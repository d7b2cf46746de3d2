/**
 * MXCSR, and what generated code holds plain arithmetic against (src/cpu/x86/semantics/sse/ordinary.ts): bounds that no number
 * meets unless MXCSR rounds to nearest, masks everything and has PE raised.
 */
import { CPU_MXCSR, CPU_SSE_BOUND32, CPU_SSE_BOUND64, CPU_SSE_BOUNDS32, CPU_SSE_BOUNDS64 } from "../layout";

/** RC, the masks and PE; neither FTZ nor DAZ, which matter to denormal numbers alone. */
const DECISIVE: u32 = 0x7fa0;
const DEFAULT: u32 = 0x1fa0;
/** Numbers above the smallest normal one: how many there are below infinity, with the sign shifted out. */
const RANGE64: u64 = 0xffbfffffffffffff;
const RANGE32: u32 = 0xfdffffff;

export function setMxcsr(cpu: u32, value: u32): void {
  store<u32>(cpu, value, CPU_MXCSR);
  const plain = (value & DECISIVE) == DEFAULT;
  store<u64>(cpu, plain ? RANGE64 : 0, CPU_SSE_BOUND64);
  store<u32>(cpu, plain ? RANGE32 : 0, CPU_SSE_BOUND32);
  // For vectors what must be exceeded, with a sign, by numbers moved so that infinity is the least of all.
  const low: u64 = plain ? 0x7fffffffffffffff - RANGE64 : 0x7fffffffffffffff;
  store<u64>(cpu, low, CPU_SSE_BOUNDS64);
  store<u64>(cpu, low, CPU_SSE_BOUNDS64 + 8);
  const low32: u32 = plain ? 0x7fffffff - RANGE32 : 0x7fffffff;
  for (let i: u32 = 0; i < 4; i++) store<u32>(cpu + (i << 2), low32, CPU_SSE_BOUNDS32);
}

/** LDMXCSR. */
export function sseLoadMxcsr(cpu: u32, value: u32): void { setMxcsr(cpu, value); }
