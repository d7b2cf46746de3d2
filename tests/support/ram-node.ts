/** A node in memory for the tests of NBD: records what it was asked, tells pages of zeroes as holes, can be told to fail. */
import { BlockError } from '../../src/block/block-error.ts';
import { fillVector, scatter, vectorBytes, type IoVector } from '../../src/block/io-vector.ts';
import { BlockNode, type BlockStatus, type Child, type WriteFlags, type ZeroFlags } from '../../src/block/node.ts';

const PAGE_BYTES = 4096;

export class RamNode extends BlockNode {
  readonly driver: string = 'ram';
  readonly filename: string = 'ram';
  readonly children: readonly Child[] = [];
  readonly log: string[] = [];
  readonly data: Uint8Array;
  failNext: BlockError | undefined;
  /** Awaited by each request before it does anything. */
  gate: Promise<void> | undefined;

  constructor(data: Uint8Array, readOnly: boolean = false) {
    super('ram', readOnly);
    this.data = data;
  }

  get size(): number {
    return this.data.length;
  }

  async read(offset: number, into: IoVector): Promise<void> {
    await this.begin(`read ${offset} ${vectorBytes(into)}`);
    this.checkRange(offset, vectorBytes(into));
    fillVector(into, 0);
    scatter(this.data.subarray(offset, offset + vectorBytes(into)), into);
  }

  async write(offset: number, from: IoVector, flags?: WriteFlags): Promise<void> {
    await this.begin(`write ${offset} ${vectorBytes(from)}${flags?.fua ? ' fua' : ''}`);
    this.checkRange(offset, vectorBytes(from));
    let at = offset;
    for (const piece of from) {
      this.data.set(piece, at);
      at += piece.length;
    }
  }

  async writeZeroes(offset: number, bytes: number, flags?: ZeroFlags): Promise<void> {
    await this.begin(`zero ${offset} ${bytes}${flags?.unmap ? ' unmap' : ''}${flags?.noFallback ? ' fast' : ''}`);
    this.data.fill(0, offset, offset + bytes);
  }

  async discard(offset: number, bytes: number): Promise<void> {
    await this.begin(`discard ${offset} ${bytes}`);
    this.data.fill(0, offset, offset + bytes);
  }

  async flush(): Promise<void> {
    await this.begin('flush');
  }

  async status(offset: number, bytes: number): Promise<BlockStatus> {
    const isZero = (page: number): boolean =>
      this.data.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES).every((byte) => byte === 0);
    const zero = isZero(Math.floor(offset / PAGE_BYTES));
    let end = offset;
    while (end < offset + bytes && isZero(Math.floor(end / PAGE_BYTES)) === zero) {
      end = (Math.floor(end / PAGE_BYTES) + 1) * PAGE_BYTES;
    }
    return { bytes: Math.min(end - offset, bytes), data: !zero, zero, allocated: true };
  }

  async truncate(): Promise<void> {
    throw new BlockError('ENOTSUP');
  }

  async close(): Promise<void> {}

  private async begin(what: string): Promise<void> {
    this.log.push(what);
    const failure = this.failNext;
    this.failNext = undefined;
    await this.gate;
    if (failure !== undefined) throw failure;
  }
}
