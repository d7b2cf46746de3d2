/** A file in memory over bytes that many share: what is written stays its own; requests are counted, and too many fail. */
import { BlockError } from '../../src/block/block-error.ts';
import type { IoVector } from '../../src/block/io-vector.ts';
import { sliceVector, vectorBytes } from '../../src/block/io-vector.ts';
import { BlockNode, type BlockStatus, type Child } from '../../src/block/node.ts';

const PAGE_BYTES = 4096;
const NOTHING: Uint8Array = new Uint8Array(PAGE_BYTES);

/** More requests than any work on a small image needs: the image has its reader run in circles. */
export class TooManyRequests extends Error {}

export class OverlayFile extends BlockNode {
  readonly driver: string = 'memory';
  readonly filename: string = 'image';
  readonly children: readonly Child[] = [];
  requests = 0;
  private bytes: number;
  private readonly base: Uint8Array;
  private readonly pages = new Map<number, Uint8Array>();
  private readonly requestLimit: number;

  constructor(base: Uint8Array, requestLimit: number) {
    super('image', false);
    this.base = base;
    this.bytes = base.length;
    this.requestLimit = requestLimit;
  }

  get size(): number {
    return this.bytes;
  }

  async read(offset: number, into: IoVector): Promise<void> {
    this.count();
    const bytes = vectorBytes(into);
    this.checkRange(offset, bytes);
    this.visit(offset, bytes, (number, from, count, done) => {
      const page = this.pageAt(number);
      let at = from;
      for (const part of sliceVector(into, done, count)) {
        part.set(page.subarray(at, at + part.length));
        at += part.length;
      }
    });
  }

  async write(offset: number, from: IoVector): Promise<void> {
    this.count();
    const bytes = vectorBytes(from);
    if (!Number.isSafeInteger(offset + bytes) || offset < 0) throw new BlockError('EFBIG');
    this.bytes = Math.max(this.bytes, offset + bytes);
    this.visit(offset, bytes, (number, start, count, done) => {
      const page = this.ownPage(number);
      let at = start;
      for (const part of sliceVector(from, done, count)) {
        page.set(part, at);
        at += part.length;
      }
    });
  }

  async writeZeroes(offset: number, bytes: number): Promise<void> {
    this.count();
    if (!Number.isSafeInteger(offset + bytes) || offset < 0) throw new BlockError('EFBIG');
    this.bytes = Math.max(this.bytes, offset + bytes);
    this.clear(offset, bytes);
  }

  async discard(offset: number, bytes: number): Promise<void> {
    this.count();
    this.checkRange(offset, bytes);
    this.clear(offset, bytes);
  }

  async flush(): Promise<void> {
    this.count();
  }

  async status(offset: number, bytes: number): Promise<BlockStatus> {
    this.count();
    this.checkRange(offset, bytes);
    return { bytes, data: true, zero: false, allocated: true, at: { node: this, offset } };
  }

  async truncate(size: number): Promise<void> {
    this.count();
    if (size < this.bytes) this.clear(size, this.bytes - size);
    this.bytes = size;
  }

  async close(): Promise<void> {}

  private count(): void {
    if (++this.requests > this.requestLimit) throw new TooManyRequests(`${this.requests} requests`);
  }

  private pageAt(number: number): Uint8Array {
    const own = this.pages.get(number);
    if (own !== undefined) return own;
    const start = number * PAGE_BYTES;
    if (start >= this.base.length) return NOTHING;
    const shared = this.base.subarray(start, start + PAGE_BYTES);
    if (shared.length === PAGE_BYTES) return shared;
    const whole = new Uint8Array(PAGE_BYTES);
    whole.set(shared);
    return whole;
  }

  private ownPage(number: number): Uint8Array {
    let page = this.pages.get(number);
    if (page === undefined) {
      page = this.pageAt(number).slice();
      this.pages.set(number, page);
    }
    return page;
  }

  private clear(offset: number, bytes: number): void {
    const end = offset + bytes;
    const inBase = Math.min(end, this.base.length);
    if (offset < inBase)
      this.visit(offset, inBase - offset, (number, from, count) => this.ownPage(number).fill(0, from, from + count));
    for (const [number, page] of this.pages) {
      const start = number * PAGE_BYTES;
      const [from, to] = [Math.max(offset - start, 0), Math.min(end - start, PAGE_BYTES)];
      if (from < to) page.fill(0, from, to);
    }
  }

  private visit(
    offset: number,
    bytes: number,
    each: (page: number, from: number, count: number, done: number) => void,
  ): void {
    for (let done = 0; done < bytes;) {
      const from = (offset + done) % PAGE_BYTES;
      const count = Math.min(PAGE_BYTES - from, bytes - done);
      each((offset + done - from) / PAGE_BYTES, from, count, done);
      done += count;
    }
  }
}
