/** Scattered buffers of one request: guest memory comes in pieces, and nobody copies them together without need. */

/** Pieces in order. They may lie in shared memory (a guest's), which may change while it is looked at. */
export type IoVector = readonly Uint8Array[];

export function vectorBytes(vector: IoVector): number {
  let bytes = 0;
  for (const piece of vector) bytes += piece.length;
  return bytes;
}

/** The part [from, from + bytes) of a vector, without copying. */
export function sliceVector(vector: IoVector, from: number, bytes: number): IoVector {
  if (from < 0 || bytes < 0) throw new RangeError(`slice [${from}, +${bytes}) of a vector`);
  const slices: Uint8Array[] = [];
  let [skip, left] = [from, bytes];
  for (const piece of vector) {
    if (left === 0) break;
    if (skip >= piece.length) {
      skip -= piece.length;
      continue;
    }
    const part = piece.subarray(skip, Math.min(piece.length, skip + left));
    slices.push(part);
    left -= part.length;
    skip = 0;
  }
  if (left > 0) throw new RangeError(`slice [${from}, +${bytes}) of a vector of ${vectorBytes(vector)} bytes`);
  return slices;
}

/** All bytes in one private buffer (a copy, unless `vector` is one piece of memory that is not shared). */
export function gather(vector: IoVector): Uint8Array {
  const [only] = vector;
  if (vector.length === 1 && only !== undefined && !isShared(only)) return only;
  const whole = new Uint8Array(vectorBytes(vector));
  let at = 0;
  for (const piece of vector) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** Copies `from` into the vector's bytes from `at` on. */
export function scatter(from: Uint8Array, vector: IoVector, at = 0): void {
  let done = 0;
  for (const piece of sliceVector(vector, at, from.length)) {
    piece.set(from.subarray(done, done + piece.length));
    done += piece.length;
  }
}

export function fillVector(vector: IoVector, byte: number): void {
  for (const piece of vector) piece.fill(byte);
}

function isShared(piece: Uint8Array): boolean {
  return typeof SharedArrayBuffer !== 'undefined' && piece.buffer instanceof SharedArrayBuffer;
}
