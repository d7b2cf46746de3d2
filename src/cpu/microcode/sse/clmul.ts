/** PCLMULQDQ: carry-less multiplication of two quadwords. Intel SDM volume 2. */

/**
 * Product of two 32-bit polynomials. Bits stand four places apart while integer multiplication adds them up, so that sums
 * (at most 8 of them) never reach the next bit that counts.
 */
function multiply32(a: u32, b: u32): u64 {
  const x: u64 = a, y: u64 = b;
  const x0 = x & 0x11111111, x1 = x & 0x22222222, x2 = x & 0x44444444, x3 = x & 0x88888888;
  const y0 = y & 0x11111111, y1 = y & 0x22222222, y2 = y & 0x44444444, y3 = y & 0x88888888;
  const z0 = (x0 * y0) ^ (x1 * y3) ^ (x2 * y2) ^ (x3 * y1);
  const z1 = (x0 * y1) ^ (x1 * y0) ^ (x2 * y3) ^ (x3 * y2);
  const z2 = (x0 * y2) ^ (x1 * y1) ^ (x2 * y0) ^ (x3 * y3);
  const z3 = (x0 * y3) ^ (x1 * y2) ^ (x2 * y1) ^ (x3 * y0);
  return (z0 & 0x1111111111111111) | (z1 & 0x2222222222222222) | (z2 & 0x4444444444444444) | (z3 & 0x8888888888888888);
}

/** 128-bit product to host address `dst`, by Karatsuba's three products. */
export function sseMultiplyCarryless(cpu: u32, dst: u32, a: u64, b: u64): void {
  const al = <u32>a, ah = <u32>(a >> 32), bl = <u32>b, bh = <u32>(b >> 32);
  const low = multiply32(al, bl), high = multiply32(ah, bh);
  const middle = multiply32(al ^ ah, bl ^ bh) ^ low ^ high;
  store<u64>(dst, low ^ (middle << 32));
  store<u64>(dst, high ^ (middle >> 32), 8);
}
