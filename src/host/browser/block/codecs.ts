/**
 * Compression in the browser. Its own streams do not do: `DecompressionStream` refuses bytes behind a stream's end, which clusters of
 * images have, and `CompressionStream` has no window of 4 KiB (docs/decisions/0010).
 */
import { Decompress } from 'fzstd';
import { deflateRaw as pakoDeflateRaw, Inflate } from 'pako';
import { ImageError } from '../../../block/block-error.ts';

/** Readers of qcow2 inflate with a window of 4 KiB. */
const WINDOW_BITS = 12;
/** zstd frames with a larger window are refused, as RFC 8878 (3.1.1.1.2) recommends: the frame's head alone makes us allocate it. */
const MAX_ZSTD_WINDOW_BYTES: number = 8 * 1024 ** 2;
/** Pieces in which what comes out is collected. */
const CHUNK_BYTES = 65_536;

/** Collects pieces up to a limit. */
class BoundedOutput {
  private readonly pieces: Uint8Array[] = [];
  private readonly limit: number;
  private bytes = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  add(piece: Uint8Array): void {
    this.bytes += piece.length;
    if (this.bytes > this.limit) throw new Error(`more than ${this.limit} bytes come out`);
    this.pieces.push(piece);
  }

  whole(): Uint8Array {
    const [only] = this.pieces;
    if (this.pieces.length === 1 && only !== undefined) return only;
    const whole = new Uint8Array(this.bytes);
    let at = 0;
    for (const piece of this.pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  }
}

export async function inflateRaw(data: Uint8Array, limit: number): Promise<Uint8Array> {
  return inflate(data, limit, true);
}

export async function inflateZlib(data: Uint8Array, limit: number): Promise<Uint8Array> {
  return inflate(data, limit, false);
}

/** A stream may be cut off: what there is comes out. */
function inflate(data: Uint8Array, limit: number, raw: boolean): Uint8Array {
  const output = new BoundedOutput(limit);
  const inflater = new Inflate({ raw, chunkSize: Math.min(limit, CHUNK_BYTES) });
  inflater.onData = (piece) => output.add(piece);
  // GUEST: compressed data of an image; what comes out is bounded by `limit`.
  inflater.push(data, false);
  if (inflater.err < 0) throw new Error(inflater.msg || 'data is not compressed as it should be');
  return output.whole();
}

export async function deflateRaw(data: Uint8Array): Promise<Uint8Array> {
  return pakoDeflateRaw(data, { windowBits: WINDOW_BITS });
}

export async function unzstd(data: Uint8Array, limit: number): Promise<Uint8Array> {
  checkZstdWindow(data);
  const output = new BoundedOutput(limit);
  new Decompress((piece) => output.add(piece.slice())).push(data, true);
  return output.whole();
}

/** There is nothing small that makes zstd frames. */
export function zstd(): Promise<Uint8Array> {
  return Promise.reject(new ImageError('zstd compression is not there in browsers, only decompression', 'ENOTSUP'));
}

/** GUEST: the window that a frame's head asks for (RFC 8878, 3.1.1.1). */
function checkZstdWindow(data: Uint8Array): void {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (data.length < 6 || view.getUint32(0, true) !== 0xfd2fb528) throw new Error('this is no zstd frame');
  const descriptor = view.getUint8(4);
  const single = (descriptor & 0x20) !== 0;
  let windowBytes: number;
  if (single) {
    const at = 5 + ([0, 1, 2, 4][descriptor & 3] ?? 0);
    const sizes = [1, 2, 4, 8] as const;
    const sizeBytes = sizes[(descriptor >> 6) as 0 | 1 | 2 | 3];
    if (data.length < at + sizeBytes) throw new Error('the zstd frame is cut off');
    windowBytes =
      sizeBytes === 1
        ? view.getUint8(at)
        : sizeBytes === 2
          ? view.getUint16(at, true) + 256
          : sizeBytes === 4
            ? view.getUint32(at, true)
            : view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
  } else {
    const window = view.getUint8(5);
    const base = 2 ** (10 + (window >> 3));
    windowBytes = base + (base / 8) * (window & 7);
  }
  if (windowBytes > MAX_ZSTD_WINDOW_BYTES) throw new Error(`a zstd window of ${windowBytes} bytes`);
}
