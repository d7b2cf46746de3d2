/** Requests as a device makes them: its size is that of the image in whole sectors, and nothing reaches beyond it. */
import { BlockError } from '../../block/block-error.ts';
import { fillVector, type IoVector, sliceVector, vectorBytes } from '../../block/io-vector.ts';
import type { BlockNode } from '../../block/node.ts';

const SECTOR = 512;

/** Size of an image, bytes, up to the end of its last sector. */
export function sectorsSize(node: BlockNode): number {
  return Math.ceil(node.size / SECTOR) * SECTOR;
}

export function checkInside(node: BlockNode, offset: number, bytes: number): void {
  if (offset + bytes > sectorsSize(node)) throw new BlockError('EIO');
}

/** What is read of the last sector behind the end of the image is zeroes. */
export async function readSectors(node: BlockNode, offset: number, into: IoVector): Promise<void> {
  const bytes = vectorBytes(into);
  checkInside(node, offset, bytes);
  const there = Math.max(0, Math.min(bytes, node.size - offset));
  if (there === bytes) return node.read(offset, into);
  await node.read(offset, sliceVector(into, 0, there));
  fillVector(sliceVector(into, there, bytes - there), 0);
}
