/** The block layer's platform on Node. */
import type * as Zlib from 'node:zlib';
import type { BlockHost } from '../../../block/host.ts';
import { fetchRange } from '../../fetch-range.ts';
import { fs, utilModule } from './builtin.ts';
import { nodeCrypto, opensslModule } from './crypto.ts';
import { openFile } from './files.ts';

type Squeeze<Options> = (data: Uint8Array, options: Options) => Promise<Buffer>;

interface Compression {
  readonly inflateRaw: Squeeze<Zlib.ZlibOptions>;
  readonly inflate: Squeeze<Zlib.ZlibOptions>;
  readonly deflateRaw: Squeeze<Zlib.ZlibOptions>;
  readonly zstdCompress: Squeeze<Zlib.ZstdOptions>;
  readonly zstdDecompress: Squeeze<Zlib.ZstdOptions>;
}

let loaded: Compression | undefined;

/** node:zlib with promises. Like the network's modules it is loaded when it is wanted: most commands on images end before that would be done. */
function compression(): Compression {
  if (loaded !== undefined) return loaded;
  const zlib = process.getBuiltinModule('node:zlib');
  const { promisify } = utilModule();
  loaded = {
    inflateRaw: promisify<Uint8Array, Zlib.ZlibOptions, Buffer>(zlib.inflateRaw),
    inflate: promisify<Uint8Array, Zlib.ZlibOptions, Buffer>(zlib.inflate),
    deflateRaw: promisify<Uint8Array, Zlib.ZlibOptions, Buffer>(zlib.deflateRaw),
    zstdCompress: promisify<Uint8Array, Zlib.ZstdOptions, Buffer>(zlib.zstdCompress),
    zstdDecompress: promisify<Uint8Array, Zlib.ZstdOptions, Buffer>(zlib.zstdDecompress),
  };
  return loaded;
}

/** zlib's Z_SYNC_FLUSH: a stream that ends without its end is taken as far as it goes. */
const SYNC_FLUSH = 2;
/** Readers of qcow2 inflate with a window of 4 KiB. */
const WINDOW_BITS = 12;

/** Output buffers: of one piece each cluster costs one trip to another thread. */
const CHUNK_MIN_BYTES = 64;
const CHUNK_MAX_BYTES: number = 2 * 1024 ** 2;
/** What zstd adds to data that cannot be made smaller. */
const ZSTD_MARGIN = 1024;

function chunkFor(bytes: number): number {
  return Math.min(CHUNK_MAX_BYTES, Math.max(CHUNK_MIN_BYTES, bytes));
}

function expanded(limit: number): { readonly maxOutputLength: number; readonly chunkSize: number } {
  return { maxOutputLength: limit, chunkSize: chunkFor(limit) };
}

export const nodeBlockHost: BlockHost = {
  crypto: nodeCrypto,
  openFile: (path, options) => openFile(path, options),
  connect: async (address) => (await import('./streams.ts')).connectStream(address),
  listen: async (address, accept) => (await import('./streams.ts')).listenStream(address, accept),
  exists: (path) =>
    fs.promises.access(path).then(
      () => true,
      () => false,
    ),
  removeFile: (path) => fs.promises.unlink(path),
  resolve: (base, name) => (name.startsWith('/') ? name : base.slice(0, base.lastIndexOf('/') + 1) + name),
  readFile: (path) => fs.promises.readFile(path),
  fetchRange,
  // GUEST: compressed data of an image; what comes out is bounded by `limit`.
  inflateRaw: (data, limit) => compression().inflateRaw(data, { ...expanded(limit), finishFlush: SYNC_FLUSH }),
  inflateZlib: (data, limit) => compression().inflate(data, { ...expanded(limit), finishFlush: SYNC_FLUSH }),
  deflateRaw: (data) => compression().deflateRaw(data, { windowBits: WINDOW_BITS, chunkSize: chunkFor(data.length) }),
  unzstd: (data, limit) => compression().zstdDecompress(data, expanded(limit)),
  zstd: (data) =>
    compression().zstdCompress(data, { pledgedSrcSize: data.length, chunkSize: chunkFor(data.length + ZSTD_MARGIN) }),
  randomBytes: (count) => opensslModule().randomFillSync(new Uint8Array(count)),
  nowMs: () => Date.now(),
  sleep: (ms, background = false) =>
    new Promise((done) => {
      const timer = setTimeout(done, ms);
      if (background) timer.unref();
    }),
};

/** The same for a process that serves images and runs no guest, whose processor a slow write would hold up (docs/decisions/0016). */
export const serverBlockHost: BlockHost = {
  ...nodeBlockHost,
  openFile: (path, options) => openFile(path, options, true),
};
