/**
 * Files and devices of the host as nodes.
 *
 * Locks are QEMU's, so that both keep out of each other's images: byte 100 + p of the file is locked (shared) by whoever uses permission
 * p, byte 200 + p by whoever does not let others use it; whoever comes later looks whether the opposite byte is locked.
 */
import { BlockError, ImageError } from '../block-error.ts';
import type { BlockDriver, DriverContext, OpenRequest } from '../driver.ts';
import type { HostFile } from '../host.ts';
import { type IoVector, sliceVector, vectorBytes } from '../io-vector.ts';
import {
  type BlockStatus, BlockNode, type Child, type RequestLimits, type TruncateOptions, type WriteFlags, type ZeroFlags,
} from '../node.ts'; // prettier-ignore
import { boolOption, textOption } from '../options.ts';

const USED_BASE = 100;
const UNSHARED_BASE = 200;
/** Permissions by number: consistent read, write, write unchanged, resize. */
const PERMISSIONS = ['consistent read', 'write', 'write unchanged', 'resize'] as const;
const [READ, WRITE, RESIZE] = [0, 1, 3];

/** Zeroes for hosts that cannot make holes. */
const ZEROES = new Uint8Array(1 << 20);

interface FileOptions {
  readonly request: OpenRequest;
  readonly driver: string;
  readonly path: string;
  readonly file: HostFile;
}

class FileNode extends BlockNode {
  readonly driver: string;
  readonly filename: string;
  private readonly file: HostFile;
  private readonly unmap: boolean;
  private readonly noFlush: boolean;
  private bytes: number;
  private extents = true;
  /** A run of data as it was found last: asking the file system costs as much as reading a few pages. */
  private dataFrom = 0;
  private dataTo = 0;
  /** How often data may have become holes. */
  private changes = 0;

  constructor({ request, driver, path, file }: FileOptions) {
    super(request.name, request.readOnly);
    this.driver = driver;
    this.filename = path;
    this.file = file;
    this.unmap = request.unmap;
    this.noFlush = request.noFlush;
    this.bytes = file.size;
  }

  get size(): number {
    return this.bytes;
  }

  get children(): readonly Child[] {
    return [];
  }

  override get limits(): RequestLimits {
    const alignment = this.file.alignment;
    return { alignment, zeroAlignment: Math.max(alignment, 1), maxTransfer: 0x7ffff000 };
  }

  override get zeroWhenNew(): boolean {
    return this.file.kind === 'file';
  }

  async read(offset: number, into: IoVector): Promise<void> {
    const bytes = vectorBytes(into);
    this.checkRange(offset, bytes);
    const done = await this.file.readv(offset, into);
    // The file may have become shorter since: what is behind its end reads as zeroes, as in QEMU.
    if (done < bytes) for (const part of sliceVector(into, done, bytes - done)) part.fill(0);
  }

  override readNow(offset: number, into: IoVector): boolean {
    if (offset + vectorBytes(into) > this.bytes) return false;
    return this.file.readNow?.(offset, into) ?? false;
  }

  async write(offset: number, from: IoVector, flags: WriteFlags = {}): Promise<void> {
    this.checkWritable();
    const bytes = vectorBytes(from);
    if (this.file.kind === 'device') this.checkRange(offset, bytes);
    await this.file.writev(offset, from);
    this.bytes = Math.max(this.bytes, offset + bytes);
    if (flags.fua === true) await this.flush();
  }

  async writeZeroes(offset: number, bytes: number, flags: ZeroFlags = {}): Promise<void> {
    this.checkWritable();
    if (bytes === 0) return;
    if (this.file.kind === 'device') this.checkRange(offset, bytes);
    const growing = offset + bytes > this.bytes;
    if (growing) {
      await this.file.truncate(offset + bytes);
      this.bytes = Math.max(this.bytes, offset + bytes);
    }
    const done =
      (flags.unmap === true && (await this.file.punchHole(offset, bytes))) ||
      (await this.file.zeroRange(offset, bytes, flags.unmap !== true)) ||
      (await this.file.punchHole(offset, bytes));
    if (!done) {
      if (flags.noFallback === true) throw new BlockError('ENOTSUP');
      for (let at = 0; at < bytes; at += ZEROES.length) {
        await this.file.writev(offset + at, [ZEROES.subarray(0, Math.min(ZEROES.length, bytes - at))]);
      }
    }
    this.forgetData();
    if (flags.fua === true) await this.flush();
  }

  async discard(offset: number, bytes: number): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, bytes);
    if (!this.unmap || bytes === 0) return;
    await this.file.punchHole(offset, bytes);
    this.forgetData();
  }

  async flush(): Promise<void> {
    if (!this.noFlush && !this.readOnly) await this.file.flush();
  }

  async status(offset: number, bytes: number): Promise<BlockStatus> {
    this.checkRange(offset, bytes);
    const at = { node: this, offset };
    if (offset >= this.dataFrom && offset < this.dataTo) {
      const run = Math.min(this.dataTo - offset, bytes);
      return { bytes: run, data: true, zero: false, allocated: true, at };
    }
    if (bytes > 0 && this.extents) {
      const { changes } = this;
      const extent = await this.file.extent(offset);
      if (extent !== undefined) {
        if (extent.data && changes === this.changes) [this.dataFrom, this.dataTo] = [offset, offset + extent.bytes];
        const run = Math.max(1, Math.min(extent.bytes, bytes));
        return { bytes: run, data: extent.data, zero: !extent.data, allocated: true, at };
      }
      this.extents = false;
    }
    return { bytes, data: true, zero: false, allocated: true, at };
  }

  /** After what may have made holes: a run found meanwhile may be one that is gone. */
  private forgetData(): void {
    this.dataTo = this.dataFrom;
    this.changes++;
  }

  override allocatedBytes(): Promise<number> {
    return this.file.allocatedBytes();
  }

  async truncate(size: number, { preallocation = 'off', exact = false }: TruncateOptions = {}): Promise<void> {
    this.checkWritable();
    if (this.file.kind === 'device') {
      if (size > this.bytes || (exact && size !== this.bytes))
        throw new ImageError('Cannot resize device files', size > this.bytes ? 'EINVAL' : 'ENOTSUP');
      return;
    }
    const before = this.bytes;
    if (preallocation !== 'off' && preallocation !== 'metadata' && size < before)
      throw new ImageError("Preallocation can't be used for shrinking files", 'ENOTSUP');
    await this.file.truncate(size);
    this.bytes = size;
    this.forgetData();
    if (size <= before) return;
    const allocated = preallocation === 'falloc' && (await this.file.allocate(before, size - before));
    if (preallocation === 'full' || (preallocation === 'falloc' && !allocated)) {
      for (let at = before; at < size; at += ZEROES.length) {
        await this.file.writev(at, [ZEROES.subarray(0, Math.min(ZEROES.length, size - at))]);
      }
      await this.file.flush();
    }
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

/** Takes the locks for what the node does; others may read along, and anything with `force-share`. */
async function lock(file: HostFile, path: string, request: OpenRequest, forceShare: boolean): Promise<void> {
  const used = forceShare ? [] : request.readOnly ? [READ] : [READ, WRITE, RESIZE];
  const unshared = forceShare || request.noIo ? [] : request.readOnly ? [WRITE, RESIZE] : [WRITE, RESIZE];
  const refuse = async (permission: number, how: string): Promise<never> => {
    await file.close();
    throw new ImageError(
      `Failed to get ${how}"${PERMISSIONS[permission]}" lock\nIs another process using the image [${path}]?`,
      'EAGAIN',
    );
  };
  for (const p of used) if (!(await file.lock(USED_BASE + p, 1, 'shared'))) await refuse(p, '');
  for (const p of unshared) if (!(await file.lock(UNSHARED_BASE + p, 1, 'shared'))) await refuse(p, 'shared ');
  for (const p of used) if (await file.isLocked(UNSHARED_BASE + p)) await refuse(p, '');
  for (const p of unshared) if (await file.isLocked(USED_BASE + p)) await refuse(p, 'shared ');
}

async function open(driver: string, request: OpenRequest, { host }: DriverContext): Promise<BlockNode> {
  const { options, readOnly } = request;
  const path = textOption(options, 'filename');
  if (path === undefined || path === '') throw new ImageError(`The '${driver}' block driver requires a file name`);
  if (host.openFile === undefined) throw new ImageError(`There are no files here: '${path}'`, 'ENOTSUP');
  let file: HostFile;
  try {
    file = await host.openFile(path, { write: !readOnly, direct: request.direct });
  } catch (error) {
    if ((error as { code?: string }).code === 'EISDIR') {
      const kind = driver === 'file' ? 'a regular file' : 'either a character or block device';
      throw new ImageError(`'${driver}' driver requires '${path}' to be ${kind}`);
    }
    throw openError(path, error);
  }
  if (driver !== 'file' && file.kind !== 'device') {
    await file.close();
    throw new ImageError(`'${driver}' driver requires '${path}' to be either a character or block device`);
  }
  const locking = textOption(options, 'locking') ?? 'auto';
  if (locking !== 'off') await lock(file, path, request, boolOption(options, 'force-share', false));
  return new FileNode({ request, driver, path, file });
}

function openError(path: string, error: unknown): ImageError {
  const blocked = error as { code?: string; message?: string };
  const known: Readonly<Record<string, [string, 'ENOENT' | 'EACCES' | 'EINVAL']>> = {
    ENOENT: ['No such file or directory', 'ENOENT'],
    EACCES: ['Permission denied', 'EACCES'],
    EROFS: ['Read-only file system', 'EACCES'],
    ENOTDIR: ['Not a directory', 'ENOENT'],
    ETXTBSY: ['Text file busy', 'EACCES'],
  };
  const [text, code] = known[blocked.code ?? ''] ?? [blocked.message ?? String(error), 'EINVAL'];
  return new ImageError(`Could not open '${path}': ${text}`, code);
}

/** A name that begins like a protocol's must not be taken for one later. */
function unambiguous(name: string): string {
  return /^[^/]*:/.test(name) ? `./${name}` : name;
}

const OPTIONS = [
  { name: 'filename', type: 'string', help: 'File name of the image' },
  { name: 'locking', type: 'string', help: 'file locking mode (on/off/auto, default: auto)', values: ['on', 'off', 'auto'] },
  { name: 'aio', type: 'string', help: 'Accepted; requests are asynchronous', values: ['threads', 'native', 'io_uring'] },
] as const; // prettier-ignore

export const file: BlockDriver = {
  name: 'file',
  kind: 'protocol',
  options: OPTIONS,
  parseFilename: (filename) =>
    filename.startsWith('file:') ? { driver: 'file', filename: unambiguous(filename.slice(5)) } : undefined,
  open: (request, context) => open('file', request, context),
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    {
      name: 'preallocation',
      type: 'string',
      help: 'Preallocation mode (allowed values: off, falloc, full)',
      default: 'off',
    },
    { name: 'nocow', type: 'bool', help: 'Turn off copy-on-write (valid only on btrfs)' },
    { name: 'extent_size_hint', type: 'size', help: 'Extent size hint for the image file, 0 to disable' },
  ],
};

export const hostDevice: BlockDriver = {
  name: 'host_device',
  kind: 'protocol',
  options: OPTIONS,
  open: (request, context) => open('host_device', request, context),
};

/** A disc in a drive; nothing more than any other device here. */
export const hostCdrom: BlockDriver = {
  name: 'host_cdrom',
  kind: 'protocol',
  options: OPTIONS,
  open: (request, context) => open('host_cdrom', request, context),
};
