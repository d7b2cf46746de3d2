/**
 * The mapping from guest to host clusters: the L1 table, kept whole, and L2 tables in a cache; both raw as in the file, read through
 * a DataView. What an entry means is `Tables.find`'s business: runs of clusters that are read in one request.
 */
import type { BlockNode } from '../../node.ts';
import type { Header } from './layout.ts';
import {
  ENTRY_COMPRESSED, ENTRY_COPIED, ENTRY_OFFSET_HIGH, ENTRY_OFFSET_LOW, ENTRY_ZERO, INCOMPATIBLE_DATA_FILE, l2EntryBytes, readU64,
  SUBCLUSTERS, viewOf, writeU64,
} from './layout.ts'; // prettier-ignore
import { Dirty, readTable } from './metadata-file.ts';

/** L2 tables kept in memory, bytes: 32 MiB map 256 GiB at the default cluster size. */
const L2_CACHE_BYTES = 32 << 20;

export const UNALLOCATED = 0;
export const ZERO = 1;
export const DATA = 2;
export const COMPRESSED = 3;
export type RunKind = typeof UNALLOCATED | typeof ZERO | typeof DATA | typeof COMPRESSED;

/** Bytes of the disk that are kept in the same way, one behind the other. */
export interface Run {
  readonly kind: RunKind;
  readonly bytes: number;
  /** DATA, and ZERO with storage: where in the data file; COMPRESSED: in the file. Otherwise -1. */
  readonly host: number;
  /** COMPRESSED: most bytes that the stream has. */
  readonly compressedBytes: number;
}

export class L2Table {
  readonly l1Index: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly dirty: Dirty = new Dirty();
  /** Requests that hold on to it: it must stay in the cache. */
  pins = 0;

  constructor(l1Index: number, offset: number, bytes: Uint8Array) {
    this.l1Index = l1Index;
    this.offset = offset;
    this.bytes = bytes;
    this.view = viewOf(bytes);
  }
}

export class Tables {
  readonly clusterBits: number;
  readonly clusterSize: number;
  /** Bytes of an L2 entry. */
  readonly entryBytes: number;
  readonly l2Entries: number;
  /** Bytes of disk that one L2 table maps. */
  readonly l2Reach: number;
  readonly extended: boolean;
  /** What is allocated separately: a cluster, or one of its 32 parts. */
  readonly unit: number;
  readonly cache: Map<number, L2Table> = new Map();
  readonly dirtyTables: Set<L2Table> = new Set();
  readonly l1Dirty: Dirty = new Dirty();
  l1: Uint8Array = new Uint8Array(0);
  l1View: DataView = viewOf(this.l1);
  private readonly loading = new Map<number, Promise<L2Table | undefined>>();
  private readonly file: BlockNode;
  private readonly header: Header;
  /** With a data file the offset 0 is a cluster like any. */
  private readonly zeroOffsetIsData: boolean;
  private zeroBit: number;
  private readonly compressedShift: number;
  private readonly corrupt: (sentence: string) => Promise<never>;

  constructor(file: BlockNode, header: Header, corrupt: (sentence: string) => Promise<never>) {
    this.file = file;
    this.header = header;
    this.corrupt = corrupt;
    this.clusterBits = header.clusterBits;
    this.clusterSize = 2 ** header.clusterBits;
    this.entryBytes = l2EntryBytes(header);
    this.extended = this.entryBytes === 16;
    this.l2Entries = this.clusterSize / this.entryBytes;
    this.l2Reach = this.l2Entries * this.clusterSize;
    this.unit = this.extended ? this.clusterSize / SUBCLUSTERS : this.clusterSize;
    this.zeroOffsetIsData = (header.incompatible & INCOMPATIBLE_DATA_FILE) !== 0;
    this.zeroBit = header.version >= 3 && !this.extended ? ENTRY_ZERO : 0;
    this.compressedShift = 62 - (header.clusterBits - 8) - 32;
  }

  async open(): Promise<void> {
    this.setL1(await readTable(this.file, this.header.l1Offset, this.header.l1Entries * 8));
  }

  setL1(bytes: Uint8Array): void {
    this.l1 = bytes;
    this.l1View = viewOf(bytes);
  }

  /** Host offset of an L2 table, 0 for none. */
  l2Offset(l1Index: number): number {
    const at = l1Index * 8;
    if (at >= this.l1.length) return 0;
    return (
      (this.l1View.getUint32(at) & ENTRY_OFFSET_HIGH) * 0x1_0000_0000 +
      ((this.l1View.getUint32(at + 4) & ENTRY_OFFSET_LOW) >>> 0)
    );
  }

  l1IsCopied(l1Index: number): boolean {
    return (this.l1View.getUint32(l1Index * 8) & ENTRY_COPIED) !== 0;
  }

  setL1Entry(l1Index: number, offset: number, copied: boolean): void {
    const at = l1Index * 8;
    writeU64(this.l1View, at, offset);
    if (copied) this.l1View.setUint32(at, (this.l1View.getUint32(at) | ENTRY_COPIED) >>> 0);
    this.l1Dirty.add(at, at + 8);
  }

  /** The table that maps `l1Index`; undefined when there is none. Loads it when it has to. */
  load(l1Index: number): Promise<L2Table | undefined> {
    const cached = this.cache.get(l1Index);
    if (cached !== undefined) return Promise.resolve(cached);
    const running = this.loading.get(l1Index);
    if (running !== undefined) return running;
    const loading = this.fetch(l1Index).finally(() => this.loading.delete(l1Index));
    this.loading.set(l1Index, loading);
    return loading;
  }

  private async fetch(l1Index: number): Promise<L2Table | undefined> {
    const offset = this.l2Offset(l1Index);
    if (offset === 0) return undefined;
    if (offset % this.clusterSize !== 0)
      return this.corrupt(`L2 table offset 0x${offset.toString(16)} unaligned (L1 index: 0x${l1Index.toString(16)})`);
    await this.file.debugEvent?.('l2_load');
    const bytes = await readTable(this.file, offset, this.clusterSize);
    const present = this.cache.get(l1Index);
    if (present !== undefined) return present;
    return this.insert(new L2Table(l1Index, offset, bytes));
  }

  insert(table: L2Table): L2Table {
    this.evict();
    this.cache.set(table.l1Index, table);
    return table;
  }

  private evict(): void {
    const most = Math.max(4, Math.floor(L2_CACHE_BYTES / this.clusterSize));
    if (this.cache.size < most) return;
    for (const table of this.cache.values()) {
      if (table.pins > 0 || this.dirtyTables.has(table)) continue;
      this.cache.delete(table.l1Index);
      if (this.cache.size < most) return;
    }
  }

  /** Too much waits to be written: the next writer has to see to it. */
  get overfull(): boolean {
    return this.dirtyTables.size * this.clusterSize > L2_CACHE_BYTES / 2 && this.dirtyTables.size > 2;
  }

  touch(table: L2Table, from: number, entries: number): void {
    table.dirty.add(from * this.entryBytes, (from + entries) * this.entryBytes);
    this.dirtyTables.add(table);
  }

  /** The run at `offset`, as far as one table tells; undefined when that table has to be loaded first. */
  find(offset: number, bytes: number): Run | undefined {
    const l1Index = Math.floor(offset / this.l2Reach);
    const inTable = offset - l1Index * this.l2Reach;
    const most = Math.min(bytes, this.l2Reach - inTable);
    const table = this.cache.get(l1Index);
    if (table === undefined) {
      if (this.l2Offset(l1Index) !== 0) return undefined;
      return { kind: UNALLOCATED, bytes: most, host: -1, compressedBytes: 0 };
    }
    return this.findIn(table, inTable, most);
  }

  findIn(table: L2Table, inTable: number, most: number): Run {
    const { unit, clusterSize } = this;
    let at = Math.floor(inTable / unit) * unit;
    const skip = inTable - at;
    const kind = this.kindAt(table, at);
    if (kind === COMPRESSED) {
      const index = Math.floor(at / clusterSize);
      const left = (index + 1) * clusterSize - inTable;
      return { kind, bytes: Math.min(most, left), ...this.compressedAt(table, index) };
    }
    const host = this.hostAt(table, at);
    const end = inTable + most;
    let next = host;
    for (at += unit; at < end; at += unit) {
      if (this.kindAt(table, at) !== kind) break;
      if (next >= 0) next += unit;
      if (this.hostAt(table, at) !== next) break;
    }
    return { kind, bytes: Math.min(most, at - inTable), host: host < 0 ? -1 : host + skip, compressedBytes: 0 };
  }

  /** How the unit at `inTable` is kept. */
  kindAt(table: L2Table, inTable: number): RunKind {
    const index = Math.floor(inTable / this.clusterSize);
    const at = index * this.entryBytes;
    const high = table.view.getUint32(at);
    if (high & ENTRY_COMPRESSED) return COMPRESSED;
    if (this.extended) {
      const bit = 1 << (Math.floor(inTable / this.unit) % SUBCLUSTERS);
      if (table.view.getUint32(at + 8) & bit) return ZERO;
      return table.view.getUint32(at + 12) & bit ? DATA : UNALLOCATED;
    }
    const low = table.view.getUint32(at + 4);
    if (low & this.zeroBit) return ZERO;
    if (low & ENTRY_OFFSET_LOW || high & ENTRY_OFFSET_HIGH) return DATA;
    return this.zeroOffsetIsData && high & ENTRY_COPIED ? DATA : UNALLOCATED;
  }

  /** Where the unit's storage is; -1 when it has none. */
  hostAt(table: L2Table, inTable: number): number {
    const index = Math.floor(inTable / this.clusterSize);
    const offset = this.clusterAt(table, index);
    return offset < 0 ? -1 : offset + (inTable - index * this.clusterSize);
  }

  /** Host offset of a cluster that is not compressed, -1 for none. */
  clusterAt(table: L2Table, index: number): number {
    const at = index * this.entryBytes;
    const high = table.view.getUint32(at);
    if (high & ENTRY_COMPRESSED) return -1;
    const offset =
      (high & ENTRY_OFFSET_HIGH) * 0x1_0000_0000 + ((table.view.getUint32(at + 4) & ENTRY_OFFSET_LOW) >>> 0);
    if (offset === 0) return this.zeroOffsetIsData && high & ENTRY_COPIED ? 0 : -1;
    return offset;
  }

  isCopied(table: L2Table, index: number): boolean {
    return (table.view.getUint32(index * this.entryBytes) & ENTRY_COPIED) !== 0;
  }

  compressedAt(table: L2Table, index: number): { readonly host: number; readonly compressedBytes: number } {
    const at = index * this.entryBytes;
    return this.decodeCompressed(table.view.getUint32(at), table.view.getUint32(at + 4));
  }

  decodeCompressed(high: number, low: number): { readonly host: number; readonly compressedBytes: number } {
    const shift = this.compressedShift;
    const host = (high & (2 ** shift - 1)) * 0x1_0000_0000 + low;
    const sectors = ((high & 0x3fffffff) >>> shift) + 1;
    return { host, compressedBytes: sectors * 512 - (host % 512) };
  }

  /** Largest offset that a compressed entry can hold. */
  get compressedLimit(): number {
    return 2 ** Math.min(53, this.compressedShift + 32) - 1;
  }

  setCompressed(table: L2Table, index: number, host: number, bytes: number): void {
    const sectors = Math.ceil((host + bytes) / 512) - Math.floor(host / 512);
    const at = index * this.entryBytes;
    const high = Math.floor(host / 0x1_0000_0000) | ((sectors - 1) << this.compressedShift) | ENTRY_COMPRESSED;
    table.view.setUint32(at, high >>> 0);
    table.view.setUint32(at + 4, host % 0x1_0000_0000);
    if (this.extended) this.setBitmap(table, index, 0, 0);
    this.touch(table, index, 1);
  }

  /** The entry of a cluster with storage at `host` that nobody shares (-1: none). `zero`: reads as zeroes all the same. */
  setCluster(table: L2Table, index: number, host: number, zero: boolean): void {
    const at = index * this.entryBytes;
    const value = host < 0 ? 0 : host;
    const high = Math.floor(value / 0x1_0000_0000);
    this.setWords(
      table,
      at,
      host < 0 ? high : high | ENTRY_COPIED,
      (value % 0x1_0000_0000) + (zero ? this.zeroBit : 0),
    );
  }

  /** Reads as zeroes from now on; keeps what storage it has. */
  setZero(table: L2Table, index: number): void {
    const at = index * this.entryBytes;
    this.setWords(table, at, table.view.getUint32(at), table.view.getUint32(at + 4) | this.zeroBit);
  }

  /** Two words of an entry; a table is only written again when something is new in it. */
  private setWords(table: L2Table, at: number, high: number, low: number): void {
    const { view } = table;
    if (view.getUint32(at) === high >>> 0 && view.getUint32(at + 4) === low >>> 0) return;
    view.setUint32(at, high >>> 0);
    view.setUint32(at + 4, low >>> 0);
    this.touch(table, Math.floor(at / this.entryBytes), 1);
  }

  zeroBits(table: L2Table, index: number): number {
    return table.view.getUint32(index * this.entryBytes + 8);
  }

  allocatedBits(table: L2Table, index: number): number {
    return table.view.getUint32(index * this.entryBytes + 12);
  }

  /** Which of the cluster's 32 parts read as zeroes, and which have data. */
  setBitmap(table: L2Table, index: number, zero: number, allocated: number): void {
    this.setWords(table, index * this.entryBytes + 8, zero, allocated);
  }

  rawEntry(table: L2Table, index: number): number {
    return readU64(table.view, index * this.entryBytes);
  }

  /** The version of the header has changed. */
  reconfigure(): void {
    this.zeroBit = this.header.version >= 3 && !this.extended ? ENTRY_ZERO : 0;
  }

  /** Forgets the L2 tables; nothing may be dirty. */
  forget(): void {
    this.cache.clear();
    this.dirtyTables.clear();
  }
}

/** Bits [from, to) of 32. */
export function bitRange(from: number, to: number): number {
  const below = (count: number): number => (count >= 32 ? 0xffffffff : 2 ** count - 1);
  return (below(to) & ~below(from)) >>> 0;
}
