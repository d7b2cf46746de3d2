/** Bits spread out and gathered by a mask (PDEP, PEXT), and the host's random bits. Intel SDM volume 2. */
import { CPU_SCRATCH } from "../layout";
import { hostRandom } from "./host";

/** The low bits of `source`, in order, at the places of the ones in `mask`. */
export function pdep(cpu: u32, source: u64, mask: u64): u64 {
  let result: u64 = 0;
  for (; mask; mask &= mask - 1, source >>= 1) {
    if (source & 1) result |= mask & (0 - mask);
  }
  return result;
}

/** The bits of `source` at the ones of `mask`, moved together at the low end. */
export function pext(cpu: u32, source: u64, mask: u64): u64 {
  let result: u64 = 0;
  for (let to: u64 = 1; mask; mask &= mask - 1, to <<= 1) {
    if (source & mask & (0 - mask)) result |= to;
  }
  return result;
}

export function randomBits(cpu: u32): u64 {
  hostRandom(cpu);
  return load<u64>(cpu, CPU_SCRATCH);
}
