/**
 * Files by way of asynchronous handles, in a page itself or for files outside the private file system: what is written stays in memory
 * until a flush, which makes the browser copy the whole file and put the copy in its place. For large images use a worker.
 */
import type { HostFile } from '../../../block/host.ts';
import { readBlob } from './blob-file.ts';
import { withCodes } from './errors.ts';

const PIECE_BYTES = 65_536;
/** Pieces that wait for a flush; more than that (64 MiB) flush by themselves. */
const MAX_PENDING_PIECES = 1024;

type Pieces = Map<number, Promise<Uint8Array<ArrayBuffer>>>;

export async function openWritable(handle: FileSystemFileHandle): Promise<HostFile> {
  return new WritableFile(handle, await withCodes(() => handle.getFile()));
}

class WritableFile implements HostFile {
  readonly kind: 'file' = 'file' as const;
  readonly alignment: number = 1;
  private readonly handle: FileSystemFileHandle;
  /** As it was at the last flush; of it only the first `kept` bytes are still the file's. */
  private blob: Blob;
  private kept: number;
  private bytes: number;
  /** The smallest that it has been since the flush under way began. */
  private cut: number = Infinity;
  private pending: Pieces = new Map();
  /** What a flush is writing. */
  private leaving: Pieces = new Map();
  private flushing: Promise<void> = Promise.resolve();

  constructor(handle: FileSystemFileHandle, blob: Blob) {
    this.handle = handle;
    this.blob = blob;
    this.kept = blob.size;
    this.bytes = blob.size;
  }

  get size(): number {
    return this.bytes;
  }

  async readv(offset: number, into: readonly Uint8Array[]): Promise<number> {
    let done = 0;
    for (const target of into) {
      for (let at = 0; at < target.length && offset + done < this.bytes;) {
        const position = offset + done;
        const from = position % PIECE_BYTES;
        const count = Math.min(PIECE_BYTES - from, target.length - at, this.bytes - position);
        const piece = await this.piece((position - from) / PIECE_BYTES);
        target.set(piece.subarray(from, from + count), at);
        at += count;
        done += count;
      }
    }
    return done;
  }

  async writev(offset: number, from: readonly Uint8Array[]): Promise<void> {
    let position = offset;
    for (const source of from) {
      for (let at = 0; at < source.length;) {
        const start = position % PIECE_BYTES;
        const count = Math.min(PIECE_BYTES - start, source.length - at);
        const piece = await this.pieceForWriting((position - start) / PIECE_BYTES);
        piece.set(source.subarray(at, at + count), start);
        this.bytes = Math.max(this.bytes, position + count);
        at += count;
        position += count;
      }
    }
    if (this.pending.size > MAX_PENDING_PIECES) await this.flush();
  }

  async truncate(size: number): Promise<void> {
    if (size < this.bytes) {
      this.kept = Math.min(this.kept, size);
      this.cut = Math.min(this.cut, size);
      const last = Math.floor(size / PIECE_BYTES);
      for (const number of this.pending.keys()) if (number > last) this.pending.delete(number);
      for (const number of this.leaving.keys())
        if (number > last) this.pending.set(number, Promise.resolve(new Uint8Array(PIECE_BYTES)));
      if (this.pending.has(last) || this.leaving.has(last))
        (await this.pieceForWriting(last)).fill(0, size % PIECE_BYTES);
    }
    this.bytes = size;
  }

  flush(): Promise<void> {
    const next = this.flushing.then(
      () => this.writeOut(),
      () => this.writeOut(),
    );
    this.flushing = next;
    return next;
  }

  async punchHole(): Promise<boolean> {
    return false;
  }

  async zeroRange(): Promise<boolean> {
    return false;
  }

  async allocate(): Promise<boolean> {
    return false;
  }

  async extent(): Promise<undefined> {}

  async allocatedBytes(): Promise<number> {
    return this.bytes;
  }

  async lock(): Promise<boolean> {
    return true;
  }

  async isLocked(): Promise<boolean> {
    return false;
  }

  close(): Promise<void> {
    return this.flush();
  }

  private piece(number: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.pending.get(number) ?? this.leaving.get(number) ?? this.load(number);
  }

  private async load(number: number): Promise<Uint8Array<ArrayBuffer>> {
    const piece = new Uint8Array(PIECE_BYTES);
    const start = number * PIECE_BYTES;
    const there = Math.min(PIECE_BYTES, this.kept - start);
    if (there > 0) await readBlob(this.blob, start, [piece.subarray(0, there)]);
    return piece;
  }

  private pieceForWriting(number: number): Promise<Uint8Array<ArrayBuffer>> {
    const found = this.pending.get(number);
    if (found !== undefined) return found;
    // What is being written out must not change meanwhile.
    const made = this.leaving.get(number)?.then((piece) => piece.slice()) ?? this.load(number);
    this.pending.set(number, made);
    return made;
  }

  private async writeOut(): Promise<void> {
    if (this.pending.size === 0 && this.bytes === this.blob.size && this.kept === this.blob.size) return;
    const { bytes, kept } = this;
    this.leaving = this.pending;
    this.pending = new Map();
    this.cut = Infinity;
    try {
      await withCodes(async () => {
        const writable = await this.handle.createWritable({ keepExistingData: true });
        // What was cut off and grown again reads as zeroes.
        await writable.truncate(kept);
        await writable.truncate(bytes);
        for (const [number, loading] of this.leaving) {
          const start = number * PIECE_BYTES;
          const piece = (await loading).subarray(0, Math.max(0, Math.min(PIECE_BYTES, bytes - start)));
          if (piece.length > 0) await writable.write({ type: 'write', position: start, data: piece });
        }
        await writable.close();
        this.blob = await this.handle.getFile();
        this.kept = Math.min(this.blob.size, this.cut);
      });
      this.leaving = new Map();
    } catch (error) {
      for (const [number, piece] of this.leaving) if (!this.pending.has(number)) this.pending.set(number, piece);
      this.leaving = new Map();
      throw error;
    }
  }
}
