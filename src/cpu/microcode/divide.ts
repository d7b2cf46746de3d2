/** 128-by-64-bit division: schoolbook in base 2^32 (Knuth, volume 2, 4.3.1, algorithm D). Results: quotient and remainder in CPU_SCRATCH. */
import { CPU_SCRATCH, EXC_DE } from "../layout";
import { raise } from "./state";

/** Unsigned high:low / divisor, divisor not 0. Nonzero = #DE pending: the quotient does not fit. */
export function div128(cpu: u32, high: u64, low: u64, divisor: u64): i32 {
  if (high >= divisor) return raise(cpu, EXC_DE, 0);
  const shift = clz<u64>(divisor);
  const d = divisor << shift;
  const d1 = d >> 32, d0 = d & 0xffffffff;
  // The normalised dividend, the top part in `rest`.
  let rest = shift ? (high << shift) | (low >> (64 - shift)) : high;
  const bottom = low << shift;
  const q1 = digit(rest, bottom >> 32, d1, d0);
  rest = ((rest << 32) | (bottom >> 32)) - q1 * d;
  const q0 = digit(rest, bottom & 0xffffffff, d1, d0);
  rest = ((rest << 32) | (bottom & 0xffffffff)) - q0 * d;
  store<u64>(cpu, (q1 << 32) | q0, CPU_SCRATCH);
  store<u64>(cpu, rest >> shift, CPU_SCRATCH + 8);
  return 0;
}

/** One quotient digit of (rest : next) / (d1 : d0), rest < d. */
function digit(rest: u64, next: u64, d1: u64, d0: u64): u64 {
  let q = rest / d1;
  let r = rest - q * d1;
  while (q >> 32 || q * d0 > ((r << 32) | next)) {
    q--;
    r += d1;
    if (r >> 32) break;
  }
  return q;
}

/** Signed, truncating towards zero. */
export function idiv128(cpu: u32, high: u64, low: u64, divisor: u64): i32 {
  const negative = <i64>high < 0;
  const divisorNegative = <i64>divisor < 0;
  if (negative) {
    low = ~low + 1;
    high = ~high + (low == 0 ? 1 : 0);
  }
  if (div128(cpu, high, low, divisorNegative ? ~divisor + 1 : divisor)) return 1;
  const quotient = load<u64>(cpu, CPU_SCRATCH), remainder = load<u64>(cpu, CPU_SCRATCH + 8);
  const minus = negative != divisorNegative;
  if (quotient > (minus ? <u64>1 << 63 : ((<u64>1 << 63) - 1))) return raise(cpu, EXC_DE, 0);
  if (minus) store<u64>(cpu, ~quotient + 1, CPU_SCRATCH);
  if (negative) store<u64>(cpu, ~remainder + 1, CPU_SCRATCH + 8);
  return 0;
}

/** 1 when the signed product does not fit 64 bits. */
export function imulOverflow(a: i64, b: i64): i32 {
  if (<i64><i32>a == a && <i64><i32>b == b) return 0;
  if (a == 0 || b == 0) return 0;
  // The smallest number by -1 is the one quotient that does not fit either.
  if (a == -1) return i32(b == i64.MIN_VALUE);
  return i32((a * b) / a != b);
}
