/**
 * Reference counts of host clusters: the table, its blocks (cached, raw as in the file), allocation and freeing.
 *
 * Order on disk: a count may be too high (a leak) but never too low. So increments are written before the tables that refer to the
 * cluster (`Metadata.writeBack`), and decrements are only queued (`free`); they take effect, and the cluster can be used again,
 * after the tables without the reference are on stable storage (`applyFrees`).
 */
import { BlockError } from '../../block-error.ts';
import type { BlockNode } from '../../node.ts';
import type { Header } from './layout.ts';
import { readU64, REFCOUNT_TABLE_BYTES_MAX, viewOf, writeU64 } from './layout.ts';
import { Dirty, readTable } from './metadata-file.ts';
import { areZero, decodeCount, encodeCount, RefcountBlock } from './refcount-entries.ts';

/** Blocks kept in memory, bytes: a table of a huge image would otherwise pull all of them in. */
const BLOCK_CACHE_BYTES = 16 << 20;

/** Storage given back that is worth a flush: so many bytes, and such a part of the file. */
const MANY_FREED_BYTES = 8 << 20;
const MANY_FREED_PART = 1 / 256;
/** Counts that are looked at together where most of them are zero. */
const STRIDE = 512;

export interface FreedClusters {
  readonly first: number;
  readonly count: number;
  /** The storage may be given back once it is free. */
  readonly discard: boolean;
}

export class Refcounts {
  /** Counts that one block has. */
  perBlock = 0;
  /** Highest count that fits. */
  limit = 0;
  table: Uint8Array = new Uint8Array(0);
  private view = viewOf(this.table);
  private readonly file: BlockNode;
  private readonly header: Header;
  private order = 0;
  private readonly clusterSize: number;
  private readonly blocks = new Map<number, RefcountBlock>();
  private readonly loading = new Map<number, Promise<void>>();
  private readonly dirtyBlocks = new Set<RefcountBlock>();
  private readonly tableDirty = new Dirty();
  private growing: Promise<void> | undefined;
  private writing: Promise<void> = Promise.resolve();
  /** No cluster below this is free. */
  private hint = 0;
  private frees: FreedClusters[] = [];
  private freedBytes = 0;
  /** Called when nobody refers to a cluster any more, before it can be taken again. */
  onUnused: (cluster: number) => void = () => {};
  /** Writes the header; growing the table moves it. */
  private readonly writeHeader: () => Promise<void>;

  private readonly corrupt: (sentence: string) => Promise<never>;

  constructor(
    file: BlockNode,
    header: Header,
    writeHeader: () => Promise<void>,
    corrupt: (sentence: string) => Promise<never>,
  ) {
    this.corrupt = corrupt;
    this.file = file;
    this.header = header;
    this.writeHeader = writeHeader;
    this.clusterSize = 2 ** header.clusterBits;
    this.takeOrder();
  }

  private takeOrder(): void {
    this.order = this.header.refcountOrder;
    this.perBlock = (this.clusterSize * 8) >> this.order;
    this.limit = 2 ** (2 ** this.order) - 1;
  }

  async open(): Promise<void> {
    const bytes = this.header.refcountTableClusters * this.clusterSize;
    this.setTable(await readTable(this.file, this.header.refcountTableOffset, bytes));
  }

  private setTable(table: Uint8Array): void {
    this.table = table;
    this.view = viewOf(table);
  }

  /** Clusters that the table can have counts for. */
  get reach(): number {
    return (this.table.length / 8) * this.perBlock;
  }

  blockOffset(index: number): number {
    if (index * 8 >= this.table.length) return 0;
    const offset = readU64(this.view, index * 8);
    return offset - (offset % 512);
  }

  /** The count, or undefined when its block has to be loaded first. */
  peek(cluster: number): number | undefined {
    const index = Math.floor(cluster / this.perBlock);
    const block = this.blocks.get(index);
    if (block !== undefined) return this.read(block, cluster % this.perBlock);
    return this.blockOffset(index) === 0 ? 0 : undefined;
  }

  async get(cluster: number): Promise<number> {
    for (;;) {
      const count = this.peek(cluster);
      if (count !== undefined) return count;
      await this.load(Math.floor(cluster / this.perBlock));
    }
  }

  /** Whether nobody uses `count` clusters from `first` on; false, too, where that is not known at a glance. */
  areFree(first: number, count: number): boolean {
    const index = Math.floor(first / this.perBlock);
    const entry = first - index * this.perBlock;
    if (entry + count > this.perBlock) return false;
    const block = this.blocks.get(index);
    return block === undefined ? this.blockOffset(index) === 0 : areZero(block.bytes, this.order, entry, count);
  }

  /** The first cluster in [from, limit) that is in use; `limit` when there is none. */
  async nextUsed(from: number, limit: number): Promise<number> {
    for (let cluster = from; cluster < limit;) {
      const count = this.peek(cluster) ?? (await this.get(cluster));
      if (count > 0) return cluster;
      const index = Math.floor(cluster / this.perBlock);
      if (!this.blocks.has(index)) cluster = (index + 1) * this.perBlock;
      else cluster += this.areFree(cluster, STRIDE) ? STRIDE : 1;
    }
    return limit;
  }

  /** One behind the last cluster below `limit` that is in use. A sparse file may be far longer than what counts there are for it. */
  async lastUsed(limit: number): Promise<number> {
    for (let cluster = Math.min(limit, this.reach) - 1; cluster >= 0;) {
      const index = Math.floor(cluster / this.perBlock);
      if (this.blocks.has(index) || this.blockOffset(index) !== 0) {
        for (; cluster >= index * this.perBlock; cluster--) {
          if (this.areFree(cluster + 1 - STRIDE, STRIDE)) {
            cluster -= STRIDE - 1;
            continue;
          }
          const count = this.peek(cluster) ?? (await this.get(cluster));
          if (count > 0) return cluster + 1;
        }
      }
      cluster = index * this.perBlock - 1;
    }
    return 0;
  }

  private read(block: RefcountBlock, entry: number): number {
    return decodeCount(block.view, this.order, entry);
  }

  private store(block: RefcountBlock, entry: number, count: number): void {
    encodeCount(block.view, this.order, entry, count);
    const at = Math.floor((entry << this.order) / 8);
    block.dirty.add(at, at + Math.ceil(2 ** (this.order - 3)));
    this.dirtyBlocks.add(block);
  }

  private load(index: number): Promise<void> {
    const running = this.loading.get(index);
    if (running !== undefined) return running;
    const offset = this.blockOffset(index);
    const loading = (async (): Promise<void> => {
      try {
        if (offset % this.clusterSize !== 0)
          await this.corrupt(
            `Refblock offset 0x${offset.toString(16)} unaligned (reftable index: 0x${index.toString(16)})`,
          );
        const bytes = await readTable(this.file, offset, this.clusterSize);
        this.evict();
        if (!this.blocks.has(index)) this.blocks.set(index, new RefcountBlock(index, offset, bytes));
      } finally {
        this.loading.delete(index);
      }
    })();
    this.loading.set(index, loading);
    return loading;
  }

  private evict(): void {
    const most = Math.max(4, Math.floor(BLOCK_CACHE_BYTES / this.clusterSize));
    if (this.blocks.size < most) return;
    for (const block of this.blocks.values()) {
      if (this.dirtyBlocks.has(block)) continue;
      this.blocks.delete(block.index);
      if (this.blocks.size < most) return;
    }
  }

  /** Takes up to `count` adjacent clusters (all of them if `exact`), each with count 1. */
  async allocate(count: number, exact: boolean): Promise<{ first: number; count: number }> {
    for (;;) {
      const found = this.tryAllocate(count, exact);
      if (typeof found !== 'number') return found;
      await (found < 0 ? this.grow(count) : this.load(found));
    }
  }

  /** The same without waiting: the index of a block to be loaded when that has to be done first, -1 when the table must grow. */
  tryAllocate(count: number, exact: boolean): { first: number; count: number } | number {
    if (this.growing !== undefined) return -1;
    let first = -1;
    let cluster = this.hint;
    for (; first < 0 || cluster < first + count; cluster++) {
      if (cluster >= this.reach) return -1;
      const index = Math.floor(cluster / this.perBlock);
      if (this.blocks.get(index) === undefined) {
        if (this.blockOffset(index) !== 0) return index;
        // A part of the file without counts: its block becomes the first cluster there, and counts itself.
        if (first >= 0 || (exact && count >= this.perBlock)) {
          // But not in the way of a run: then it goes behind it.
          const start = first >= 0 ? first : cluster;
          const end = this.addBlocksBehind(start, count, index);
          if (end > 0 && end <= this.reach) return this.take(start, count);
          if (first >= 0 && !exact) break;
          if (end > this.reach) return -1;
        }
        first = -1;
        this.addBlock(index, index * this.perBlock);
        continue;
      }
      // INVARIANT: looked up above.
      const used = this.read(this.blocks.get(index) as RefcountBlock, cluster % this.perBlock) !== 0;
      if (!used && first < 0) first = cluster;
      if (used && first >= 0) {
        if (!exact) break;
        first = -1;
      }
    }
    return this.take(first, Math.min(count, cluster - first));
  }

  private take(first: number, count: number): { first: number; count: number } {
    for (let at = first; at < first + count; at++) this.set(at, 1);
    if (first === this.hint || this.firstFreeIs(first)) this.hint = first + count;
    return { first, count };
  }

  /**
   * Blocks from number `index` on for a run and themselves, placed behind the run. Where they end; nothing is done when that is beyond
   * what the table can name, or (0) when some of the blocks are there already.
   */
  private addBlocksBehind(first: number, count: number, index: number): number {
    let blocks = 0;
    for (let needed = 1; needed > blocks;) {
      blocks = needed;
      needed = Math.floor((first + count + blocks - 1) / this.perBlock) - index + 1;
    }
    const end = first + count + blocks;
    if (end > this.reach) return end;
    for (let at = index; at < index + blocks; at++) if (this.blockOffset(at) !== 0) return 0;
    for (let block = 0; block < blocks; block++) this.nameBlock(index + block, first + count + block);
    for (let block = 0; block < blocks; block++) this.set(first + count + block, 1);
    return end;
  }

  /** Whether nothing between the hint and `cluster` is free: then the hint may move there. */
  private firstFreeIs(cluster: number): boolean {
    for (let at = this.hint; at < cluster; at++) if ((this.peek(at) ?? 0) === 0) return false;
    return true;
  }

  /** Looks for free clusters from there on only, until the hint is put back. */
  moveHint(cluster: number): number {
    const old = this.hint;
    this.hint = cluster;
    return old;
  }

  /** A block that is new and empty, at a cluster that it counts itself. */
  private addBlock(index: number, cluster: number): void {
    this.nameBlock(index, cluster);
    this.set(cluster, 1);
  }

  private nameBlock(index: number, cluster: number): void {
    const block = new RefcountBlock(index, cluster * this.clusterSize, new Uint8Array(this.clusterSize));
    block.isNew = true;
    block.dirty.add(0, this.clusterSize);
    this.blocks.set(index, block);
    this.dirtyBlocks.add(block);
    writeU64(this.view, index * 8, block.offset);
    this.tableDirty.add(index * 8, index * 8 + 8);
  }

  private set(cluster: number, count: number): void {
    // INVARIANT: callers have seen the block in the cache, and nothing was awaited since.
    const block = this.blocks.get(Math.floor(cluster / this.perBlock)) as RefcountBlock;
    this.store(block, cluster % this.perBlock, count);
  }

  /** A larger table, after all that the present one can count; with the blocks that it needs for itself. */
  private grow(count: number): Promise<void> {
    this.growing ??= this.growTable(count).finally(() => (this.growing = undefined));
    return this.growing;
  }

  private async growTable(count: number): Promise<void> {
    const start = this.reach;
    let entries = 0;
    let [blocks, clusters] = [0, 0];
    for (let round = 0; round < 8; round++) {
      entries = Math.ceil((start + blocks + clusters + count) / this.perBlock);
      entries = Math.max(entries, Math.ceil(((this.table.length / 8) * 3) / 2));
      clusters = Math.ceil((entries * 8) / this.clusterSize);
      blocks = Math.ceil((clusters + blocks) / this.perBlock);
    }
    const bytes = clusters * this.clusterSize;
    if (bytes > REFCOUNT_TABLE_BYTES_MAX)
      throw new BlockError('EFBIG', `refcount table of ${bytes} bytes is too large`);
    // What is dirty belongs to the present table: it is written first.
    await this.writeBlocks();
    const table = new Uint8Array(bytes);
    table.set(this.table);
    const old = {
      table: this.table,
      offset: this.header.refcountTableOffset,
      clusters: this.header.refcountTableClusters,
    };
    this.setTable(table);
    const firstIndex = start / this.perBlock;
    for (let block = 0; block < blocks; block++) {
      const fresh = new RefcountBlock(
        firstIndex + block,
        (start + block) * this.clusterSize,
        new Uint8Array(this.clusterSize),
      );
      fresh.dirty.add(0, this.clusterSize);
      this.blocks.set(fresh.index, fresh);
      this.dirtyBlocks.add(fresh);
      writeU64(this.view, fresh.index * 8, fresh.offset);
    }
    for (let at = start; at < start + blocks + clusters; at++) this.set(at, 1);
    const tableOffset = (start + blocks) * this.clusterSize;
    try {
      await this.file.debugEvent?.('refblock_alloc_write_blocks');
      await this.writeBlocks();
      await this.file.debugEvent?.('refblock_alloc_write_table');
      await this.file.write(tableOffset, [this.table]);
      await this.file.flush();
      await this.file.debugEvent?.('refblock_alloc_switch_table');
    } catch (error) {
      // The header names the old table, which has no room for the new blocks.
      this.dropBlocks(firstIndex, blocks);
      this.setTable(old.table);
      throw error;
    }
    this.tableDirty.take();
    this.header.refcountTableOffset = tableOffset;
    this.header.refcountTableClusters = clusters;
    await this.writeHeader();
    this.free(old.offset, old.clusters, false);
  }

  private dropBlocks(first: number, count: number): void {
    for (const block of [...this.blocks.values()].filter(({ index }) => index >= first && index < first + count)) {
      this.blocks.delete(block.index);
      this.dirtyBlocks.delete(block);
    }
  }

  /** Adds to the counts of `count` clusters (`delta` 1: one more user); for what is already in use. */
  async change(first: number, count: number, delta: number): Promise<void> {
    // As with QEMU, a block that is looked up to be changed, read or not. Callers count on the change being made at once where it can.
    const stop = this.file.debugEvent?.('refblock_load');
    if (stop !== undefined) await stop;
    for (let cluster = first; cluster < first + count; cluster++) {
      const index = Math.floor(cluster / this.perBlock);
      while (!this.blocks.has(index)) {
        if (this.growing !== undefined) await this.growing;
        else if (cluster >= this.reach) await this.grow(cluster - this.reach + 1);
        else if (this.blockOffset(index) !== 0) await this.load(index);
        else if (delta < 0) throw new BlockError('EIO', `cluster ${cluster} has no refcount to lower`);
        else await this.addBlockFor(index);
      }
      const now = (this.peek(cluster) ?? 0) + delta;
      if (now < 0) throw new BlockError('EIO', `refcount of cluster ${cluster} would become negative`);
      if (now > this.limit || !Number.isSafeInteger(now))
        throw new BlockError('EINVAL', `refcount of cluster ${cluster} would exceed ${this.limit}`);
      this.set(cluster, now);
      if (now > 0) continue;
      if (cluster < this.hint) this.hint = cluster;
      this.onUnused(cluster);
    }
  }

  /** A block for a part of the file that has none although it is in use (repair): placed wherever there is room. */
  private async addBlockFor(index: number): Promise<void> {
    const { first } = await this.allocate(1, true);
    if (this.blocks.has(index) || this.blockOffset(index) !== 0) {
      this.set(first, 0);
      return;
    }
    this.nameBlock(index, first);
  }

  /** One user less, once the tables say so on disk. */
  free(offset: number, clusters: number, discard: boolean): void {
    const first = Math.floor(offset / this.clusterSize);
    if (discard) this.freedBytes += clusters * this.clusterSize;
    const last = this.frees.at(-1);
    if (last !== undefined && last.first + last.count === first && last.discard === discard)
      this.frees[this.frees.length - 1] = { first: last.first, count: last.count + clusters, discard };
    else this.frees.push({ first, count: clusters, discard });
  }

  /** What was queued so far; the caller applies it after the tables were written, or gives it back. */
  takeFrees(): FreedClusters[] {
    const frees = this.frees;
    this.frees = [];
    this.freedBytes = 0;
    return frees;
  }

  returnFrees(frees: readonly FreedClusters[]): void {
    this.frees.unshift(...frees);
  }

  /** So much was given back that it should be used again before the file grows. */
  get hasManyFrees(): boolean {
    return this.freedBytes >= Math.max(MANY_FREED_BYTES, this.file.size * MANY_FREED_PART);
  }

  get hasFrees(): boolean {
    return this.frees.length > 0;
  }

  /** Lowers the counts; tells which clusters that should be discarded nobody uses any more. */
  async applyFrees(frees: readonly FreedClusters[]): Promise<FreedClusters[]> {
    const unused: FreedClusters[] = [];
    for (const freed of frees) {
      await this.file.debugEvent?.('cluster_free');
      await this.change(freed.first, freed.count, -1);
      if (!freed.discard) continue;
      for (let at = freed.first; at < freed.first + freed.count; at++) {
        if (this.peek(at) !== 0) continue;
        const last = unused.at(-1);
        if (last !== undefined && last.first + last.count === at)
          unused[unused.length - 1] = { first: last.first, count: last.count + 1, discard: true };
        else unused.push({ first: at, count: 1, discard: true });
      }
    }
    return unused;
  }

  get isDirty(): boolean {
    return this.dirtyBlocks.size > 0 || this.tableDirty.any;
  }

  /** Writes blocks, then the table that names new ones. True when something was written that has to be flushed. */
  async writeBack(): Promise<boolean> {
    if (this.growing !== undefined) await this.growing;
    return this.writeBlocks();
  }

  private writeBlocks(): Promise<boolean> {
    const writing = this.writing.then(() => this.writeBlocksNow());
    this.writing = writing.then(
      () => {},
      () => {},
    );
    return writing;
  }

  private async writeBlocksNow(): Promise<boolean> {
    if (!this.isDirty) return false;
    const table = this.tableDirty.any ? this.tableDirty.take() : undefined;
    const entries = table === undefined ? undefined : this.table.slice(table.from, table.to);
    try {
      for (const block of [...this.dirtyBlocks]) {
        const range = block.dirty.take();
        try {
          await this.file.debugEvent?.(block.isNew ? 'refblock_alloc_write' : 'refblock_update_part');
          await this.file.write(block.offset + range.from, [block.bytes.subarray(range.from, range.to)]);
          block.isNew = false;
        } catch (error) {
          block.dirty.add(range.from, range.to);
          throw error;
        }
        if (!block.dirty.any) this.dirtyBlocks.delete(block);
      }
      if (table !== undefined && entries !== undefined) {
        await this.file.flush();
        // The table changes only by blocks that it names.
        await this.file.debugEvent?.('refblock_alloc_hookup');
        await this.file.debugEvent?.('reftable_update');
        await this.file.write(this.header.refcountTableOffset + table.from, [entries]);
      }
    } catch (error) {
      if (table !== undefined) this.tableDirty.add(table.from, table.to);
      throw error;
    }
    return true;
  }

  /** Forgets everything and reads the table again (after a repair wrote another). */
  async reload(): Promise<void> {
    this.blocks.clear();
    this.dirtyBlocks.clear();
    this.tableDirty.take();
    this.frees = [];
    this.hint = 0;
    this.takeOrder();
    await this.open();
  }
}
