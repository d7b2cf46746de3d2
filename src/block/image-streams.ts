/** An image's bytes as web streams, in both directions, with backpressure and abort signals. */
import { BlockError } from './block-error.ts';
import type { BlockNode } from './node.ts';

export interface ReadStreamOptions {
  /** First byte; default 0. */
  readonly offset?: number;
  /** How many; default: up to the image's end. */
  readonly bytes?: number;
  /** Most bytes of one piece; default 1 MiB. */
  readonly chunkBytes?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface WriteStreamOptions {
  /** Where the first byte goes; default 0. */
  readonly offset?: number;
  /** The image becomes as large as what is written makes it, in sectors of 512 bytes; without, a byte beyond its end is an error. */
  readonly grow?: boolean;
  readonly signal?: AbortSignal | undefined;
}

const CHUNK_BYTES: number = 1024 ** 2;
/** Pieces read before they are asked for, so that reading and using go on at the same time. */
const PIECES_AHEAD = 2;
/** Sizes of images are multiples of this in most formats. */
const SECTOR_BYTES = 512;
/** Images grow in steps of this: for many formats each step writes their tables. */
const GROW_STEP_BYTES: number = 64 * 1024 ** 2;

/** The bytes of `node`, each piece in a buffer of its own that the reader may keep. */
export function readStream(node: BlockNode, options: ReadStreamOptions = {}): ReadableStream<Uint8Array> {
  const { offset = 0, chunkBytes = CHUNK_BYTES, signal } = options;
  const end = options.bytes === undefined ? node.size : offset + options.bytes;
  if (offset < 0 || end < offset || end > node.size) {
    throw new BlockError('EINVAL', `bytes ${offset} to ${end} are not in an image of ${node.size} bytes`);
  }
  if (!(chunkBytes >= 1)) throw new BlockError('EINVAL', `pieces of ${chunkBytes} bytes`);
  let at = offset;
  let stopListening = (): void => {};
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        stopListening = whenAborted(signal, (reason) => controller.error(reason));
        if (at < end) return;
        stopListening();
        controller.close();
      },
      async pull(controller) {
        const piece = new Uint8Array(Math.min(chunkBytes, end - at));
        await node.read(at, [piece]);
        if (signal?.aborted === true) return;
        at += piece.length;
        controller.enqueue(piece);
        if (at < end) return;
        stopListening();
        controller.close();
      },
      cancel: () => stopListening(),
    },
    { highWaterMark: PIECES_AHEAD },
  );
}

/** Writes what it is given one behind the other; what was written is on stable storage when the stream is closed. */
export function writeStream(node: BlockNode, options: WriteStreamOptions = {}): WritableStream<Uint8Array> {
  const { offset = 0, grow = false, signal } = options;
  if (offset < 0) throw new BlockError('EINVAL', `offset ${offset}`);
  let at = offset;
  let grown = false;
  let stopListening = (): void => {};
  return new WritableStream<Uint8Array>({
    start(controller) {
      stopListening = whenAborted(signal, (reason) => controller.error(reason));
    },
    async write(piece) {
      const end = at + piece.length;
      if (end > node.size) {
        if (!grow) throw new BlockError('ENOSPC', `the image has ${node.size} bytes, and there are more to be written`);
        await node.truncate(wholeSectors(Math.max(end, node.size + GROW_STEP_BYTES)));
        grown = true;
      }
      await node.write(at, [piece]);
      at = end;
    },
    async close() {
      stopListening();
      if (grown) await node.truncate(wholeSectors(at), { exact: true });
      await node.flush();
    },
    abort: () => stopListening(),
  });
}

function wholeSectors(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES;
}

/** Calls back once, with the reason; at once when it has happened already. Gives the function that ends listening. */
function whenAborted(signal: AbortSignal | undefined, then: (reason: unknown) => void): () => void {
  if (signal === undefined) return () => {};
  const listener = (): void => then(signal.reason);
  if (signal.aborted) listener();
  else signal.addEventListener('abort', listener, { once: true });
  return () => signal.removeEventListener('abort', listener);
}
