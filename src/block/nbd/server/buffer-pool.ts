/** Buffers for the data of replies, used again and again: new ones cost filling them with zeroes. */

/** Sizes are powers of two from this on. */
const SMALLEST_BYTES = 4096;
/** Free buffers kept, bytes together. */
const KEPT_BYTES: number = 32 * 1024 ** 2;

export class BufferPool {
  private readonly free: Map<number, Uint8Array[]> = new Map();
  private keptBytes: number = 0;

  /** A buffer of at least `bytes`, with anything in it. */
  get(bytes: number): Uint8Array {
    let size = SMALLEST_BYTES;
    while (size < bytes) size *= 2;
    const buffer = this.free.get(size)?.pop();
    if (buffer === undefined) return new Uint8Array(size);
    this.keptBytes -= size;
    return buffer;
  }

  /** Gives back what `get` gave. */
  put(buffer: Uint8Array): void {
    if (this.keptBytes + buffer.length > KEPT_BYTES) return;
    const list = this.free.get(buffer.length);
    if (list === undefined) this.free.set(buffer.length, [buffer]);
    else list.push(buffer);
    this.keptBytes += buffer.length;
  }
}
