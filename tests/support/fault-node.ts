/** A node in memory that can be told to fail its requests, and counts its flushes. */
import { BlockError, type Errno } from '../../src/block/block-error.ts';
import type { IoVector } from '../../src/block/io-vector.ts';
import { MemoryNode } from '../../src/block/protocols/memory.ts';

export class FaultNode extends MemoryNode {
  readFault: Errno | undefined;
  writeFault: Errno | undefined;
  flushes = 0;

  override async read(offset: number, into: IoVector): Promise<void> {
    if (this.readFault !== undefined) throw new BlockError(this.readFault);
    await super.read(offset, into);
  }

  override async write(offset: number, from: IoVector): Promise<void> {
    if (this.writeFault !== undefined) throw new BlockError(this.writeFault);
    await super.write(offset, from);
  }

  override async flush(): Promise<void> {
    this.flushes++;
    await super.flush();
  }
}
