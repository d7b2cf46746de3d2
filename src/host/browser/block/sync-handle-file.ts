/** Files of the origin's private file system in a worker: its handles read and write where the file is, and keep others out. */
import type { HostFile } from '../../../block/host.ts';
import { errnoError, withCode } from './errors.ts';

/** FileSystemSyncAccessHandle of the File System standard, which is for workers and therefore not in the DOM library. */
interface SyncAccess {
  read(into: Uint8Array, options: { readonly at: number }): number;
  write(from: Uint8Array, options: { readonly at: number }): number;
  truncate(size: number): void;
  getSize(): number;
  flush(): void;
  close(): void;
}

interface OpensSyncHandles {
  createSyncAccessHandle?(options: { readonly mode: 'read-only' | 'readwrite' }): Promise<SyncAccess>;
}

/** Undefined where there are no such handles: outside dedicated workers. */
export async function openSyncHandle(handle: FileSystemFileHandle, write: boolean): Promise<HostFile | undefined> {
  const opener = handle as OpensSyncHandles;
  if (opener.createSyncAccessHandle === undefined) return undefined;
  const access = await opener.createSyncAccessHandle({ mode: write ? 'readwrite' : 'read-only' });
  return new SyncHandleFile(access);
}

class SyncHandleFile implements HostFile {
  readonly kind: 'file' = 'file' as const;
  readonly alignment: number = 1;
  readonly size: number;
  private readonly access: SyncAccess;

  constructor(access: SyncAccess) {
    this.access = access;
    this.size = access.getSize();
  }

  async readv(offset: number, into: readonly Uint8Array[]): Promise<number> {
    return this.each(into, (piece, done) => this.access.read(piece, { at: offset + done }));
  }

  async writev(offset: number, from: readonly Uint8Array[]): Promise<void> {
    const wanted = from.reduce((sum, piece) => sum + piece.length, 0);
    const done = this.each(from, (piece, at) => this.access.write(piece, { at: offset + at }));
    if (done < wanted) throw errnoError('ENOSPC', 'No space left in this origin’s storage');
  }

  async flush(): Promise<void> {
    this.run(() => this.access.flush());
  }

  async truncate(size: number): Promise<void> {
    this.run(() => this.access.truncate(size));
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
    return this.access.getSize();
  }

  async lock(): Promise<boolean> {
    return true;
  }

  async isLocked(): Promise<boolean> {
    return false;
  }

  async close(): Promise<void> {
    this.access.close();
  }

  /** Bytes that `transfer` did, piece after piece, up to the first that it did only a part of. */
  private each(pieces: readonly Uint8Array[], transfer: (piece: Uint8Array, done: number) => number): number {
    let done = 0;
    for (const piece of pieces) {
      const count = this.run(() => transfer(piece, done));
      done += count;
      if (count < piece.length) break;
    }
    return done;
  }

  private run<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw withCode(error);
    }
  }
}
