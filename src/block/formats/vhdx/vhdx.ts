/**
 * Hyper-V virtual hard disks (VHDX), dynamic and fixed. Changes of the block allocation table go through the image's log, so that a
 * crash leaves the table as it was or as it was to be. Differencing images are refused.
 */
import { asciiBytes, asciiText, viewOf } from '../../../base/bytes.ts';
import { BlockError, ImageError } from '../../block-error.ts';
import type { BlockDriver, CreateRequest, DriverContext, OpenRequest } from '../../driver.ts';
import type { BlockHost } from '../../host.ts';
import type { BlockNode, CheckResult, Child } from '../../node.ts';
import { boolOption, roundUp, sizeOption, wordOption } from '../mapped/create-options.ts';
import { MappedNode } from '../mapped/mapped-node.ts';
import type { Place, Run } from '../mapped/mapped-node.ts';
import { Mutex } from '../mapped/mutex.ts';
import { readExactly } from '../mapped/node-bytes.ts';
import { PagedTable } from '../mapped/paged-table.ts';
import { activeEntries, buildEntry, checkLog, LOG_SECTOR_BYTES, logInUse, replay } from './log.ts';
import {
  buildHeader, buildMetadata, buildRegions, HEADER_BYTES, HEADER_OFFSETS, KIB, MAX_BLOCK_BYTES, MAX_DISK_BYTES, METADATA_TABLE_BYTES, MIB,
  MIN_BLOCK_BYTES, parseHeader, parseMetadata, parseRegions, REGION_BYTES, REGION_OFFSETS,
} from './structures.ts'; // prettier-ignore
import type { Header, Metadata, Regions } from './structures.ts';

/** States of a block; the others read as zeroes. */
const STATE_ZERO = 2;
const STATE_PRESENT = 6;
const STATE_PARTIAL = 7;
/** Sectors that a sector bitmap block describes: every so many blocks the table has an entry for one. */
const BITMAP_SECTORS = 2 ** 23;
const NO_GUID: Uint8Array = new Uint8Array(16);

/** Which header copy holds, and how to write the next. */
class Headers {
  current: Header;
  private slot: number;
  private readonly file: BlockNode;
  private readonly random: () => Uint8Array;
  private fileGuid: Uint8Array;
  private dataGuid: Uint8Array;

  constructor(file: BlockNode, current: Header, slot: number, guids: Uint8Array, random: () => Uint8Array) {
    this.file = file;
    this.current = current;
    this.slot = slot;
    this.fileGuid = guids.slice(0, 16);
    this.dataGuid = guids.slice(16, 32);
    this.random = random;
  }

  /** `written`: the disk's contents are about to change. */
  async update(logGuid: Uint8Array, written: boolean): Promise<void> {
    this.slot = 1 - this.slot;
    this.fileGuid = this.random();
    if (written) this.dataGuid = this.random();
    this.current = { ...this.current, logGuid, sequence: this.current.sequence + 1 };
    // INVARIANT: the slot is 0 or 1.
    await this.file.write(HEADER_OFFSETS[this.slot]!, [buildHeader(this.current, this.fileGuid, this.dataGuid)]);
    await this.file.flush();
  }
}

class VhdxNode extends MappedNode {
  override readonly driver = 'vhdx';
  protected override readonly knowsBacking = false;
  override readonly size: number;
  protected override readonly clusterBytes: number;
  private readonly file: BlockNode;
  private readonly headers: Headers;
  private readonly bat: PagedTable;
  private readonly chunkBlocks: number;
  private readonly random: () => Uint8Array;
  private readonly logging = new Mutex();
  private readonly replayed: boolean;
  private nextOffset: number;
  private sequence = 1;
  private logPosition = 0;
  private announced: Promise<void> | undefined;

  constructor(
    request: OpenRequest,
    file: BlockNode,
    parts: { headers: Headers; regions: Regions; metadata: Metadata; random: () => Uint8Array; replayed: boolean },
  ) {
    super(request.name, request.readOnly);
    this.file = file;
    this.headers = parts.headers;
    this.random = parts.random;
    this.replayed = parts.replayed;
    this.size = parts.metadata.diskBytes;
    this.clusterBytes = parts.metadata.blockBytes;
    this.chunkBlocks = chunkBlocks(this.clusterBytes);
    const bytes = roundUp(Math.max(1, batEntries(parts.metadata)) * 8, LOG_SECTOR_BYTES);
    this.bat = new PagedTable(file, parts.regions.bat.offset, bytes, {
      sectorBytes: LOG_SECTOR_BYTES,
      writeOut: (offset, changed) => this.logging.run(() => this.writeLogged(offset, changed)),
    });
    this.nextOffset = roundUp(file.size, MIB);
  }

  override get children(): readonly Child[] {
    return [{ name: 'file', role: 'file', node: this.file }];
  }

  override get filename(): string {
    return this.file.filename;
  }

  override imageInfo(): { clusterSize: number } {
    return { clusterSize: this.clusterBytes };
  }

  override check(): Promise<CheckResult> {
    const fixed = this.replayed ? 1 : 0;
    return Promise.resolve({
      corruptions: 0,
      leaks: 0,
      checkErrors: 0,
      corruptionsFixed: fixed,
      leaksFixed: 0,
      messages: [],
    });
  }

  protected override async locate(offset: number): Promise<Run> {
    const inBlock = offset % this.clusterBytes;
    const bytes = this.clusterBytes - inBlock;
    const at = this.entryAt(offset);
    const low = this.bat.peek32(at, true) ?? (await this.bat.get32(at, true));
    const state = low & 7;
    if (state === STATE_PARTIAL)
      throw new BlockError('EIO', 'VHDX block is partly in a parent, which this image does not have');
    if (state !== STATE_PRESENT) return { kind: state === STATE_ZERO ? 'zero' : 'absent', bytes };
    const start = ((await this.bat.get32(at + 4, true)) * 2 ** 12 + (low >>> 20)) * MIB;
    if (start < MIB || !Number.isSafeInteger(start + bytes))
      throw new BlockError('EIO', `VHDX block at ${start} lies over the headers`);
    return { kind: 'data', bytes, node: this.file, offset: start + inBlock };
  }

  protected override reserve(): Promise<Place> {
    const offset = this.nextOffset;
    this.nextOffset = roundUp(offset + this.clusterBytes, MIB);
    return Promise.resolve({ node: this.file, offset, clean: true });
  }

  protected override commit(start: number, place: Place): Promise<void> {
    const mebibytes = place.offset / MIB;
    return this.bat.change(this.entryAt(start), 8, (view, at) => {
      view.setUint32(at, ((mebibytes % 2 ** 12) << 20) | STATE_PRESENT, true);
      view.setUint32(at + 4, Math.floor(mebibytes / 2 ** 12), true);
    });
  }

  protected override beforeWrite(): Promise<void> {
    this.announced ??= this.headers.update(this.headers.current.logGuid, true);
    return this.announced;
  }

  protected override writeBack(): Promise<void> {
    return this.bat.writeBack();
  }

  override async close(): Promise<void> {
    await super.close();
    if (!this.readOnly && logInUse(this.headers.current)) await this.headers.update(NO_GUID, false);
  }

  private entryAt(offset: number): number {
    const block = Math.floor(offset / this.clusterBytes);
    return (block + Math.floor(block / this.chunkBlocks)) * 8;
  }

  /** Data first, then the entry that speaks of it, then what the entry says: each on stable storage before the next. */
  private async writeLogged(offset: number, changed: Uint8Array): Promise<void> {
    if (!logInUse(this.headers.current)) await this.headers.update(this.random(), false);
    const { logGuid, logOffset, logBytes } = this.headers.current;
    const sectors: { offset: number; bytes: Uint8Array }[] = [];
    for (let at = 0; at < changed.length; at += LOG_SECTOR_BYTES)
      sectors.push({ offset: offset + at, bytes: changed.subarray(at, at + LOG_SECTOR_BYTES) });
    await this.file.flush();
    let position = this.logPosition;
    // A page of the table at most: far less than the shortest log.
    const bytes = (sectors.length + 1) * LOG_SECTOR_BYTES;
    if (position + bytes > logBytes) position = 0;
    const entry = buildEntry(sectors, { position, sequence: this.sequence, guid: logGuid, fileBytes: this.file.size });
    this.sequence++;
    this.logPosition = (position + entry.length) % logBytes;
    await this.file.write(logOffset + position, [entry]);
    await this.file.flush();
    await this.file.write(offset, [changed]);
    await this.file.flush();
  }
}

function chunkBlocks(blockBytes: number): number {
  return (BITMAP_SECTORS * 512) / blockBytes;
}

function batEntries({ blockBytes, diskBytes }: Metadata): number {
  const blocks = Math.ceil(diskBytes / blockBytes);
  return blocks === 0 ? 0 : blocks + Math.floor((blocks - 1) / chunkBlocks(blockBytes));
}

async function open(request: OpenRequest, context: DriverContext): Promise<BlockNode> {
  // INVARIANT: openChild throws unless the child may be missing.
  const file = (await context.openChild('file'))!;
  if (asciiText(await readExactly(file, 0, 8, 'VHDX identifier')) !== 'vhdxfile')
    throw new ImageError("Image not in VHDX format: no 'vhdxfile'");
  const random = (): Uint8Array => context.host.randomBytes(16);
  const headers = await readHeaders(file, random);
  checkLog(headers.current, file.size);
  let replayed = false;
  if (logInUse(headers.current)) {
    const entries = await activeEntries(file, headers.current);
    if (entries.length > 0) {
      if (request.readOnly)
        throw new ImageError(
          `VHDX image file '${file.filename}' opened read-only, but contains a log that needs to be replayed\n` +
            `Try 'orrery img check -r all ${file.filename}', which replays it`,
          'EPERM',
        );
      await replay(file, entries);
      await file.flush();
      replayed = true;
    }
    if (!request.readOnly) await headers.update(NO_GUID, false);
  }
  const regions = await readRegions(file);
  const read = (offset: number, bytes: number): Promise<Uint8Array> =>
    readExactly(file, regions.metadata.offset + offset, bytes, 'VHDX metadata');
  const metadata = await parseMetadata(read, regions.metadata);
  const needed = batEntries(metadata) * 8;
  if (needed > regions.bat.bytes || regions.bat.offset + regions.bat.bytes > file.size)
    throw new ImageError(
      `VHDX block table at ${regions.bat.offset} of ${regions.bat.bytes} bytes does not hold ${needed}`,
    );
  return new VhdxNode(request, file, { headers, regions, metadata, random, replayed });
}

async function readHeaders(file: BlockNode, random: () => Uint8Array): Promise<Headers> {
  let best: { header: Header; slot: number; guids: Uint8Array } | undefined;
  for (const [slot, offset] of HEADER_OFFSETS.entries()) {
    const bytes = await readExactly(file, offset, HEADER_BYTES, 'VHDX header');
    const header = parseHeader(bytes);
    if (header !== undefined && header.sequence > (best?.header.sequence ?? -1))
      best = { header, slot, guids: bytes.slice(16, 48) };
  }
  if (best === undefined) throw new ImageError('No valid VHDX header found');
  return new Headers(file, best.header, best.slot, best.guids, random);
}

async function readRegions(file: BlockNode): Promise<Regions> {
  for (const offset of REGION_OFFSETS) {
    const regions = parseRegions(await readExactly(file, offset, REGION_BYTES, 'VHDX region table'));
    if (regions !== undefined) return regions;
  }
  throw new ImageError('No valid VHDX region table found');
}

function defaultBlockBytes(size: number): number {
  if (size > 32 * 2 ** 40) return 64 * MIB;
  if (size > 100 * 2 ** 30) return 32 * MIB;
  return size > 2 ** 30 ? 16 * MIB : 8 * MIB;
}

async function create({ file, size, options }: CreateRequest, host: BlockHost): Promise<void> {
  if (size > MAX_DISK_BYTES) throw new ImageError('Image size too large; max of 64TB');
  const fixed = wordOption(options, 'subformat', ['dynamic', 'fixed'], 'dynamic') === 'fixed';
  const zeroState = boolOption(options, 'block_state_zero', true);
  const logBytes = roundUp(sizeOption(options, 'log_size') || MIB, MIB);
  if (logBytes > 64 * MIB) throw new ImageError('Log size must be a multiple of 1 MB, 64 MB at most');
  const asked = sizeOption(options, 'block_size') ?? 0;
  const blockBytes = asked === 0 ? defaultBlockBytes(size) : roundUp(asked, MIN_BLOCK_BYTES);
  if (blockBytes > MAX_BLOCK_BYTES) throw new ImageError(`Block size must not exceed ${MAX_BLOCK_BYTES}`);
  if (!Number.isInteger(Math.log2(blockBytes))) throw new ImageError('Block size must be a power of two');

  const metadata: Metadata = { blockBytes, diskBytes: roundUp(size, 512) };
  const entries = batEntries(metadata);
  // Some readers take an empty disk's number of entries, less one, as 32 bits: its table must be as long as that makes it.
  const room = entries === 0 ? Math.floor(0xffffffff / chunkBlocks(blockBytes)) : entries;
  const bat = { offset: MIB + logBytes, bytes: roundUp(room * 8, MIB) };
  const regions: Regions = { bat, metadata: { offset: bat.offset + bat.bytes, bytes: MIB } };
  const dataOffset = regions.metadata.offset + MIB;
  const random = (): Uint8Array => host.randomBytes(16);
  const [fileGuid, dataGuid] = [random(), random()];

  const identifier = new Uint8Array(64 * KIB);
  identifier.set(asciiBytes('vhdxfile'));
  for (const [i, byte] of asciiBytes('Orrery').entries()) identifier[8 + i * 2] = byte; // UTF-16
  await file.truncate(0);
  await file.write(0, [identifier]);
  for (const [i, offset] of HEADER_OFFSETS.entries()) {
    const header: Header = { sequence: i + 1, logGuid: NO_GUID, logOffset: MIB, logBytes };
    await file.write(offset, [buildHeader(header, fileGuid, dataGuid)]);
  }
  for (const offset of REGION_OFFSETS) await file.write(offset, [buildRegions(regions)]);
  const { table, items } = buildMetadata(metadata, random());
  await file.write(regions.metadata.offset, [table]);
  await file.write(regions.metadata.offset + METADATA_TABLE_BYTES, [items]);

  const chunk = chunkBlocks(blockBytes);
  const CHUNK_ENTRIES = 1 << 17;
  const state = fixed ? STATE_PRESENT : zeroState ? STATE_ZERO : 0;
  for (let first = 0; first < entries && state !== 0; first += CHUNK_ENTRIES) {
    const count = Math.min(CHUNK_ENTRIES, entries - first);
    const bytes = new Uint8Array(count * 8);
    const view = viewOf(bytes);
    for (let i = 0; i < count; i++) {
      const index = first + i;
      // Behind every `chunk` blocks there is an entry for a sector bitmap, which stays empty.
      if (index % (chunk + 1) === chunk) continue;
      const block = index - Math.floor(index / (chunk + 1));
      const mebibytes = fixed ? (dataOffset + block * blockBytes) / MIB : 0;
      view.setUint32(i * 8, ((mebibytes % 2 ** 12) << 20) | state, true);
      view.setUint32(i * 8 + 4, Math.floor(mebibytes / 2 ** 12), true);
    }
    await file.write(bat.offset + first * 8, [bytes]);
  }
  await file.truncate(dataOffset + (fixed ? Math.ceil(metadata.diskBytes / blockBytes) * blockBytes : 0));
}

export const vhdxDriver: BlockDriver = {
  name: 'vhdx',
  kind: 'format',
  options: [],
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size; max of 64TB.' },
    { name: 'log_size', type: 'size', help: 'Log size; min 1MB.', default: '1048576' },
    { name: 'block_size', type: 'size', help: 'Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size.', default: '0' },
    { name: 'subformat', type: 'string', help: "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'." },
    { name: 'block_state_zero', type: 'bool', help: "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set to 'off' when using 'orrery img convert' with subformat=dynamic." },
  ], // prettier-ignore
  probe: (head) => (asciiText(head.subarray(0, 8)) === 'vhdxfile' ? 100 : 0),
  open,
  create: (request, context) => create(request, context.host),
};
