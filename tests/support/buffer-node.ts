/** A disk in a buffer, with every operation written down and failures on demand: for tests of devices. */
import { BlockError, type Errno } from '../../src/block/block-error.ts';
import { gather, type IoVector, scatter, vectorBytes } from '../../src/block/io-vector.ts';
import { BlockNode, type BlockStatus, type Child, type WriteFlags, type ZeroFlags } from '../../src/block/node.ts';

export class BufferNode extends BlockNode {
  readonly driver: string = 'buffer';
  readonly bytes: Uint8Array;
  /** "write 0+512", in order. */
  readonly operations: string[] = [];
  /** Failures of the next requests. */
  readonly failures: Errno[] = [];
  /** What requests wait for before they are done. */
  gate: Promise<void> | undefined;

  constructor(bytes: Uint8Array, readOnly: boolean = false) {
    super('buffer', readOnly);
    this.bytes = bytes;
  }

  get size(): number {
    return this.bytes.length;
  }

  get children(): readonly Child[] {
    return [];
  }

  get filename(): string {
    return 'buffer';
  }

  async read(offset: number, into: IoVector): Promise<void> {
    await this.begin('read', offset, vectorBytes(into));
    scatter(this.bytes.subarray(offset, offset + vectorBytes(into)), into);
  }

  async write(offset: number, from: IoVector, flags: WriteFlags = {}): Promise<void> {
    await this.begin(flags.fua === true ? 'write-fua' : 'write', offset, vectorBytes(from));
    this.bytes.set(gather(from), offset);
  }

  async writeZeroes(offset: number, bytes: number, flags: ZeroFlags = {}): Promise<void> {
    await this.begin(flags.unmap === true ? 'zeroes-unmap' : 'zeroes', offset, bytes);
    this.bytes.fill(0, offset, offset + bytes);
  }

  async discard(offset: number, bytes: number): Promise<void> {
    await this.begin('discard', offset, bytes);
  }

  async flush(): Promise<void> {
    await this.begin('flush', 0, 0);
  }

  status(_offset: number, bytes: number): Promise<BlockStatus> {
    return Promise.resolve({ bytes, data: true, zero: false, allocated: true });
  }

  truncate(): Promise<void> {
    return Promise.reject(new BlockError('ENOTSUP'));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  private async begin(what: string, offset: number, bytes: number): Promise<void> {
    this.operations.push(what === 'flush' ? what : `${what} ${offset}+${bytes}`);
    this.checkRange(offset, bytes);
    await this.gate;
    const failure = this.failures.shift();
    if (failure !== undefined) throw new BlockError(failure);
  }
}
