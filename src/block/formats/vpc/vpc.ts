/**
 * Virtual Hard Disk images (VHD, "vpc"), fixed and dynamic; structures.ts names the specification. Sector bitmaps are written full
 * and not looked at, as nothing but differencing images (refused) gives them a meaning.
 */
import { BlockError, ImageError } from '../../block-error.ts';
import type { BlockDriver, CreateRequest, DriverContext, OpenRequest } from '../../driver.ts';
import type { BlockHost } from '../../host.ts';
import type { BlockNode, Child, JsonValue } from '../../node.ts';
import { roundUp, boolOption, wordOption } from '../mapped/create-options.ts';
import { MappedNode } from '../mapped/mapped-node.ts';
import type { Place, Run } from '../mapped/mapped-node.ts';
import { readExactly } from '../mapped/node-bytes.ts';
import { PagedTable } from '../mapped/paged-table.ts';
import {
  buildDynamicHeader, buildFooter, checksumMatches, DYNAMIC_HEADER_BYTES, FOOTER_BYTES, geometryFor, geometrySectors, isFooter,
  MAX_GEOMETRY_SECTORS, MAX_SECTORS, parseDynamicHeader, parseFooter, SECTOR_BYTES, TYPE_DYNAMIC, TYPE_FIXED,
} from './structures.ts'; // prettier-ignore
import type { DynamicHeader, Footer, Geometry } from './structures.ts';

const UNALLOCATED = 0xffffffff;
/** Blocks of new images, 2 MiB. */
const BLOCK_BYTES = 0x200000;
/** Largest block accepted: one write to a hostile image must not have to fill more. */
const MAX_BLOCK_BYTES = 256 << 20;
/** Creators whose size field holds; others mean the geometry. */
const EXACT_CREATORS: readonly string[] = ['win ', 'qem2', 'd2v ', 'tap', 'CXS '];

class VpcNode extends MappedNode {
  override readonly driver = 'vpc';
  protected override readonly knowsBacking = false;
  protected override readonly clusterBytes: number;
  override readonly size: number;
  private readonly file: BlockNode;
  private readonly footer: Uint8Array;
  private readonly table: PagedTable | undefined;
  private readonly bitmapBytes: number;
  /** Where the next block goes; the footer is there. */
  private freeOffset = 0;
  private footerDirty = false;
  /** What is in the file beyond this was put there by nobody. */
  cleanFrom = 0;

  /** `dynamic` undefined: a fixed image. */
  constructor(
    name: string,
    readOnly: boolean,
    file: BlockNode,
    footer: Uint8Array,
    size: number,
    dynamic?: DynamicHeader,
  ) {
    super(name, readOnly);
    this.file = file;
    this.footer = footer;
    this.size = size;
    this.clusterBytes = dynamic?.blockBytes ?? SECTOR_BYTES;
    this.bitmapBytes = roundUp(this.clusterBytes / SECTOR_BYTES / 8, SECTOR_BYTES);
    if (dynamic !== undefined) this.table = new PagedTable(file, dynamic.tableOffset, dynamic.entries * 4);
  }

  override get children(): readonly Child[] {
    return [{ name: 'file', role: 'file', node: this.file }];
  }

  override get filename(): string {
    return this.file.filename;
  }

  override imageInfo(): { clusterSize?: number } {
    return this.table === undefined ? {} : { clusterSize: this.clusterBytes };
  }

  /** Finds the end of the blocks: the footer is expected there, and is overwritten by the next block. */
  async findFree(dynamic: DynamicHeader): Promise<void> {
    let end = dynamic.tableOffset + roundUp(dynamic.entries * 4, SECTOR_BYTES);
    const used = Math.ceil(this.size / this.clusterBytes);
    for (let index = 0; index < used; index++) {
      // INVARIANT: called for dynamic images.
      const entry = this.table!.peek32(index * 4, false) ?? (await this.table!.get32(index * 4, false));
      if (entry !== UNALLOCATED) end = Math.max(end, entry * SECTOR_BYTES + this.bitmapBytes + this.clusterBytes);
    }
    this.freeOffset = end;
  }

  protected override async locate(offset: number, bytes: number): Promise<Run> {
    if (this.table === undefined) return { kind: 'data', bytes, node: this.file, offset };
    const inBlock = offset % this.clusterBytes;
    const left = this.clusterBytes - inBlock;
    const at = Math.floor(offset / this.clusterBytes) * 4;
    const entry = this.table.peek32(at, false) ?? (await this.table.get32(at, false));
    if (entry === UNALLOCATED) return { kind: 'absent', bytes: left };
    return { kind: 'data', bytes: left, node: this.file, offset: entry * SECTOR_BYTES + this.bitmapBytes + inBlock };
  }

  protected override async reserve(): Promise<Place> {
    const start = this.freeOffset;
    if (start / SECTOR_BYTES >= UNALLOCATED) throw new BlockError('ENOSPC', `no VHD block can begin at ${start}`);
    const offset = start + this.bitmapBytes;
    this.freeOffset = offset + this.clusterBytes;
    this.footerDirty = true;
    await this.file.write(start, [new Uint8Array(this.bitmapBytes).fill(0xff)]);
    // The footer was where the bitmap is now, which is no shorter.
    return { node: this.file, offset, clean: offset >= this.cleanFrom };
  }

  protected override async commit(start: number, place: Place): Promise<void> {
    await this.table?.set32((start / this.clusterBytes) * 4, (place.offset - this.bitmapBytes) / SECTOR_BYTES, false);
  }

  protected override async writeBack(): Promise<void> {
    if (this.footerDirty) {
      this.footerDirty = false;
      await this.file.write(this.freeOffset, [this.footer]);
      this.cleanFrom = Math.max(this.cleanFrom, this.freeOffset + FOOTER_BYTES);
    }
    await this.table?.writeBack();
  }
}

async function open(request: OpenRequest, context: DriverContext): Promise<BlockNode> {
  // INVARIANT: openChild throws unless the child may be missing.
  const file = (await context.openChild('file'))!;
  let bytes = await readExactly(file, 0, FOOTER_BYTES, 'VHD footer');
  let fixedByTail = false;
  if (!isFooter(bytes)) {
    // A fixed image's footer is at its end.
    if (file.size >= FOOTER_BYTES)
      bytes = await readExactly(file, file.size - FOOTER_BYTES, FOOTER_BYTES, 'VHD footer');
    if (!isFooter(bytes)) throw new ImageError("Image not in VHD format: no 'conectix' in its first or last sector");
    fixedByTail = true;
  }
  if (!checksumMatches(bytes)) context.warn(`The header checksum of '${file.filename}' is incorrect.`);
  const footer = parseFooter(bytes);
  if (fixedByTail && footer.type !== TYPE_FIXED)
    throw new ImageError(`VHD image of type ${footer.type} has a footer only at its end, as type ${TYPE_FIXED} has`);
  const size = diskBytes(footer, request.options['force_size_calc']);
  if (footer.type === TYPE_FIXED) return new VpcNode(request.name, request.readOnly, file, bytes, size);
  if (footer.type !== TYPE_DYNAMIC)
    throw new ImageError(
      `VHD image of type ${footer.type} is not supported: only fixed (2) and dynamic (3) are`,
      'ENOTSUP',
    );

  const dynamic = parseDynamicHeader(
    await readExactly(file, footer.dataOffset, DYNAMIC_HEADER_BYTES, 'VHD dynamic disk header'),
  );
  const { blockBytes, entries, tableOffset } = dynamic;
  if (blockBytes < SECTOR_BYTES || blockBytes > MAX_BLOCK_BYTES || (blockBytes & (blockBytes - 1)) !== 0)
    throw new ImageError(`Invalid block size ${blockBytes}`);
  // GUEST: the table is read a page at a time, so that its claimed length costs nothing.
  if (entries * blockBytes < size)
    throw new ImageError(`Page table too small: ${entries} blocks of ${blockBytes} for ${size} bytes`);
  if (!Number.isSafeInteger(tableOffset) || tableOffset + entries * 4 > file.size)
    throw new ImageError(`VHD block table of ${entries} entries at ${tableOffset} lies beyond the end of the image`);
  const node = new VpcNode(request.name, request.readOnly, file, bytes, size, dynamic);
  node.cleanFrom = file.size;
  if (!request.readOnly) await node.findFree(dynamic);
  return node;
}

function diskBytes(footer: Footer, forced: JsonValue | undefined): number {
  const sectors = geometrySectors(footer.geometry);
  if (forced !== undefined && forced !== 'current_size' && forced !== 'chs')
    throw new ImageError(`Invalid parameter 'force_size_calc=${JSON.stringify(forced)}': it is current_size or chs`);
  const byGeometry = forced === undefined ? !EXACT_CREATORS.includes(footer.creator) : forced === 'chs';
  // The largest geometry says nothing.
  const exact = !byGeometry || sectors === MAX_GEOMETRY_SECTORS;
  const total = exact ? Math.floor(footer.currentSize / SECTOR_BYTES) : sectors;
  if (total > MAX_SECTORS) throw new ImageError(`VHD image of ${total} sectors is larger than ${MAX_SECTORS}`, 'EFBIG');
  return total * SECTOR_BYTES;
}

/** Geometry and size for at least `size` bytes: as the geometry rounds up, unless it cannot or must not. */
function layout(size: number, exact: boolean): { geometry: Geometry; sectors: number } {
  let geometry: Geometry = { cylinders: 65535, heads: 16, sectors: 255 };
  if (!exact) {
    const wanted = Math.min(MAX_GEOMETRY_SECTORS, Math.ceil(size / SECTOR_BYTES));
    geometry = geometryFor(wanted);
    for (let more = 1; geometrySectors(geometry) < wanted; more++) geometry = geometryFor(wanted + more);
  }
  const whole = geometrySectors(geometry);
  const sectors = whole === MAX_GEOMETRY_SECTORS ? Math.ceil(size / SECTOR_BYTES) : whole;
  if (sectors > MAX_SECTORS) throw new ImageError('Disk size is too large, max size is 2040 GiB', 'EFBIG');
  return { geometry, sectors };
}

async function create({ file, size, options }: CreateRequest, host: BlockHost): Promise<void> {
  const kind = wordOption(options, 'subformat', ['dynamic', 'fixed'], 'dynamic');
  const exactSize = boolOption(options, 'force_size');
  const { geometry, sectors } = layout(size, exactSize);
  const bytes = sectors * SECTOR_BYTES;
  const type = kind === 'fixed' ? TYPE_FIXED : TYPE_DYNAMIC;
  const footer = buildFooter({
    type,
    exactSize,
    size: bytes,
    geometry,
    uuid: host.randomBytes(16),
    nowMs: host.nowMs(),
  });
  await file.truncate(0);
  if (type === TYPE_FIXED) return file.write(bytes, [footer]);

  const entries = Math.floor((sectors + BLOCK_BYTES / SECTOR_BYTES) / (BLOCK_BYTES / SECTOR_BYTES));
  const tableOffset = FOOTER_BYTES + DYNAMIC_HEADER_BYTES;
  await file.write(0, [footer]);
  await file.write(FOOTER_BYTES, [buildDynamicHeader({ tableOffset, entries, blockBytes: BLOCK_BYTES })]);
  const table = new Uint8Array(roundUp(entries * 4, SECTOR_BYTES)).fill(0xff);
  await file.write(tableOffset, [table]);
  await file.write(tableOffset + table.length, [footer]);
}

export const vpcDriver: BlockDriver = {
  name: 'vpc',
  kind: 'format',
  options: [
    { name: 'force_size_calc', type: 'string', help: 'Force disk size calculation to use either CHS geometry, or use the disk current_size specified in the VHD footer.', values: ['chs', 'current_size'] },
  ], // prettier-ignore
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    { name: 'subformat', type: 'string', help: 'Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} ' },
    { name: 'force_size', type: 'bool', help: 'Force disk size calculation to use the actual size specified, rather than using the nearest CHS-based calculation' },
  ], // prettier-ignore
  probe: (head) => (isFooter(head) ? 100 : 0),
  open,
  create: (request, context) => create(request, context.host),
};
