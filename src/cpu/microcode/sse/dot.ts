/** DPPS and DPPD: products of chosen lanes, summed pairwise. Intel SDM volume 2. Operands are at host addresses. */
import { SSE_FAULT } from "../../layout";
import { SSE_ADD, SSE_MUL, sseF32Packed, sseF64Packed } from "../sse-float";

/** `a` and `b` are 16 bytes each that may be overwritten, not in the last 16 bytes of CPU_SCRATCH. */
export function sseDotF32(cpu: u32, imm: u32, dst: u32, a: u32, b: u32): i32 {
  for (let i: u32 = 0; i < 4; i++) {
    if ((imm >> (4 + i)) & 1) continue;
    store<u32>(a + (i << 2), 0);
    store<u32>(b + (i << 2), 0);
  }
  if (sseF32Packed(cpu, SSE_MUL, a, a, b, 4) == SSE_FAULT) return 1;
  // (p0 + p1), (p2 + p3)
  const p1 = load<u32>(a, 4);
  store<u32>(a, load<u32>(a, 8), 4);
  store<u32>(b, p1);
  store<u32>(b, load<u32>(a, 12), 4);
  if (sseF32Packed(cpu, SSE_ADD, a, a, b, 2) == SSE_FAULT) return 1;
  store<u32>(b, load<u32>(a, 4));
  if (sseF32Packed(cpu, SSE_ADD, a, a, b, 1) == SSE_FAULT) return 1;
  const sum = load<u32>(a);
  for (let i: u32 = 0; i < 4; i++) store<u32>(dst + (i << 2), (imm >> i) & 1 ? sum : 0);
  return 0;
}

export function sseDotF64(cpu: u32, imm: u32, dst: u32, a: u32, b: u32): i32 {
  for (let i: u32 = 0; i < 2; i++) {
    if ((imm >> (4 + i)) & 1) continue;
    store<u64>(a + (i << 3), 0);
    store<u64>(b + (i << 3), 0);
  }
  if (sseF64Packed(cpu, SSE_MUL, a, a, b, 2) == SSE_FAULT) return 1;
  store<u64>(b, load<u64>(a, 8));
  if (sseF64Packed(cpu, SSE_ADD, a, a, b, 1) == SSE_FAULT) return 1;
  const sum = load<u64>(a);
  for (let i: u32 = 0; i < 2; i++) store<u64>(dst + (i << 3), (imm >> i) & 1 ? sum : 0);
  return 0;
}
