/**
 * virtio-blk: a disk (Virtio 1.2, 5.2). Requests of all queues run side by side; each ends with its status byte. Secure erase, lifetime
 * and zoned commands are not offered.
 */
import { asciiBytes, ByteBuilder, viewOf } from '../../base/bytes.ts';
import { type IoVector, scatter, sliceVector, vectorBytes } from '../../block/io-vector.ts';
import { type Drive, SECTOR_BYTES } from '../storage/drive.ts';
import type { StateFields, StateReader } from '../../state/state.ts';
import type { VirtioCore } from './virtio-core.ts';
import type { PluggableModel } from './virtio-kind.ts';
import type { QueueElement } from './virtqueue.ts';

const F_SEG_MAX = 2;
const F_GEOMETRY = 4;
const F_RO = 5;
const F_BLK_SIZE = 6;
const F_FLUSH = 9;
const F_TOPOLOGY = 10;
const F_CONFIG_WCE = 11;
const F_MQ = 12;
const F_DISCARD = 13;
const F_WRITE_ZEROES = 14;

const T_IN = 0;
const T_OUT = 1;
const T_FLUSH = 4;
const T_GET_ID = 8;
const T_DISCARD = 11;
const T_WRITE_ZEROES = 13;

const S_OK = 0;
const S_IOERR = 1;
const S_UNSUPPORTED = 2;

const HEADER_BYTES = 16; // type u32, reserved u32, sector u64
const ID_BYTES = 20;
/** sector u64, number of sectors u32, flags u32 */
const RANGE_BYTES = 16;
const RANGE_UNMAP = 1;
/** One range a request, as the configuration tells. */
const MAX_RANGES = 1;
/** Sectors that one discard or write-zeroes command may name. */
const MAX_RANGE_SECTORS = 0x7fffffff >> 9;
const CONFIG_BYTES = 60;
const CONFIG_WCE = 32;

export interface VirtioBlkOptions {
  readonly drive: Drive;
  readonly serial: string;
  readonly queues: number;
  readonly queueSize: number;
  /** Bytes; the guest's sectors stay 512 for addressing. */
  readonly logicalBlockBytes: number;
  readonly physicalBlockBytes: number;
  readonly discard: boolean;
  readonly writeZeroes: boolean;
  /** The guest may switch the write cache. */
  readonly configWce: boolean;
}

export class VirtioBlk implements PluggableModel {
  readonly name: string = 'virtio-blk';
  readonly deviceId: number = 2;
  readonly queueCount: number;
  readonly queueSize: number;
  readonly features: readonly number[];
  readonly configBytes: number = CONFIG_BYTES;
  private readonly options: VirtioBlkOptions;
  private readonly drive: Drive;
  private core: VirtioCore | undefined;
  private writeCache: boolean;

  constructor(options: VirtioBlkOptions) {
    this.options = options;
    this.drive = options.drive;
    this.queueCount = options.queues;
    this.queueSize = options.queueSize;
    this.writeCache = this.drive.writeCache;
    const features = [F_SEG_MAX, F_GEOMETRY, F_BLK_SIZE, F_FLUSH, F_TOPOLOGY];
    if (options.configWce) features.push(F_CONFIG_WCE);
    if (options.queues > 1) features.push(F_MQ);
    if (this.drive.readOnly) features.push(F_RO);
    else {
      if (options.discard) features.push(F_DISCARD);
      if (options.writeZeroes) features.push(F_WRITE_ZEROES);
    }
    this.features = features;
  }

  connect(core: VirtioCore): void {
    this.core = core;
  }

  reset(): void {
    this.writeCache = this.drive.writeCache;
  }

  readConfig(offset: number, size: number): number {
    const view = viewOf(this.config());
    if (size === 4) return view.getUint32(offset, true);
    return size === 2 ? view.getUint16(offset, true) : view.getUint8(offset);
  }

  writeConfig(offset: number, _size: number, value: number): void {
    if (offset === CONFIG_WCE && this.core?.has(F_CONFIG_WCE)) this.writeCache = (value & 1) !== 0;
  }

  saveFields(): StateFields {
    return { writeCache: this.writeCache };
  }

  loadFields(reader: StateReader): void {
    this.writeCache = reader.bool('writeCache');
  }

  /** The medium has another size. */
  resized(): void {
    this.core?.configChanged();
  }

  notified(queue: number): void {
    for (;;) {
      const element = this.core?.pop(queue);
      if (element === undefined) return;
      this.start(queue, element);
    }
  }

  /** Begins a request; the buffer goes back when it is done. */
  start(queue: number, element: QueueElement): void {
    const intoBytes = vectorBytes(element.into);
    const outBytes = vectorBytes(element.out);
    const status = element.into.at(-1);
    // GUEST: how a buffer is cut into pieces is the driver's affair, but a header and a status byte must be there.
    if (outBytes < HEADER_BYTES || status === undefined) {
      this.core?.reject(queue, element, 'a request without header or status');
      return;
    }
    const header = headerOf(element.out);
    const type = word(header, 0);
    // GUEST: a sector number of 64 bits; beyond 2^53 it is imprecise, and far beyond every disk.
    const sector = word(header, 12) * 0x1_0000_0000 + word(header, 8);
    const into = status.length === 1 ? element.into.slice(0, -1) : sliceVector(element.into, 0, intoBytes - 1);
    const finish = (result: number): void => {
      status[status.length - 1] = result;
      this.core?.push(queue, element, intoBytes);
    };
    if (type === T_IN && this.inRange(sector, intoBytes - 1)) {
      if (this.drive.readNow(sector * SECTOR_BYTES, into, intoBytes - 1)) finish(S_OK);
      else this.drive.read(sector * SECTOR_BYTES, into).then(() => finish(S_OK), () => finish(S_IOERR)); // prettier-ignore
      return;
    }
    const out = sliceVector(element.out, HEADER_BYTES, outBytes - HEADER_BYTES);
    void this.perform(type, sector, out, into).then(finish, () => finish(S_IOERR));
  }

  private async perform(type: number, sector: number, out: IoVector, into: IoVector): Promise<number> {
    const { drive } = this;
    switch (type) {
      case T_IN:
        return S_IOERR; // beyond the end
      case T_OUT:
        if (drive.readOnly || !this.inRange(sector, vectorBytes(out))) return S_IOERR;
        await drive.write(sector * SECTOR_BYTES, out, !this.cached);
        return S_OK;
      case T_FLUSH:
        await drive.flush();
        return S_OK;
      case T_GET_ID: {
        const id = new Uint8Array(ID_BYTES);
        id.set(asciiBytes(this.options.serial).subarray(0, ID_BYTES));
        scatter(id.subarray(0, Math.min(ID_BYTES, vectorBytes(into))), into);
        return S_OK;
      }
      case T_DISCARD:
        return this.options.discard ? this.ranges(out, true) : S_UNSUPPORTED;
      case T_WRITE_ZEROES:
        return this.options.writeZeroes ? this.ranges(out, false) : S_UNSUPPORTED;
      default:
        return S_UNSUPPORTED;
    }
  }

  private async ranges(out: IoVector, discard: boolean): Promise<number> {
    const { drive } = this;
    const bytes = vectorBytes(out);
    // GUEST: the number of ranges is the driver's; more than was offered is refused.
    if (bytes === 0 || bytes % RANGE_BYTES !== 0 || bytes > MAX_RANGES * RANGE_BYTES) return S_UNSUPPORTED;
    if (drive.readOnly) return S_IOERR;
    const table = new Uint8Array(bytes);
    gatherInto(table, out);
    const view = viewOf(table);
    for (let at = 0; at < bytes; at += RANGE_BYTES) {
      const sector = view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
      const count = view.getUint32(at + 8, true);
      const flags = view.getUint32(at + 12, true);
      if ((flags & ~RANGE_UNMAP) !== 0 || (discard && flags !== 0)) return S_UNSUPPORTED;
      if (count > MAX_RANGE_SECTORS || !this.inRange(sector, count * SECTOR_BYTES)) return S_IOERR;
      if (count === 0) continue;
      if (discard) await drive.discard(sector * SECTOR_BYTES, count * SECTOR_BYTES);
      else await drive.writeZeroes(sector * SECTOR_BYTES, count * SECTOR_BYTES, flags === RANGE_UNMAP, !this.cached);
    }
    return S_OK;
  }

  /** Whole logical blocks within the disk. */
  private inRange(sector: number, bytes: number): boolean {
    const block = this.options.logicalBlockBytes;
    return (
      bytes % block === 0 &&
      (sector * SECTOR_BYTES) % block === 0 &&
      sector + bytes / SECTOR_BYTES <= this.drive.sectors
    );
  }

  /** A driver that cannot flush gets no cache (5.2.5.2). */
  private get cached(): boolean {
    return this.core?.has(F_CONFIG_WCE) ? this.writeCache : this.writeCache && this.core?.has(F_FLUSH) === true;
  }

  private config(): Uint8Array {
    const { logicalBlockBytes, physicalBlockBytes, discard, writeZeroes } = this.options;
    const { sectors } = this.drive;
    const unit = physicalBlockBytes / SECTOR_BYTES;
    return new ByteBuilder()
      .u64(sectors)
      .u32(0) // size_max
      .u32(this.queueSize - 2) // seg_max: beside header and status
      .u16(Math.min(0xffff, Math.floor(sectors / (16 * 63))))
      .u8(16)
      .u8(63)
      .u32(logicalBlockBytes)
      .u8(Math.log2(physicalBlockBytes / logicalBlockBytes))
      .u8(0)
      .u16(unit / (logicalBlockBytes / SECTOR_BYTES)) // min_io_size, in logical blocks
      .u32(0)
      .u8(Number(this.writeCache))
      .u8(0)
      .u16(this.options.queues)
      .u32(discard ? MAX_RANGE_SECTORS : 0)
      .u32(MAX_RANGES)
      .u32(unit)
      .u32(writeZeroes ? MAX_RANGE_SECTORS : 0)
      .u32(MAX_RANGES)
      .u8(1) // write zeroes may unmap
      .zeros(3)
      .build();
  }
}

/** The header's bytes, where they are unless they come in pieces. Each is read once: the guest may change them meanwhile. */
function headerOf(out: IoVector): Uint8Array {
  const [first] = out;
  if (first !== undefined && first.length >= HEADER_BYTES) return first;
  const header = new Uint8Array(HEADER_BYTES);
  gatherInto(header, sliceVector(out, 0, HEADER_BYTES));
  return header;
}

function word(bytes: Uint8Array, at: number): number {
  // INVARIANT: headers are long enough.
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

function gatherInto(into: Uint8Array, vector: IoVector): void {
  let at = 0;
  for (const piece of vector) {
    into.set(piece, at);
    at += piece.length;
  }
}
