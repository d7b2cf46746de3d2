/** The VDI header, version 1.1: one sector, little-endian, the block map behind it. */
import { asciiBytes, viewOf } from '../../../base/bytes.ts';
import { ImageError } from '../../block-error.ts';
import { setU64, u64 } from '../mapped/node-bytes.ts';

export const HEADER_BYTES = 512;
const SIGNATURE = 0xbeda107f;
const VERSION = 0x00010001;
const TEXT = '<<< QEMU VM Virtual Disk Image >>>\n';
const SECTOR_BYTES = 512;
export const BLOCK_BYTES: number = 1 << 20;
export const TYPE_DYNAMIC = 1;
export const TYPE_STATIC = 2;
/** Map entries: never written; given back. */
export const UNALLOCATED = 0xffffffff;
export const DISCARDED = 0xfffffffe;
/** Most blocks a map can name (0x3fffffff entries of 4 bytes must stay below 4 GiB); an image that claims more is refused. */
export const MAX_BLOCKS = 0x3fffffff;

const AT = {
  signature: 0x40, version: 0x44, headerSize: 0x48, type: 0x4c, mapOffset: 0x154, dataOffset: 0x158, sectorSize: 0x168,
  diskSize: 0x170, blockSize: 0x178, blocks: 0x180, allocated: 0x184, uuidImage: 0x188, uuidLastSnapshot: 0x198,
  uuidLink: 0x1a8, uuidParent: 0x1b8,
} as const; // prettier-ignore

export interface VdiHeader {
  readonly type: number;
  readonly mapOffset: number;
  readonly dataOffset: number;
  readonly diskBytes: number;
  readonly blocks: number;
  readonly allocated: number;
}

export function isVdi(head: Uint8Array): boolean {
  return head.length >= HEADER_BYTES && viewOf(head).getUint32(AT.signature, true) === SIGNATURE;
}

export function parseHeader(bytes: Uint8Array): VdiHeader {
  const view = viewOf(bytes);
  const u32 = (at: number): number => view.getUint32(at, true);
  if (u32(AT.signature) !== SIGNATURE) throw new ImageError('Image not in VDI format (bad signature)');
  const version = u32(AT.version);
  if (version !== VERSION)
    throw new ImageError(`unsupported VDI image (version ${version >>> 16}.${version & 0xffff})`, 'ENOTSUP');
  const header: VdiHeader = {
    type: u32(AT.type),
    mapOffset: u32(AT.mapOffset),
    dataOffset: u32(AT.dataOffset),
    diskBytes: Math.ceil(u64(view, AT.diskSize, true) / SECTOR_BYTES) * SECTOR_BYTES,
    blocks: u32(AT.blocks),
    allocated: u32(AT.allocated),
  };
  if (header.mapOffset % SECTOR_BYTES !== 0 || header.mapOffset < HEADER_BYTES)
    throw new ImageError(
      `unsupported VDI image (unaligned block map offset 0x${header.mapOffset.toString(16)})`,
      'ENOTSUP',
    );
  if (header.dataOffset % SECTOR_BYTES !== 0)
    throw new ImageError(
      `unsupported VDI image (unaligned data offset 0x${header.dataOffset.toString(16)})`,
      'ENOTSUP',
    );
  if (u32(AT.sectorSize) !== SECTOR_BYTES)
    throw new ImageError(`unsupported VDI image (sector size ${u32(AT.sectorSize)} is not 512)`, 'ENOTSUP');
  if (u32(AT.blockSize) !== BLOCK_BYTES)
    throw new ImageError(`unsupported VDI image (block size ${u32(AT.blockSize)} is not ${BLOCK_BYTES})`, 'ENOTSUP');
  if (header.blocks > MAX_BLOCKS)
    throw new ImageError(`unsupported VDI image (too many blocks ${header.blocks}, max is ${MAX_BLOCKS})`, 'ENOTSUP');
  if (header.diskBytes > header.blocks * BLOCK_BYTES)
    throw new ImageError(
      `unsupported VDI image (disk size ${header.diskBytes}, image bitmap has room for ${header.blocks * BLOCK_BYTES})`,
      'ENOTSUP',
    );
  if (header.mapOffset + header.blocks * 4 > header.dataOffset)
    throw new ImageError(`VDI block map of ${header.blocks} entries runs into the data at ${header.dataOffset}`);
  for (const [name, at] of [
    ['link', AT.uuidLink],
    ['parent', AT.uuidParent],
  ] as const)
    // prettier-ignore
    if (bytes.subarray(at, at + 16).some((byte) => byte !== 0))
      throw new ImageError(`unsupported VDI image (non-NULL ${name} UUID)`, 'ENOTSUP');
  return header;
}

/** A new image's header; `uuids` 32 random bytes. */
export function buildHeader(header: VdiHeader, uuids: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = viewOf(bytes);
  bytes.set(asciiBytes(TEXT));
  const put = (at: number, value: number): void => view.setUint32(at, value, true);
  put(AT.signature, SIGNATURE);
  put(AT.version, VERSION);
  put(AT.headerSize, 0x180);
  put(AT.type, header.type);
  put(AT.mapOffset, header.mapOffset);
  put(AT.dataOffset, header.dataOffset);
  put(AT.sectorSize, SECTOR_BYTES);
  setU64(view, AT.diskSize, header.diskBytes, true);
  put(AT.blockSize, BLOCK_BYTES);
  put(AT.blocks, header.blocks);
  put(AT.allocated, header.allocated);
  bytes.set(asVersion4(uuids.subarray(0, 16)), AT.uuidImage);
  bytes.set(asVersion4(uuids.subarray(16, 32)), AT.uuidLastSnapshot);
  return bytes;
}

/** Where the count of allocated blocks is, to be changed in place. */
export const ALLOCATED_AT: number = AT.allocated;

/** RFC 9562, 5.4, as its fields are stored little-endian. */
function asVersion4(random: Uint8Array): Uint8Array {
  const uuid = random.slice();
  // INVARIANT: 16 bytes.
  uuid[7] = (uuid[7]! & 0x0f) | 0x40;
  uuid[8] = (uuid[8]! & 0x3f) | 0x80;
  return uuid;
}
