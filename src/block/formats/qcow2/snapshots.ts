/**
 * Internal snapshots: an L1 table of their own over clusters that are shared by refcount. While refcounts and "copied" flags are being
 * changed the header's dirty bit is set (version 3), so that an interrupted change is repaired when the image is opened.
 */
import { ImageError } from '../../block-error.ts';
import type { BlockNode, SnapshotInfo, SnapshotStore } from '../../node.ts';
import type { Bitmaps } from './bitmaps.ts';
import { Qcow2Image } from './image.ts';
import { ENTRY_COPIED, SNAPSHOTS_MAX, viewOf } from './layout.ts';
import { readTable } from './metadata-file.ts';
import type { SnapshotRecord, TableRepair } from './snapshot-table.ts';
import { readSnapshotTable, removalHint, serializeSnapshots } from './snapshot-table.ts';
import { fixCopiedFlags, forEachReference } from './walk.ts';

/** Things that are wrong with a table. */
export interface TableFaults {
  readonly fixed: number;
  /** Those that `rewrite` does away with. */
  readonly left: number;
}

export class Snapshots implements SnapshotStore {
  private readonly image: Qcow2Image;
  private readonly bitmaps: Bitmaps;
  private readonly makeNode: (image: Qcow2Image) => BlockNode;
  records: readonly SnapshotRecord[] = [];
  private tableBytes = 0;

  constructor(image: Qcow2Image, bitmaps: Bitmaps, makeNode: (image: Qcow2Image) => BlockNode) {
    this.image = image;
    this.bitmaps = bitmaps;
    this.makeNode = makeNode;
  }

  async load(): Promise<void> {
    const { header, file } = this.image;
    ({ records: this.records, bytes: this.tableBytes } = await readSnapshotTable(file, header));
  }

  /** Reads the table again for a check. With `repair` what is too much is left out; without, it fails. */
  async inspect(repair: boolean, say: (sentence: string) => void): Promise<TableFaults> {
    const { image } = this;
    const { header, file } = image;
    const over = header.snapshotCount - SNAPSHOTS_MAX;
    if (over > 0 && !repair) throw new ImageError(`ERROR snapshot table too large\n${removalHint(over)}`, 'EFBIG');
    const cut: TableRepair = { snapshots: 0, extras: 0, say };
    try {
      const table = await readSnapshotTable(file, header, repair ? cut : undefined);
      this.records = table.records;
      this.tableBytes = table.bytes;
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      throw new ImageError(`ERROR failed to read the snapshot table: ${error.message}`, error.code);
    }
    if (cut.snapshots > 0) {
      header.snapshotCount = this.records.length;
      await image.writeHeader();
    }
    let left = cut.extras;
    for (const [index, { incomplete }] of this.records.entries()) {
      if (header.version < 3 || !incomplete) continue;
      say(`${repair ? 'Repairing' : 'ERROR'} snapshot table entry ${index} is incomplete`);
      left++;
    }
    return { fixed: cut.snapshots, left };
  }

  /** Where the table is in the file, for counting references. */
  get tableRange(): { readonly offset: number; readonly bytes: number } {
    return { offset: this.image.header.snapshotsOffset, bytes: this.tableBytes };
  }

  /** Whether each record says what version 3 wants it to. */
  get isComplete(): boolean {
    return this.records.every(({ incomplete }) => !incomplete);
  }

  /** Writes the table as it is in memory, with all that a record can say. */
  async rewrite(): Promise<void> {
    const { refcounts, clusterSize, header } = this.image;
    // Of a broken table, what nobody counted cannot be freed.
    let clusters = this.clustersOf(this.tableBytes);
    while (clusters > 0 && (await refcounts.get(header.snapshotsOffset / clusterSize + clusters - 1)) === 0) clusters--;
    this.tableBytes = Math.min(this.tableBytes, clusters * clusterSize);
    await this.store(this.records);
  }

  list(): readonly SnapshotInfo[] {
    return this.records.map((record) => ({
      id: record.id,
      name: record.name,
      vmStateBytes: record.vmStateBytes,
      dateSeconds: record.dateSeconds,
      dateNs: record.dateNs,
      vmClockNs: record.vmClockNs,
      ...(record.icount === undefined ? {} : { icount: record.icount }),
      diskBytes: record.diskBytes,
    }));
  }

  private find(which: string): SnapshotRecord {
    const found = this.records.find(({ id }) => id === which) ?? this.records.find(({ name }) => name === which);
    if (found === undefined) throw new ImageError(`Can't find the snapshot '${which}'`, 'ENOENT');
    return found;
  }

  async create(snapshot: Omit<SnapshotInfo, 'id' | 'diskBytes'>): Promise<void> {
    const { image } = this;
    if (this.records.length >= SNAPSHOTS_MAX)
      throw new ImageError(`There are ${SNAPSHOTS_MAX} snapshots already`, 'EFBIG');
    if (image.hasDataFile) throw new ImageError('An image with a data file cannot have internal snapshots', 'ENOTSUP');
    await this.change(async () => {
      const { tables, header } = image;
      const l1 = withoutFlags(tables.l1);
      const l1Offset = await this.writeNew(l1);
      await this.addReferences(l1, 1);
      await this.updateFlags();
      await image.flush();
      const highest = this.records.reduce((most, { id }) => Math.max(most, /^\d+$/.test(id) ? Number(id) : 0), 0);
      await this.store([
        ...this.records,
        {
          ...snapshot,
          icount: snapshot.icount,
          l1Offset,
          l1Entries: header.l1Entries,
          id: String(highest + 1),
          diskBytes: header.size,
          unknownExtra: new Uint8Array(0),
          incomplete: false,
        },
      ]);
    });
  }

  async apply(which: string): Promise<void> {
    const { image } = this;
    const record = this.find(which);
    await this.change(async () => {
      const { header, tables } = image;
      if (record.diskBytes !== header.size) await this.bitmaps.beforeResize();
      const old = { l1: tables.l1, offset: header.l1Offset, entries: header.l1Entries };
      const l1 = withoutFlags(await readTable(image.file, record.l1Offset, record.l1Entries * 8));
      await this.addReferences(l1, 1);
      const offset = await this.writeNew(l1);
      await image.flush();
      header.l1Offset = offset;
      header.l1Entries = record.l1Entries;
      header.size = record.diskBytes;
      this.bitmaps.afterResize();
      tables.forget();
      tables.setL1(l1);
      await image.writeHeader();
      await this.addReferences(old.l1, -1);
      image.refcounts.free(old.offset, this.clustersOf(old.entries * 8), false);
      await image.flush();
      await this.updateFlags();
    });
  }

  async delete(which: string): Promise<void> {
    const { image } = this;
    const record = this.find(which);
    await this.change(async () => {
      const l1 = await readTable(image.file, record.l1Offset, record.l1Entries * 8);
      await this.store(this.records.filter((other) => other !== record));
      await this.addReferences(l1, -1);
      image.refcounts.free(record.l1Offset, this.clustersOf(record.l1Entries * 8), false);
      await image.flush();
      await this.updateFlags();
    });
  }

  async open(which: string): Promise<BlockNode> {
    const { image } = this;
    const record = this.find(which);
    await image.flush();
    const view = new Qcow2Image({
      name: `${image.name}@${record.id}`,
      header: { ...image.header, l1Offset: record.l1Offset, l1Entries: record.l1Entries, size: record.diskBytes },
      file: image.file,
      dataFile: image.hasDataFile ? image.dataFile : undefined,
      backing: image.backing,
      readOnly: true,
      lazyRefcounts: false,
      unmap: false,
      codec: image.codec,
      encryption: image.encryption,
      warn: image.warn,
    });
    await view.open();
    return this.makeNode(view);
  }

  /** Alone, from a settled image to a settled image. */
  private async change(work: () => Promise<void>): Promise<void> {
    const { image } = this;
    if (image.readOnly) throw new ImageError(`node '${image.name}' is read-only`, 'EPERM');
    await image.ranges.alone(async () => {
      image.checkUsable();
      await image.settle();
      await image.setDirtyBit();
      await work();
      await image.settle();
    });
  }

  private clustersOf(bytes: number): number {
    return Math.ceil(bytes / this.image.clusterSize);
  }

  /** New clusters with these bytes. */
  private async writeNew(bytes: Uint8Array): Promise<number> {
    if (bytes.length === 0) return 0;
    const { host } = await this.image.allocate(this.clustersOf(bytes.length), true);
    await this.image.file.write(host, [bytes]);
    return host;
  }

  /** One user more or less for all that an L1 table refers to. */
  private async addReferences(l1: Uint8Array, delta: 1 | -1): Promise<void> {
    const { image } = this;
    await forEachReference(image, l1, (offset, clusters) => {
      if (delta < 0) return image.refcounts.free(offset, clusters, image.unmap);
      return image.refcounts.change(offset / image.clusterSize, clusters, 1);
    });
  }

  private async updateFlags(): Promise<void> {
    await fixCopiedFlags(this.image, () => true);
  }

  /** Puts another table in the place of the present one. */
  private async store(records: readonly SnapshotRecord[]): Promise<void> {
    const { image } = this;
    const { header } = image;
    const table = serializeSnapshots(records);
    const old = { offset: header.snapshotsOffset, bytes: this.tableBytes };
    const offset = await this.writeNew(table);
    await image.flush();
    header.snapshotsOffset = offset;
    header.snapshotCount = records.length;
    // What the header says holds even if it cannot be written now: then it is at the next flush.
    this.records = records.map((record) => ({ ...record, incomplete: false }));
    this.tableBytes = table.length;
    await image.writeHeader();
    if (old.bytes > 0) image.refcounts.free(old.offset, this.clustersOf(old.bytes), false);
  }
}

function withoutFlags(l1: Uint8Array): Uint8Array {
  const copy = l1.slice();
  const view = viewOf(copy);
  for (let at = 0; at < copy.length; at += 8) view.setUint32(at, (view.getUint32(at) & ~ENTRY_COPIED) >>> 0);
  return copy;
}
