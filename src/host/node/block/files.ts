/** Files and block devices of Node's host, for the block layer. */
import type { Stats } from 'node:fs';
import type { HostFile, OpenFileOptions } from '../../../block/host.ts';
import { fs } from './builtin.ts';
import { type Libc, libc } from './libc.ts';
import { OpenFile } from './open-file.ts';
import { PromptWrites } from './prompt-writes.ts';
import { WriteRuns } from './write-runs.ts';

const { constants } = fs;

const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const FALLOC_KEEP_SIZE = 1;
const FALLOC_PUNCH_HOLE = 2;
const FALLOC_ZERO_RANGE = 16;
/** readv(2) and writev(2) take no more pieces. */
const MAX_PIECES = 1024;
/** Alignment that O_DIRECT wants of offsets, lengths and memory. */
const DIRECT_ALIGNMENT = 4096;

type Pieces = readonly Uint8Array[];

/** `prompt`: small writes are made in the call. */
export async function openFile(path: string, options: OpenFileOptions, prompt = false): Promise<HostFile> {
  const { write, create, truncate, direct, sync } = options;
  const flags =
    (write ? constants.O_RDWR : constants.O_RDONLY) |
    (create === true ? constants.O_CREAT : 0) |
    (truncate === true ? constants.O_TRUNC : 0) |
    (direct === true ? constants.O_DIRECT : 0) |
    (sync === true ? constants.O_DSYNC : 0);
  const handle = await OpenFile.open(path, flags, 0o644);
  try {
    const stat = await handle.stat();
    if (stat.isDirectory()) throw Object.assign(new Error('Is a directory'), { code: 'EISDIR' });
    const device = stat.isBlockDevice() || stat.isCharacterDevice();
    const native = await libc();
    const size = device ? deviceBytes(handle.fd, stat, native) : stat.size;
    const toCache = direct !== true && sync !== true;
    return new NodeFile(handle, device ? 'device' : 'file', size, direct === true, native, prompt && toCache);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** `stat` tells 0 for devices. */
function deviceBytes(fd: number, { rdev }: Stats, native: Libc | undefined): number {
  if (native !== undefined) return Math.max(native.lseek(fd, 0, SEEK_END), 0);
  // makedev(3) of the GNU C library.
  const [major, minor] = [(rdev >> 8) & 0xfff, (rdev & 0xff) | ((rdev >> 12) & 0xfff00)];
  try {
    return 512 * Number(fs.readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'utf8'));
  } catch {
    throw Object.assign(new Error('the size of this device cannot be told without the package koffi'), {
      code: 'ENOTSUP',
    });
  }
}

class NodeFile implements HostFile {
  readonly kind: 'file' | 'device';
  readonly size: number;
  readonly alignment: number;
  private readonly handle: OpenFile;
  private readonly fd: number;
  private readonly native: Libc | undefined;
  /** What is read may be in the page cache, and the host tells. */
  private cached: boolean;
  private locked: boolean = false;
  private readonly runs: WriteRuns = new WriteRuns((offset, pieces) => this.writeAll(offset, pieces));
  private readonly prompt: PromptWrites | undefined;

  constructor(
    handle: OpenFile,
    kind: 'file' | 'device',
    size: number,
    direct: boolean,
    native: Libc | undefined,
    promptWrites: boolean,
  ) {
    this.handle = handle;
    this.fd = handle.fd;
    this.kind = kind;
    this.size = size;
    this.alignment = direct ? DIRECT_ALIGNMENT : 1;
    this.native = native;
    this.cached = !direct;
    if (promptWrites) {
      this.prompt = new PromptWrites(
        (offset, pieces) => fs.writevSync(this.fd, pieces, offset),
        () => performance.now(),
      );
    }
  }

  async readv(offset: number, into: Pieces): Promise<number> {
    if (this.alignment > 1) return this.readAligned(offset, into);
    let done = 0;
    for (let pieces: Pieces = into.filter((piece) => piece.length > 0); pieces.length > 0;) {
      const count = await transfer('read', this.fd, pieces, offset + done);
      if (count === 0) break;
      done += count;
      pieces = behind(pieces, count);
    }
    return done;
  }

  readNow(offset: number, into: Pieces): boolean {
    if (!this.cached) return false;
    const bytes = into.reduce((sum, piece) => sum + piece.length, 0);
    const done = this.native?.readNow(this.fd, into, offset) ?? 'unsupported';
    if (done === 'unsupported') this.cached = false;
    return done === bytes;
  }

  writev(offset: number, from: Pieces): Promise<void> {
    if (this.alignment > 1) return this.writeAligned(offset, from);
    const bytes = from.reduce((sum, piece) => sum + piece.length, 0);
    return this.prompt?.takes(offset, bytes) === true
      ? this.writePromptly(this.prompt, offset, from, bytes)
      : this.runs.add(offset, from, bytes);
  }

  private async writePromptly(prompt: PromptWrites, offset: number, from: Pieces, bytes: number): Promise<void> {
    const done = prompt.write(offset, from);
    if (done < bytes) await this.writeAll(offset + done, behind(from, done));
  }

  private async writeAll(offset: number, from: Pieces): Promise<void> {
    let done = 0;
    for (let pieces: Pieces = from.filter((piece) => piece.length > 0); pieces.length > 0;) {
      const count = await transfer('write', this.fd, pieces, offset + done);
      done += count;
      pieces = behind(pieces, count);
    }
  }

  /** A buffer whose memory O_DIRECT accepts. */
  private bounce(bytes: number): Uint8Array {
    // Node's large buffers begin on a page, behind a header that none of them has.
    const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / 65536) });
    return new Uint8Array(memory.buffer, 0, bytes);
  }

  private async readAligned(offset: number, into: Pieces): Promise<number> {
    const bytes = into.reduce((sum, piece) => sum + piece.length, 0);
    const start = offset - (offset % DIRECT_ALIGNMENT);
    const end = Math.ceil((offset + bytes) / DIRECT_ALIGNMENT) * DIRECT_ALIGNMENT;
    const buffer = this.bounce(end - start);
    let done = 0;
    while (done < buffer.length) {
      const count = await transfer('read', this.fd, [buffer.subarray(done)], start + done);
      if (count === 0) break;
      done += count;
      if (count % DIRECT_ALIGNMENT !== 0) break;
    }
    let at = offset - start;
    for (const piece of into) {
      piece.set(buffer.subarray(at, at + piece.length));
      at += piece.length;
    }
    return Math.max(0, Math.min(done - (offset - start), bytes));
  }

  private async writeAligned(offset: number, from: Pieces): Promise<void> {
    const bytes = from.reduce((sum, piece) => sum + piece.length, 0);
    const start = offset - (offset % DIRECT_ALIGNMENT);
    const end = Math.ceil((offset + bytes) / DIRECT_ALIGNMENT) * DIRECT_ALIGNMENT;
    const buffer = this.bounce(end - start);
    const whole = start === offset && end === offset + bytes;
    const { size } = await this.handle.stat();
    if (!whole) await this.readAligned(start, [buffer]);
    let at = offset - start;
    for (const piece of from) {
      buffer.set(piece, at);
      at += piece.length;
    }
    for (let done = 0; done < buffer.length;) {
      done += await transfer('write', this.fd, [buffer.subarray(done)], start + done);
    }
    // The tail of the last block was not asked for.
    if (this.kind === 'file' && end > Math.max(size, offset + bytes))
      await this.handle.truncate(Math.max(size, offset + bytes));
  }

  async flush(): Promise<void> {
    await this.handle.datasync();
  }

  async truncate(size: number): Promise<void> {
    await this.handle.truncate(size);
  }

  async punchHole(offset: number, bytes: number): Promise<boolean> {
    return this.native?.fallocate(this.fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, bytes) === 0;
  }

  async zeroRange(offset: number, bytes: number, keepAllocated: boolean): Promise<boolean> {
    if (!keepAllocated) return false;
    return this.native?.fallocate(this.fd, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, offset, bytes) === 0;
  }

  async allocate(offset: number, bytes: number): Promise<boolean> {
    return this.native?.fallocate(this.fd, 0, offset, bytes) === 0;
  }

  async extent(offset: number): Promise<{ data: boolean; bytes: number } | undefined> {
    if (this.native === undefined || this.kind === 'device') return undefined;
    const data = this.native.lseek(this.fd, offset, SEEK_DATA);
    const size = this.native.lseek(this.fd, 0, SEEK_END);
    if (data < 0) return { data: false, bytes: Math.max(size - offset, 1) };
    if (data > offset) return { data: false, bytes: data - offset };
    const hole = this.native.lseek(this.fd, offset, SEEK_HOLE);
    return { data: true, bytes: Math.max((hole < 0 ? size : hole) - offset, 1) };
  }

  async allocatedBytes(): Promise<number> {
    return (await this.handle.stat()).blocks * 512;
  }

  async lock(firstByte: number, bytes: number, how: 'shared' | 'exclusive' | 'none'): Promise<boolean> {
    this.locked = true;
    return this.native?.lock(this.fd, how, firstByte, bytes) ?? true;
  }

  async isLocked(byte: number): Promise<boolean> {
    return this.native?.locked(this.fd, byte) ?? false;
  }

  async close(): Promise<void> {
    // A child that is being started shares the open file until it runs its program, and the locks would last as long.
    if (this.locked) this.native?.lock(this.fd, 'none', 0, 0);
    await this.handle.close();
  }
}

function behind(pieces: Pieces, count: number): Pieces {
  let left = count;
  return pieces.flatMap((piece) => {
    if (left >= piece.length) {
      left -= piece.length;
      return [];
    }
    const rest = piece.subarray(left);
    left = 0;
    return [rest];
  });
}

function transfer(what: 'read' | 'write', fd: number, pieces: Pieces, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, count: number): void => {
      if (error === null) resolve(count);
      else reject(error);
    };
    const [only] = pieces;
    if (pieces.length === 1 && only !== undefined) {
      if (what === 'read') fs.read(fd, only, 0, only.length, position, done);
      else fs.write(fd, only, 0, only.length, position, done);
      return;
    }
    const some = pieces.slice(0, MAX_PIECES);
    if (what === 'read') fs.readv(fd, some, position, done);
    else fs.writev(fd, some, position, done);
  });
}
