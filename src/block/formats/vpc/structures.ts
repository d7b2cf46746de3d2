/**
 * Structures of Microsoft's Virtual Hard Disk Image Format Specification 1.0 (2006): hard disk footer, dynamic disk header, CHS
 * calculation (its appendix). All big-endian.
 */
import { asciiBytes, asciiText, viewOf } from '../../../base/bytes.ts';
import { ImageError } from '../../block-error.ts';
import { setU64, u64 } from '../mapped/node-bytes.ts';

export const FOOTER_BYTES = 512;
export const DYNAMIC_HEADER_BYTES = 1024;
export const SECTOR_BYTES = 512;
const COOKIE = 'conectix';
const DYNAMIC_COOKIE = 'cxsparse';
const NO_OFFSET = 0xffffffff;
export const TYPE_FIXED = 2;
export const TYPE_DYNAMIC = 3;
/** Sectors of the largest geometry, 65535 × 16 × 255; an image with it is as large as its size field says. */
export const MAX_GEOMETRY_SECTORS: number = 65535 * 16 * 255;
/** 2040 GiB, the format's limit. */
export const MAX_SECTORS = 0xff000000;
/** Seconds from 1970 to 2000, where time stamps begin. */
const EPOCH_SECONDS = 946684800;

const FOOTER = {
  features: 8, version: 12, dataOffset: 16, timestamp: 24, creator: 28, creatorVersion: 32, creatorOs: 36, originalSize: 40,
  currentSize: 48, cylinders: 56, heads: 58, sectors: 59, type: 60, checksum: 64, uuid: 68,
} as const; // prettier-ignore
const DYNAMIC = { cookie: 0, dataOffset: 8, tableOffset: 16, version: 24, entries: 28, blockBytes: 32, checksum: 36 };

export interface Geometry {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectors: number;
}

export interface Footer {
  readonly type: number;
  readonly dataOffset: number;
  readonly creator: string;
  readonly currentSize: number;
  readonly geometry: Geometry;
}

export function isFooter(bytes: Uint8Array): boolean {
  return bytes.length >= FOOTER_BYTES && asciiText(bytes.subarray(0, 8)) === COOKIE;
}

export function parseFooter(bytes: Uint8Array): Footer {
  const view = viewOf(bytes);
  return {
    type: view.getUint32(FOOTER.type),
    dataOffset: u64(view, FOOTER.dataOffset, false),
    creator: asciiText(bytes.subarray(FOOTER.creator, FOOTER.creator + 4)),
    currentSize: u64(view, FOOTER.currentSize, false),
    geometry: {
      cylinders: view.getUint16(FOOTER.cylinders),
      heads: view.getUint8(FOOTER.heads),
      sectors: view.getUint8(FOOTER.sectors),
    },
  };
}

export function checksumMatches(bytes: Uint8Array): boolean {
  return viewOf(bytes).getUint32(FOOTER.checksum) === checksum(bytes, FOOTER.checksum);
}

export interface NewFooter {
  readonly type: number;
  readonly exactSize: boolean;
  readonly size: number;
  readonly geometry: Geometry;
  readonly uuid: Uint8Array;
  readonly nowMs: number;
}

export function buildFooter(of: NewFooter): Uint8Array {
  const bytes = new Uint8Array(FOOTER_BYTES);
  const view = viewOf(bytes);
  bytes.set(asciiBytes(COOKIE));
  view.setUint32(FOOTER.features, 2); // reserved, always set
  view.setUint32(FOOTER.version, 0x00010000);
  if (of.type === TYPE_DYNAMIC) setU64(view, FOOTER.dataOffset, FOOTER_BYTES, false);
  else bytes.fill(0xff, FOOTER.dataOffset, FOOTER.dataOffset + 8);
  view.setUint32(FOOTER.timestamp, Math.floor(of.nowMs / 1000) - EPOCH_SECONDS);
  bytes.set(asciiBytes(of.exactSize ? 'qem2' : 'qemu'), FOOTER.creator); // tells readers which size holds
  view.setUint32(FOOTER.creatorVersion, 0x00050003);
  bytes.set(asciiBytes('Wi2k'), FOOTER.creatorOs);
  setU64(view, FOOTER.originalSize, of.size, false);
  setU64(view, FOOTER.currentSize, of.size, false);
  view.setUint16(FOOTER.cylinders, of.geometry.cylinders);
  view.setUint8(FOOTER.heads, of.geometry.heads);
  view.setUint8(FOOTER.sectors, of.geometry.sectors);
  view.setUint32(FOOTER.type, of.type);
  bytes.set(of.uuid.subarray(0, 16), FOOTER.uuid);
  view.setUint32(FOOTER.checksum, checksum(bytes, FOOTER.checksum));
  return bytes;
}

export interface DynamicHeader {
  readonly tableOffset: number;
  readonly entries: number;
  readonly blockBytes: number;
}

export function parseDynamicHeader(bytes: Uint8Array): DynamicHeader {
  if (asciiText(bytes.subarray(0, 8)) !== DYNAMIC_COOKIE)
    throw new ImageError("VHD dynamic disk header has no 'cxsparse'");
  const view = viewOf(bytes);
  return {
    tableOffset: u64(view, DYNAMIC.tableOffset, false),
    entries: view.getUint32(DYNAMIC.entries),
    blockBytes: view.getUint32(DYNAMIC.blockBytes),
  };
}

export function buildDynamicHeader(of: DynamicHeader): Uint8Array {
  const bytes = new Uint8Array(DYNAMIC_HEADER_BYTES);
  const view = viewOf(bytes);
  bytes.set(asciiBytes(DYNAMIC_COOKIE));
  view.setUint32(DYNAMIC.dataOffset, NO_OFFSET);
  view.setUint32(DYNAMIC.dataOffset + 4, NO_OFFSET);
  setU64(view, DYNAMIC.tableOffset, of.tableOffset, false);
  view.setUint32(DYNAMIC.version, 0x00010000);
  view.setUint32(DYNAMIC.entries, of.entries);
  view.setUint32(DYNAMIC.blockBytes, of.blockBytes);
  view.setUint32(DYNAMIC.checksum, checksum(bytes, DYNAMIC.checksum));
  return bytes;
}

/** The specification's appendix: CHS for a number of sectors, rounded down. */
export function geometryFor(wanted: number): Geometry {
  const total = Math.min(wanted, MAX_GEOMETRY_SECTORS);
  if (total >= 65535 * 16 * 63) return { cylinders: Math.floor(Math.floor(total / 255) / 16), heads: 16, sectors: 255 };
  let sectors = 17;
  let tracks = Math.floor(total / sectors);
  let heads = Math.max(4, Math.ceil(tracks / 1024));
  if (tracks >= heads * 1024 || heads > 16) {
    sectors = 31;
    heads = 16;
    tracks = Math.floor(total / sectors);
  }
  if (tracks >= heads * 1024) {
    sectors = 63;
    heads = 16;
    tracks = Math.floor(total / sectors);
  }
  return { cylinders: Math.floor(tracks / heads), heads, sectors };
}

export function geometrySectors({ cylinders, heads, sectors }: Geometry): number {
  return cylinders * heads * sectors;
}

/** One's complement of the sum of all bytes but the checksum's own. */
function checksum(bytes: Uint8Array, at: number): number {
  let sum = 0;
  for (const [i, byte] of bytes.entries()) if (i < at || i >= at + 4) sum += byte;
  return ~sum >>> 0;
}
