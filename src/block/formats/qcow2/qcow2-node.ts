/** An opened qcow2 image as a node of the block graph. */
import { BlockError, ERRNO_TEXT, errnoOf, ImageError } from '../../block-error.ts';
import type { IoVector } from '../../io-vector.ts';
import { vectorBytes } from '../../io-vector.ts';
import type {
  BlockStatus, CheckResult, Child, JsonValue, RequestLimits, TruncateOptions, WriteFlags, ZeroFlags,
} from '../../node.ts'; // prettier-ignore
import { BlockNode } from '../../node.ts';
import { Bitmaps } from './bitmaps.ts';
import { amendQcow2 } from './amend.ts';
import type { Extras } from './check.ts';
import { Check } from './check.ts';
import type { References } from './rebuild.ts';
import { hasUnusedClusters } from './holes.ts';
import { writeCompressed } from './compressed.ts';
import { encryptionInfo } from './encryption.ts';
import type { Qcow2Image } from './image.ts';
import {
  AUTOCLEAR_DATA_FILE_RAW, COMPRESSION_ZSTD, INCOMPATIBLE_CORRUPT, INCOMPATIBLE_DIRTY,
} from './layout.ts'; // prettier-ignore
import { readRange, readRangeNow } from './read.ts';
import { resize } from './resize.ts';
import type { Run } from './tables.ts';
import { Snapshots } from './snapshots.ts';
import { COMPRESSED, DATA, UNALLOCATED, ZERO } from './tables.ts';
import { readVmState, vmStateOffset, writeVmState } from './vm-state.ts';
import { writeRange } from './write.ts';
import { discardRange, dropClaimed, zeroRange } from './zero.ts';

export class Qcow2Node extends BlockNode {
  readonly driver = 'qcow2';
  readonly image: Qcow2Image;
  override backingReference: { readonly file: string; readonly format?: string } | undefined = undefined;
  override readonly snapshots: Snapshots;
  override readonly bitmaps: Bitmaps;
  private readonly ownName: string | undefined;
  private holes: Promise<boolean> | undefined;

  constructor(image: Qcow2Image, filename?: string) {
    super(image.name, image.readOnly);
    this.image = image;
    this.bitmaps = new Bitmaps(image);
    this.snapshots = new Snapshots(image, this.bitmaps, (view) => new Qcow2Node(view));
    this.ownName = filename;
    this.refreshReference();
  }

  private refreshReference(): void {
    const { backingFile, backingFormat } = this.image.header;
    if (backingFile === undefined) this.backingReference = undefined;
    else
      this.backingReference = { file: backingFile, ...(backingFormat === undefined ? {} : { format: backingFormat }) };
  }

  override get size(): number {
    return this.image.header.size;
  }

  override get filename(): string {
    return this.ownName ?? this.image.file.filename;
  }

  override get children(): readonly Child[] {
    const { file, dataFile, backing } = this.image;
    const children: Child[] = [{ name: 'file', role: 'file', node: file }];
    if (backing !== undefined) children.push({ name: 'backing', role: 'backing', node: backing });
    if (dataFile !== file) children.push({ name: 'data-file', role: 'data-file', node: dataFile });
    return children;
  }

  override get limits(): RequestLimits {
    const alignment = this.image.encryption === undefined ? 1 : 512;
    return { alignment, zeroAlignment: this.image.tables.unit, maxTransfer: 0x7ffffe00 };
  }

  override get zeroWhenNew(): boolean {
    return this.image.backing === undefined && this.image.encryption === undefined && !this.image.hasDataFile;
  }

  override read(offset: number, into: IoVector): Promise<void> {
    const bytes = vectorBytes(into);
    const { ranges } = this.image;
    try {
      this.checkRange(offset, bytes);
    } catch (error) {
      return Promise.reject(error);
    }
    if (!ranges.enter()) return ranges.opened().then(() => this.read(offset, into));
    return readRange(this.image, offset, into, bytes).finally(() => ranges.leave());
  }

  override readNow(offset: number, into: IoVector): boolean {
    const bytes = vectorBytes(into);
    const { ranges } = this.image;
    if (offset + bytes > this.size || !ranges.enter()) return false;
    try {
      return readRangeNow(this.image, offset, into, bytes);
    } finally {
      ranges.leave();
    }
  }

  override async write(offset: number, from: IoVector, flags: WriteFlags = {}): Promise<void> {
    const bytes = vectorBytes(from);
    this.checkWritable();
    this.checkRange(offset, bytes);
    this.image.checkUsable();
    const recorded = this.bitmaps.record(offset, bytes);
    if (recorded !== undefined) await recorded;
    if (flags.compressed) await writeCompressed(this.image, offset, from, bytes);
    else await writeRange(this.image, offset, from, bytes);
    if (flags.fua) await this.image.flush();
  }

  override async writeZeroes(offset: number, bytes: number, flags: ZeroFlags = {}): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, bytes);
    await this.bitmaps.record(offset, bytes);
    await zeroRange(this.image, offset, bytes, flags);
    if (flags.fua) await this.image.flush();
  }

  override async discard(offset: number, bytes: number): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, bytes);
    await this.bitmaps.record(offset, bytes);
    await discardRange(this.image, offset, bytes);
  }

  override flush(): Promise<void> {
    return this.image.flush();
  }

  override async status(offset: number, bytes: number): Promise<BlockStatus> {
    this.checkRange(offset, bytes);
    const { image } = this;
    const { tables } = image;
    const first = await this.runAt(offset, bytes);
    const host = first.kind === COMPRESSED || image.encryption !== undefined ? -1 : first.host;
    let length = first.bytes;
    // Runs go on in the next table, and compressed clusters in the next one.
    while (length < bytes) {
      const next = await this.runAt(offset + length, bytes - length);
      if (next.kind !== first.kind) break;
      if (next.kind !== COMPRESSED && next.host !== (first.host < 0 ? -1 : first.host + length)) break;
      length += next.bytes;
      if (length > tables.l2Reach * 64) break;
    }
    const known = first.kind === UNALLOCATED && image.backing !== undefined && offset < image.backingBytes;
    if (first.kind === UNALLOCATED && offset < image.backingBytes)
      length = Math.min(length, image.backingBytes - offset);
    const stored = first.kind === DATA && host >= 0;
    return {
      bytes: length,
      ...(stored ? { sparse: await this.mayHaveHoles() } : {}),
      data: first.kind === DATA || first.kind === COMPRESSED,
      zero: first.kind === ZERO || (first.kind === UNALLOCATED && !known),
      allocated: first.kind !== UNALLOCATED,
      ...(host < 0 ? {} : { at: { node: image.dataFile, offset: host } }),
      ...(first.kind === COMPRESSED ? { compressed: true } : {}),
    };
  }

  /** Clusters were allocated for which the file has no storage: then data may be holes. Found out once. */
  private mayHaveHoles(): Promise<boolean> {
    this.holes ??= hasUnusedClusters(this.image);
    return this.holes;
  }

  private async runAt(offset: number, bytes: number): Promise<Run> {
    const { tables } = this.image;
    for (;;) {
      const run = tables.find(offset, bytes);
      if (run !== undefined) return run;
      await tables.load(Math.floor(offset / tables.l2Reach));
    }
  }

  override get vmStateOffset(): number {
    return vmStateOffset(this.image);
  }

  override async readVmState(offset: number, into: IoVector): Promise<void> {
    await this.image.file.debugEvent?.('vmstate_load');
    await readVmState(this.image, offset, into);
  }

  override async writeVmState(offset: number, from: IoVector): Promise<void> {
    this.checkWritable();
    this.image.checkUsable();
    await this.image.file.debugEvent?.('vmstate_save');
    await writeVmState(this.image, offset, from);
  }

  override async truncate(size: number, options: TruncateOptions = {}): Promise<void> {
    this.checkWritable();
    this.image.checkUsable();
    await this.image.ranges.alone(() => this.resizeAlone(size, options));
  }

  /** For who holds the gate. */
  async resizeAlone(size: number, options: TruncateOptions = {}): Promise<void> {
    if (size !== this.size) await this.bitmaps.beforeResize();
    try {
      await resize(this.image, size, options);
    } finally {
      this.bitmaps.afterResize();
    }
  }

  override async close(): Promise<void> {
    await this.image.ranges.alone(async () => {
      if (this.readOnly || this.image.header.incompatible & INCOMPATIBLE_CORRUPT) return;
      const lost: string[] = [];
      await this.bitmaps.store().catch((error: unknown) => {
        const why = ERRNO_TEXT[errnoOf(error)];
        lost.push(`Lost persistent bitmaps during inactivation of node '${this.name}': ${why}`);
      });
      lost.push(...(await this.image.settleAtLast()));
      if (lost.length > 0) throw new ImageError(lost.join('\n'), 'EIO');
    });
  }

  override async check(repair: 'none' | 'leaks' | 'all'): Promise<CheckResult> {
    if (repair !== 'none') this.checkWritable();
    return this.image.ranges.alone(async () => {
      // What an image that may not be written has in memory is what it has on disk.
      if (!(this.image.header.incompatible & (INCOMPATIBLE_CORRUPT | INCOMPATIBLE_DIRTY))) await this.image.settle();
      return new Check(this.image, repair, this.extras).run();
    });
  }

  private get extras(): Extras {
    return { snapshots: this.snapshots, bitmapRanges: this.bitmaps.ranges };
  }

  /** All references to host clusters but those of the refcount structure; for who holds the gate and has settled the image. */
  countReferences(): Promise<References> {
    return new Check(this.image, 'none', this.extras).count();
  }

  override async amend(
    options: Readonly<Record<string, string>>,
    force: boolean,
    progress: (done: number) => void,
  ): Promise<void> {
    this.checkWritable();
    await amendQcow2(this, options, force, progress);
  }

  override async makeEmpty(): Promise<void> {
    this.checkWritable();
    await this.image.ranges.alone(async () => {
      const size = Math.ceil(this.size / this.image.clusterSize) * this.image.clusterSize;
      await dropClaimed(this.image, 0, size, true);
      await this.image.settle();
    });
  }

  override async setBackingReference(
    reference: { readonly file: string; readonly format?: string } | null,
  ): Promise<void> {
    this.checkWritable();
    const { header } = this.image;
    if (reference !== null && this.image.hasDataFile && header.autoclear & AUTOCLEAR_DATA_FILE_RAW)
      throw new BlockError('EINVAL', 'a raw data file excludes a backing file');
    const old = { file: header.backingFile, format: header.backingFormat };
    header.backingFile = reference?.file;
    header.backingFormat = reference?.format;
    try {
      await this.image.writeHeader();
    } catch (error) {
      header.backingFile = old.file;
      header.backingFormat = old.format;
      throw error;
    }
    this.refreshReference();
  }

  override replaceBacking(node: BlockNode | undefined): void {
    this.image.backing = node;
  }

  override imageInfo(): { clusterSize: number; dirty: boolean; encrypted?: boolean; compressed?: boolean } {
    const { header } = this.image;
    return {
      clusterSize: this.image.clusterSize,
      dirty: (header.incompatible & INCOMPATIBLE_DIRTY) !== 0,
      ...(header.cryptMethod === 0 ? {} : { encrypted: true }),
    };
  }

  override specificInfo(): { type: string; data: Readonly<Record<string, JsonValue>> } {
    const { header, tables, encryption } = this.image;
    const bitmaps = this.bitmaps.list().map(({ name, granularity, flags }) => ({ flags, name, granularity }));
    if (header.version < 3)
      return { type: 'qcow2', data: { compat: '0.10', 'compression-type': 'zlib', 'refcount-bits': 16 } };
    return {
      type: 'qcow2',
      data: {
        compat: '1.1',
        'compression-type': header.compressionType === COMPRESSION_ZSTD ? 'zstd' : 'zlib',
        'lazy-refcounts': this.image.hasLazyRefcounts,
        ...(bitmaps.length === 0 ? {} : { bitmaps }),
        'refcount-bits': 2 ** header.refcountOrder,
        corrupt: (header.incompatible & INCOMPATIBLE_CORRUPT) !== 0,
        ...(header.dataFile === undefined ? {} : { 'data-file': header.dataFile }),
        ...(this.image.hasDataFile ? { 'data-file-raw': (header.autoclear & AUTOCLEAR_DATA_FILE_RAW) !== 0 } : {}),
        ...(encryption === undefined ? {} : { encrypt: encryptionInfo(encryption) }),
        'extended-l2': tables.extended,
      },
    };
  }
}
