/** One sparse extent of a VMDK as a node of its own: grain directory, grain tables, grains that may be compressed. */
import { concatBytes, viewOf } from '../../../base/bytes.ts';
import { BlockError } from '../../block-error.ts';
import type { BlockHost } from '../../host.ts';
import { gather, scatter, sliceVector, vectorBytes } from '../../io-vector.ts';
import type { IoVector } from '../../io-vector.ts';
import type { BlockNode, Child, WriteFlags } from '../../node.ts';
import { MappedNode } from '../mapped/mapped-node.ts';
import type { Place, Run } from '../mapped/mapped-node.ts';
import { readExactly } from '../mapped/node-bytes.ts';
import { PagedTable } from '../mapped/paged-table.ts';
import { zlibWrap } from '../mapped/zlib-wrap.ts';
import { FLAG_MARKERS, FLAG_ZERO_GRAIN, SECTOR_BYTES } from './sparse-header.ts';
import type { SparseHeader } from './sparse-header.ts';

/** Unpacked grains kept, and their bytes; the last one is kept however large it is. */
const UNPACKED_GRAINS = 4;
const UNPACKED_BYTES = 16 << 20;
const ZERO_GRAIN = 1;
/** Grain marker: sector number (64 bits), length of the data (32). Without markers only the length. */
const MARKER_BYTES = 12;

export interface SparseExtentOptions {
  readonly name: string;
  readonly readOnly: boolean;
  readonly file: BlockNode;
  readonly header: SparseHeader;
  readonly sizeBytes: number;
  readonly backing: BlockNode | undefined;
  readonly backingOffset: number;
  readonly host: BlockHost;
}

export class SparseExtent extends MappedNode {
  override readonly driver = 'vmdk';
  override readonly size: number;
  protected override readonly clusterBytes: number;
  protected override readonly backingOffset: number;
  readonly header: SparseHeader;
  private readonly file: BlockNode;
  private readonly host: BlockHost;
  /** Directories and tables are read through one view of the file, so that a page serves many small tables. */
  private readonly tables: PagedTable;
  private readonly unpacked = new Map<number, Uint8Array>();
  private nextOffset: number;

  constructor(of: SparseExtentOptions) {
    super(of.name, of.readOnly);
    this.file = of.file;
    this.header = of.header;
    this.host = of.host;
    this.size = of.sizeBytes;
    this.clusterBytes = of.header.grainBytes;
    this.backing = of.backing;
    this.backingOffset = of.backingOffset;
    this.tables = new PagedTable(of.file, 0, of.file.size);
    const unit = of.header.compressed ? SECTOR_BYTES : of.header.grainBytes;
    this.nextOffset = Math.ceil(Math.max(of.file.size, of.header.dataOffset) / unit) * unit;
  }

  override get children(): readonly Child[] {
    return [{ name: 'file', role: 'file', node: this.file }];
  }

  override get filename(): string {
    return this.file.filename;
  }

  protected override async locate(offset: number, most: number): Promise<Run> {
    const inGrain = offset % this.clusterBytes;
    const bytes = this.clusterBytes - inGrain;
    const sector = await this.entryOf(offset);
    if (sector === 0) return { kind: 'absent', bytes: this.absentFrom(offset, most) };
    if (sector === ZERO_GRAIN && (this.header.flags & FLAG_ZERO_GRAIN) !== 0) return { kind: 'zero', bytes };
    if (this.header.compressed) return { kind: 'packed', bytes };
    // GUEST: any sector; beyond the end of the file it reads as zeroes.
    return { kind: 'data', bytes, node: this.file, offset: sector * SECTOR_BYTES + inGrain };
  }

  protected override reserve(start: number): Promise<Place> {
    if (this.header.compressed)
      throw new BlockError('EIO', `grain at ${start} of a compressed extent can only be written whole`);
    return Promise.resolve({ node: this.file, offset: this.take(this.clusterBytes), clean: true });
  }

  protected override commit(start: number, place: Place): Promise<void> {
    return this.setEntry(start, place.offset / SECTOR_BYTES);
  }

  protected override async markZero(start: number): Promise<boolean> {
    if ((this.header.flags & FLAG_ZERO_GRAIN) === 0) return false;
    await this.setEntry(start, ZERO_GRAIN);
    return true;
  }

  override async write(offset: number, from: IoVector, flags: WriteFlags = {}): Promise<void> {
    if (!this.header.compressed) return super.write(offset, from, flags);
    this.checkWritable();
    const total = vectorBytes(from);
    this.checkRange(offset, total);
    if (
      offset % this.clusterBytes !== 0 ||
      (total % this.clusterBytes !== 0 && offset + total <= this.size - SECTOR_BYTES)
    )
      throw new BlockError('EINVAL', `a compressed extent takes whole grains of ${this.clusterBytes} bytes`);
    for (let at = 0; at < total; at += this.clusterBytes)
      await this.writePacked(offset + at, sliceVector(from, at, Math.min(this.clusterBytes, total - at)));
  }

  protected override async readPacked(offset: number, into: IoVector): Promise<void> {
    const inGrain = offset % this.clusterBytes;
    const grain = await this.unpack(await this.entryOf(offset));
    scatter(grain.subarray(inGrain, inGrain + vectorBytes(into)), into);
  }

  protected override writeBack(): Promise<void> {
    return this.tables.writeBack();
  }

  private async unpack(sector: number): Promise<Uint8Array> {
    const known = this.unpacked.get(sector);
    if (known !== undefined) return known;
    const markers = (this.header.flags & FLAG_MARKERS) !== 0;
    const headBytes = markers ? MARKER_BYTES : 4;
    const at = sector * SECTOR_BYTES;
    const head = await readExactly(this.file, at, headBytes, 'VMDK grain');
    const packedBytes = viewOf(head).getUint32(headBytes - 4, true);
    // GUEST: deflate makes nothing longer than by a few bytes in a thousand; a grain may not claim more.
    if (packedBytes === 0 || packedBytes > this.clusterBytes + (this.clusterBytes >>> 8) + 1024)
      throw new BlockError('EIO', `VMDK grain at sector ${sector} claims ${packedBytes} compressed bytes`);
    const packed = await readExactly(this.file, at + headBytes, packedBytes, 'VMDK grain');
    const data = await this.host.inflateZlib(packed, this.clusterBytes);
    let grain = data;
    if (data.length < this.clusterBytes) {
      grain = new Uint8Array(this.clusterBytes);
      grain.set(data);
    }
    const most = Math.max(1, Math.min(UNPACKED_GRAINS, Math.floor(UNPACKED_BYTES / this.clusterBytes)));
    if (this.unpacked.size >= most) {
      // INVARIANT: not empty.
      this.unpacked.delete(this.unpacked.keys().next().value!);
    }
    this.unpacked.set(sector, grain);
    return grain;
  }

  private async writePacked(start: number, from: IoVector): Promise<void> {
    if ((await this.entryOf(start)) !== 0)
      throw new BlockError('EIO', 'Could not write to allocated cluster for streamOptimized');
    const grain = new Uint8Array(this.clusterBytes);
    grain.set(gather(from));
    if (grain.every((byte) => byte === 0) && this.backing === undefined) return;
    const packed = zlibWrap(await this.host.deflateRaw(grain), grain);
    const marker = new Uint8Array(MARKER_BYTES);
    viewOf(marker).setUint32(0, (start / SECTOR_BYTES) >>> 0, true);
    viewOf(marker).setUint32(4, Math.floor(start / SECTOR_BYTES / 2 ** 32), true);
    viewOf(marker).setUint32(8, packed.length, true);
    const stored = concatBytes([marker, packed]);
    const whole = new Uint8Array(Math.ceil(stored.length / SECTOR_BYTES) * SECTOR_BYTES);
    whole.set(stored);
    const offset = this.take(whole.length);
    await this.file.write(offset, [whole]);
    await this.setEntry(start, offset / SECTOR_BYTES);
  }

  /** Bytes from `offset`, whose grain is absent, to the next grain that is there, as far as the part of its table in memory tells. */
  private absentFrom(offset: number, most: number): number {
    const { tableEntries, directoryOffset } = this.header;
    const first = Math.floor(offset / this.clusterBytes);
    const number = Math.floor(first / tableEntries);
    const table = this.tables.peek32(directoryOffset + number * 4, true);
    const end = Math.min(Math.ceil((offset + most) / this.clusterBytes), (number + 1) * tableEntries);
    let grain = first + 1;
    if (table === 0) grain = end;
    else if (table !== undefined)
      while (grain < end && this.tables.peek32(table * SECTOR_BYTES + (grain % tableEntries) * 4, true) === 0) grain++;
    return grain * this.clusterBytes - offset;
  }

  /** The grain table entry for a byte of the disk: a sector, or 0. */
  private async entryOf(offset: number): Promise<number> {
    const grain = Math.floor(offset / this.clusterBytes);
    const { tableEntries, directoryOffset } = this.header;
    const at = directoryOffset + Math.floor(grain / tableEntries) * 4;
    const table = this.tables.peek32(at, true) ?? (await this.tables.get32(at, true));
    if (table === 0) return 0;
    const entry = table * SECTOR_BYTES + (grain % tableEntries) * 4;
    return this.tables.peek32(entry, true) ?? (await this.tables.get32(entry, true));
  }

  private async setEntry(offset: number, sector: number): Promise<void> {
    const grain = Math.floor(offset / this.clusterBytes);
    const { tableEntries, directoryOffset, redundantOffset } = this.header;
    for (const directory of [directoryOffset, redundantOffset]) {
      if (directory === 0) continue;
      const table = await this.tables.get32(directory + Math.floor(grain / tableEntries) * 4, true);
      if (table === 0) {
        if (directory === redundantOffset) continue;
        throw new BlockError('EIO', `VMDK extent has no grain table for the byte ${offset}`);
      }
      await this.tables.set32(table * SECTOR_BYTES + (grain % tableEntries) * 4, sector, true);
    }
  }

  private take(bytes: number): number {
    const offset = this.nextOffset;
    if ((offset + bytes) / SECTOR_BYTES > 0xffffffff)
      throw new BlockError('ENOSPC', `no VMDK grain can begin at ${offset}`);
    this.nextOffset = offset + bytes;
    return offset;
  }
}
