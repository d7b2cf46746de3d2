/**
 * A node of the block graph: something with bytes that can be read and written. What a node keeps them in (a file, another node
 * with a format over it, a server) is its own affair; whoever uses it sees this.
 *
 * - Offsets and sizes are bytes below 2^53; any offset and length will do (a node that needs alignment does that itself).
 * - Any number of requests may be under way at once. What overlapping ones do to each other is up to them, but a node's own
 *   tables must survive it. A request that is done is visible to requests made afterwards; it is on stable storage after a
 *   `flush` that was made when it was done.
 * - A request fails with BlockError (block-error.ts), or an error of the platform that has a `code`; then any part of it may have happened.
 * - Reads and writes beyond the end fail with EIO, before anything is done (`checkRange`). Only protocol nodes that can grow (a file,
 *   memory) take writes beyond their end and become larger; formats rely on that for the node below them.
 */
import { BlockError } from './block-error.ts';
import type { IoVector } from './io-vector.ts';

export interface WriteFlags {
  /** On stable storage when done. */
  readonly fua?: boolean;
  /** As compressed clusters, where the format can. */
  readonly compressed?: boolean;
  /** Of the guest's last value, nothing needs to be kept: what is written was allocated just before (internal to formats). */
  readonly unchanged?: boolean;
}

export interface ZeroFlags {
  readonly fua?: boolean;
  /** Storage may be given back. */
  readonly unmap?: boolean;
  /** Fail with ENOTSUP rather than write zeroes byte by byte. */
  readonly noFallback?: boolean;
}

/** What is known of the bytes from an offset on (QEMU's block status; NBD's base:allocation). */
export interface BlockStatus {
  /** How far this holds; at least 1, unless the question was for nothing. */
  readonly bytes: number;
  /** Stored: reading costs, and writing need not allocate. */
  readonly data: boolean;
  /** Reads as zeroes. */
  readonly zero: boolean;
  /** This node says what is read there, not its backing node. */
  readonly allocated: boolean;
  /** Where these very bytes are in `node`, when they are anywhere as they are. */
  readonly at?: { readonly node: BlockNode; readonly offset: number };
  readonly compressed?: boolean;
  /** Whether what is at `at` may be a hole, since storage was given before there was data; undefined: nobody knows. */
  readonly sparse?: boolean;
}

export interface RequestLimits {
  /** Requests at multiples of this are served without reading what is around them; a power of two. */
  readonly alignment: number;
  /** The same for `writeZeroes` and `discard`: a cluster. */
  readonly zeroAlignment: number;
  /** Largest request, bytes. */
  readonly maxTransfer: number;
}

export type Preallocation = 'off' | 'metadata' | 'falloc' | 'full';

export interface TruncateOptions {
  readonly preallocation?: Preallocation;
  /** The new part must read as zeroes even where a backing node is longer. */
  readonly zero?: boolean;
  /** Must become exactly `size`; otherwise a node that cannot shrink (a device) may stay larger. */
  readonly exact?: boolean;
}

/** What a child is to its parent. */
export type ChildRole = 'file' | 'backing' | 'data-file' | 'extent' | 'filtered';

export interface Child {
  /** As in -blockdev: "file", "backing", "data-file", "extents.0". */
  readonly name: string;
  readonly role: ChildRole;
  readonly node: BlockNode;
}

export abstract class BlockNode {
  /** node-name: unique in its graph; "#block123" when nobody gave one. */
  readonly name: string;
  /** As in -blockdev's driver=. */
  abstract readonly driver: string;
  readonly readOnly: boolean;

  constructor(name: string, readOnly: boolean) {
    this.name = name;
    this.readOnly = readOnly;
  }

  /** Bytes. May change with `truncate`. */
  abstract get size(): number;
  /** Nodes that this one is built on; a filter's only child has role 'filtered'. */
  abstract get children(): readonly Child[];
  get limits(): RequestLimits {
    return { alignment: 1, zeroAlignment: 1, maxTransfer: 0x7ffffe00 };
  }
  /** How a user would name what is behind this: a file name, "nbd://…", or "json:{…}" when nothing shorter says it. */
  abstract get filename(): string;

  /** Fills `into` with the bytes from `offset` on. */
  abstract read(offset: number, into: IoVector): Promise<void>;
  /** `read` at once, if nothing must be waited for; false: use `read`, and `into` may hold anything. */
  readNow(_offset: number, _into: IoVector): boolean {
    return false;
  }
  abstract write(offset: number, from: IoVector, flags?: WriteFlags): Promise<void>;
  abstract writeZeroes(offset: number, bytes: number, flags?: ZeroFlags): Promise<void>;
  /** These bytes are not needed any more: what they read as afterwards is anything, unless the node says more. */
  abstract discard(offset: number, bytes: number): Promise<void>;
  /** All that was done before is on stable storage when this is. */
  abstract flush(): Promise<void>;
  abstract status(offset: number, bytes: number): Promise<BlockStatus>;
  abstract truncate(size: number, options?: TruncateOptions): Promise<void>;
  /** Whether all of it reads as zeroes right after it was created, if that is known (lets `convert` leave out zeroes). */
  get zeroWhenNew(): boolean {
    return false;
  }
  /** Flushes, writes back what is cached, gives up files and locks; not its children, which the graph closes. Once. */
  abstract close(): Promise<void>;

  protected checkRange(offset: number, bytes: number): void {
    if (offset < 0 || bytes < 0 || !Number.isSafeInteger(offset + bytes) || offset + bytes > this.size)
      throw new BlockError('EIO', `request [${offset}, +${bytes}) beyond the end of node '${this.name}'`);
  }

  protected checkWritable(): void {
    if (this.readOnly) throw new BlockError('EPERM', `node '${this.name}' is read-only`);
  }

  // ---- what only some can do; a node that has the property can ----

  /** Internal snapshots. */
  readonly snapshots?: SnapshotStore;
  /** Dirty bitmaps that are stored in the image. */
  readonly bitmaps?: BitmapStore;
  /** `img check`. */
  check?(repair: 'none' | 'leaks' | 'all'): Promise<CheckResult>;
  /** Facts that `img info` prints under "Format specific information"; keys and order as in QEMU's ImageInfoSpecific. */
  specificInfo?(): { readonly type: string; readonly data: Readonly<Record<string, JsonValue>> };
  /** What `img info` prints of it, and whether only compressed writes of whole clusters are taken. */
  imageInfo?(): {
    readonly clusterSize?: number;
    readonly dirty?: boolean;
    readonly encrypted?: boolean;
    readonly compressed?: boolean;
  };
  /** `img amend`; `force` as its option. Reports progress as a share of 1. */
  amend?(options: Readonly<Record<string, string>>, force: boolean, progress: (done: number) => void): Promise<void>;
  /** Bytes of storage that a protocol node takes, holes not counted; undefined when nobody knows. */
  allocatedBytes?(): Promise<number | undefined>;
  /** Drops all data, so that everything comes from the backing node (after `img commit`). */
  makeEmpty?(): Promise<void>;
  /** Name and format of the backing file as stored in the image; writes them when called with values, null for none. */
  readonly backingReference?: { readonly file: string; readonly format?: string } | undefined;
  setBackingReference?(reference: { readonly file: string; readonly format?: string } | null): Promise<void>;
  /** Where in the file the state of a machine would begin, as `info` of `orrery io` tells it. */
  get vmStateOffset(): number | undefined {
    return undefined;
  }
  /** The state of a machine, which lies beside the disk. */
  readVmState?(offset: number, into: IoVector): Promise<void>;
  writeVmState?(offset: number, from: IoVector): Promise<void>;
  /**
   * Tells a node below that something comes to pass, by the names that rules of `blkdebug` have for events ("l2_update"). A promise: the
   * request is to wait for it.
   */
  debugEvent?(event: string): Promise<void> | undefined;
  /** Requests can be stopped here. */
  get breakpoints(): Breakpoints | undefined {
    return undefined;
  }
  /** Puts another backing node under this one while it runs. */
  replaceBacking?(node: BlockNode | undefined): void;
}

/** Places at which requests are stopped, each with a tag by which it is told of afterwards. */
export interface Breakpoints {
  /** Stops the next request that comes to `event`; false: there is no such event. */
  add(event: string, tag: string): boolean;
  /** Takes breakpoints away and lets their requests go on; false: there is none with that tag. */
  remove(tag: string): boolean;
  /** Lets one request go on; false: none is stopped. */
  resume(tag: string): boolean;
  isSuspended(tag: string): boolean;
  /** Resolves when a request is stopped with that tag. */
  suspended(tag: string): Promise<void>;
  /** Called with each sentence that somebody who debugs wants to see. */
  report: (sentence: string) => void;
}

export type JsonValue =
  null | boolean | number | string | readonly JsonValue[] | { readonly [name: string]: JsonValue };

export interface SnapshotInfo {
  readonly id: string;
  readonly name: string;
  readonly vmStateBytes: number;
  /** Milliseconds since 1970; with what is below a millisecond in `dateNs`. */
  readonly dateSeconds: number;
  readonly dateNs: number;
  readonly vmClockNs: bigint;
  readonly icount?: bigint;
  readonly diskBytes: number;
}

export interface SnapshotStore {
  list(): readonly SnapshotInfo[];
  create(snapshot: Omit<SnapshotInfo, 'id' | 'diskBytes'>): Promise<void>;
  /** `which` is an id or a name; ids first. */
  apply(which: string): Promise<void>;
  delete(which: string): Promise<void>;
  /** A read-only view of the disk as it was. */
  open(which: string): Promise<BlockNode>;
}

export interface BitmapInfo {
  readonly name: string;
  readonly granularity: number;
  /** 'in-use', 'auto', as ImageInfo has them. */
  readonly flags: readonly string[];
}

/** A bitmap over the node's bytes at some granularity. */
export interface DirtyBitmap {
  readonly name: string;
  /** Bytes a bit stands for. */
  readonly granularity: number;
  readonly enabled: boolean;
  /** First run from `offset` on: whether dirty, and for how many bytes. */
  run(offset: number, bytes: number): { readonly dirty: boolean; readonly bytes: number };
  set(offset: number, bytes: number): void;
  clear(): void;
  dirtyBytes(): number;
}

export interface BitmapStore {
  list(): readonly BitmapInfo[];
  find(name: string): DirtyBitmap | undefined;
  add(name: string, granularity: number, enabled: boolean): Promise<DirtyBitmap>;
  remove(name: string): Promise<void>;
  enable(name: string, enabled: boolean): Promise<void>;
}

/** As QEMU's ImageCheck: counts, not sentences; sentences go to `messages` in the order found. */
export interface CheckResult {
  readonly corruptions: number;
  readonly leaks: number;
  readonly checkErrors: number;
  readonly corruptionsFixed: number;
  readonly leaksFixed: number;
  readonly imageEndOffset?: number;
  readonly totalClusters?: number;
  readonly allocatedClusters?: number;
  readonly fragmentedClusters?: number;
  readonly compressedClusters?: number;
  readonly messages: readonly string[];
}
