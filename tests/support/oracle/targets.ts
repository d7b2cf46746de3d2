/** Addresses for memory operands: mostly good ones, some at every kind of edge of the data area. */
import { DATA_BASE, DATA_SIZE, DATA_WRITABLE } from './machine-state.ts';
import type { Random } from './random.ts';

/** Well inside the hole, so that bit offsets and inexact solutions do not leave it. */
const NON_CANONICAL: readonly bigint[] = [
  0x0000800000010000n,
  0xffff7fffffff0000n,
  0x1234567800000000n,
  0x8000000000000000n,
];

/** An address for an access of `bytes`, mostly a good one. */
export function pickTarget(random: Random, bytes: number, writable = DATA_WRITABLE): bigint {
  const alignment = bytes >= 512 ? 64 : bytes >= 16 ? 16 : bytes;
  let offset: number;
  const choice = random.below(64);
  if (choice < 50) {
    offset = 1024 + random.below(writable - 3072);
    if (choice < 44) offset -= offset % alignment;
  } else if (choice < 56) {
    offset = 4096 * (1 + random.below(writable / 4096 - 1)) - random.below(bytes + 1); // across a page boundary
  } else if (choice < 58) {
    offset = writable - random.below(bytes + 1); // into the read-only page
  } else if (choice < 60) {
    offset = writable + 64 + random.below(2048);
    offset -= offset % alignment;
  } else if (choice < 62) {
    offset = DATA_SIZE - random.below(bytes + 1); // off the end
  } else if (choice < 63) {
    offset = -random.below(bytes + 16); // before the start
  } else {
    return NON_CANONICAL[random.below(NON_CANONICAL.length)] ?? 0n;
  }
  return BigInt(DATA_BASE + offset);
}

/** A target that a displacement can name, whatever its width. */
export function pickLowTarget(random: Random, bytes: number): bigint {
  for (;;) {
    const target = pickTarget(random, bytes);
    if (target >= DATA_BASE && target < 0x70000000n) return target;
  }
}
