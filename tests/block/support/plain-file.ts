/** For tests of formats on real files: the smallest file node, and a context that opens files beside the image. */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import type { BlockDriver, DriverContext, NodeOptions, OpenRequest } from '../../../src/block/driver.ts';
import type { BlockHost } from '../../../src/block/host.ts';
import type { IoVector } from '../../../src/block/io-vector.ts';
import { vectorBytes } from '../../../src/block/io-vector.ts';
import type { BlockNode as Node, BlockStatus, Child } from '../../../src/block/node.ts';
import { BlockNode } from '../../../src/block/node.ts';
import { qcow2 } from '../../../src/block/formats/qcow2/driver.ts';
import { nodeCrypto } from '../../../src/host/node/block/crypto.ts';
import type { Qcow2Node } from '../../../src/block/formats/qcow2/qcow2-node.ts';

const readv = promisify(fs.readv);
const writev = promisify(fs.writev);
const fdatasync = promisify(fs.fdatasync);
const ftruncate = promisify(fs.ftruncate);

export class PlainFile extends BlockNode {
  readonly driver = 'file';
  readonly filename: string;
  private readonly fd: number;
  private bytes: number;

  constructor(filename: string, how: { write?: boolean; create?: boolean } = {}) {
    super(filename, !how.write && !how.create);
    this.filename = filename;
    this.fd = fs.openSync(filename, how.create ? 'w+' : how.write ? 'r+' : 'r');
    this.bytes = fs.fstatSync(this.fd).size;
  }

  static open(filename: string, how: { write?: boolean; create?: boolean } = {}): Promise<PlainFile> {
    return Promise.resolve(new PlainFile(filename, how));
  }

  override get size(): number {
    return this.bytes;
  }
  override get children(): readonly Child[] {
    return [];
  }
  override async read(offset: number, into: IoVector): Promise<void> {
    this.checkRange(offset, vectorBytes(into));
    if (into.length > 0) await readv(this.fd, into, offset);
  }
  override async write(offset: number, from: IoVector): Promise<void> {
    const bytes = vectorBytes(from);
    this.bytes = Math.max(this.bytes, offset + bytes);
    for (let at = 0, done = 0; at < from.length; at += 512) {
      const some = from.slice(at, at + 512);
      await writev(this.fd, some, offset + done);
      done += vectorBytes(some);
    }
  }
  override async writeZeroes(offset: number, bytes: number): Promise<void> {
    await this.write(offset, [new Uint8Array(bytes)]);
  }
  override async discard(): Promise<void> {}
  override async flush(): Promise<void> {
    if (!this.readOnly) await fdatasync(this.fd);
  }
  override async status(offset: number, bytes: number): Promise<BlockStatus> {
    return { bytes, data: true, zero: false, allocated: true, at: { node: this, offset } };
  }
  override async truncate(size: number): Promise<void> {
    await ftruncate(this.fd, size);
    this.bytes = size;
  }
  override async close(): Promise<void> {
    await Promise.resolve(fs.closeSync(this.fd));
  }
}

type Options = zlib.ZlibOptions & zlib.ZstdOptions;
type Answer = (error: Error | null, result: Uint8Array) => void;

/** One of zlib's functions with a callback, as a promise. */
function run(
  call: (data: Uint8Array, options: Options, answer: Answer) => void,
  data: Uint8Array,
  options: Options = {},
): Promise<Uint8Array> {
  return new Promise((resolve, reject) =>
    call(data, options, (error, result) => (error === null ? resolve(result) : reject(error))),
  );
}

export const testHost: BlockHost = {
  crypto: nodeCrypto,
  async openFile(path, options) {
    const handle = await open(path, options.create ? 'w+' : 'r+');
    return {
      truncate: (size: number) => handle.truncate(size),
      close: () => handle.close(),
    } as unknown as Awaited<ReturnType<NonNullable<BlockHost['openFile']>>>;
  },
  resolve: (base, name) => resolve(dirname(base), name),
  inflateRaw: (data, limit) => run(zlib.inflateRaw, data, { maxOutputLength: limit }),
  inflateZlib: (data, limit) => run(zlib.inflate, data, { maxOutputLength: limit }),
  deflateRaw: (data) => run(zlib.deflateRaw, data, { windowBits: 12 }),
  unzstd: (data, limit) => run(zlib.zstdDecompress, data, { maxOutputLength: limit }),
  zstd: (data) => run(zlib.zstdCompress, data),
  randomBytes: (count) => new Uint8Array(randomBytes(count)),
  nowMs: () => Date.now(),
  sleep: (ms) => new Promise((done) => setTimeout(done, ms)),
};

function contextFor(file: Node, extra: Readonly<Record<string, Node>> = {}): DriverContext {
  return {
    host: testHost,
    openChild: async (name) => (name === 'file' ? file : extra[name]),
    async openNamed(name, how) {
      const path = resolve(dirname(file.filename), name);
      const opened = await PlainFile.open(path, { write: !how.readOnly });
      if (how.format !== 'qcow2') return opened;
      return openOver(qcow2, opened, { readOnly: how.readOnly });
    },
    secret: async () => new TextEncoder().encode('secret'),
    formatOf: () => undefined,
    warn: () => {},
  };
}

export interface OpenHow {
  readonly readOnly?: boolean;
  readonly options?: NodeOptions;
  readonly unmap?: boolean;
  readonly noIo?: boolean;
}

export async function openOver(driver: BlockDriver, file: Node, how: OpenHow = {}): Promise<Qcow2Node> {
  const request: OpenRequest = {
    name: 'disk',
    options: how.options ?? {},
    readOnly: how.readOnly ?? false,
    direct: false,
    noFlush: false,
    unmap: how.unmap ?? false,
    noIo: how.noIo ?? false,
    noBacking: false,
  };
  return (await driver.open(request, contextFor(file))) as Qcow2Node;
}

/** Opens a qcow2 file; `close` closes the chain below it too. */
export async function openQcow2(path: string, how: OpenHow = {}): Promise<Qcow2Node> {
  return openOver(qcow2, await PlainFile.open(path, { write: !how.readOnly }), how);
}

export async function closeAll(node: Node): Promise<void> {
  const below = node.children.map((child) => child.node);
  await node.close();
  for (const child of below) await closeAll(child);
}

export async function createQcow2(path: string, size: number, options: Record<string, string> = {}): Promise<void> {
  const file = await PlainFile.open(path, { create: true });
  await qcow2.create?.({ file, size, options }, contextFor(file));
  await file.close();
}
