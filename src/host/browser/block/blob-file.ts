/** Files that the user gave a page (File, Blob): read where they are, never written. */
import type { HostFile } from '../../../block/host.ts';
import { errnoError, withCodes } from './errors.ts';

export class BlobFile implements HostFile {
  readonly kind: 'file' = 'file' as const;
  readonly alignment: number = 1;
  readonly size: number;
  private readonly blob: Blob;

  constructor(blob: Blob) {
    this.blob = blob;
    this.size = blob.size;
  }

  async readv(offset: number, into: readonly Uint8Array[]): Promise<number> {
    return readBlob(this.blob, offset, into);
  }

  writev(): Promise<void> {
    return readOnly();
  }

  truncate(): Promise<void> {
    return readOnly();
  }

  async flush(): Promise<void> {}

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
    return this.size;
  }

  async lock(): Promise<boolean> {
    return true;
  }

  async isLocked(): Promise<boolean> {
    return false;
  }

  async close(): Promise<void> {}
}

function readOnly(): Promise<never> {
  return Promise.reject(errnoError('EACCES', 'files that were given to the page are not written'));
}

/** Reads into the pieces what the blob has from `offset` on; gives how many bytes that were. */
export async function readBlob(blob: Blob, offset: number, into: readonly Uint8Array[]): Promise<number> {
  const wanted = into.reduce((sum, piece) => sum + piece.length, 0);
  const data = await withCodes(async () => new Uint8Array(await blob.slice(offset, offset + wanted).arrayBuffer()));
  let done = 0;
  for (const piece of into) {
    const part = data.subarray(done, done + piece.length);
    piece.set(part);
    done += part.length;
  }
  return done;
}
