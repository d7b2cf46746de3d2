/**
 * The raw format: the bytes as they are, or a part of them. When nobody said that an image is raw and it was only taken for that,
 * its first sector must not become another format's header: the next one to open it would believe the guest.
 */
import { BlockError, ImageError } from '../../block-error.ts';
import type { BlockDriver, OpenRequest } from '../../driver.ts';
import { statusOfChain } from '../../chain-status.ts';
import { gather, type IoVector, sliceVector, vectorBytes } from '../../io-vector.ts';
import {
  type BlockStatus, BlockNode, type Child, type RequestLimits, type TruncateOptions, type WriteFlags, type ZeroFlags,
} from '../../node.ts'; // prettier-ignore
import { sizeOption } from '../../options.ts';

const SECTOR = 512;

export class RawNode extends BlockNode {
  readonly driver: string = 'raw';
  private readonly file: BlockNode;
  private readonly start: number;
  private fixed: number | undefined;
  /** What a first sector would be taken for, if that must be looked at; undefined: raw still. */
  private readonly probe: ((sector: Uint8Array) => string | undefined) | undefined;

  constructor(
    request: OpenRequest,
    file: BlockNode,
    start: number,
    size: number | undefined,
    probe?: RawNode['probe'],
  ) {
    super(request.name, request.readOnly);
    this.file = file;
    this.start = start;
    this.fixed = size;
    this.probe = probe;
  }

  get size(): number {
    return this.fixed ?? Math.max(this.file.size - this.start, 0);
  }

  get children(): readonly Child[] {
    return [{ name: 'file', role: 'file', node: this.file }];
  }

  get filename(): string {
    return this.file.filename;
  }

  override get limits(): RequestLimits {
    return this.file.limits;
  }

  override get zeroWhenNew(): boolean {
    return this.file.zeroWhenNew;
  }

  async read(offset: number, into: IoVector): Promise<void> {
    this.checkRange(offset, vectorBytes(into));
    await this.file.read(this.start + offset, into);
  }

  override readNow(offset: number, into: IoVector): boolean {
    return offset + vectorBytes(into) <= this.size && this.file.readNow(this.start + offset, into);
  }

  async write(offset: number, from: IoVector, flags?: WriteFlags): Promise<void> {
    this.checkWritable();
    if (flags?.compressed === true) throw new BlockError('ENOTSUP');
    const bytes = vectorBytes(from);
    if (this.fixed !== undefined || this.probe !== undefined) this.checkRange(offset, bytes);
    if (this.probe !== undefined && offset < SECTOR && bytes > 0) await this.checkHeader(offset, from);
    const stop = this.file.debugEvent?.('write_aio');
    if (stop !== undefined) await stop;
    await this.file.write(this.start + offset, from, flags);
  }

  private async checkHeader(offset: number, from: IoVector): Promise<void> {
    const sector = new Uint8Array(Math.min(SECTOR, this.size));
    await this.file.read(this.start, [sector]);
    const head = gather(sliceVector(from, 0, Math.min(vectorBytes(from), sector.length - offset)));
    sector.set(head, offset);
    const format = this.probe?.(sector);
    if (format !== undefined) {
      throw new BlockError(
        'EPERM',
        `the image was taken for raw, and this write would make it ${format}; give the format to allow it`,
      );
    }
  }

  async writeZeroes(offset: number, bytes: number, flags?: ZeroFlags): Promise<void> {
    this.checkWritable();
    if (this.fixed !== undefined) this.checkRange(offset, bytes);
    await this.file.writeZeroes(this.start + offset, bytes, flags);
  }

  async discard(offset: number, bytes: number): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, bytes);
    await this.file.discard(this.start + offset, bytes);
  }

  async flush(): Promise<void> {
    await this.file.debugEvent?.('flush_to_os');
    await this.file.debugEvent?.('flush_to_disk');
    await this.file.flush();
  }

  async status(offset: number, bytes: number): Promise<BlockStatus> {
    this.checkRange(offset, bytes);
    const status = await this.file.status(this.start + offset, bytes);
    if (status.allocated || bytes === 0) return status;
    // What is below may have a backing node, which readers of this one do not see.
    const { bytes: run, data, zero, depth } = await statusOfChain(this.file, this.start + offset, bytes);
    return { bytes: run, data, zero, allocated: depth > 0 };
  }

  async truncate(size: number, options?: TruncateOptions): Promise<void> {
    this.checkWritable();
    if (this.fixed !== undefined) throw new ImageError('Cannot resize fixed-size raw disks', 'ENOTSUP');
    await this.file.truncate(this.start + size, options);
  }

  override imageInfo(): Record<never, never> {
    return {};
  }

  async close(): Promise<void> {}
}

export const raw: BlockDriver = {
  name: 'raw',
  kind: 'format',
  options: [
    { name: 'offset', type: 'size', help: 'offset in the disk where the image starts' },
    { name: 'size', type: 'size', help: 'virtual disk size' },
  ],
  probe: () => 1,
  async open(request, context) {
    // INVARIANT: openChild throws unless the child may be missing.
    const file = (await context.openChild('file'))!;
    const start = sizeOption(request.options, 'offset') ?? 0;
    const size = sizeOption(request.options, 'size');
    if (start > file.size) throw new ImageError(`The size of the file is smaller than offset ${start}`);
    if (size !== undefined && size > file.size - start)
      throw new ImageError(`The sum of offset (${start}) and size (${size}) has to be smaller or equal to the actual size of the containing file (${file.size})`); // prettier-ignore
    return new RawNode(request, file, start, size, request.probed === true ? context.formatOf : undefined);
  },
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    { name: 'preallocation', type: 'string', help: 'Preallocation mode (allowed values: off, falloc, full)', default: 'off' },
  ], // prettier-ignore
  async create({ file, size, options }) {
    const preallocation = options['preallocation'] ?? 'off';
    if (preallocation === 'metadata') throw new ImageError('Unsupported preallocation mode: metadata');
    if (preallocation !== 'off' && preallocation !== 'falloc' && preallocation !== 'full')
      throw new ImageError(`Parameter 'preallocation' does not accept value '${preallocation}'`);
    await file.truncate(0);
    // Disks are whole sectors.
    const bytes = Math.ceil(size / SECTOR) * SECTOR;
    await file.truncate(bytes, { preallocation });
    // A device or a server keeps its size and what it had: it must not be taken for the image that it was.
    if (file.size > 0 && !file.zeroWhenNew) await file.writeZeroes(0, Math.min(SECTOR, file.size));
  },
  async measure(size) {
    return { required: size, fullyAllocated: size };
  },
};
