/**
 * Persistent dirty bitmaps. They are read when the image is opened and written when it is closed; between, the image says that they are
 * in use, from before the first write that they record, so that nobody trusts them after a crash.
 */
import { ImageError } from '../../block-error.ts';
import type { BitmapInfo, BitmapStore, DirtyBitmap } from '../../node.ts';
import type { BitmapRecord } from './bitmap-directory.ts';
import {
  FLAG_AUTO, FLAG_IN_USE, GRANULARITY_BITS_MAX, GRANULARITY_BITS_MIN, readDirectory, serializeDirectory,
} from './bitmap-directory.ts'; // prettier-ignore
import type { Qcow2Image } from './image.ts';
import { AUTOCLEAR_BITMAPS, readU64, viewOf, writeU64 } from './layout.ts';
import { readTable } from './metadata-file.ts';
import { StoredBitmap } from './stored-bitmap.ts';

/** Bits of all bitmaps in memory, bytes: an image can name the same cluster any number of times. */
const MEMORY_MAX = 128 << 20;
/** Entries of all tables. They take time at open, and may lie where the file has nothing. */
const TABLE_ENTRIES_MAX = 4 << 20;
const NAME_BYTES_MAX = 1023;
const ALL_ONES = 1; // table entry without a cluster

/** Clusters of a stored bitmap. */
interface Stored {
  readonly record: BitmapRecord;
  readonly clusters: readonly number[];
}

export class Bitmaps implements BitmapStore {
  private readonly image: Qcow2Image;
  private readonly bitmaps = new Map<string, StoredBitmap>();
  private stored = new Map<string, Stored>();
  private directory: { offset: number; bytes: number } | undefined;
  /** The image says that those which record writes are in use. */
  private marked = false;
  private marking: Promise<void> | undefined;
  private changed = false;

  constructor(image: Qcow2Image) {
    this.image = image;
  }

  async load(): Promise<void> {
    const { image } = this;
    const where = image.header.bitmaps;
    if (where === undefined) return;
    const records = await readDirectory(image.file, where, image.clusterSize);
    this.directory = { offset: where.directoryOffset, bytes: where.directoryBytes };
    const entries = records.reduce((sum, { tableEntries }) => sum + tableEntries, 0);
    if (entries > TABLE_ENTRIES_MAX)
      throw new ImageError(`The bitmaps' tables have more than ${TABLE_ENTRIES_MAX} entries`, 'EFBIG');
    // Shared by all that are set: an image of a few clusters can claim that of all bits of an exabyte.
    const ones = new Uint8Array(image.clusterSize).fill(0xff);
    let memory = 0;
    for (const record of records) {
      const bitmap = this.fresh(record.name, 2 ** record.granularityBits, record.flags, record.extra);
      const table = viewOf(await readTable(image.file, record.tableOffset, record.tableEntries * 8));
      const clusters: number[] = [];
      for (let index = 0; index < record.tableEntries; index++) {
        const entry = readU64(table, index * 8);
        const offset = entry - (entry % 512);
        if (offset % image.clusterSize !== 0) throw new ImageError(`Bitmap '${record.name}' has an unaligned cluster`);
        if (offset !== 0) clusters.push(offset);
        if (bitmap.inconsistent || index >= bitmap.pageCount) continue;
        if (offset === 0) {
          if (entry === ALL_ONES) bitmap.pages.set(index, ones);
          continue;
        }
        memory += image.clusterSize;
        if (memory > MEMORY_MAX) throw new ImageError(`The bitmaps need more than ${MEMORY_MAX} bytes`, 'EFBIG');
        bitmap.pages.set(index, await readTable(image.file, offset, image.clusterSize));
      }
      this.bitmaps.set(record.name, bitmap);
      this.stored.set(record.name, { record, clusters });
    }
  }

  private fresh(name: string, granularity: number, flags: number, extra: Uint8Array): StoredBitmap {
    const { clusterSize, header } = this.image;
    return new StoredBitmap({ name, granularity, flags, extra, pageBytes: clusterSize, size: header.size });
  }

  list(): readonly BitmapInfo[] {
    return [...this.bitmaps.values()].map((bitmap) => ({
      name: bitmap.name,
      granularity: bitmap.granularity,
      flags: [...(bitmap.inconsistent ? ['in-use'] : []), ...(bitmap.enabled ? ['auto'] : [])],
    }));
  }

  find(name: string): DirtyBitmap | undefined {
    const bitmap = this.bitmaps.get(name);
    if (bitmap?.inconsistent)
      throw new ImageError(
        `Bitmap '${name}' is inconsistent and cannot be used\nTry block-dirty-bitmap-remove to delete this bitmap from disk`,
      );
    return bitmap;
  }

  private need(name: string): StoredBitmap {
    const bitmap = this.bitmaps.get(name);
    if (bitmap === undefined) throw new ImageError(`Dirty bitmap '${name}' not found`, 'ENOENT');
    return bitmap;
  }

  private checkWritable(): void {
    if (this.image.readOnly) throw new ImageError(`node '${this.image.name}' is read-only`, 'EPERM');
  }

  async add(name: string, granularity: number, enabled: boolean): Promise<DirtyBitmap> {
    this.checkWritable();
    if (name === '') throw new ImageError('Bitmap name cannot be empty');
    const bits = Math.log2(granularity);
    if (!Number.isInteger(bits) || bits < GRANULARITY_BITS_MIN || bits > GRANULARITY_BITS_MAX)
      throw new ImageError('Granularity must be power of 2 and at least 512');
    if (this.bitmaps.has(name)) throw new ImageError(`Bitmap already exists: ${name}`, 'EEXIST');
    const { header, name: node } = this.image;
    const refused = `Can't make bitmap '${name}' persistent in '${node}'`;
    if (header.version < 3) throw new ImageError(`${refused}: Cannot store dirty bitmaps in qcow2 v2 files`, 'ENOTSUP');
    if (new TextEncoder().encode(name).length > NAME_BYTES_MAX)
      throw new ImageError(`${refused}: Name length exceeds maximum (${NAME_BYTES_MAX} characters)`);
    const bitmap = this.fresh(name, granularity, enabled ? FLAG_AUTO : 0, new Uint8Array(0));
    bitmap.changed = true;
    this.changed = true;
    this.bitmaps.set(name, bitmap);
    return Promise.resolve(bitmap);
  }

  async remove(name: string): Promise<void> {
    this.checkWritable();
    this.need(name);
    this.bitmaps.delete(name);
    this.changed = true;
    await this.mark();
  }

  async enable(name: string, enabled: boolean): Promise<void> {
    this.checkWritable();
    const bitmap = this.need(name);
    this.find(name);
    if (bitmap.enabled === enabled) return;
    this.changed = true;
    bitmap.enabled = enabled;
    await this.mark();
  }

  /** Records a write that is about to happen; a promise when it has to wait until the image says so. */
  record(offset: number, bytes: number): Promise<void> | undefined {
    if (this.bitmaps.size === 0) return undefined;
    let recording = false;
    for (const bitmap of this.bitmaps.values()) {
      if (!bitmap.enabled || bitmap.inconsistent) continue;
      bitmap.set(offset, bytes);
      recording = true;
    }
    if (!recording || this.marked) return undefined;
    this.marking ??= this.mark().finally(() => (this.marking = undefined));
    return this.marking;
  }

  /** Says of those that record writes, or are not any more what is stored, that they are in use. */
  private async mark(): Promise<void> {
    const { directory } = this;
    if (directory !== undefined) {
      const records = [...this.stored.values()].map(({ record }) => {
        const bitmap = this.bitmaps.get(record.name);
        const changes = record.flags & FLAG_AUTO || bitmap === undefined || bitmap.enabled || bitmap.changed;
        return changes ? { ...record, flags: record.flags | FLAG_IN_USE } : record;
      });
      await this.image.file.write(directory.offset, [serializeDirectory(records)]);
      await this.image.file.flush();
    }
    this.marked = true;
  }

  /** The disk is about to have another size, for which what is stored is not made. */
  async beforeResize(): Promise<void> {
    for (const bitmap of this.bitmaps.values()) {
      if (bitmap.inconsistent)
        throw new ImageError(`Cannot resize: bitmap '${bitmap.name}' is inconsistent`, 'ENOTSUP');
      bitmap.changed = true;
    }
    if (this.bitmaps.size > 0) await this.mark();
  }

  /** The disk may have another size from now on, even if changing it failed. */
  afterResize(): void {
    for (const bitmap of this.bitmaps.values()) bitmap.resize(this.image.header.size);
  }

  /** What the image has of bitmaps, for counting references. */
  get ranges(): { offset: number; bytes: number }[] {
    const { clusterSize } = this.image;
    const ranges = this.directory === undefined ? [] : [{ ...this.directory }];
    for (const { record, clusters } of this.stored.values()) {
      ranges.push({ offset: record.tableOffset, bytes: record.tableEntries * 8 });
      for (const offset of clusters) ranges.push({ offset, bytes: clusterSize });
    }
    return ranges;
  }

  /** Writes what has changed: data, tables and a new directory; then the header names it, and the old one is freed. */
  async store(): Promise<void> {
    const dirty = this.changed || this.marked || [...this.bitmaps.values()].some(({ changed }) => changed);
    if (!dirty || this.image.readOnly) return;
    const { image } = this;
    const { header } = image;
    const old = { stored: this.stored, directory: this.directory };
    const next = new Map<string, Stored>();
    for (const bitmap of this.bitmaps.values()) next.set(bitmap.name, await this.storeOne(bitmap));
    const directory = serializeDirectory([...next.values()].map(({ record }) => record));
    let offset = 0;
    if (next.size > 0) {
      offset = (await image.allocate(Math.ceil(directory.length / image.clusterSize), true)).host;
      await image.file.write(offset, [directory]);
    }
    await image.flush();
    header.bitmaps =
      next.size === 0 ? undefined : { count: next.size, directoryOffset: offset, directoryBytes: directory.length };
    if (next.size === 0) header.autoclear &= ~AUTOCLEAR_BITMAPS;
    else header.autoclear |= AUTOCLEAR_BITMAPS;
    this.stored = next;
    this.directory = next.size === 0 ? undefined : { offset, bytes: directory.length };
    this.changed = false;
    this.marked = false;
    for (const bitmap of this.bitmaps.values()) bitmap.changed = false;
    await image.writeHeader();
    for (const [name, { record, clusters }] of old.stored) {
      if (next.get(name)?.record.tableOffset === record.tableOffset && record.tableEntries > 0) continue;
      this.free(record.tableOffset, record.tableEntries * 8);
      for (const cluster of clusters) this.free(cluster, image.clusterSize);
    }
    if (old.directory !== undefined) this.free(old.directory.offset, old.directory.bytes);
  }

  private free(offset: number, bytes: number): void {
    if (bytes > 0) this.image.refcounts.free(offset, Math.ceil(bytes / this.image.clusterSize), false);
  }

  private async storeOne(bitmap: StoredBitmap): Promise<Stored> {
    const { image } = this;
    const flags = (bitmap.enabled ? FLAG_AUTO : 0) | (bitmap.extra.length > 0 ? 4 : 0);
    const present = this.stored.get(bitmap.name);
    if (present !== undefined && (bitmap.inconsistent || !bitmap.changed)) {
      const record = { ...present.record, flags: bitmap.inconsistent ? present.record.flags : flags };
      return { record, clusters: present.clusters };
    }
    const table = new Uint8Array(bitmap.pageCount * 8);
    const clusters: number[] = [];
    for (const [index, page] of bitmap.pages) {
      if (index >= bitmap.pageCount || page.every((byte) => byte === 0)) continue;
      const { host } = await image.allocate(1, true);
      await image.file.write(host, [page]);
      writeU64(viewOf(table), index * 8, host);
      clusters.push(host);
    }
    let tableOffset = 0;
    if (table.length > 0) {
      tableOffset = (await image.allocate(Math.ceil(table.length / image.clusterSize), true)).host;
      await image.file.write(tableOffset, [table]);
    }
    const record: BitmapRecord = {
      name: bitmap.name,
      granularityBits: Math.log2(bitmap.granularity),
      flags,
      tableOffset,
      tableEntries: bitmap.pageCount,
      extra: bitmap.extra,
    };
    return { record, clusters };
  }
}
