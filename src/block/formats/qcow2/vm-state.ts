/** The state of a machine, which lies behind the disk among the guest clusters: where a table begins that the disk does not reach. */
import type { IoVector } from '../../io-vector.ts';
import { vectorBytes } from '../../io-vector.ts';
import { BlockError } from '../../block-error.ts';
import type { Qcow2Image } from './image.ts';
import { L1_BYTES_MAX, l1EntriesFor } from './layout.ts';
import { readRange } from './read.ts';
import { growL1 } from './resize.ts';
import { writeRange } from './write.ts';

export function vmStateOffset(image: Qcow2Image): number {
  return l1EntriesFor(image.header, image.header.size) * image.tables.l2Reach;
}

export async function readVmState(image: Qcow2Image, offset: number, into: IoVector): Promise<void> {
  await readRange(image, checkedStart(image, offset, into), into, vectorBytes(into));
}

export async function writeVmState(image: Qcow2Image, offset: number, from: IoVector): Promise<void> {
  const start = checkedStart(image, offset, from);
  const bytes = vectorBytes(from);
  const entries = Math.ceil((start + bytes) / image.tables.l2Reach);
  if (entries > image.header.l1Entries) {
    await image.ranges.alone(async () => {
      if (entries > image.header.l1Entries) await growL1(image, entries);
    });
  }
  await writeRange(image, start, from, bytes);
}

/** Where in the guest's clusters it is. The table that would map it bounds how far away that can be. */
function checkedStart(image: Qcow2Image, offset: number, vector: IoVector): number {
  const start = vmStateOffset(image) + offset;
  const end = start + vectorBytes(vector);
  if (!Number.isSafeInteger(end) || Math.ceil(end / image.tables.l2Reach) * 8 > L1_BYTES_MAX)
    throw new BlockError('EFBIG');
  return start;
}
