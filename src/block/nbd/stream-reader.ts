/** Messages out of a connection's bytes, which come in pieces of any size. */
import { BlockError } from '../block-error.ts';
import type { HostStream } from '../host.ts';
import type { IoVector } from '../io-vector.ts';

const NOTHING: Uint8Array = new Uint8Array(0);

export interface Borrowed {
  readonly pieces: IoVector;
  release(): void;
}

export class StreamReader {
  private readonly stream: HostStream;
  /** What came last and was not asked for yet: the stream's memory, which it uses again for the next piece. */
  private piece: Uint8Array = NOTHING;
  private at: number = 0;

  constructor(stream: HostStream) {
    this.stream = stream;
  }

  /** Bytes that came and were not asked for yet. */
  get bufferedBytes(): number {
    return this.piece.length - this.at;
  }

  /** Whether the other side has ended the connection, between two messages. Waits for it or for a byte. */
  async atEnd(): Promise<boolean> {
    return this.bufferedBytes === 0 && !(await this.more());
  }

  /** `count` bytes, if they are there in one piece already; good until this reader is asked to wait for something. */
  take(count: number): Uint8Array | undefined {
    if (this.bufferedBytes < count) return undefined;
    this.at += count;
    return this.piece.subarray(this.at - count, this.at);
  }

  /** `count` bytes in memory of their own; the caller has bounded `count`. Throws when the connection ends before. */
  async bytes(count: number): Promise<Uint8Array> {
    const whole = new Uint8Array(count);
    await this.into([whole]);
    return whole;
  }

  /** The next `count` bytes where they are; `release` gives the memory back. */
  async borrow(count: number): Promise<Borrowed> {
    const pieces: Uint8Array[] = [];
    const releases: (() => void)[] = [];
    const release = (): void => {
      for (const each of releases) each();
    };
    try {
      for (let left = count; left > 0;) {
        if (this.bufferedBytes === 0) await this.needMore();
        const bytes = Math.min(this.bufferedBytes, left);
        pieces.push(this.piece.subarray(this.at, this.at + bytes));
        const giveBack = this.stream.keep?.();
        if (giveBack !== undefined) releases.push(giveBack);
        this.at += bytes;
        left -= bytes;
      }
    } catch (error) {
      release();
      throw error;
    }
    return { pieces, release };
  }

  /** Copies the next bytes to where they are wanted as they come. */
  async into(target: IoVector): Promise<void> {
    for (const wanted of target) {
      for (let done = 0; done < wanted.length;) {
        if (this.bufferedBytes === 0) await this.needMore();
        const bytes = Math.min(this.bufferedBytes, wanted.length - done);
        wanted.set(this.piece.subarray(this.at, this.at + bytes), done);
        this.at += bytes;
        done += bytes;
      }
    }
  }

  async skip(count: number): Promise<void> {
    for (let left = count; left > 0;) {
      if (this.bufferedBytes === 0) await this.needMore();
      const bytes = Math.min(this.bufferedBytes, left);
      this.at += bytes;
      left -= bytes;
    }
  }

  private async needMore(): Promise<void> {
    if (!(await this.more())) throw new BlockError('ECONNRESET', 'the connection ended within a message');
  }

  private async more(): Promise<boolean> {
    for (;;) {
      const piece = await this.stream.read();
      if (piece === undefined) return false;
      if (piece.length === 0) continue;
      this.piece = piece;
      this.at = 0;
      return true;
    }
  }
}
