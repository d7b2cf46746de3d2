/** A file in memory that fails at a chosen request, and that stays when its node is closed. */
import { BlockError, type Errno } from '../../../src/block/block-error.ts';
import type { IoVector } from '../../../src/block/io-vector.ts';
import { sliceVector, vectorBytes } from '../../../src/block/io-vector.ts';
import { MemoryNode } from '../../../src/block/protocols/memory.ts';

const SECTOR_BYTES = 512;

export class FailingFile extends MemoryNode {
  /** Faults that have happened. */
  faults = 0;
  private left = 0;
  private code: Errno = 'EIO';

  constructor(name: string) {
    super(name, 0);
  }

  /** The `nth` request that changes something from here on fails, a write after its first half; 0: none does. */
  failAt(nth: number, code: Errno): void {
    this.left = nth;
    this.code = code;
  }

  private fails(): boolean {
    if (this.left === 0 || --this.left > 0) return false;
    this.faults++;
    return true;
  }

  override async write(offset: number, from: IoVector): Promise<void> {
    if (!this.fails()) return super.write(offset, from);
    const half = Math.floor(vectorBytes(from) / 2 / SECTOR_BYTES) * SECTOR_BYTES;
    if (half > 0) await super.write(offset, sliceVector(from, 0, half));
    throw new BlockError(this.code);
  }

  override async writeZeroes(offset: number, bytes: number): Promise<void> {
    if (this.fails()) throw new BlockError(this.code);
    await super.writeZeroes(offset, bytes);
  }

  override async discard(offset: number, bytes: number): Promise<void> {
    if (this.fails()) throw new BlockError(this.code);
    await super.discard(offset, bytes);
  }

  override async flush(): Promise<void> {
    if (this.fails()) throw new BlockError(this.code);
  }

  override async truncate(size: number): Promise<void> {
    if (this.fails()) throw new BlockError(this.code);
    await super.truncate(size);
  }

  override async close(): Promise<void> {}
}
