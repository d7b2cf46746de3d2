/**
 * VirtualBox disk images (VDI 1.1), dynamic and static: a map of 32-bit block numbers, blocks of 1 MiB behind it in the order they
 * were first written. Differencing images (with a parent) are refused.
 */
import { viewOf } from '../../../base/bytes.ts';
import { ImageError } from '../../block-error.ts';
import type { BlockDriver, CreateRequest } from '../../driver.ts';
import type { BlockNode, CheckResult, Child } from '../../node.ts';
import { MappedNode } from '../mapped/mapped-node.ts';
import type { Place, Run } from '../mapped/mapped-node.ts';
import { readExactly } from '../mapped/node-bytes.ts';
import { PagedTable } from '../mapped/paged-table.ts';
import { boolOption, roundUp } from '../mapped/create-options.ts';
import {
  ALLOCATED_AT, BLOCK_BYTES, buildHeader, DISCARDED, HEADER_BYTES, isVdi, MAX_BLOCKS, parseHeader, TYPE_DYNAMIC, TYPE_STATIC,
  UNALLOCATED,
} from './header.ts'; // prettier-ignore
import type { VdiHeader } from './header.ts';

class VdiNode extends MappedNode {
  override readonly driver = 'vdi';
  protected override readonly knowsBacking = false;
  protected override readonly clusterBytes = BLOCK_BYTES;
  private readonly file: BlockNode;
  private readonly header: VdiHeader;
  private readonly headerBytes: Uint8Array;
  private readonly map: PagedTable;
  /** Next block number to give out; unknown before the first. */
  private nextBlock: Promise<number> | undefined;
  /** Given out, but the write failed. */
  private readonly freeBlocks: number[] = [];
  /** How many blocks the header says there are. */
  private counted: number;
  private headerDirty = false;

  constructor(name: string, readOnly: boolean, file: BlockNode, headerBytes: Uint8Array) {
    super(name, readOnly);
    this.file = file;
    this.headerBytes = headerBytes;
    this.header = parseHeader(headerBytes);
    this.map = new PagedTable(file, this.header.mapOffset, this.header.blocks * 4);
    this.counted = this.header.allocated;
  }

  override get size(): number {
    return this.header.diskBytes;
  }

  override get children(): readonly Child[] {
    return [{ name: 'file', role: 'file', node: this.file }];
  }

  override get filename(): string {
    return this.file.filename;
  }

  override imageInfo(): { clusterSize: number } {
    return { clusterSize: BLOCK_BYTES };
  }

  protected override async locate(offset: number): Promise<Run> {
    const inBlock = offset % BLOCK_BYTES;
    const bytes = BLOCK_BYTES - inBlock;
    const at = Math.floor(offset / BLOCK_BYTES) * 4;
    const entry = this.map.peek32(at, true) ?? (await this.map.get32(at, true));
    if (entry >= DISCARDED) return { kind: entry === DISCARDED ? 'zero' : 'absent', bytes };
    // GUEST: any block number; what lies beyond the end of the file reads as zeroes, and is refused to be written below.
    return { kind: 'data', bytes, node: this.file, offset: this.header.dataOffset + entry * BLOCK_BYTES + inBlock };
  }

  protected override async reserve(): Promise<Place> {
    const block = this.freeBlocks.pop() ?? (await this.takeBlock());
    const offset = this.header.dataOffset + block * BLOCK_BYTES;
    return { node: this.file, offset, clean: offset >= this.file.size };
  }

  protected override release(place: Place): void {
    this.freeBlocks.push((place.offset - this.header.dataOffset) / BLOCK_BYTES);
  }

  private async takeBlock(): Promise<number> {
    const next = (this.nextBlock ??= this.firstFree());
    this.nextBlock = next.then((block) => block + 1);
    const block = await next;
    if (block >= MAX_BLOCKS) throw new ImageError(`VDI image has no room for block ${block}`, 'EFBIG');
    return block;
  }

  /** Behind every block that the map names: the header's count may be from before the last writer was killed. */
  private async firstFree(): Promise<number> {
    let free = 0;
    for (let index = 0; index < this.header.blocks; index++) {
      const entry = this.map.peek32(index * 4, true) ?? (await this.map.get32(index * 4, true));
      if (entry < DISCARDED && entry >= free) free = entry + 1;
    }
    return free;
  }

  protected override async commit(start: number, place: Place): Promise<void> {
    const block = (place.offset - this.header.dataOffset) / BLOCK_BYTES;
    await this.map.set32((start / BLOCK_BYTES) * 4, block, true);
    this.headerDirty = true;
  }

  protected override async writeBack(): Promise<void> {
    if (this.headerDirty && this.nextBlock !== undefined) {
      this.headerDirty = false;
      this.counted = (await this.nextBlock) - this.freeBlocks.length;
      viewOf(this.headerBytes).setUint32(ALLOCATED_AT, this.counted, true);
      try {
        await this.file.write(0, [this.headerBytes.slice()]);
      } catch (error) {
        this.headerDirty = true;
        throw error;
      }
    }
    await this.map.writeBack();
  }

  override async check(repair: 'none' | 'leaks' | 'all'): Promise<CheckResult> {
    if (repair !== 'none') throw new ImageError("This image format does not support repair", 'ENOTSUP'); // prettier-ignore
    if (!this.readOnly) await this.writeBack();
    const messages: string[] = [];
    let [corruptions, allocated] = [0, 0];
    const seen = new Set<number>();
    for (let index = 0; index < this.header.blocks; index++) {
      const entry = await this.map.get32(index * 4, true);
      if (entry >= DISCARDED) continue;
      if (entry >= this.header.blocks) {
        corruptions++;
        messages.push(`ERROR: block index ${index} out of range, is ${entry}`);
        continue;
      }
      allocated++;
      if (seen.has(entry)) {
        corruptions++;
        messages.push(`ERROR: block index ${entry} also used twice`);
      }
      seen.add(entry);
    }
    if (allocated !== this.counted) {
      corruptions++;
      messages.push(`ERROR: allocated blocks mismatch, is ${allocated}, should be ${this.counted}`);
    }
    return { corruptions, leaks: 0, checkErrors: 0, corruptionsFixed: 0, leaksFixed: 0, messages };
  }
}

async function create({ file, size, options }: CreateRequest, randomBytes: (n: number) => Uint8Array): Promise<void> {
  const diskBytes = roundUp(size, 512);
  const blocks = Math.ceil(diskBytes / BLOCK_BYTES);
  if (blocks > MAX_BLOCKS)
    throw new ImageError(`Unsupported VDI image size (size is 0x${size.toString(16)}, max supported is 0x${(MAX_BLOCKS * BLOCK_BYTES).toString(16)})`, 'ENOTSUP'); // prettier-ignore
  const isStatic = boolOption(options, 'static');
  if (options['preallocation'] === 'metadata') throw new ImageError('Unsupported preallocation mode: metadata');
  const mapBytes = roundUp(blocks * 4, 512);
  const header: VdiHeader = {
    type: isStatic ? TYPE_STATIC : TYPE_DYNAMIC,
    mapOffset: HEADER_BYTES,
    dataOffset: HEADER_BYTES + mapBytes,
    diskBytes,
    blocks,
    allocated: isStatic ? blocks : 0,
  };
  await file.truncate(0);
  await file.write(0, [buildHeader(header, randomBytes(32))]);
  const CHUNK_ENTRIES = 1 << 18;
  for (let first = 0; first < blocks; first += CHUNK_ENTRIES) {
    const count = Math.min(CHUNK_ENTRIES, blocks - first);
    const map = new Uint32Array(count);
    if (isStatic) for (let i = 0; i < count; i++) map[i] = first + i;
    else map.fill(UNALLOCATED);
    await file.write(HEADER_BYTES + first * 4, [new Uint8Array(map.buffer)]);
  }
  await file.truncate(header.dataOffset + (isStatic ? blocks * BLOCK_BYTES : 0));
}

export const vdiDriver: BlockDriver = {
  name: 'vdi',
  kind: 'format',
  options: [],
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    { name: 'static', type: 'bool', help: 'VDI static (pre-allocated) image', default: 'off' },
  ],
  probe: (head) => (isVdi(head) ? 100 : 0),
  async open(request, context) {
    // INVARIANT: openChild throws unless the child may be missing.
    const file = (await context.openChild('file'))!;
    return new VdiNode(request.name, request.readOnly, file, await readExactly(file, 0, HEADER_BYTES, 'VDI header'));
  },
  create: (request, context) => create(request, (count) => context.host.randomBytes(count)),
};
