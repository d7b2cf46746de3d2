/** Messages out of a connection's bytes, which come in pieces of any size. Nothing is copied that lies in one piece. */
import { BlockError } from '../block-error.ts';
import type { HostStream } from '../host.ts';
import type { IoVector } from '../io-vector.ts';

export class StreamReader {
  private readonly stream: HostStream;
  private readonly pieces: Uint8Array[] = [];
  private buffered: number = 0;

  constructor(stream: HostStream) {
    this.stream = stream;
  }

  /** Bytes that came and were not asked for yet. */
  get bufferedBytes(): number {
    return this.buffered;
  }

  /** Whether the other side has ended the connection, between two messages. Waits for it or for a byte. */
  async atEnd(): Promise<boolean> {
    return this.buffered === 0 && !(await this.more());
  }

  /** `count` bytes in one piece, if they are there already. */
  take(count: number): Uint8Array | undefined {
    if (this.buffered < count) return undefined;
    const [first] = this.pieces;
    if (first === undefined) return new Uint8Array(0);
    if (first.length >= count) {
      this.buffered -= count;
      if (first.length === count) this.pieces.shift();
      else this.pieces[0] = first.subarray(count);
      return first.subarray(0, count);
    }
    const whole = new Uint8Array(count);
    let at = 0;
    for (const piece of this.takePieces(count)) {
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  }

  /** `count` bytes in one piece; the caller has bounded `count`. Throws when the connection ends before. */
  async bytes(count: number): Promise<Uint8Array> {
    while (this.buffered < count) await this.needMore();
    return this.take(count) ?? new Uint8Array(0);
  }

  /** `count` bytes in the pieces in which they came. */
  async vector(count: number): Promise<IoVector> {
    while (this.buffered < count) await this.needMore();
    return this.takePieces(count);
  }

  /** Copies the next bytes to where they are wanted as they come. */
  async into(target: IoVector): Promise<void> {
    for (const piece of target) {
      for (let at = 0; at < piece.length;) {
        if (this.buffered === 0) await this.needMore();
        const first = this.pieces[0] ?? new Uint8Array(0);
        const bytes = Math.min(first.length, piece.length - at);
        piece.set(first.subarray(0, bytes), at);
        this.drop(first, bytes);
        at += bytes;
      }
    }
  }

  async skip(count: number): Promise<void> {
    for (let left = count; left > 0;) {
      if (this.buffered === 0) await this.needMore();
      const first = this.pieces[0] ?? new Uint8Array(0);
      const bytes = Math.min(first.length, left);
      this.drop(first, bytes);
      left -= bytes;
    }
  }

  private drop(first: Uint8Array, bytes: number): void {
    if (bytes === first.length) this.pieces.shift();
    else this.pieces[0] = first.subarray(bytes);
    this.buffered -= bytes;
  }

  private takePieces(count: number): Uint8Array[] {
    const taken: Uint8Array[] = [];
    for (let left = count; left > 0;) {
      const first = this.pieces[0] ?? new Uint8Array(0);
      const bytes = Math.min(first.length, left);
      taken.push(bytes === first.length ? first : first.subarray(0, bytes));
      this.drop(first, bytes);
      left -= bytes;
    }
    return taken;
  }

  private async needMore(): Promise<void> {
    if (!(await this.more())) throw new BlockError('ECONNRESET', 'the connection ended within a message');
  }

  private async more(): Promise<boolean> {
    for (;;) {
      const piece = await this.stream.read();
      if (piece === undefined) return false;
      if (piece.length === 0) continue;
      this.pieces.push(piece);
      this.buffered += piece.length;
      return true;
    }
  }
}
