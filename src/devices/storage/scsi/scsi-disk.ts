/**
 * A SCSI disk or CD-ROM drive before a Drive (SPC-4, SBC-3, MMC-6): the commands that operating systems and firmware use. No reservations,
 * no log pages, no tape or audio.
 */
import { BlockError } from '../../../block/block-error.ts';
import { gather, type IoVector, scatter, sliceVector, vectorBytes } from '../../../block/io-vector.ts';
import { viewOf } from '../../../base/bytes.ts';
import type { Drive } from '../drive.ts';
import { type DiskUnit, MAX_UNMAP_BLOCKS, MAX_UNMAP_DESCRIPTORS, type ScsiDiskOptions } from './disk-unit.ts';
import { cdromReply } from './cdrom.ts';
import { inquiry } from './inquiry.ts';
import { modePages } from './mode-pages.ts';
import {
  ASC_INVALID_FIELD,
  ASC_INVALID_OPCODE,
  ASC_INVALID_PARAMETER,
  ASC_LBA_OUT_OF_RANGE,
  ASC_NO_MEDIUM,
  ASC_PARAMETER_LENGTH,
  ASC_POWER_ON,
  ASC_READ_ERROR,
  ASC_SPACE_ALLOCATION_FAILED,
  ASC_WRITE_ERROR,
  ASC_WRITE_PROTECTED,
  checkCondition,
  type ScsiCommand,
  type ScsiResult,
  type ScsiTarget,
  SENSE_DATA_PROTECT,
  SENSE_HARDWARE_ERROR,
  SENSE_ILLEGAL_REQUEST,
  SENSE_MEDIUM_ERROR,
  SENSE_NOT_READY,
  SENSE_UNIT_ATTENTION,
  senseData,
  SenseError,
  STATUS_GOOD,
} from './scsi-target.ts';

const CDROM_BLOCK_BYTES = 2048;
/** Longest parameter list that is looked at. */
const MAX_PARAMETERS = 65536;
const FUA = 0x08;
const CACHING_PAGE = 0x08;
const WCE = 0x04;

export class ScsiDisk implements ScsiTarget, DiskUnit {
  readonly options: ScsiDiskOptions;
  readonly blockBytes: number;
  writeCache: boolean;
  private readonly drive: Drive;
  /** The first command after power-on is answered by UNIT ATTENTION. */
  private attention = true;

  constructor(options: ScsiDiskOptions) {
    this.options = options;
    this.drive = options.drive;
    this.blockBytes = options.cdrom ? CDROM_BLOCK_BYTES : options.blockBytes;
    this.writeCache = this.drive.writeCache;
  }

  get readOnly(): boolean {
    return this.options.cdrom || this.drive.readOnly;
  }

  get ready(): boolean {
    return this.drive.node !== undefined;
  }

  get blocks(): number {
    return Math.floor((this.drive.node?.size ?? 0) / this.blockBytes);
  }

  get discards(): boolean {
    return !this.readOnly && this.drive.discards;
  }

  reset(): void {
    this.attention = true;
    this.writeCache = this.drive.writeCache;
  }

  async execute(command: ScsiCommand): Promise<ScsiResult> {
    try {
      const transferred = await this.perform(command);
      return { status: STATUS_GOOD, sense: new Uint8Array(0), transferred };
    } catch (error) {
      if (error instanceof SenseError) return checkCondition(error.key, error.code);
      if (!(error instanceof BlockError)) throw error;
      if (error.code === 'ENOSPC') return checkCondition(SENSE_DATA_PROTECT, ASC_SPACE_ALLOCATION_FAILED);
      if (error.code === 'EIO')
        return checkCondition(SENSE_MEDIUM_ERROR, vectorBytes(command.into) > 0 ? ASC_READ_ERROR : ASC_WRITE_ERROR);
      return checkCondition(SENSE_HARDWARE_ERROR, 0x4400); // internal target failure
    }
  }

  /** Bytes moved. */
  private perform(command: ScsiCommand): Promise<number> | number {
    const { cdb } = command;
    const [opcode = 0] = cdb;
    const view = viewOf(cdb);
    // These two are answered whatever state the drive is in.
    if (opcode === 0x12) return reply(command, inquiry(this, cdb), view.getUint16(3));
    if (opcode === 0x03) return reply(command, senseData(0, 0), cdb[4] ?? 0);
    if (this.attention) {
      this.attention = false;
      throw new SenseError(SENSE_UNIT_ATTENTION, ASC_POWER_ON);
    }
    switch (opcode) {
      case 0x00: // TEST UNIT READY
        this.needMedium();
        return 0;
      case 0x08: // READ (6)
        return this.read(command, view.getUint32(0) & 0x1fffff, cdb[4] || 256);
      case 0x28: // READ (10)
        return this.read(command, view.getUint32(2), view.getUint16(7));
      case 0xa8: // READ (12)
        return this.read(command, view.getUint32(2), view.getUint32(6));
      case 0x88: // READ (16)
        return this.read(command, u64(view, 2), view.getUint32(10));
      case 0x0a: // WRITE (6)
        return this.write(command, view.getUint32(0) & 0x1fffff, cdb[4] || 256, false);
      case 0x2a: // WRITE (10)
      case 0x2e: // WRITE AND VERIFY (10)
        return this.write(command, view.getUint32(2), view.getUint16(7), fua(cdb));
      case 0xaa: // WRITE (12)
        return this.write(command, view.getUint32(2), view.getUint32(6), fua(cdb));
      case 0x8a: // WRITE (16)
        return this.write(command, u64(view, 2), view.getUint32(10), fua(cdb));
      case 0x35: // SYNCHRONIZE CACHE
      case 0x91:
        return this.drive.flush().then(() => 0);
      case 0x2f: // VERIFY
        return this.verify(view.getUint32(2), view.getUint16(7), cdb);
      case 0xaf:
        return this.verify(view.getUint32(2), view.getUint32(6), cdb);
      case 0x8f:
        return this.verify(u64(view, 2), view.getUint32(10), cdb);
      case 0x41: // WRITE SAME (10)
        return this.writeSame(command, view.getUint32(2), view.getUint16(7), false);
      case 0x93: // WRITE SAME (16)
        return this.writeSame(command, u64(view, 2), view.getUint32(10), ((cdb[1] ?? 0) & 1) !== 0);
      case 0x42: // UNMAP
        return this.unmap(command, view.getUint16(7));
      case 0x25: // READ CAPACITY (10)
        return reply(command, this.capacity10(), 8);
      case 0x9e: // SERVICE ACTION IN: READ CAPACITY (16)
        if (((cdb[1] ?? 0) & 0x1f) !== 0x10) throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
        return reply(command, this.capacity16(), view.getUint32(10));
      case 0x1a: // MODE SENSE (6)
        return reply(command, modePages(this, cdb, false), cdb[4] ?? 0);
      case 0x5a: // MODE SENSE (10)
        return reply(command, modePages(this, cdb, true), view.getUint16(7));
      case 0x15: // MODE SELECT (6)
        return this.modeSelect(command.out, cdb[4] ?? 0, 4);
      case 0x55: // MODE SELECT (10)
        return this.modeSelect(command.out, view.getUint16(7), 8);
      case 0x1b: // START STOP UNIT
      case 0x1e: // PREVENT ALLOW MEDIUM REMOVAL
        return 0;
      default: {
        const data = this.options.cdrom ? cdromReply(this, cdb) : undefined;
        if (data === undefined) throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_INVALID_OPCODE);
        return reply(command, data, view.getUint16(7));
      }
    }
  }

  /** What is saved of it. */
  get state(): { readonly writeCache: boolean; readonly attention: boolean } {
    return { writeCache: this.writeCache, attention: this.attention };
  }

  set state({ writeCache, attention }: { readonly writeCache: boolean; readonly attention: boolean }) {
    this.writeCache = writeCache;
    this.attention = attention;
  }

  needMedium(): void {
    if (!this.ready) throw new SenseError(SENSE_NOT_READY, ASC_NO_MEDIUM);
  }

  /** Offset and length in bytes of a run of blocks of the medium. */
  private extent(block: number, count: number): { offset: number; bytes: number } {
    this.needMedium();
    // GUEST: block and count are up to 2^64; beyond 2^53 sums are imprecise, and beyond every medium.
    if (block + count > this.blocks) throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE);
    return { offset: block * this.blockBytes, bytes: count * this.blockBytes };
  }

  private needWritable(): void {
    this.needMedium();
    if (this.readOnly) throw new SenseError(SENSE_DATA_PROTECT, ASC_WRITE_PROTECTED);
  }

  private async read({ into }: ScsiCommand, block: number, count: number): Promise<number> {
    const { offset, bytes } = this.extent(block, count);
    // GUEST: there may be less room than blocks asked for; the rest is not moved, and told as overrun.
    const room = Math.min(bytes, vectorBytes(into));
    const part = sliceVector(into, 0, room);
    if (room > 0 && !this.drive.readNow(offset, part, room)) await this.drive.read(offset, part);
    return bytes;
  }

  private async write({ out }: ScsiCommand, block: number, count: number, stable: boolean): Promise<number> {
    this.needWritable();
    const { offset, bytes } = this.extent(block, count);
    const given = Math.min(bytes, vectorBytes(out));
    if (given > 0) await this.drive.write(offset, sliceVector(out, 0, given), stable || !this.writeCache);
    return bytes;
  }

  private verify(block: number, count: number, cdb: Uint8Array): number {
    // Comparing with data of the initiator (BYTCHK) is not offered.
    if (((cdb[1] ?? 0) & 0x06) !== 0) throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
    this.extent(block, count);
    return 0;
  }

  /** One block many times: of zeroes, as which it is the command to clear ranges. */
  private async writeSame({ cdb, out }: ScsiCommand, block: number, count: number, noData: boolean): Promise<number> {
    this.needWritable();
    const unmap = ((cdb[1] ?? 0) & 0x08) !== 0;
    const blocks = count === 0 ? this.blocks - block : count;
    if (blocks < 0 || blocks > MAX_UNMAP_BLOCKS) throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
    const { offset, bytes } = this.extent(block, blocks);
    if (!noData) {
      if (vectorBytes(out) < this.blockBytes) throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LENGTH);
      const pattern = gather(sliceVector(out, 0, this.blockBytes));
      if (pattern.some((byte) => byte !== 0)) {
        for (let done = 0; done < bytes; done += this.blockBytes)
          await this.drive.write(offset + done, [pattern], !this.writeCache);
        return this.blockBytes;
      }
    }
    if (bytes > 0) await this.drive.writeZeroes(offset, bytes, unmap, !this.writeCache);
    return noData ? 0 : this.blockBytes;
  }

  private async unmap({ out }: ScsiCommand, length: number): Promise<number> {
    this.needWritable();
    const list = parameters(out, length);
    if (list.length < 8) throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LENGTH);
    const view = viewOf(list);
    const count = Math.min(view.getUint16(2), list.length - 8) >> 4;
    // GUEST: the list's own length is any number; descriptors beyond what was announced are refused.
    if (count > MAX_UNMAP_DESCRIPTORS) throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_INVALID_PARAMETER);
    for (let i = 0; i < count; i++) {
      const blocks = view.getUint32(8 + i * 16 + 8);
      if (blocks > MAX_UNMAP_BLOCKS) throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_INVALID_PARAMETER);
      const { offset, bytes } = this.extent(u64(view, 8 + i * 16), blocks);
      if (bytes > 0) await this.drive.discard(offset, bytes);
    }
    return list.length;
  }

  private modeSelect(out: IoVector, length: number, headerBytes: number): number {
    const list = parameters(out, length);
    const descriptors = headerBytes === 4 ? (list[3] ?? 0) : ((list[6] ?? 0) << 8) | (list[7] ?? 0);
    for (let at = headerBytes + descriptors; at + 2 <= list.length; at += 2 + (list[at + 1] ?? 0)) {
      // GUEST: each page tells its length; one that does not fit ends the list with an error.
      if (at + 2 + (list[at + 1] ?? 0) > list.length) throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LENGTH);
      if (((list[at] ?? 0) & 0x3f) === CACHING_PAGE) this.writeCache = ((list[at + 2] ?? 0) & WCE) !== 0;
    }
    return list.length;
  }

  private capacity10(): Uint8Array {
    this.needMedium();
    const data = new Uint8Array(8);
    viewOf(data).setUint32(0, Math.min(0xffffffff, Math.max(0, this.blocks - 1)));
    viewOf(data).setUint32(4, this.blockBytes);
    return data;
  }

  private capacity16(): Uint8Array {
    this.needMedium();
    const data = new Uint8Array(32);
    const view = viewOf(data);
    const last = Math.max(0, this.blocks - 1);
    view.setUint32(0, Math.floor(last / 0x1_0000_0000));
    view.setUint32(4, last % 0x1_0000_0000);
    view.setUint32(8, this.blockBytes);
    data[13] = Math.max(0, Math.log2(this.options.physicalBlockBytes / this.blockBytes));
    if (this.discards) data[14] = 0x80; // thin provisioned
    return data;
  }
}

function fua(cdb: Uint8Array): boolean {
  return ((cdb[1] ?? 0) & FUA) !== 0;
}

function u64(view: DataView, at: number): number {
  return view.getUint32(at) * 0x1_0000_0000 + view.getUint32(at + 4);
}

/** As much of `data` as the command allows for and has room for. */
function reply({ into }: ScsiCommand, data: Uint8Array, allocation: number): number {
  const bytes = Math.min(data.length, allocation);
  scatter(data.subarray(0, Math.min(bytes, vectorBytes(into))), into);
  return bytes;
}

function parameters(out: IoVector, length: number): Uint8Array {
  // GUEST: the length has 16 bits, the data that came may be shorter.
  return gather(sliceVector(out, 0, Math.min(length, vectorBytes(out), MAX_PARAMETERS)));
}
