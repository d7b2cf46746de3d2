/** Apple Data Compression (ADC): bytes as they are, and copies of what came out before, in two lengths. */
import { BlockError } from '../../block-error.ts';

/** What `packed` stands for; more than `limit` bytes, or a copy from before the beginning, is an error. */
export function unpackAdc(packed: Uint8Array, limit: number): Uint8Array {
  const out = new Uint8Array(limit);
  let to = 0;
  for (let at = 0; at < packed.length;) {
    const head = packed[at]!; // INVARIANT: below the length
    const plain = head >= 0x80;
    const long = !plain && head >= 0x40;
    const headBytes = plain ? 1 : long ? 3 : 2;
    const count = plain ? (head & 0x7f) + 1 : long ? (head & 0x3f) + 4 : (head >> 2) + 3;
    // GUEST: lengths and distances come from the image; both ends are bounded here.
    if (to + count > limit) throw new BlockError('EIO', `ADC data unpacks to more than ${limit} bytes`);
    if (at + headBytes + (plain ? count : 0) > packed.length) throw new BlockError('EIO', 'ADC data ends too early');
    if (plain) out.set(packed.subarray(at + 1, at + 1 + count), to);
    else {
      // INVARIANT: the head is all there.
      const distance = long ? packed[at + 1]! * 256 + packed[at + 2]! + 1 : (head & 3) * 256 + packed[at + 1]! + 1;
      if (distance > to) throw new BlockError('EIO', 'ADC data copies from before its beginning');
      // Source and target may overlap, which repeats what is between them.
      for (let i = 0; i < count; i++) out[to + i] = out[to + i - distance]!;
    }
    to += count;
    at += headBytes + (plain ? count : 0);
  }
  return out.subarray(0, to);
}
