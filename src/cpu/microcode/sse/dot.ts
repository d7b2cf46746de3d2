/** DPPS and DPPD: products of chosen lanes, summed pairwise, in one or two halves of 16 bytes. Intel SDM volume 2. */
import { SSE_FAULT } from "../../layout";
import { SSE_ADD, SSE_MUL, sseF32Packed, sseF64Packed } from "../sse-float";

/** `a` and `b` are 16 or 32 bytes at host addresses that may be overwritten. */
export function sseDotF32(cpu: u32, imm: u32, dst: u32, a: u32, b: u32, halves: u32): i32 {
  const lanes = halves << 2;
  for (let i: u32 = 0; i < lanes; i++) {
    if ((imm >> (4 + (i & 3))) & 1) continue;
    store<u32>(a + (i << 2), 0);
    store<u32>(b + (i << 2), 0);
  }
  if (sseF32Packed(cpu, SSE_MUL, a, a, b, lanes) == SSE_FAULT) return 1;
  // p0 + p1 and p2 + p3 of every half
  for (let pair: u32 = 0; pair < halves << 1; pair++) {
    store<u32>(b + (pair << 2), load<u32>(a + (pair << 3), 4));
    store<u32>(a + (pair << 2), load<u32>(a + (pair << 3)));
  }
  if (sseF32Packed(cpu, SSE_ADD, a, a, b, halves << 1) == SSE_FAULT) return 1;
  for (let half: u32 = 0; half < halves; half++) {
    store<u32>(b + (half << 2), load<u32>(a + (half << 3), 4));
    store<u32>(a + (half << 2), load<u32>(a + (half << 3)));
  }
  if (sseF32Packed(cpu, SSE_ADD, a, a, b, halves) == SSE_FAULT) return 1;
  const high = load<u32>(a, 4);
  const low = load<u32>(a);
  for (let i: u32 = 0; i < lanes; i++) store<u32>(dst + (i << 2), (imm >> (i & 3)) & 1 ? (i < 4 ? low : high) : 0);
  return 0;
}

export function sseDotF64(cpu: u32, imm: u32, dst: u32, a: u32, b: u32, _halves: u32): i32 {
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
