/** Whether two images have the same content: `img compare`. */
import { BlockError, ERRNO_TEXT, errnoOf } from '../block-error.ts';
import { type ChainStatus, statusOfChain } from '../chain-status.ts';
import type { BlockNode } from '../node.ts';
import { firstDifference, firstNonZero } from './buffers.ts';
import { type JobProgress, type Report, runJob, type Stop } from './job.ts';

export interface CompareOptions {
  /** Sizes and what is allocated must be alike too. */
  readonly strict?: boolean;
  /** Called when the common part is the same and one image is longer. */
  readonly onSizeMismatch?: () => void;
  readonly signal?: AbortSignal;
}

export type Comparison =
  | { readonly same: true }
  | { readonly same: false; readonly why: 'size' }
  | { readonly same: false; readonly why: 'status' | 'content'; readonly offset: number };

/** A read that failed, and of which image. */
export class CompareError extends BlockError {
  override readonly name: string = 'CompareError';
  readonly image: 0 | 1;
  readonly offset: number;
  readonly what: 'status' | 'read';

  constructor(image: 0 | 1, what: 'status' | 'read', offset: number, error: unknown) {
    super(errnoOf(error), ERRNO_TEXT[errnoOf(error)]);
    this.image = image;
    this.what = what;
    this.offset = offset;
  }
}

const CHUNK_BYTES: number = 2 * 1024 ** 2;
const SECTOR = 512;
/** Questions of status are about so many bytes at most. */
const STEP_BYTES: number = 1024 ** 3;
/** Chunks that are read ahead of the one that is compared. */
const AHEAD = 3;

/** Yields bytes compared; a longer image must be zero behind the other's end. */
export function compareImages(
  first: BlockNode,
  second: BlockNode,
  options: CompareOptions = {},
): AsyncGenerator<JobProgress, Comparison, void> {
  return runJob((report, stop) => new Compare([first, second], options, report, stop).run(), options.signal);
}

type Images = readonly [BlockNode, BlockNode];

/** A part that is being compared; undefined: alike. */
interface Part {
  readonly said: Promise<Comparison | undefined>;
}

class Compare {
  private readonly images: Images;
  private readonly options: CompareOptions;
  private readonly report: Report;
  private readonly stop: Stop;
  private readonly free: Uint8Array[] = [];

  constructor(images: Images, options: CompareOptions, report: Report, stop: Stop) {
    this.images = images;
    this.options = options;
    this.report = report;
    this.stop = stop;
  }

  async run(): Promise<Comparison> {
    const [first, second] = this.images;
    const { strict = false, onSizeMismatch } = this.options;
    const [shorter, longer] = [Math.min(first.size, second.size), Math.max(first.size, second.size)];
    if (strict && shorter !== longer) return { same: false, why: 'size' };
    const common = await this.inOrder(this.common(shorter, longer));
    if (common !== undefined) return common;
    if (shorter === longer) return { same: true };
    onSizeMismatch?.();
    return (await this.inOrder(this.rest(shorter, longer))) ?? { same: true };
  }

  /** Takes what the parts say in their order, with some of them read ahead. */
  private async inOrder(parts: AsyncGenerator<Part>): Promise<Comparison | undefined> {
    const pending: Promise<Comparison | undefined>[] = [];
    const settle = async (keep: number): Promise<Comparison | undefined> => {
      while (pending.length > keep) {
        const said = await pending.shift();
        if (said !== undefined) return said;
      }
      return undefined;
    };
    try {
      for await (const part of parts) {
        part.said.catch(() => {});
        pending.push(part.said);
        const said = await settle(AHEAD);
        if (said !== undefined) return said;
      }
      return await settle(0);
    } finally {
      await Promise.allSettled(pending);
    }
  }

  private async *common(end: number, total: number): AsyncGenerator<Part> {
    const { strict = false } = this.options;
    for (let offset = 0; offset < end;) {
      this.stop.throwIfAborted();
      const [a, b] = await Promise.all([this.status(0, offset), this.status(1, offset)]);
      let bytes = Math.min(a.bytes, b.bytes, end - offset);
      if (strict && !this.alike(a, b, offset)) {
        yield { said: Promise.resolve({ same: false, why: 'status', offset }) };
        return;
      }
      const same = (a.zero && b.zero) || (a.depth === 0 && b.depth === 0);
      if (!same) bytes = Math.min(bytes, CHUNK_BYTES);
      const at = offset;
      if (same) this.report(at + bytes, total);
      else if (a.depth > 0 && b.depth > 0) yield { said: this.part(at, bytes, total) };
      else yield { said: this.empty(a.depth > 0 ? 0 : 1, at, bytes, total) };
      offset += bytes;
    }
  }

  private async *rest(from: number, end: number): AsyncGenerator<Part> {
    const longer = this.images[0].size > this.images[1].size ? 0 : 1;
    for (let offset = from; offset < end;) {
      this.stop.throwIfAborted();
      const status = await this.status(longer, offset);
      let bytes = Math.min(status.bytes, end - offset);
      if (status.depth > 0 && !status.zero) {
        bytes = Math.min(bytes, CHUNK_BYTES);
        yield { said: this.empty(longer, offset, bytes, end) };
      } else this.report(offset + bytes, end);
      offset += bytes;
    }
  }

  private async status(image: 0 | 1, offset: number): Promise<ChainStatus> {
    const node = this.images[image];
    try {
      return await statusOfChain(node, offset, Math.min(node.size - offset, STEP_BYTES));
    } catch (error) {
      throw new CompareError(image, 'status', offset, error);
    }
  }

  private alike(a: ChainStatus, b: ChainStatus, offset: number): boolean {
    const [first, second] = this.images;
    const ends = (status: ChainStatus, node: BlockNode): boolean => offset + status.bytes === node.size;
    if (a.data !== b.data || a.zero !== b.zero || a.depth > 0 !== b.depth > 0) return false;
    return ends(a, first) === ends(b, second);
  }

  private async part(offset: number, bytes: number, total: number): Promise<Comparison | undefined> {
    const buffers = [this.buffer(), this.buffer()] as const;
    const [a, b] = [buffers[0].subarray(0, bytes), buffers[1].subarray(0, bytes)];
    await Promise.all([this.read(0, offset, a), this.read(1, offset, b)]);
    const place = firstDifference(a, b);
    this.free.push(...buffers);
    if (place >= 0) return { same: false, why: 'content', offset: offset + place - (place % SECTOR) };
    this.report(offset + bytes, total);
    return undefined;
  }

  /** Where only one image has anything it must be zeroes. */
  private async empty(image: 0 | 1, offset: number, bytes: number, total: number): Promise<Comparison | undefined> {
    const buffer = this.buffer();
    const part = buffer.subarray(0, bytes);
    await this.read(image, offset, part);
    const place = firstNonZero(part);
    this.free.push(buffer);
    if (place >= 0) return { same: false, why: 'content', offset: offset + place };
    this.report(offset + bytes, total);
    return undefined;
  }

  private buffer(): Uint8Array {
    return this.free.pop() ?? new Uint8Array(CHUNK_BYTES);
  }

  private async read(image: 0 | 1, offset: number, into: Uint8Array): Promise<void> {
    try {
      await this.images[image].read(offset, [into]);
    } catch (error) {
      throw new CompareError(image, 'read', offset, error);
    }
  }
}
