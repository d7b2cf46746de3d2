/** A new refcount structure from counted references, behind everything else in the file; the header then names it instead of the old one. */
import { ImageError } from '../../block-error.ts';
import type { Qcow2Image } from './image.ts';
import { REFCOUNT_TABLE_BYTES_MAX, viewOf, writeU64 } from './layout.ts';
import { encodeCount } from './refcount-entries.ts';

/** Counts kept together. A hostile sparse file may refer to one cluster in each page: small, so that this costs little. */
const PAGE = 512;

/** References to clusters, in pages so that a sparse file of any size costs only what it refers to. */
export class References {
  private readonly pages = new Map<number, Uint32Array>();

  add(cluster: number, weight: number): number {
    const index = Math.floor(cluster / PAGE);
    let page = this.pages.get(index);
    if (page === undefined) this.pages.set(index, (page = new Uint32Array(PAGE)));
    return (page[cluster % PAGE] = (page[cluster % PAGE] ?? 0) + weight);
  }

  get(cluster: number): number {
    return this.pages.get(Math.floor(cluster / PAGE))?.[cluster % PAGE] ?? 0;
  }

  /** How many clusters from this one on have no references, when that is known at a glance: 0 otherwise. */
  gapAt(cluster: number): number {
    return cluster % PAGE === 0 && !this.pages.has(cluster / PAGE) ? PAGE : 0;
  }

  /** Calls for each cluster in [from, to) that is referred to. */
  each(from: number, to: number, visit: (cluster: number, count: number) => void): void {
    for (let cluster = from; cluster < to;) {
      const index = Math.floor(cluster / PAGE);
      const end = Math.min(to, (index + 1) * PAGE);
      const page = this.pages.get(index);
      for (; page !== undefined && cluster < end; cluster++) {
        const count = page[cluster % PAGE] ?? 0;
        if (count !== 0) visit(cluster, count);
      }
      cluster = end;
    }
  }

  /** All clusters that are referred to, in their order. */
  get clusters(): number[] {
    const found: number[] = [];
    for (const page of [...this.pages.keys()].sort((a, b) => a - b))
      this.each(page * PAGE, (page + 1) * PAGE, (cluster) => found.push(cluster));
    return found;
  }

  /** Takes back references that were added here too. */
  remove(others: References): void {
    for (const [index, counts] of others.pages) {
      const page = this.pages.get(index);
      for (let at = 0; page !== undefined && at < PAGE; at++) page[at] = (page[at] ?? 0) - (counts[at] ?? 0);
    }
  }

  /** One behind the last cluster that is referred to. */
  get end(): number {
    let end = 0;
    for (const [page, counts] of this.pages)
      end = Math.max(end, page * PAGE + counts.findLastIndex((count) => count > 0) + 1);
    return end;
  }

  /** Refcount blocks that have to exist, at `perBlock` counts each. */
  blocks(perBlock: number): Set<number> {
    const used = new Set<number>();
    for (const [page, counts] of this.pages)
      for (let at = 0; at < PAGE; at++) {
        if (counts[at] === 0) continue;
        const block = Math.floor((page * PAGE + at) / perBlock);
        used.add(block);
        at = (block + 1) * perBlock - page * PAGE - 1; // one is enough
      }
    return used;
  }
}

/** Writes a structure with counts of 2^order bits for these references, those of the present structure not among them, and for itself. */
export async function writeStructure(image: Qcow2Image, references: References, order: number): Promise<void> {
  const { header, refcounts, clusterSize } = image;
  const perBlock = (clusterSize * 8) / 2 ** order;
  const start = Math.max(Math.ceil(image.file.size / clusterSize), references.end);
  const used = references.blocks(perBlock);
  let blocks: number[] = [];
  let tableClusters = 1;
  for (let round = 0; round < 8; round++) {
    const end = start + blocks.length + tableClusters;
    for (let block = Math.floor(start / perBlock); block * perBlock < end; block++) used.add(block);
    blocks = [...used].sort((a, b) => a - b);
    tableClusters = Math.ceil((((blocks.at(-1) ?? 0) + 1) * 8) / clusterSize);
    // GUEST: a sparse file of any length; what there is to count is bounded by this.
    if (tableClusters * clusterSize > REFCOUNT_TABLE_BYTES_MAX)
      throw new ImageError('The refcount table that this image needs is too large', 'EFBIG');
  }
  for (let at = 0; at < blocks.length + tableClusters; at++) references.add(start + at, 1);
  const limit = 2 ** (2 ** order) - 1;
  const table = new Uint8Array(tableClusters * clusterSize);
  for (const [at, block] of blocks.entries()) {
    const bytes = new Uint8Array(clusterSize);
    const view = viewOf(bytes);
    references.each(block * perBlock, (block + 1) * perBlock, (cluster, count) => {
      if (count > limit)
        throw new ImageError(
          `Cannot decrease refcount entry width to ${2 ** order} bits: Cluster at offset 0x${(cluster * clusterSize).toString(16)} has a refcount of ${count}`,
        );
      encodeCount(view, order, cluster - block * perBlock, count);
    });
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
