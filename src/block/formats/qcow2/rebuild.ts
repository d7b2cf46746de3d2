/** A new refcount structure from counted references, behind everything else in the file; the header then names it instead of the old one. */
import { ImageError } from '../../block-error.ts';
import type { Qcow2Image } from './image.ts';
import { readU64, REFCOUNT_TABLE_BYTES_MAX, viewOf, writeU64 } from './layout.ts';
import { encodeCount } from './refcounts.ts';

const PAGE = 4096;

/** References to clusters, in pages so that a sparse file of any size costs only what it refers to. */
export class References {
  readonly pages: Map<number, Uint32Array> = new Map();

  add(cluster: number, weight: number): number {
    const index = Math.floor(cluster / PAGE);
    let page = this.pages.get(index);
    if (page === undefined) this.pages.set(index, (page = new Uint32Array(PAGE)));
    return (page[cluster % PAGE] = (page[cluster % PAGE] ?? 0) + weight);
  }

  get(cluster: number): number {
    return this.pages.get(Math.floor(cluster / PAGE))?.[cluster % PAGE] ?? 0;
  }

  /** Refcount blocks that have to exist, at `perBlock` counts each. */
  blocks(perBlock: number): Set<number> {
    const used = new Set<number>();
    for (const [page, counts] of this.pages)
      for (let at = 0; at < PAGE; at++) if (counts[at] !== 0) used.add(Math.floor((page * PAGE + at) / perBlock));
    return used;
  }
}

/** Takes the present structure out of the references and puts another one, with counts of 2^order bits, in its place. */
export async function writeStructure(image: Qcow2Image, references: References, order: number): Promise<void> {
  const { header, refcounts, clusterSize } = image;
  const oldTable = refcounts.table;
  for (let at = 0; at < oldTable.length; at += 8) {
    const offset = readU64(viewOf(oldTable), at);
    const counted = offset !== 0 && offset % clusterSize === 0 && offset < image.file.size;
    if (counted) references.add(offset / clusterSize, -1);
  }
  const first = header.refcountTableOffset / clusterSize;
  for (let at = 0; at < header.refcountTableClusters; at++) references.add(first + at, -1);
  const perBlock = (clusterSize * 8) / 2 ** order;
  const start = Math.ceil(image.file.size / clusterSize);
  let blocks: number[] = [];
  let tableClusters = 1;
  for (let round = 0; round < 8; round++) {
    const used = references.blocks(perBlock);
    const end = start + blocks.length + tableClusters;
    for (let block = Math.floor(start / perBlock); block * perBlock < end; block++) used.add(block);
    blocks = [...used].sort((a, b) => a - b);
    tableClusters = Math.ceil((((blocks.at(-1) ?? 0) + 1) * 8) / clusterSize);
  }
  if (tableClusters * clusterSize > REFCOUNT_TABLE_BYTES_MAX)
    throw new ImageError('The refcount table that this image needs is too large', 'EFBIG');
  for (let at = 0; at < blocks.length + tableClusters; at++) references.add(start + at, 1);
  const limit = 2 ** (2 ** order) - 1;
  const table = new Uint8Array(tableClusters * clusterSize);
  for (const [at, block] of blocks.entries()) {
    const bytes = new Uint8Array(clusterSize);
    for (let entry = 0; entry < perBlock; entry++) {
      const count = references.get(block * perBlock + entry);
      if (count > limit)
        throw new ImageError(
          `Cannot decrease refcount entry width to ${2 ** order} bits: Cluster at offset 0x${((block * perBlock + entry) * clusterSize).toString(16)} has a refcount of ${count}`,
        );
      if (count !== 0) encodeCount(viewOf(bytes), order, entry, count);
    }
    await image.file.write((start + at) * clusterSize, [bytes]);
    writeU64(viewOf(table), block * 8, (start + at) * clusterSize);
  }
  await image.file.write((start + blocks.length) * clusterSize, [table]);
  header.refcountTableOffset = (start + blocks.length) * clusterSize;
  header.refcountTableClusters = tableClusters;
  header.refcountOrder = order;
  await image.writeHeader();
  await refcounts.reload();
}
