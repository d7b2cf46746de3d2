/** A node whose bytes are in this process's memory, in pieces that exist once they were written to. */
import type { BlockDriver } from '../driver.ts';
import { type IoVector, sliceVector, vectorBytes } from '../io-vector.ts';
import { type BlockStatus, BlockNode, type Child } from '../node.ts';
import { sizeOption } from '../options.ts';

const PIECE_BYTES = 1 << 16;

export class MemoryNode extends BlockNode {
  readonly driver: string = 'memory';
  private bytes: number;
  private readonly pieces = new Map<number, Uint8Array>();

  constructor(name: string, size: number, readOnly = false) {
    super(name, readOnly);
    this.bytes = size;
  }

  get size(): number {
    return this.bytes;
  }

  get children(): readonly Child[] {
    return [];
  }

  get filename(): string {
    return 'memory:';
  }

  override get zeroWhenNew(): boolean {
    return true;
  }

  /** Runs `visit` for the part of each piece that [offset, offset + bytes) covers. */
  private pieceParts(
    offset: number,
    bytes: number,
    visit: (piece: number, from: number, count: number, done: number) => void,
  ): void {
    for (let done = 0; done < bytes;) {
      const at = offset + done;
      const from = at % PIECE_BYTES;
      const count = Math.min(PIECE_BYTES - from, bytes - done);
      visit((at - from) / PIECE_BYTES, from, count, done);
      done += count;
    }
  }

  async read(offset: number, into: IoVector): Promise<void> {
    const bytes = vectorBytes(into);
    this.checkRange(offset, bytes);
    this.pieceParts(offset, bytes, (number, from, count, done) => {
      const piece = this.pieces.get(number);
      let at = from;
      for (const part of sliceVector(into, done, count)) {
        if (piece === undefined) part.fill(0);
        else part.set(piece.subarray(at, at + part.length));
        at += part.length;
      }
    });
  }

  async write(offset: number, from: IoVector): Promise<void> {
    this.checkWritable();
    const bytes = vectorBytes(from);
    this.bytes = Math.max(this.bytes, offset + bytes);
    this.checkRange(offset, bytes);
    this.pieceParts(offset, bytes, (number, start, count, done) => {
      const piece = this.pieces.get(number) ?? new Uint8Array(PIECE_BYTES);
      this.pieces.set(number, piece);
      let at = start;
      for (const part of sliceVector(from, done, count)) {
        piece.set(part, at);
        at += part.length;
      }
    });
  }

  async writeZeroes(offset: number, bytes: number): Promise<void> {
    this.checkWritable();
    this.bytes = Math.max(this.bytes, offset + bytes);
    this.clear(offset, bytes);
  }

  async discard(offset: number, bytes: number): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, bytes);
    this.clear(offset, bytes);
  }

  private clear(offset: number, bytes: number): void {
    if (bytes > PIECE_BYTES * this.pieces.size + 2 * PIECE_BYTES) {
      // More pieces than there are: looks at those instead.
      for (const [number, piece] of this.pieces) {
        const start = number * PIECE_BYTES;
        const [from, to] = [Math.max(offset - start, 0), Math.min(offset + bytes - start, PIECE_BYTES)];
        if (from === 0 && to === PIECE_BYTES) this.pieces.delete(number);
        else if (from < to) piece.fill(0, from, to);
      }
      return;
    }
    this.pieceParts(offset, bytes, (number, from, count) => {
      if (count === PIECE_BYTES) this.pieces.delete(number);
      else this.pieces.get(number)?.fill(0, from, from + count);
    });
  }

  async flush(): Promise<void> {}

  async status(offset: number, bytes: number): Promise<BlockStatus> {
    this.checkRange(offset, bytes);
    const there = (at: number): boolean => this.pieces.has(Math.floor(at / PIECE_BYTES));
    const data = there(offset);
    let end = offset;
    do end = (Math.floor(end / PIECE_BYTES) + 1) * PIECE_BYTES;
    while (end < offset + bytes && there(end) === data);
    const run = Math.min(end - offset, bytes);
    return { bytes: run, data, zero: !data, allocated: true, at: { node: this, offset } };
  }

  async truncate(size: number): Promise<void> {
    this.checkWritable();
    if (size < this.bytes) this.clear(size, this.bytes - size);
    this.bytes = size;
  }

  async close(): Promise<void> {
    this.pieces.clear();
  }
}

export const memory: BlockDriver = {
  name: 'memory',
  kind: 'protocol',
  options: [{ name: 'size', type: 'size', help: 'Size of the node' }],
  open: async ({ name, options, readOnly }) => new MemoryNode(name, sizeOption(options, 'size') ?? 0, readOnly),
};
