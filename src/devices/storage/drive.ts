/**
 * A drive: what a storage device has of the block layer. A node of the block graph with what the user said of its use (medium, cache,
 * error policy), and a count of what is under way. Requests are asynchronous and never hold up the guest's processor.
 */
import { BlockError, errnoOf } from '../../block/block-error.ts';
import { type IoVector, sliceVector, vectorBytes } from '../../block/io-vector.ts';
import type { BlockNode } from '../../block/node.ts';

/** What happens when a read fails: the guest is told, nothing is said, the machine stops and does it again when it goes on. */
export type ReadErrorPolicy = 'report' | 'ignore' | 'stop';
/** For writes also `enospc`: stop when the host's disk is full, else report. */
export type WriteErrorPolicy = ReadErrorPolicy | 'enospc';

export interface DriveOptions {
  readonly id: string;
  /** Undefined: a CD-ROM drive without a disc. */
  readonly node: BlockNode | undefined;
  readonly readOnly?: boolean;
  readonly rerror?: ReadErrorPolicy;
  readonly werror?: WriteErrorPolicy;
  /** The guest sees a write cache that it must flush; without, each write is stable when it is done. Default true. */
  readonly writeCache?: boolean;
  /** Discards of the guest reach the node. Default true. */
  readonly discard?: boolean;
}

/** What a drive asks of whoever runs the machine. */
export interface DriveHost {
  /** Requests under way in all drives of the machine. */
  pending: number;
  /** An error that stops the machine; resolves true when it goes on, false when the request is to be given up. */
  stopForError(drive: string, error: BlockError): Promise<boolean>;
}

/** Longest single transfer asked of a node: what a node may copy for one request is bounded by it. */
const MAX_TRANSFER_BYTES = 16 << 20;
/** Most that is copied from the host's page cache right away. */
const READ_NOW_BYTES = 128 << 10;
export const SECTOR_BYTES = 512;

export class Drive {
  readonly id: string;
  readonly writeCache: boolean;
  readonly discards: boolean;
  private readonly options: DriveOptions;
  private readonly host: DriveHost;
  private idle: (() => void)[] = [];
  private underWay = 0;

  constructor(options: DriveOptions, host: DriveHost) {
    this.id = options.id;
    this.options = options;
    this.host = host;
    this.writeCache = options.writeCache ?? true;
    this.discards = options.discard ?? true;
  }

  get node(): BlockNode | undefined {
    return this.options.node;
  }

  get readOnly(): boolean {
    return this.options.readOnly === true || this.node?.readOnly === true;
  }

  /** Whole sectors of the medium; 0 without one. */
  get sectors(): number {
    return Math.floor((this.node?.size ?? 0) / SECTOR_BYTES);
  }

  /** Fills `into`; fails with BlockError as far as the error policy lets it. */
  read(offset: number, into: IoVector): Promise<void> {
    return this.request('read', (node) => inParts(offset, into, partBytes(node), (at, part) => node.read(at, part)));
  }

  /** `read` without waiting; false: use `read`. Large ones are not for the guest's processor to wait for. */
  readNow(offset: number, into: IoVector, bytes: number): boolean {
    return bytes <= READ_NOW_BYTES && (this.node?.readNow(offset, into) ?? false);
  }

  write(offset: number, from: IoVector, fua: boolean): Promise<void> {
    return this.request('write', (node) =>
      inParts(offset, from, partBytes(node), (at, part) => node.write(at, part, { fua })),
    );
  }

  writeZeroes(offset: number, bytes: number, unmap: boolean, fua: boolean): Promise<void> {
    return this.request('write', (node) => node.writeZeroes(offset, bytes, { unmap: unmap && this.discards, fua }));
  }

  discard(offset: number, bytes: number): Promise<void> {
    return this.request('write', async (node) => {
      if (this.discards) await node.discard(offset, bytes);
    });
  }

  flush(): Promise<void> {
    return this.request('write', (node) => node.flush());
  }

  /** Resolves when nothing is under way. */
  drain(): Promise<void> {
    if (this.underWay === 0) return Promise.resolve();
    return new Promise((resolve) => this.idle.push(resolve));
  }

  private async request(kind: 'read' | 'write', action: (node: BlockNode) => Promise<void>): Promise<void> {
    this.underWay++;
    this.host.pending++;
    try {
      for (;;) {
        const { node } = this;
        if (node === undefined) throw new BlockError('EIO', `drive '${this.id}' has no medium`);
        try {
          await action(node);
          return;
        } catch (caught) {
          const error = caught instanceof BlockError ? caught : new BlockError(errnoOf(caught));
          const policy = this.policy(kind, error);
          if (policy === 'ignore') return;
          if (policy === 'report' || !(await this.waitForResume(error))) throw error;
        }
      }
    } finally {
      this.underWay--;
      this.host.pending--;
      if (this.underWay === 0) for (const done of this.idle.splice(0)) done();
    }
  }

  private policy(kind: 'read' | 'write', error: BlockError): ReadErrorPolicy {
    if (kind === 'read') return this.options.rerror ?? 'report';
    const policy = this.options.werror ?? 'enospc';
    if (policy !== 'enospc') return policy;
    return error.code === 'ENOSPC' ? 'stop' : 'report';
  }

  /** A machine that stands still waits for nothing. */
  private async waitForResume(error: BlockError): Promise<boolean> {
    this.host.pending--;
    try {
      return await this.host.stopForError(this.id, error);
    } finally {
      this.host.pending++;
    }
  }
}

function partBytes(node: BlockNode): number {
  return Math.min(node.limits.maxTransfer, MAX_TRANSFER_BYTES);
}

async function inParts(
  offset: number,
  vector: IoVector,
  most: number,
  transfer: (offset: number, part: IoVector) => Promise<void>,
): Promise<void> {
  const bytes = vectorBytes(vector);
  if (bytes <= most) return transfer(offset, vector);
  for (let done = 0; done < bytes; done += most)
    await transfer(offset + done, sliceVector(vector, done, Math.min(most, bytes - done)));
}
