/** The block layer's platform on Node. */
import { randomFillSync } from 'node:crypto';
import { access, readFile, unlink } from 'node:fs/promises';
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import type { BlockHost } from '../../../block/host.ts';
import { fetchRange } from '../../fetch-range.ts';
import { nodeCrypto } from './crypto.ts';
import { openFile } from './files.ts';
import { connectStream, listenStream } from './streams.ts';

const inflateRaw = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.inflateRaw);
const inflate = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.inflate);
const deflateRaw = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.deflateRaw);
const zstdCompress = promisify<Uint8Array, Buffer>(zlib.zstdCompress);
const zstdDecompress = promisify<Uint8Array, zlib.ZstdOptions, Buffer>(zlib.zstdDecompress);

/** Readers of qcow2 inflate with a window of 4 KiB. */
const WINDOW_BITS = 12;

export const nodeBlockHost: BlockHost = {
  crypto: nodeCrypto,
  openFile,
  connect: connectStream,
  listen: listenStream,
  exists: (path) =>
    access(path).then(
      () => true,
      () => false,
    ),
  removeFile: (path) => unlink(path),
  resolve: (base, name) => (name.startsWith('/') ? name : base.slice(0, base.lastIndexOf('/') + 1) + name),
  readFile: (path) => readFile(path),
  fetchRange,
  // GUEST: compressed data of an image; what comes out is bounded by `limit`.
  inflateRaw: (data, limit) => inflateRaw(data, { maxOutputLength: limit, finishFlush: zlib.constants.Z_SYNC_FLUSH }),
  inflateZlib: (data, limit) => inflate(data, { maxOutputLength: limit, finishFlush: zlib.constants.Z_SYNC_FLUSH }),
  deflateRaw: (data) => deflateRaw(data, { windowBits: WINDOW_BITS }),
  unzstd: (data, limit) => zstdDecompress(data, { maxOutputLength: limit }),
  zstd: (data) => zstdCompress(data),
  randomBytes: (count) => randomFillSync(new Uint8Array(count)),
  nowMs: () => Date.now(),
  sleep: (ms, background = false) =>
    new Promise((done) => {
      const timer = setTimeout(done, ms);
      if (background) timer.unref();
    }),
};
