/**
 * `preallocate`: a growing file is given storage ahead of what is written, in large steps, and cut to what was written when it is
 * closed. For below a format that grows.
 */
import { ImageError } from '../block-error.ts';
import type { BlockDriver } from '../driver.ts';
import { type IoVector, vectorBytes } from '../io-vector.ts';
import type { BlockNode, TruncateOptions, WriteFlags, ZeroFlags } from '../node.ts';
import { sizeOption } from '../options.ts';
import { FilterNode } from './filter-node.ts';

const DEFAULT_ALIGN: number = 1 << 20;
const DEFAULT_AHEAD: number = 128 << 20;

class PreallocateNode extends FilterNode {
  readonly driver = 'preallocate';
  private readonly align: number;
  private readonly ahead: number;
  /** Where what was written ends. */
  private dataEnd: number;
  private growing: Promise<void> = Promise.resolve();

  constructor(
    base: { readonly name: string; readonly readOnly: boolean; readonly child: BlockNode },
    align: number,
    ahead: number,
  ) {
    super(base.name, base.readOnly, base.child);
    this.align = align;
    this.ahead = ahead;
    this.dataEnd = base.child.size;
  }

  override get size(): number {
    return this.dataEnd;
  }

  override async read(offset: number, into: IoVector): Promise<void> {
    this.checkRange(offset, vectorBytes(into));
    await this.child.read(offset, into);
  }

  override async write(offset: number, from: IoVector, flags?: WriteFlags): Promise<void> {
    await this.reserve(offset + vectorBytes(from));
    await this.child.write(offset, from, flags);
  }

  override async writeZeroes(offset: number, bytes: number, flags?: ZeroFlags): Promise<void> {
    await this.reserve(offset + bytes);
    await this.child.writeZeroes(offset, bytes, flags);
  }

  /** Makes the file long enough for what ends at `end`. */
  private async reserve(end: number): Promise<void> {
    this.checkWritable();
    if (end > this.child.size) {
      this.growing = this.growing.catch(() => undefined).then(() => this.grow(end));
      await this.growing;
    }
    this.dataEnd = Math.max(this.dataEnd, end);
  }

  private async grow(end: number): Promise<void> {
    if (end <= this.child.size) return;
    const target = Math.ceil((end + this.ahead) / this.align) * this.align;
    await this.child.truncate(target, { preallocation: 'falloc', exact: true });
  }

  override async truncate(size: number, options: TruncateOptions = {}): Promise<void> {
    await this.growing.catch(() => undefined);
    const asks = (options.preallocation ?? 'off') !== 'off';
    // What lies ahead is cut off first: it must not count as what the caller wants allocated, nor read as anything.
    if (asks || size < this.child.size) await this.child.truncate(Math.min(this.dataEnd, size), { exact: true });
    await this.child.truncate(size, options);
    this.dataEnd = size;
  }

  override async close(): Promise<void> {
    await this.growing.catch(() => undefined);
    if (!this.readOnly && this.child.size > this.dataEnd) await this.child.truncate(this.dataEnd, { exact: true });
  }
}

export const preallocate: BlockDriver = {
  name: 'preallocate',
  kind: 'filter',
  options: [
    { name: 'prealloc-align', type: 'size', help: 'on preallocation, align file length to this number, default 1M' },
    { name: 'prealloc-size', type: 'size', help: 'how much to preallocate, default 128M' },
  ],
  async open({ name, options, readOnly }, context) {
    const align = sizeOption(options, 'prealloc-align') ?? DEFAULT_ALIGN;
    const ahead = sizeOption(options, 'prealloc-size') ?? DEFAULT_AHEAD;
    if (align === 0 || align % 512 !== 0)
      throw new ImageError(`prealloc-align parameter of preallocate filter is not aligned to 512`);
    // INVARIANT: openChild throws unless the child may be missing.
    const child = (await context.openChild('file'))!;
    return new PreallocateNode({ name, readOnly, child }, align, ahead);
  },
};
