/** Structures of the VHDX Image Format Specification 1.00 (MS-VHDX): headers, region table, metadata. Little-endian. */
import { asciiBytes, asciiText, viewOf } from '../../../base/bytes.ts';
import { ImageError } from '../../block-error.ts';
import { setU64, u64 } from '../mapped/node-bytes.ts';
import { crc32c } from './crc32c.ts';

export const KIB = 1024;
export const MIB: number = KIB * KIB;
export const HEADER_OFFSETS: readonly number[] = [64 * KIB, 128 * KIB];
export const HEADER_BYTES: number = 4 * KIB;
export const REGION_OFFSETS: readonly number[] = [192 * KIB, 256 * KIB];
export const REGION_BYTES: number = 64 * KIB;
export const METADATA_TABLE_BYTES: number = 64 * KIB;
/** The checksum of every structure is its second word. */
const CHECKSUM_AT = 4;
/** Limits of the format. */
const MAX_REGIONS = 2047;
const MAX_METADATA = 2047;
export const MAX_DISK_BYTES: number = 64 * 2 ** 40;
export const MIN_BLOCK_BYTES: number = MIB;
export const MAX_BLOCK_BYTES: number = 256 * MIB;

export const BAT_REGION = '6677c22d23f600429d64115e9bfd4a08';
export const METADATA_REGION = '06a27c8b90479a4bb8fe575f050f886e';
export const FILE_PARAMETERS = '3767a1ca36fa434db3b633f0aa44e76b';
export const VIRTUAL_DISK_SIZE = '2442a52f1bcd7648b2115dbed83bf4b8';
export const PAGE_83_DATA = 'ab12cabee6b2234593efc309e000c746';
export const LOGICAL_SECTOR_SIZE = '1dbf41816fa90947ba47f233a8faab5f';
export const PHYSICAL_SECTOR_SIZE = 'c748a3cd5d4471449cc9e9885251c556';

export interface Header {
  readonly sequence: number;
  readonly logGuid: Uint8Array;
  readonly logOffset: number;
  readonly logBytes: number;
}

export function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(i * 2, i * 2 + 2), 16));
}

export function sealed(bytes: Uint8Array): Uint8Array {
  viewOf(bytes).setUint32(CHECKSUM_AT, crc32c(bytes, CHECKSUM_AT), true);
  return bytes;
}

export function isSealed(bytes: Uint8Array, signature: string): boolean {
  if (asciiText(bytes.subarray(0, 4)) !== signature) return false;
  return viewOf(bytes).getUint32(CHECKSUM_AT, true) === crc32c(bytes, CHECKSUM_AT);
}

/** Undefined: damaged, which the other copy makes up for. */
export function parseHeader(bytes: Uint8Array): Header | undefined {
  if (!isSealed(bytes, 'head')) return undefined;
  const view = viewOf(bytes);
  const version = view.getUint16(66, true);
  if (version !== 1) throw new ImageError(`VHDX version ${version} is not supported`, 'ENOTSUP');
  return {
    sequence: u64(view, 8, true),
    logGuid: bytes.slice(48, 64),
    logBytes: view.getUint32(68, true),
    logOffset: u64(view, 72, true),
  };
}

export function buildHeader(of: Header, fileGuid: Uint8Array, dataGuid: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = viewOf(bytes);
  bytes.set(asciiBytes('head'));
  setU64(view, 8, of.sequence, true);
  bytes.set(fileGuid, 16);
  bytes.set(dataGuid, 32);
  bytes.set(of.logGuid, 48);
  view.setUint16(66, 1, true);
  view.setUint32(68, of.logBytes, true);
  setU64(view, 72, of.logOffset, true);
  return sealed(bytes);
}

export interface Stretch {
  readonly offset: number;
  readonly bytes: number;
}

export interface Regions {
  readonly bat: Stretch;
  readonly metadata: Stretch;
}

export function parseRegions(bytes: Uint8Array): Regions | undefined {
  if (!isSealed(bytes, 'regi')) return undefined;
  const view = viewOf(bytes);
  const count = view.getUint32(8, true);
  if (count > MAX_REGIONS) throw new ImageError(`VHDX region table has ${count} entries, more than ${MAX_REGIONS}`);
  const found = new Map<string, Stretch>();
  for (let at = 16; at < 16 + count * 32; at += 32) {
    const guid = hexOf(bytes.subarray(at, at + 16));
    const stretch = { offset: u64(view, at + 16, true), bytes: view.getUint32(at + 24, true) };
    const required = (view.getUint32(at + 28, true) & 1) !== 0;
    if (guid !== BAT_REGION && guid !== METADATA_REGION) {
      if (required) throw new ImageError(`VHDX region ${guid} is required and not known`, 'ENOTSUP');
      continue;
    }
    if (
      stretch.offset < MIB ||
      stretch.offset % MIB !== 0 ||
      stretch.bytes === 0 ||
      stretch.bytes % MIB !== 0 ||
      !Number.isSafeInteger(stretch.offset)
    )
      throw new ImageError(`VHDX region at ${stretch.offset} of ${stretch.bytes} bytes is not aligned to 1 MiB`);
    if (found.has(guid)) throw new ImageError(`VHDX region ${guid} is there twice`);
    found.set(guid, stretch);
  }
  const [bat, metadata] = [found.get(BAT_REGION), found.get(METADATA_REGION)];
  if (bat === undefined || metadata === undefined) throw new ImageError('VHDX image has no BAT or no metadata region');
  return { bat, metadata };
}

export function buildRegions({ bat, metadata }: Regions): Uint8Array {
  const bytes = new Uint8Array(REGION_BYTES);
  const view = viewOf(bytes);
  bytes.set(asciiBytes('regi'));
  view.setUint32(8, 2, true);
  for (const [i, [guid, stretch]] of [[BAT_REGION, bat] as const, [METADATA_REGION, metadata] as const].entries()) {
    const at = 16 + i * 32;
    bytes.set(bytesOf(guid), at);
    setU64(view, at + 16, stretch.offset, true);
    view.setUint32(at + 24, stretch.bytes, true);
    view.setUint32(at + 28, 1, true);
  }
  return sealed(bytes);
}

export interface Metadata {
  readonly blockBytes: number;
  readonly diskBytes: number;
}

/** `read` gives bytes from the metadata region. */
export async function parseMetadata(
  read: (offset: number, bytes: number) => Promise<Uint8Array>,
  region: Stretch,
): Promise<Metadata> {
  const table = await read(0, METADATA_TABLE_BYTES);
  if (asciiText(table.subarray(0, 8)) !== 'metadata') throw new ImageError('VHDX metadata region has no table');
  const view = viewOf(table);
  const count = view.getUint16(10, true);
  if (count > MAX_METADATA) throw new ImageError(`VHDX metadata table has ${count} entries, more than ${MAX_METADATA}`);
  const items = new Map<string, Uint8Array>();
  const known: Readonly<Record<string, number>> = {
    [FILE_PARAMETERS]: 8, [VIRTUAL_DISK_SIZE]: 8, [PAGE_83_DATA]: 16, [LOGICAL_SECTOR_SIZE]: 4, [PHYSICAL_SECTOR_SIZE]: 4,
  }; // prettier-ignore
  for (let at = 32; at < 32 + count * 32; at += 32) {
    const guid = hexOf(table.subarray(at, at + 16));
    const [offset, bytes, bits] = [
      view.getUint32(at + 16, true),
      view.getUint32(at + 20, true),
      view.getUint32(at + 24, true),
    ];
    const expected = known[guid];
    if (expected === undefined) {
      if ((bits & 4) !== 0) throw new ImageError(`VHDX metadata item ${guid} is required and not known`, 'ENOTSUP');
      continue;
    }
    if (bytes !== expected || offset + bytes > region.bytes || items.has(guid))
      throw new ImageError(`VHDX metadata item ${guid} has ${bytes} bytes at ${offset}`);
    items.set(guid, await read(offset, bytes));
  }
  const item = (guid: string, name: string): DataView => {
    const bytes = items.get(guid);
    if (bytes === undefined) throw new ImageError(`VHDX image has no ${name}`);
    return viewOf(bytes);
  };
  const parameters = item(FILE_PARAMETERS, 'file parameters');
  const blockBytes = parameters.getUint32(0, true);
  if (blockBytes < MIN_BLOCK_BYTES || blockBytes > MAX_BLOCK_BYTES || (blockBytes & (blockBytes - 1)) !== 0)
    throw new ImageError(`VHDX block size of ${blockBytes} bytes is not a power of two from 1 to 256 MiB`);
  if ((parameters.getUint32(4, true) & 2) !== 0)
    throw new ImageError('VHDX images with a parent are not supported', 'ENOTSUP');
  const sector = item(LOGICAL_SECTOR_SIZE, 'logical sector size').getUint32(0, true);
  if (sector !== 512) throw new ImageError(`VHDX logical sectors of ${sector} bytes are not supported`, 'ENOTSUP');
  const diskBytes = u64(item(VIRTUAL_DISK_SIZE, 'virtual disk size'), 0, true);
  if (diskBytes > MAX_DISK_BYTES || diskBytes % sector !== 0)
    throw new ImageError(`VHDX disk size of ${diskBytes} bytes is not whole sectors up to ${MAX_DISK_BYTES}`);
  return { blockBytes, diskBytes };
}

/** The metadata region's two parts: its table, and the items 64 KiB further on. */
export function buildMetadata(
  { blockBytes, diskBytes }: Metadata,
  diskGuid: Uint8Array,
): { table: Uint8Array; items: Uint8Array } {
  const table = new Uint8Array(METADATA_TABLE_BYTES);
  const items = new Uint8Array(40);
  const [view, itemView] = [viewOf(table), viewOf(items)];
  table.set(asciiBytes('metadata'));
  const rows: readonly (readonly [string, number, number])[] = [
    [FILE_PARAMETERS, 8, 4], [VIRTUAL_DISK_SIZE, 8, 6], [PAGE_83_DATA, 16, 6], [LOGICAL_SECTOR_SIZE, 4, 6], [PHYSICAL_SECTOR_SIZE, 4, 6],
  ]; // prettier-ignore
  view.setUint16(10, rows.length, true);
  let offset = METADATA_TABLE_BYTES;
  for (const [i, [guid, bytes, bits]] of rows.entries()) {
    const at = 32 + i * 32;
    table.set(bytesOf(guid), at);
    view.setUint32(at + 16, offset, true);
    view.setUint32(at + 20, bytes, true);
    view.setUint32(at + 24, bits, true);
    offset += bytes;
  }
  itemView.setUint32(0, blockBytes, true);
  setU64(itemView, 8, diskBytes, true);
  items.set(diskGuid, 16);
  itemView.setUint32(32, 512, true);
  itemView.setUint32(36, 512, true);
  return { table, items };
}
