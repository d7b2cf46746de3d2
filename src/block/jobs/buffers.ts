/** Looking at large buffers quickly: words of 4 bytes at a time. */

const WORD = 4;

function words(bytes: Uint8Array): Int32Array | undefined {
  if (bytes.byteOffset % WORD !== 0) return undefined;
  return new Int32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / WORD));
}

/** Whether the bytes [from, to) are all zero; data is found out by its first words. */
export function isZero(bytes: Uint8Array, from = 0, to: number = bytes.length): boolean {
  return firstNonZero(bytes, from, to) === -1;
}

/** Place of the first byte in [from, to) that is not zero, -1 when all are. */
export function firstNonZero(bytes: Uint8Array, from = 0, to: number = bytes.length): number {
  const part = bytes.subarray(from, to);
  const view = words(part);
  let at = 0;
  if (view !== undefined) {
    const { length } = view;
    let index = 0;
    for (; index + 8 <= length; index += 8) {
      // INVARIANT: inside the view.
      const any = view[index]! | view[index + 1]! | view[index + 2]! | view[index + 3]! | view[index + 4]! | view[index + 5]! | view[index + 6]! | view[index + 7]!; // prettier-ignore
      if (any !== 0) break;
    }
    at = index * WORD;
  }
  for (; at < part.length; at++) if (part[at] !== 0) return from + at;
  return -1;
}

/** Place of the first byte in which two buffers of one length differ, -1 when they do not. */
export function firstDifference(a: Uint8Array, b: Uint8Array): number {
  const [first, second] = [words(a), words(b)];
  let at = 0;
  if (first !== undefined && second !== undefined) {
    let index = 0;
    for (; index < first.length; index++) if (first[index] !== second[index]) break;
    at = index * WORD;
  }
  for (; at < a.length; at++) if (a[at] !== b[at]) return at;
  return -1;
}
