/**
 * The block layer's platform in a page or worker. Paths are those of the origin's private file system (OPFS), but for the files that
 * the program names: what the user picked or dropped.
 */
import type { BlockHost, HostFile, OpenFileOptions } from '../../../block/host.ts';
import { fetchRange } from '../../fetch-range.ts';
import { BlobFile } from './blob-file.ts';
import { deflateRaw, inflateRaw, inflateZlib, unzstd, zstd } from './codecs.ts';
import { browserCrypto } from './crypto.ts';
import { errnoError, withCodes } from './errors.ts';
import { openSyncHandle } from './sync-handle-file.ts';
import { openWritable } from './writable-file.ts';

/** Files under names of the program's choice. */
export type NamedFiles = Readonly<Record<string, Blob | FileSystemFileHandle>>;

/** getRandomValues gives no more at a time. */
const RANDOM_BYTES = 65_536;

export function browserBlockHost(files: NamedFiles = {}): BlockHost {
  const given = (path: string): Blob | FileSystemFileHandle | undefined =>
    Object.hasOwn(files, path) ? files[path] : undefined;
  return {
    crypto: browserCrypto,
    openFile: (path, options) => withCodes(() => openFile(given(path), path, options)),
    exists: async (path) => {
      if (given(path) !== undefined) return true;
      return fileHandle(path, false).then(
        () => true,
        () => false,
      );
    },
    removeFile: (path) =>
      withCodes(async () => {
        const [folder, name] = await folderOf(path, false);
        await folder.removeEntry(name);
      }),
    resolve: (base, name) => (name.startsWith('/') ? name : `${base.replace(/[^/]*$/, '')}${name}`),
    readFile: (path) => withCodes(async () => new Uint8Array(await (await blobOf(given(path), path)).arrayBuffer())),
    fetchRange,
    inflateRaw,
    inflateZlib,
    deflateRaw,
    unzstd,
    zstd,
    randomBytes(count) {
      const bytes = new Uint8Array(count);
      for (let at = 0; at < count; at += RANDOM_BYTES) crypto.getRandomValues(bytes.subarray(at, at + RANDOM_BYTES));
      return bytes;
    },
    nowMs: () => Date.now(),
    sleep: (ms) => new Promise((done) => void setTimeout(done, ms)),
  };
}

async function openFile(
  given: Blob | FileSystemFileHandle | undefined,
  path: string,
  { write, create = false, truncate = false }: OpenFileOptions,
): Promise<HostFile> {
  if (given instanceof Blob) {
    if (write) throw errnoError('EACCES', 'files that were given to the page are not written');
    return new BlobFile(given);
  }
  const handle = given ?? (await fileHandle(path, create));
  // Only the private file system has handles that read and write in place, and only in workers.
  const file =
    (given === undefined ? await openSyncHandle(handle, write) : undefined) ??
    (write ? await openWritable(handle) : new BlobFile(await handle.getFile()));
  if (truncate) await file.truncate(0);
  return file;
}

async function blobOf(given: Blob | FileSystemFileHandle | undefined, path: string): Promise<Blob> {
  return given instanceof Blob ? given : (given ?? (await fileHandle(path, false))).getFile();
}

async function fileHandle(path: string, create: boolean): Promise<FileSystemFileHandle> {
  const [folder, name] = await folderOf(path, create);
  return folder.getFileHandle(name, { create });
}

/** The folder that a path leads to, and the name in it. With `create` folders on the way are made. */
async function folderOf(path: string, create: boolean): Promise<[FileSystemDirectoryHandle, string]> {
  const steps = path.split('/').filter((step) => step !== '' && step !== '.');
  const name = steps.pop();
  if (name === undefined || steps.includes('..') || name === '..')
    throw errnoError('EINVAL', `'${path}' is no path of this origin's storage`);
  let folder = await navigator.storage.getDirectory();
  for (const step of steps) folder = await folder.getDirectoryHandle(step, { create });
  return [folder, name];
}
