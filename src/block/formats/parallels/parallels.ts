/**
 * Parallels hard disks, both header generations ("WithoutFreeSpace" counts sectors in its table, "WithouFreSpacExt" clusters). The
 * table follows the 64-byte header. Little-endian. Extensions behind `ext_off` (dirty bitmaps) are not looked at.
 */
import { asciiBytes, asciiText, viewOf } from '../../../base/bytes.ts';
import { BlockError, ImageError } from '../../block-error.ts';
import type { BlockDriver, CreateRequest, OpenRequest } from '../../driver.ts';
import type { BlockNode, CheckResult, Child } from '../../node.ts';
import { roundUp, sizeOption } from '../mapped/create-options.ts';
import { MappedNode } from '../mapped/mapped-node.ts';
import type { Place, Run } from '../mapped/mapped-node.ts';
import { readExactly, setU64, u64 } from '../mapped/node-bytes.ts';
import { PagedTable } from '../mapped/paged-table.ts';

const HEADER_BYTES = 64;
const SECTOR_BYTES = 512;
const MAGIC_SECTORS = 'WithoutFreeSpace';
const MAGIC_CLUSTERS = 'WithouFreSpacExt';
const VERSION = 2;
const IN_USE = 0x746f6e59;
const DEFAULT_CLUSTER_BYTES = 1 << 20;
/** Largest cluster accepted: one write to a hostile image must not have to fill more. */
const MAX_CLUSTER_BYTES = 256 << 20;
const AT = { version: 16, heads: 20, cylinders: 24, tracks: 28, entries: 32, sectors: 36, inUse: 44, dataOffset: 48 };

interface Header {
  readonly clusterBytes: number;
  readonly entries: number;
  readonly diskBytes: number;
  readonly dataOffset: number;
  /** Bytes that one in the table stands for. */
  readonly unit: number;
  readonly inUse: boolean;
}

function parseHeader(bytes: Uint8Array): Header {
  const view = viewOf(bytes);
  const magic = asciiText(bytes.subarray(0, 16));
  if (magic !== MAGIC_SECTORS && magic !== MAGIC_CLUSTERS) throw new ImageError('Image not in Parallels format');
  const version = view.getUint32(AT.version, true);
  if (version !== VERSION) throw new ImageError(`Parallels version ${version} is not supported`, 'ENOTSUP');
  const clusterBytes = view.getUint32(AT.tracks, true) * SECTOR_BYTES;
  if (clusterBytes === 0) throw new ImageError('Invalid image: Zero sectors per track');
  if (clusterBytes > MAX_CLUSTER_BYTES) throw new ImageError('Invalid image: Too big cluster', 'EFBIG');
  // The older generation keeps only 32 bits of the size.
  const sectors = magic === MAGIC_SECTORS ? view.getUint32(AT.sectors, true) : u64(view, AT.sectors, true);
  const entries = view.getUint32(AT.entries, true);
  const diskBytes = sectors * SECTOR_BYTES;
  if (!Number.isSafeInteger(diskBytes) || entries * clusterBytes < diskBytes)
    throw new ImageError(`Parallels table of ${entries} clusters does not hold a disk of ${diskBytes} bytes`);
  const tableEnd = roundUp(HEADER_BYTES + entries * 4, SECTOR_BYTES);
  const data = view.getUint32(AT.dataOffset, true) * SECTOR_BYTES;
  return {
    clusterBytes, entries, diskBytes,
    dataOffset: data === 0 ? tableEnd : data,
    unit: magic === MAGIC_SECTORS ? SECTOR_BYTES : clusterBytes,
    inUse: view.getUint32(AT.inUse, true) === IN_USE,
  }; // prettier-ignore
}

class ParallelsNode extends MappedNode {
  override readonly driver = 'parallels';
  protected override readonly clusterBytes: number;
  private readonly file: BlockNode;
  private readonly header: Header;
  private readonly table: PagedTable;
  private nextOffset: number;
  private announced: Promise<void> | undefined;

  constructor(request: OpenRequest, file: BlockNode, header: Header, backing: BlockNode | undefined) {
    super(request.name, request.readOnly);
    this.file = file;
    this.backing = backing;
    this.header = header;
    this.clusterBytes = header.clusterBytes;
    this.table = new PagedTable(file, 0, HEADER_BYTES + header.entries * 4);
    this.nextOffset = roundUp(Math.max(file.size, header.dataOffset), header.clusterBytes);
  }

  override get size(): number {
    return this.header.diskBytes;
  }

  override get children(): readonly Child[] {
    const children: Child[] = [{ name: 'file', role: 'file', node: this.file }];
    if (this.backing !== undefined) children.push({ name: 'backing', role: 'backing', node: this.backing });
    return children;
  }

  override get filename(): string {
    return this.file.filename;
  }

  protected override async locate(offset: number): Promise<Run> {
    const inCluster = offset % this.clusterBytes;
    const bytes = this.clusterBytes - inCluster;
    const at = HEADER_BYTES + Math.floor(offset / this.clusterBytes) * 4;
    const entry = this.table.peek32(at, true) ?? (await this.table.get32(at, true));
    if (entry === 0) return { kind: 'absent', bytes };
    return { kind: 'data', bytes, node: this.file, offset: entry * this.header.unit + inCluster };
  }

  protected override reserve(): Promise<Place> {
    const offset = this.nextOffset;
    if (offset / this.header.unit > 0xffffffff)
      throw new BlockError('ENOSPC', `no Parallels cluster can begin at ${offset}`);
    this.nextOffset = offset + this.clusterBytes;
    return Promise.resolve({ node: this.file, offset, clean: true });
  }

  protected override commit(start: number, place: Place): Promise<void> {
    return this.table.set32(HEADER_BYTES + (start / this.clusterBytes) * 4, place.offset / this.header.unit, true);
  }

  /** Says in the header that the image is being written, until it is closed. */
  protected override beforeWrite(): Promise<void> {
    this.announced ??= (async (): Promise<void> => {
      await this.table.set32(AT.inUse, IN_USE, true);
      await this.table.writeBack();
      await this.file.flush();
    })();
    return this.announced;
  }

  protected override writeBack(): Promise<void> {
    return this.table.writeBack();
  }

  override async check(repair: 'none' | 'leaks' | 'all'): Promise<CheckResult> {
    const { entries, unit, dataOffset } = this.header;
    const messages: string[] = [];
    const counts = {
      corruptions: 0,
      leaks: 0,
      corruptionsFixed: 0,
      leaksFixed: 0,
      allocatedClusters: 0,
      fragmentedClusters: 0,
    };
    const verb = (fixes: boolean): string => (fixes ? 'Repairing' : 'ERROR');
    if (this.header.inUse && this.announced === undefined) {
      messages.push(`${verb(repair === 'all')} image was not closed correctly`);
      counts.corruptions++;
      if (repair === 'all') {
        counts.corruptionsFixed++;
        await this.beforeWrite();
      }
    }
    let [end, before] = [dataOffset, 0];
    for (let index = 0; index < entries; index++) {
      const at = HEADER_BYTES + index * 4;
      const offset = (await this.table.get32(at, true)) * unit;
      if (offset === 0) {
        before = 0;
        continue;
      }
      if (offset > this.file.size) {
        messages.push(`${verb(repair === 'all')} cluster ${index} is outside image`);
        counts.corruptions++;
        before = 0;
        if (repair !== 'all') continue;
        counts.corruptionsFixed++;
        await this.table.set32(at, 0, true);
        continue;
      }
      counts.allocatedClusters++;
      if (before !== 0 && before + this.clusterBytes !== offset) counts.fragmentedClusters++;
      before = offset;
      end = Math.max(end, offset + this.clusterBytes);
    }
    if (this.file.size > end) {
      const fixes = repair !== 'none';
      messages.push(`${verb(fixes)} space leaked at the end of the image ${this.file.size - end}`);
      counts.leaks = Math.ceil((this.file.size - end) / this.clusterBytes);
      if (fixes) {
        await this.file.truncate(end);
        counts.leaksFixed = counts.leaks;
        this.nextOffset = roundUp(end, this.clusterBytes);
      }
    }
    if (repair !== 'none') await this.table.writeBack();
    return { ...counts, checkErrors: 0, totalClusters: entries, imageEndOffset: end, messages };
  }

  override async close(): Promise<void> {
    await super.close();
    if (this.readOnly || this.announced === undefined) return;
    await this.table.set32(AT.inUse, 0, true);
    await this.table.writeBack();
    await this.file.flush();
  }
}

async function create({ file, size, options }: CreateRequest): Promise<void> {
  const clusterBytes = sizeOption(options, 'cluster_size') ?? DEFAULT_CLUSTER_BYTES;
  if (clusterBytes === 0 || clusterBytes % SECTOR_BYTES !== 0)
    throw new ImageError('Cluster size must be a multiple of 512 bytes');
  if (clusterBytes > MAX_CLUSTER_BYTES) throw new ImageError('Cluster size is too large', 'EFBIG');
  const diskBytes = roundUp(size, SECTOR_BYTES);
  const entries = Math.ceil(diskBytes / clusterBytes);
  if (entries * clusterBytes > 0xffffffff * clusterBytes || entries > 0x1fffffff)
    throw new ImageError('Image size is too large for this cluster size', 'EFBIG');
  const dataOffset = roundUp(HEADER_BYTES + entries * 4, clusterBytes);
  const header = new Uint8Array(HEADER_BYTES);
  const view = viewOf(header);
  header.set(asciiBytes(MAGIC_CLUSTERS));
  view.setUint32(AT.version, VERSION, true);
  // Nobody needs the geometry; 16 × 32 is what others write.
  view.setUint32(AT.heads, 16, true);
  view.setUint32(AT.cylinders, Math.min(0xffffffff, Math.floor(diskBytes / SECTOR_BYTES / 16 / 32)), true);
  view.setUint32(AT.tracks, clusterBytes / SECTOR_BYTES, true);
  view.setUint32(AT.entries, entries, true);
  setU64(view, AT.sectors, diskBytes / SECTOR_BYTES, true);
  view.setUint32(AT.dataOffset, dataOffset / SECTOR_BYTES, true);
  await file.truncate(0);
  await file.write(0, [header]);
  await file.truncate(dataOffset);
}

export const parallelsDriver: BlockDriver = {
  name: 'parallels',
  kind: 'format',
  options: [],
  supportsBacking: true,
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    { name: 'cluster_size', type: 'size', help: 'Parallels image cluster size', default: '1048576' },
  ],
  probe(head) {
    const magic = asciiText(head.subarray(0, 16));
    if (head.length < HEADER_BYTES || (magic !== MAGIC_SECTORS && magic !== MAGIC_CLUSTERS)) return 0;
    return viewOf(head).getUint32(AT.version, true) === VERSION ? 100 : 0;
  },
  async open(request, context) {
    // INVARIANT: openChild throws unless the child may be missing.
    const file = (await context.openChild('file'))!;
    const header = parseHeader(await readExactly(file, 0, HEADER_BYTES, 'Parallels header'));
    if (HEADER_BYTES + header.entries * 4 > file.size)
      throw new ImageError('Parallels table lies beyond the end of the image');
    if (header.inUse && !request.readOnly)
      context.warn(`'${file.filename}' was not closed correctly: a writer was stopped while it had the image open.`);
    // Images do not name theirs.
    const backing = request.noBacking
      ? undefined
      : await context.openChild('backing', { readOnly: true, optional: true });
    return new ParallelsNode(request, file, header, backing);
  },
  create,
};
