/** Reads and writes of an image's own tables: what lies beyond the file's end reads as zeroes, as in a hole. */
import { ImageError } from '../../block-error.ts';
import type { IoVector } from '../../io-vector.ts';
import { fillVector, sliceVector, vectorBytes } from '../../io-vector.ts';
import type { BlockNode } from '../../node.ts';

/** A new buffer with `bytes` bytes from `offset` on. The caller has bounded `bytes`. */
export async function readTable(file: BlockNode, offset: number, bytes: number): Promise<Uint8Array> {
  const table = new Uint8Array(bytes);
  await readPadded(file, offset, [table]);
  return table;
}

/** Fills the vector, with zeroes beyond the end of the file. */
export function readPadded(file: BlockNode, offset: number, into: IoVector): Promise<void> {
  const bytes = vectorBytes(into);
  const there = Math.max(0, Math.min(bytes, file.size - offset));
  if (there === bytes) return file.read(offset, into);
  fillVector(sliceVector(into, there, bytes - there), 0);
  return there === 0 ? Promise.resolve() : file.read(offset, sliceVector(into, 0, there));
}

/** Makes sure that an offset read from a table may be one: at a cluster, below 2^56 and the numbers that we can hold. */
export function checkClusterOffset(what: string, offset: number, clusterSize: number): void {
  // GUEST: offsets in tables. Reading beyond the file's end gives zeroes, so no other bound is needed.
  if (offset % clusterSize !== 0) throw new ImageError(`${what} offset 0x${offset.toString(16)} unaligned`, 'EIO');
}

/** A table in memory, and which part of it the file does not have yet. */
export class Dirty {
  from: number = Infinity;
  to = 0;

  get any(): boolean {
    return this.to > this.from;
  }

  add(from: number, to: number): void {
    if (from < this.from) this.from = from;
    if (to > this.to) this.to = to;
  }

  /** The range, aligned to sectors, and none afterwards. */
  take(): { readonly from: number; readonly to: number } {
    const range = { from: Math.floor(this.from / 512) * 512, to: Math.ceil(this.to / 512) * 512 };
    this.from = Infinity;
    this.to = 0;
    return range;
  }
}
