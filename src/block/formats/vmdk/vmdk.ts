/**
 * VMware disk images: monolithicSparse, monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat, streamOptimized, and vmfs extents
 * as far as they are flat or COWD. The disk is its extents one after the other; a descriptor (embedded or a file of text) lists them.
 */
import { asciiBytes, asciiText } from '../../../base/bytes.ts';
import { BlockError, ImageError } from '../../block-error.ts';
import type { BlockDriver, DriverContext, OpenRequest } from '../../driver.ts';
import { fillVector, sliceVector, vectorBytes } from '../../io-vector.ts';
import type { IoVector } from '../../io-vector.ts';
import { BlockNode } from '../../node.ts';
import type { BlockStatus, CheckResult, Child, JsonValue, RequestLimits, WriteFlags, ZeroFlags } from '../../node.ts';
import { readExactly, readOrZero } from '../mapped/node-bytes.ts';
import { createOptions, createVmdk } from './create.ts';
import { isDescriptor, MAX_DESCRIPTOR_BYTES, NO_PARENT, parseDescriptor, withCid } from './descriptor.ts';
import type { Descriptor, ExtentLine } from './descriptor.ts';
import { directoryEntries, isSparse, parseSparseHeader, SECTOR_BYTES } from './sparse-header.ts';
import type { SparseHeader } from './sparse-header.ts';
import { SparseExtent } from './sparse-extent.ts';

/** One stretch of the disk. */
interface Extent {
  readonly start: number;
  readonly bytes: number;
  readonly type: string;
  /** What holds it; undefined: zeroes. */
  readonly file: BlockNode | undefined;
  /** For flat ones: where in the file. */
  readonly fileOffset: number;
  readonly sparse?: SparseExtent;
}

interface DescriptorPlace {
  readonly offset: number;
  /** Bytes it may take; undefined: the file is nothing else. */
  readonly room: number | undefined;
}

export class VmdkNode extends BlockNode {
  override readonly driver = 'vmdk';
  override readonly size: number;
  override readonly backingReference: { readonly file: string; readonly format: string } | undefined;
  private readonly file: BlockNode;
  private readonly extents: readonly Extent[];
  private backing: BlockNode | undefined;
  private readonly text: string;
  private readonly descriptor: Descriptor;
  private readonly place: DescriptorPlace;
  private readonly newCid: () => number;
  private cid_: number;
  private cidWritten: Promise<void> | undefined;

  constructor(
    request: OpenRequest,
    file: BlockNode,
    extents: readonly Extent[],
    backing: BlockNode | undefined,
    parts: { text: string; descriptor: Descriptor; place: DescriptorPlace; newCid: () => number },
  ) {
    super(request.name, request.readOnly);
    this.file = file;
    this.extents = extents;
    this.backing = backing;
    this.text = parts.text;
    this.descriptor = parts.descriptor;
    this.place = parts.place;
    this.newCid = parts.newCid;
    this.cid_ = parts.descriptor.cid;
    const { parentFile, parentCid } = parts.descriptor;
    this.backingReference =
      parentFile === undefined || parentCid === NO_PARENT ? undefined : { file: parentFile, format: 'vmdk' };
    this.size = extents.reduce((sum, extent) => sum + extent.bytes, 0);
  }

  /** Content ID: changes with the first write after opening, so that an overlay notices. */
  get cid(): number {
    return this.cid_;
  }

  override get children(): readonly Child[] {
    const children: Child[] = [{ name: 'file', role: 'file', node: this.file }];
    for (const [i, { file }] of this.extents.entries())
      if (file !== undefined && file !== this.file) children.push({ name: `extents.${i}`, role: 'extent', node: file });
    if (this.backing !== undefined) children.push({ name: 'backing', role: 'backing', node: this.backing });
    return children;
  }

  override get filename(): string {
    return this.file.filename;
  }

  override get limits(): RequestLimits {
    return { alignment: 1, zeroAlignment: this.grainBytes() ?? 1, maxTransfer: 0x7ffffe00 };
  }

  override get zeroWhenNew(): boolean {
    return this.backing === undefined;
  }

  override replaceBacking(node: BlockNode | undefined): void {
    this.backing = node;
    for (const { sparse } of this.extents) sparse?.replaceBacking(node);
  }

  override imageInfo(): { clusterSize?: number; compressed?: boolean } {
    const grain = this.grainBytes();
    const compressed = this.extents.some(({ sparse }) => sparse?.header.compressed === true);
    return { ...(grain !== undefined && { clusterSize: grain }), ...(compressed && { compressed }) };
  }

  override specificInfo(): { type: string; data: Record<string, JsonValue> } {
    const extents = this.extents.map(({ sparse, bytes, file, type }): JsonValue => {
      const facts = { 'virtual-size': bytes, filename: file?.filename ?? '' };
      if (sparse === undefined) return { ...facts, format: type };
      const compressed = sparse.header.compressed ? { compressed: true } : {};
      return { ...compressed, ...facts, 'cluster-size': sparse.header.grainBytes, format: type };
    });
    const { parentCid, createType } = this.descriptor;
    return { type: 'vmdk', data: { cid: this.cid_, 'parent-cid': parentCid, 'create-type': createType, extents } };
  }

  override async read(offset: number, into: IoVector): Promise<void> {
    const total = vectorBytes(into);
    this.checkRange(offset, total);
    for (const { extent, at, from, bytes } of this.parts(offset, total)) {
      const part = sliceVector(into, at, bytes);
      if (extent.sparse !== undefined) await extent.sparse.read(from, part);
      else if (extent.file === undefined) fillVector(part, 0);
      else await readOrZero(extent.file, extent.fileOffset + from, part);
    }
  }

  override async write(offset: number, from: IoVector, flags: WriteFlags = {}): Promise<void> {
    this.checkWritable();
    const total = vectorBytes(from);
    this.checkRange(offset, total);
    if (total > 0) await this.changeCid();
    for (const { extent, at, from: inExtent, bytes } of this.parts(offset, total)) {
      const part = sliceVector(from, at, bytes);
      if (extent.sparse !== undefined) await extent.sparse.write(inExtent, part, flags);
      else if (extent.file !== undefined) await extent.file.write(extent.fileOffset + inExtent, part);
      else throw new BlockError('EIO', `byte ${offset + at} is in an extent of zeroes`);
    }
    if (flags.fua === true) await this.flush();
  }

  override async writeZeroes(offset: number, bytes: number, flags: ZeroFlags = {}): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, bytes);
    if (bytes > 0) await this.changeCid();
    for (const { extent, from, bytes: part } of this.parts(offset, bytes)) {
      if (extent.sparse !== undefined) await extent.sparse.writeZeroes(from, part, flags);
      else if (extent.file !== undefined) await extent.file.writeZeroes(extent.fileOffset + from, part, flags);
    }
    if (flags.fua === true) await this.flush();
  }

  override discard(offset: number, bytes: number): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, bytes);
    return Promise.resolve();
  }

  override async status(offset: number, bytes: number): Promise<BlockStatus> {
    this.checkRange(offset, bytes);
    for (const { extent, from, bytes: part } of this.parts(offset, bytes)) {
      if (extent.sparse !== undefined) return extent.sparse.status(from, part);
      if (extent.file === undefined) return { bytes: part, data: false, zero: true, allocated: true };
      const at = { node: extent.file, offset: extent.fileOffset + from };
      return { bytes: part, data: true, zero: false, allocated: true, at, sparse: true };
    }
    return { bytes: 0, data: false, zero: false, allocated: false };
  }

  override async flush(): Promise<void> {
    for (const { sparse, file } of this.extents)
      await (sparse ?? (file?.readOnly === true ? undefined : file))?.flush();
    if (!this.file.readOnly) await this.file.flush();
  }

  override truncate(size: number): Promise<void> {
    if (size === this.size) return Promise.resolve();
    return Promise.reject(new BlockError('ENOTSUP', 'Image format driver does not support resize'));
  }

  override async close(): Promise<void> {
    await this.flush();
  }

  override async check(repair: 'none' | 'leaks' | 'all'): Promise<CheckResult> {
    if (repair !== 'none') throw new BlockError('ENOTSUP');
    for (let offset = 0; offset < this.size;) {
      const { at, bytes, data } = await this.status(offset, this.size - offset);
      const behind = data && at !== undefined ? at.offset + bytes - at.node.size : 0;
      // The last grain of a disk need not be whole.
      const grain = this.grainBytes() ?? bytes;
      if (behind >= Math.min(grain, bytes)) {
        const sector = Math.ceil((offset + bytes - behind) / grain) * (grain / SECTOR_BYTES);
        throw new BlockError('EINVAL', `ERROR: cluster offset for sector ${sector} points after EOF`);
      }
      offset += bytes;
    }
    return { corruptions: 0, leaks: 0, checkErrors: 0, corruptionsFixed: 0, leaksFixed: 0, messages: [] };
  }

  private grainBytes(): number | undefined {
    return this.extents.find(({ sparse }) => sparse !== undefined)?.sparse?.header.grainBytes;
  }

  private *parts(
    offset: number,
    bytes: number,
  ): Generator<{ extent: Extent; at: number; from: number; bytes: number }> {
    for (const extent of this.extents) {
      const [from, to] = [Math.max(offset, extent.start), Math.min(offset + bytes, extent.start + extent.bytes)];
      if (from < to) yield { extent, at: from - offset, from: from - extent.start, bytes: to - from };
    }
  }

  private changeCid(): Promise<void> {
    this.cidWritten ??= (async (): Promise<void> => {
      const cid = this.newCid();
      const text = withCid(this.text, cid);
      if (text === undefined) return;
      const { offset, room } = this.place;
      const bytes = new Uint8Array(room ?? text.length);
      // The room bounds the text, which came out of it and grows by a few digits at most.
      bytes.set(asciiBytes(text).subarray(0, bytes.length));
      await this.file.write(offset, [bytes]);
      this.cid_ = cid;
    })();
    return this.cidWritten;
  }
}

async function openSparse(
  request: OpenRequest,
  context: DriverContext,
  file: BlockNode,
  backing: BlockNode | undefined,
  where: { start: number; bytes?: number },
): Promise<SparseExtent> {
  const header = await readSparseHeader(file);
  const sizeBytes = where.bytes ?? header.capacityBytes;
  if (sizeBytes > header.capacityBytes)
    throw new ImageError(`VMDK extent of ${sizeBytes} bytes has a header for ${header.capacityBytes}`);
  const directoryEnd = header.directoryOffset + directoryEntries(header) * 4;
  if (directoryEnd > file.size)
    throw new ImageError(`VMDK grain directory ends at ${directoryEnd}, beyond the end of the file`);
  return new SparseExtent({
    name: request.name, readOnly: request.readOnly, file, header, sizeBytes, backing, backingOffset: where.start, host: context.host,
  }); // prettier-ignore
}

async function readSparseHeader(file: BlockNode): Promise<SparseHeader> {
  const first = await readExactly(file, 0, SECTOR_BYTES, 'VMDK header');
  const header = await parseSparseHeader(first, () => readExactly(file, file.size - 1536, 1536, 'VMDK footer'));
  // Less than directories and tables: grains that are gone would read as if nobody had ever written them.
  if (file.size < header.dataOffset)
    throw new ImageError(`File truncated, expecting at least ${header.dataOffset} bytes`);
  return header;
}

async function openExtent(
  line: ExtentLine,
  start: number,
  request: OpenRequest,
  context: DriverContext,
  backing: BlockNode | undefined,
): Promise<Extent> {
  const common = { start, bytes: line.bytes, type: line.type, fileOffset: line.fileOffset };
  if (line.type === 'ZERO') return { ...common, file: undefined };
  const flat = line.type === 'FLAT' || line.type === 'VMFS';
  if (!flat && line.type !== 'SPARSE' && line.type !== 'VMFSSPARSE')
    throw new ImageError(`Unsupported extent type '${line.type}'`, 'ENOTSUP');
  const file = await context.openNamed(line.filename, { format: 'file', readOnly: request.readOnly, role: 'extent' });
  if (flat) return { ...common, file };
  return { ...common, file, sparse: await openSparse(request, context, file, backing, { start, bytes: line.bytes }) };
}

async function open(request: OpenRequest, context: DriverContext): Promise<BlockNode> {
  // INVARIANT: openChild throws unless the child may be missing.
  const file = (await context.openChild('file'))!;
  const sparse = isSparse(await readExactly(file, 0, Math.min(4, file.size), 'VMDK header'));
  const place: DescriptorPlace = { offset: 0, room: undefined };
  let [text, room, offset] = ['', place.room, 0];
  if (sparse) {
    const header = await readSparseHeader(file);
    offset = header.descriptorOffset;
    // GUEST: the claimed length is cut to what a descriptor may have.
    room = Math.min(header.descriptorBytes, MAX_DESCRIPTOR_BYTES);
    if (offset !== 0) text = asciiText(await readExactly(file, offset, room, 'VMDK descriptor'));
    else
      text = `createType="${asciiText(await readExactly(file, 0, 4, 'magic')) === 'COWD' ? 'vmfsSparse' : 'custom'}"\n`;
  } else {
    if (file.size > MAX_DESCRIPTOR_BYTES)
      throw new ImageError(`VMDK descriptor of ${file.size} bytes is longer than ${MAX_DESCRIPTOR_BYTES}`);
    text = asciiText(await readExactly(file, 0, file.size, 'VMDK descriptor'));
    if (!isDescriptor(asciiBytes(text))) throw new ImageError('Image not in VMDK format');
  }
  const descriptor = parseDescriptor(text);
  const { parentCid, parentFile } = descriptor;
  let backing = request.noBacking ? undefined : await context.openChild('backing', { readOnly: true, optional: true });
  if (!request.noBacking && parentCid !== NO_PARENT && parentFile !== undefined) {
    backing ??= await context.openNamed(parentFile, { format: 'vmdk', readOnly: true, role: 'backing' });
    if (backing instanceof VmdkNode && backing.cid !== parentCid)
      throw new ImageError(
        `VMDK parent '${parentFile}' was written after this image was made: its CID is not ${parentCid.toString(16)}`,
      );
  }
  const extents: Extent[] = [];
  if (sparse) {
    const node = await openSparse(request, context, file, backing, { start: 0 });
    extents.push({ start: 0, bytes: node.size, type: '', file, fileOffset: 0, sparse: node });
  } else {
    let start = 0;
    for (const line of descriptor.extents) {
      extents.push(await openExtent(line, start, request, context, backing));
      start += line.bytes;
    }
    if (!Number.isSafeInteger(start)) throw new ImageError(`VMDK extents are ${start} bytes together`, 'EFBIG');
  }
  // INVARIANT: four bytes were asked for.
  const newCid = (): number => new DataView(context.host.randomBytes(4).slice().buffer).getUint32(0);
  return new VmdkNode(request, file, extents, backing, { text, descriptor, place: { offset, room }, newCid });
}

export const vmdkDriver: BlockDriver = {
  name: 'vmdk',
  kind: 'format',
  options: [],
  createOptions,
  probe: (head) => (isSparse(head) || isDescriptor(head) ? 100 : 0),
  open,
  create: createVmdk,
  supportsBacking: true,
  compresses: true,
};
