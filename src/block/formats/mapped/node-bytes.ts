/** Bytes of a child node, the ways image formats want them. */
import { ImageError } from '../../block-error.ts';
import { sliceVector, vectorBytes } from '../../io-vector.ts';
import type { IoVector } from '../../io-vector.ts';
import type { BlockNode } from '../../node.ts';

/** Exactly `bytes` bytes of metadata; an image that ends before is refused in a sentence that says what is missing. */
export async function readExactly(node: BlockNode, offset: number, bytes: number, what: string): Promise<Uint8Array> {
  // GUEST: offset comes from the image; the child's size bounds it.
  if (!Number.isSafeInteger(offset + bytes) || offset < 0 || offset + bytes > node.size)
    throw new ImageError(`${what} at offset ${offset} lies beyond the end of the image (${node.size} bytes)`);
  const data = new Uint8Array(bytes);
  await node.read(offset, [data]);
  return data;
}

/** Reads data; what lies beyond the end of the child reads as zeroes, as with a file that was not written to its end. */
export async function readOrZero(node: BlockNode, offset: number, into: IoVector): Promise<void> {
  const bytes = vectorBytes(into);
  const present = Math.max(0, Math.min(bytes, node.size - offset));
  if (present === bytes) return node.read(offset, into);
  for (const piece of sliceVector(into, present, bytes - present)) piece.fill(0);
  if (present > 0) await node.read(offset, sliceVector(into, 0, present));
}

/** A 64-bit field as a number; Infinity-like values (above 2^53) become unsafe integers, which every bound refuses. */
export function u64(view: DataView, at: number, littleEndian: boolean): number {
  const [low, high] = littleEndian ? [at, at + 4] : [at + 4, at];
  return view.getUint32(high, littleEndian) * 2 ** 32 + view.getUint32(low, littleEndian);
}

export function setU64(view: DataView, at: number, value: number, littleEndian: boolean): void {
  const [low, high] = littleEndian ? [at, at + 4] : [at + 4, at];
  view.setUint32(high, Math.floor(value / 2 ** 32), littleEndian);
  view.setUint32(low, value >>> 0, littleEndian);
}
