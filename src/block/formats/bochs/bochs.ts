/**
 * Bochs "growing" redolog images, read-only: a catalog of extents, each a bitmap of written sectors and the sectors. Little-endian;
 * header of 512 bytes (Bochs' hdimage.h), versions 1 and 2.
 */
import { asciiText, viewOf } from '../../../base/bytes.ts';
import { ImageError } from '../../block-error.ts';
import type { BlockDriver } from '../../driver.ts';
import type { BlockNode } from '../../node.ts';
import type { Run } from '../mapped/mapped-node.ts';
import { readExactly, u64 } from '../mapped/node-bytes.ts';
import { PagedTable } from '../mapped/paged-table.ts';
import { ReadOnlyNode } from '../mapped/read-only-node.ts';

const HEADER_BYTES = 512;
const SECTOR_BYTES = 512;
const MAGIC = 'Bochs Virtual HD Image';
const AT = { magic: 0, type: 32, subtype: 48, version: 64, headerBytes: 68, catalog: 72, bitmap: 76, extent: 80 };
/** Where the disk's size is, which version 2 moved. */
const SIZE_AT_V1 = 84;
const SIZE_AT_V2 = 88;
const V1 = 0x00010000;
const V2 = 0x00020000;
const UNALLOCATED = 0xffffffff;
/** Longest bitmap that an extent may have; it is 1 sector for extents of 2 MiB. */
const MAX_EXTENT_BYTES = 0x800000;

class BochsNode extends ReadOnlyNode {
  override readonly driver = 'bochs';
  override readonly size: number;
  protected override readonly clusterBytes = SECTOR_BYTES;
  private readonly catalog: PagedTable;
  private readonly sectorBits: PagedTable;
  private readonly extentBytes: number;
  private readonly bitmapBytes: number;
  private readonly dataOffset: number;

  constructor(name: string, file: BlockNode, bytes: Uint8Array) {
    super(name, file);
    const view = viewOf(bytes);
    const u32 = (at: number): number => view.getUint32(at, true);
    const version = u32(AT.version);
    if (!isBochs(bytes))
      throw new ImageError(`Image not in Bochs growing format, versions 1 and 2 (version 0x${version.toString(16)})`);
    this.size = Math.floor(u64(view, version === V1 ? SIZE_AT_V1 : SIZE_AT_V2, true) / SECTOR_BYTES) * SECTOR_BYTES;
    this.extentBytes = u32(AT.extent);
    this.bitmapBytes = Math.ceil(u32(AT.bitmap) / SECTOR_BYTES) * SECTOR_BYTES;
    const [entries, headerBytes] = [u32(AT.catalog), u32(AT.headerBytes)];
    if (
      this.extentBytes < SECTOR_BYTES ||
      this.extentBytes > MAX_EXTENT_BYTES ||
      (this.extentBytes & (this.extentBytes - 1)) !== 0
    )
      throw new ImageError(`Extent size ${this.extentBytes} is not a power of two from 512 to ${MAX_EXTENT_BYTES}`);
    if (this.bitmapBytes * 8 < this.extentBytes / SECTOR_BYTES)
      throw new ImageError(`Bitmap of ${this.bitmapBytes} bytes is too small for extents of ${this.extentBytes}`);
    if (!Number.isSafeInteger(this.size) || this.size > entries * this.extentBytes)
      throw new ImageError(`Catalog size ${entries} is too small for this disk size`);
    if (headerBytes + entries * 4 > file.size)
      throw new ImageError(`Bochs catalog of ${entries} entries lies beyond the end of the image`);
    this.catalog = new PagedTable(file, headerBytes, entries * 4);
    this.sectorBits = new PagedTable(file, 0, file.size);
    this.dataOffset = headerBytes + entries * 4;
  }

  protected override async locate(offset: number): Promise<Run> {
    const inSector = offset % SECTOR_BYTES;
    const inExtent = offset % this.extentBytes;
    const at = Math.floor(offset / this.extentBytes) * 4;
    const extent = this.catalog.peek32(at, true) ?? (await this.catalog.get32(at, true));
    if (extent === UNALLOCATED) return { kind: 'absent', bytes: this.extentBytes - inExtent };
    const start = this.dataOffset + extent * (this.bitmapBytes + this.extentBytes);
    const sector = Math.floor(inExtent / SECTOR_BYTES);
    const byte = await this.sectorBits.at(start + (sector >>> 3), (view, here) => view.getUint8(here));
    const bytes = SECTOR_BYTES - inSector;
    if ((byte & (1 << (sector & 7))) === 0) return { kind: 'absent', bytes };
    return { kind: 'data', bytes, node: this.file, offset: start + this.bitmapBytes + inExtent };
  }
}

function isBochs(bytes: Uint8Array): boolean {
  if (bytes.length < HEADER_BYTES) return false;
  const text = (at: number, length: number): string => asciiText(bytes.subarray(at, at + length));
  const version = viewOf(bytes).getUint32(AT.version, true);
  return (
    text(AT.magic, 32) === MAGIC &&
    text(AT.type, 16) === 'Redolog' &&
    text(AT.subtype, 16) === 'Growing' &&
    (version === V1 || version === V2)
  );
}

export const bochsDriver: BlockDriver = {
  name: 'bochs',
  kind: 'format',
  options: [],
  probe: (head) => (isBochs(head) ? 100 : 0),
  async open(request, context) {
    // INVARIANT: openChild throws unless the child may be missing.
    const file = (await context.openChild('file', { readOnly: true }))!;
    return new BochsNode(request.name, file, await readExactly(file, 0, HEADER_BYTES, 'Bochs header'));
  },
};
