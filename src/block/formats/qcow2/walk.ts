/** Walking an L1 table and everything it refers to, as it is in the file. */
import type { Qcow2Image } from './image.ts';
import { ENTRY_COMPRESSED, ENTRY_COPIED, ENTRY_OFFSET_HIGH, ENTRY_OFFSET_LOW, viewOf } from './layout.ts';
import { checkClusterOffset, readTable } from './metadata-file.ts';

/** Offset in an L1 entry, or in one of an L2 table that is not compressed. */
export function entryOffset(view: DataView, at: number): number {
  return (view.getUint32(at) & ENTRY_OFFSET_HIGH) * 0x1_0000_0000 + ((view.getUint32(at + 4) & ENTRY_OFFSET_LOW) >>> 0);
}

/** Host clusters of the L2 entry at byte `at`: first offset and number; number 0 for none. */
export function entryClusters(image: Qcow2Image, view: DataView, at: number): { offset: number; clusters: number } {
  const high = view.getUint32(at);
  const size = image.clusterSize;
  if (high & ENTRY_COMPRESSED) {
    const { host, compressedBytes } = image.tables.decodeCompressed(high, view.getUint32(at + 4));
    const first = Math.floor(host / size);
    return { offset: first * size, clusters: Math.floor((host + compressedBytes - 1) / size) - first + 1 };
  }
  if (image.hasDataFile) return { offset: 0, clusters: 0 };
  const offset = entryOffset(view, at);
  return { offset, clusters: offset === 0 ? 0 : 1 };
}

/** Calls with every host cluster that the tree of an L1 table refers to: data and L2 tables. */
export async function forEachReference(
  image: Qcow2Image,
  l1: Uint8Array,
  visit: (offset: number, clusters: number) => Promise<void> | void,
): Promise<void> {
  const view = viewOf(l1);
  for (let at = 0; at < l1.length; at += 8) {
    const l2Offset = entryOffset(view, at);
    if (l2Offset === 0) continue;
    checkClusterOffset('L2 table', l2Offset, image.clusterSize);
    const l2 = viewOf(await readTable(image.file, l2Offset, image.clusterSize));
    for (let entry = 0; entry < image.clusterSize; entry += image.tables.entryBytes) {
      const { offset, clusters } = entryClusters(image, l2, entry);
      if (clusters === 0) continue;
      checkClusterOffset('Data cluster', offset, image.clusterSize);
      await visit(offset, clusters);
    }
    await visit(l2Offset, 1);
  }
}

/** Sets or clears the "copied" flags of the active tables as the refcounts say. Calls for each flag that was wrong. */
export async function fixCopiedFlags(
  image: Qcow2Image,
  wrong: (kind: 'L1' | 'L2', index: number, entry: bigint, refcount: number) => boolean,
): Promise<void> {
  const { tables, refcounts } = image;
  for (let l1Index = 0; l1Index < tables.l1.length / 8; l1Index++) {
    const l2Offset = tables.l2Offset(l1Index);
    if (l2Offset === 0 || l2Offset % image.clusterSize !== 0) continue;
    const l2Count = await refcounts.get(l2Offset / image.clusterSize);
    if ((l2Count === 1) !== tables.l1IsCopied(l1Index)) {
      const entry = tables.l1View.getBigUint64(l1Index * 8);
      if (wrong('L1', l1Index, entry, l2Count)) tables.setL1Entry(l1Index, l2Offset, l2Count === 1);
    }
    const table = await tables.load(l1Index);
    if (table === undefined) continue;
    table.pins++;
    try {
      for (let index = 0; index < tables.l2Entries; index++) {
        const at = index * tables.entryBytes;
        if (table.view.getUint32(at) & ENTRY_COMPRESSED || image.hasDataFile) continue;
        const offset = entryOffset(table.view, at);
        if (offset === 0 || offset % image.clusterSize !== 0) continue;
        const count = refcounts.peek(offset / image.clusterSize) ?? (await refcounts.get(offset / image.clusterSize));
        if ((count === 1) === tables.isCopied(table, index)) continue;
        if (!wrong('L2', index, table.view.getBigUint64(at), count)) continue;
        table.view.setUint32(at, (table.view.getUint32(at) ^ ENTRY_COPIED) >>> 0);
        tables.touch(table, index, 1);
      }
    } finally {
      table.pins--;
    }
    if (tables.overfull) await image.flush();
  }
}
