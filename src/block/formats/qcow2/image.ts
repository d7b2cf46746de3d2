/**
 * An open qcow2 image: header, tables, refcounts and the order in which they reach the disk.
 *
 * `writeBack` keeps three promises, each with a flush between its steps when there is something to order: a refcount is raised before a
 * table refers to the cluster, an L2 table is there before L1 names it, and a refcount is lowered (and the cluster reused) only after no
 * table on disk refers to it. Whenever the process or the host dies, the image has at worst leaks; with lazy refcounts the header's dirty
 * bit is set first, and opening repairs.
 */
import { BlockError, ERRNO_TEXT, errnoOf } from '../../block-error.ts';
import type { SectorCipher } from '../../crypto/sector-cipher.ts';
import { SECTOR_BYTES } from '../../crypto/sector-cipher.ts';
import type { IoVector } from '../../io-vector.ts';
import { gather, scatter, vectorBytes } from '../../io-vector.ts';
import type { BlockNode } from '../../node.ts';
import type { Encryption } from './encryption.ts';
import type { Header } from './layout.ts';
import {
  COMPATIBLE_LAZY_REFCOUNTS, INCOMPATIBLE_CORRUPT, INCOMPATIBLE_DATA_FILE, INCOMPATIBLE_DIRTY, serializeHeader,
} from './layout.ts'; // prettier-ignore
import { readPadded } from './metadata-file.ts';
import { Ranges } from './ranges.ts';
import { Refcounts } from './refcounts.ts';
import { COMPRESSED, L2Table, Tables } from './tables.ts';

export interface Codec {
  compress(data: Uint8Array): Promise<Uint8Array>;
  decompress(data: Uint8Array, limit: number): Promise<Uint8Array>;
}

export interface ImageParts {
  readonly name: string;
  readonly header: Header;
  readonly file: BlockNode;
  readonly dataFile: BlockNode | undefined;
  readonly backing: BlockNode | undefined;
  readonly readOnly: boolean;
  readonly lazyRefcounts: boolean;
  /** Freed clusters are given back to the file system. */
  readonly unmap: boolean;
  readonly codec: Codec;
  readonly encryption: Encryption | undefined;
  readonly warn: (sentence: string) => void;
}

export class Qcow2Image {
  readonly name: string;
  readonly header: Header;
  readonly file: BlockNode;
  readonly dataFile: BlockNode;
  readonly hasDataFile: boolean;
  readonly readOnly: boolean;
  readonly unmap: boolean;
  readonly codec: Codec;
  readonly encryption: Encryption | undefined;
  readonly tables: Tables;
  readonly refcounts: Refcounts;
  readonly ranges: Ranges = new Ranges();
  readonly warn: (sentence: string) => void;
  backing: BlockNode | undefined;
  lazyRefcounts: boolean;
  private readonly preparing = new Map<number, Promise<L2Table>>();
  private running: Promise<void> | undefined;
  private queued: Promise<void> | undefined;
  /** Where the next compressed cluster may begin, behind the last one; 0: in a new cluster. */
  compressedNext = 0;
  compressedPlacing: Promise<void> = Promise.resolve();

  constructor(parts: ImageParts) {
    this.name = parts.name;
    this.header = parts.header;
    this.file = parts.file;
    this.dataFile = parts.dataFile ?? parts.file;
    this.hasDataFile = (parts.header.incompatible & INCOMPATIBLE_DATA_FILE) !== 0;
    this.backing = parts.backing;
    this.readOnly = parts.readOnly;
    this.lazyRefcounts = parts.lazyRefcounts;
    this.unmap = parts.unmap;
    this.codec = parts.codec;
    this.encryption = parts.encryption;
    this.warn = parts.warn;
    this.refcounts = new Refcounts(
      parts.file,
      parts.header,
      () => this.writeHeader(),
      (sentence) => this.corrupt(sentence),
    );
    // A cluster whose compressed streams are all gone is no place for the next one any more.
    this.refcounts.onUnused = (cluster) => {
      if (Math.floor(this.compressedNext / this.clusterSize) === cluster) this.compressedNext = 0;
    };
    this.tables = new Tables(parts.file, parts.header, (sentence) => this.corrupt(sentence));
  }

  /** Tells the file's node what is about to happen; a promise when the request is to wait. */
  event(name: string): Promise<void> | undefined {
    return this.file.debugEvent?.(name);
  }

  get clusterSize(): number {
    return this.tables.clusterSize;
  }

  /** Bytes of the disk that the backing node has. */
  private headerStale = false;

  get backingBytes(): number {
    return this.backing === undefined ? 0 : Math.min(this.backing.size, this.header.size);
  }

  async open(): Promise<void> {
    await this.tables.open();
    await this.refcounts.open();
  }

  async writeHeader(): Promise<void> {
    this.headerStale = true;
    await this.file.flush();
    await this.file.write(0, [serializeHeader(this.header)]);
    await this.file.flush();
    this.headerStale = false;
  }

  /** Marks an image that contradicts itself so that nobody writes to it, and fails the request. */
  async corrupt(sentence: string): Promise<never> {
    if (!this.readOnly && this.header.version >= 3 && !(this.header.incompatible & INCOMPATIBLE_CORRUPT)) {
      this.header.incompatible |= INCOMPATIBLE_CORRUPT;
      try {
        await this.writeHeader();
      } catch {
        this.warn(`qcow2: the image's corrupt bit could not be written`);
      }
      this.warn(`qcow2: Marking image as corrupt: ${sentence}; further corruption events will be suppressed`);
    } else {
      this.warn(`qcow2: Image is corrupt: ${sentence}; further non-fatal corruption events will be suppressed`);
    }
    throw new BlockError('EIO');
  }

  /** No writing once the image is known to be corrupt. */
  checkUsable(): void {
    if (this.header.incompatible & INCOMPATIBLE_CORRUPT) throw new BlockError('EIO');
  }

  // ---- allocation ----

  /** Adjacent host clusters, at most `count`, or all of them if `exact`. Host offset and number. */
  async allocate(
    count: number,
    exact: boolean,
    whatFor?: string,
  ): Promise<{ readonly host: number; readonly count: number }> {
    const found = this.refcounts.tryAllocate(count, exact);
    await this.event('cluster_alloc');
    const taken = typeof found === 'number' ? await this.refcounts.allocate(count, exact) : found;
    await this.event('refblock_alloc');
    await this.event('refblock_load');
    const host = taken.first * this.clusterSize;
    const what = this.metadataAt(host, taken.count * this.clusterSize);
    if (host === 0 && whatFor !== undefined)
      await this.corrupt(`Preventing invalid allocation of ${whatFor} at offset 0`);
    if (what !== undefined) await this.corrupt(`Preventing invalid write on metadata (overlaps with ${what})`);
    return { host, count: taken.count };
  }

  /** Which of the always known tables lies in a range: refcounts of a broken image may call it free. */
  private metadataAt(host: number, bytes: number): string | undefined {
    const { header, clusterSize } = this;
    const within = (offset: number, length: number): boolean =>
      length > 0 && host < offset + length && offset < host + bytes;
    if (within(0, clusterSize)) return 'qcow2_header';
    if (within(header.l1Offset, header.l1Entries * 8)) return 'active L1 table';
    if (within(header.refcountTableOffset, header.refcountTableClusters * clusterSize)) return 'refcount table';
    return undefined;
  }

  /** An L2 table that may be written in place: made, or copied from one that a snapshot shares, when it must be. */
  tableForWriting(l1Index: number): L2Table | Promise<L2Table> {
    const cached = this.tables.cache.get(l1Index);
    if (cached !== undefined && this.tables.l1IsCopied(l1Index) && !this.preparing.has(l1Index)) return cached;
    const running = this.preparing.get(l1Index);
    if (running !== undefined) return running;
    const preparing = this.prepareTable(l1Index).finally(() => this.preparing.delete(l1Index));
    this.preparing.set(l1Index, preparing);
    return preparing;
  }

  private async prepareTable(l1Index: number): Promise<L2Table> {
    const { tables } = this;
    const old = await tables.load(l1Index);
    if (old !== undefined && tables.l1IsCopied(l1Index)) return old;
    const { host } = await this.allocate(1, true, 'L2 table');
    // A table's own count does not wait for the repair that lazy refcounts leave the others to.
    if (this.lazyRefcounts)
      await this.refcounts.writeBack().catch((error: unknown) => {
        this.refcounts.free(host, 1, false);
        throw error;
      });
    await this.event(old === undefined ? 'l2_alloc_write' : 'l2_alloc_cow_read');
    const bytes = old === undefined ? new Uint8Array(this.clusterSize) : old.bytes.slice();
    try {
      // It gets its storage now: when data has filled the disk below, the tables that name the data could not be written.
      await this.file.write(host, [bytes]);
    } catch (error) {
      this.refcounts.free(host, 1, false);
      throw error;
    }
    if (old !== undefined) {
      this.refcounts.free(old.offset, 1, false);
      tables.dirtyTables.delete(old);
    }
    const table = tables.insert(new L2Table(l1Index, host, bytes));
    tables.touch(table, 0, tables.l2Entries);
    tables.setL1Entry(l1Index, host, true);
    return table;
  }

  /** The clusters that an entry of a written table had before. */
  releaseEntry(table: L2Table, index: number, discard: boolean): void {
    if (this.tables.kindAt(table, index * this.clusterSize) === COMPRESSED) {
      const { host, compressedBytes } = this.tables.compressedAt(table, index);
      const first = Math.floor(host / this.clusterSize);
      const last = Math.floor((host + compressedBytes - 1) / this.clusterSize);
      this.refcounts.free(first * this.clusterSize, last - first + 1, discard);
      return;
    }
    const host = this.tables.clusterAt(table, index);
    if (host >= 0 && !this.hasDataFile) this.refcounts.free(host, 1, discard);
  }

  /** Where the last host cluster in use ends. */
  async lastUsedEnd(): Promise<number> {
    const end = await this.refcounts.lastUsed(Math.ceil(this.file.size / this.clusterSize));
    return Math.min(this.file.size, end * this.clusterSize);
  }

  // ---- writing back ----

  get isDirty(): boolean {
    const { tables, refcounts } = this;
    return tables.dirtyTables.size > 0 || tables.l1Dirty.any || refcounts.isDirty || refcounts.hasFrees;
  }

  /** All that was done before the call is on stable storage after it. Calls made meanwhile share the next round. */
  flush(): Promise<void> {
    if (this.running === undefined) return this.startRound();
    this.queued ??= this.running.then(
      () => this.startRound(),
      () => this.startRound(),
    );
    return this.queued;
  }

  private startRound(): Promise<void> {
    this.queued = undefined;
    const stop = this.event('flush_to_os');
    const round = (stop === undefined ? this.writeBack() : stop.then(() => this.writeBack())).finally(() => {
      if (this.running === round) this.running = undefined;
    });
    this.running = round;
    return round;
  }

  private async writeBack(): Promise<void> {
    // A header that could not be written names tables that are not ours any more.
    if (this.headerStale && !this.readOnly) await this.writeHeader();
    if (!this.isDirty || this.readOnly) return this.flushFiles();
    const { tables, refcounts } = this;
    // What is referred to at this moment has its refcounts in memory at this moment: taken together, written in order.
    const frees = refcounts.takeFrees();
    const l2 = [...tables.dirtyTables].map((table) => {
      const range = table.dirty.take();
      table.pins++;
      return { table, range, bytes: table.bytes.slice(range.from, range.to) };
    });
    tables.dirtyTables.clear();
    const l1Range = tables.l1Dirty.any ? tables.l1Dirty.take() : undefined;
    const l1Bytes = l1Range === undefined ? undefined : tables.l1.slice(l1Range.from, l1Range.to);
    const l1Offset = this.header.l1Offset;
    try {
      const changed = l2.length > 0 || l1Bytes !== undefined;
      if (this.lazyRefcounts && changed) await this.setDirtyBit();
      const ordered = this.lazyRefcounts ? false : await refcounts.writeBack();
      if (ordered && changed) await this.file.flush();
      for (const _ of l2) await this.event('l2_update');
      await Promise.all(l2.map(({ table, range, bytes }) => this.file.write(table.offset + range.from, [bytes])));
      if (l1Range !== undefined && l1Bytes !== undefined) {
        if (l2.length > 0) await this.file.flush();
        await this.event('l1_update');
        await this.file.write(l1Offset + l1Range.from, [l1Bytes]);
      }
      await this.flushFiles();
    } catch (error) {
      for (const { table, range } of l2) {
        table.dirty.add(range.from, range.to);
        if (tables.cache.get(table.l1Index) === table) tables.dirtyTables.add(table); // else copied and replaced
      }
      if (l1Range !== undefined) tables.l1Dirty.add(l1Range.from, l1Range.to);
      refcounts.returnFrees(frees);
      throw error;
    } finally {
      for (const { table } of l2) table.pins--;
    }
    if (frees.length === 0) return;
    for (const unused of await refcounts.applyFrees(frees))
      await this.file.discard(unused.first * this.clusterSize, unused.count * this.clusterSize).catch(() => {});
  }

  private async flushFiles(): Promise<void> {
    if (this.readOnly) return;
    if (this.dataFile !== this.file) await this.dataFile.flush();
    await this.event('flush_to_disk');
    await this.file.flush();
  }

  async setDirtyBit(): Promise<void> {
    if (this.header.incompatible & INCOMPATIBLE_DIRTY || this.header.version < 3) return;
    this.header.incompatible |= INCOMPATIBLE_DIRTY;
    await this.writeHeader();
  }

  /** Everything written, refcounts too, and the dirty bit away. */
  async settle(): Promise<void> {
    if (this.readOnly) return;
    const lazy = this.lazyRefcounts;
    this.lazyRefcounts = false;
    try {
      // Twice: the first round's frees change refcounts.
      for (let round = 0; round < 2 || (this.isDirty && round < 4); round++) if (this.isDirty) await this.flush();
      await this.flushFiles();
      if (this.header.incompatible & INCOMPATIBLE_DIRTY && !(this.header.incompatible & INCOMPATIBLE_CORRUPT)) {
        this.header.incompatible &= ~INCOMPATIBLE_DIRTY;
        await this.writeHeader();
      }
    } finally {
      this.lazyRefcounts = lazy;
    }
  }

  /** `settle` when the image is closed: what could not be written, and refcounts even so, which do no harm alone. */
  async settleAtLast(): Promise<readonly string[]> {
    try {
      await this.settle();
      return [];
    } catch (error) {
      const lost = [`Failed to flush the L2 table cache: ${ERRNO_TEXT[errnoOf(error)]}`];
      try {
        await this.refcounts.writeBack();
        await this.file.flush();
      } catch (again) {
        lost.push(`Failed to flush the refcount block cache: ${ERRNO_TEXT[errnoOf(again)]}`);
      }
      return lost;
    }
  }

  get hasLazyRefcounts(): boolean {
    return (this.header.compatible & COMPATIBLE_LAZY_REFCOUNTS) !== 0;
  }

  // ---- data ----

  /** Guest data from storage, through the cipher when there is one. `guest` is where the disk has it. */
  readStorage(host: number, into: IoVector, guest: number): Promise<void> {
    return this.encryption === undefined
      ? this.readPlain(host, into)
      : this.readEncrypted(this.encryption, host, into, guest);
  }

  private readPlain(host: number, into: IoVector): Promise<void> {
    let bytes = 0;
    for (const piece of into) bytes += piece.length;
    if (host + bytes <= this.dataFile.size) return this.dataFile.read(host, into);
    return readPadded(this.dataFile, host, into);
  }

  private async readEncrypted(encryption: Encryption, host: number, into: IoVector, guest: number): Promise<void> {
    const skip = host % SECTOR_BYTES;
    const bytes = vectorBytes(into);
    const data = new Uint8Array(Math.ceil((skip + bytes) / SECTOR_BYTES) * SECTOR_BYTES);
    await this.readPlain(host - skip, [data]);
    const sector = Math.floor((encryption.byGuest ? guest : host) / SECTOR_BYTES);
    scatter(
      cipherOf(encryption)
        .decrypt(sector, data)
        .subarray(skip, skip + bytes),
      into,
    );
  }

  /** Guest data to storage; of encrypted images whole sectors. */
  writeStorage(host: number, from: IoVector, guest: number): Promise<void> {
    const { encryption } = this;
    const stop = this.event('write_aio');
    if (stop !== undefined) return stop.then(() => this.writeNow(host, from, guest));
    return encryption === undefined ? this.dataFile.write(host, from) : this.writeNow(host, from, guest);
  }

  private writeNow(host: number, from: IoVector, guest: number): Promise<void> {
    const { encryption } = this;
    if (encryption === undefined) return this.dataFile.write(host, from);
    const data = gather(from);
    if (host % SECTOR_BYTES !== 0 || data.length % SECTOR_BYTES !== 0)
      throw new BlockError('EIO', 'the disk ends within a sector, which cannot be encrypted');
    const sector = (encryption.byGuest ? guest : host) / SECTOR_BYTES;
    return this.dataFile.write(host, [cipherOf(encryption).encrypt(sector, data)]);
  }
}

function cipherOf({ cipher }: Encryption): SectorCipher {
  if (cipher === undefined) throw new BlockError('EIO', 'the image was opened without its key');
  return cipher;
}
