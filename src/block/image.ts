/**
 * Disk images for programs: `openImage` and `createImage`. An image is the top node of a graph with what one wants of it as
 * methods; everything else is its `node`'s.
 */
import { BlockError, ImageError } from './block-error.ts';
import { statusOfChain } from './chain-status.ts';
import type { NodeOptions } from './driver.ts';
import { BlockGraph, type OpenFlags } from './graph.ts';
import type { BlockHost, TlsOptions } from './host.ts';
import {
  readStream, type ReadStreamOptions, writeStream, type WriteStreamOptions,
} from './image-streams.ts'; // prettier-ignore
import { compareImages, type CompareOptions, type Comparison } from './jobs/compare.ts';
import { copyImage, type CopyOptions } from './jobs/copy.ts';
import { type ImageFacts, imageFacts } from './jobs/image-facts.ts';
import type { Abortable, JobProgress } from './jobs/job.ts';
import type { BlockNode, TruncateOptions, WriteFlags, ZeroFlags } from './node.ts';

export interface OpenImageOptions extends OpenFlags {
  /** The graph that it becomes part of; by default one of its own. */
  readonly graph?: BlockGraph;
  /** Values of secrets (passphrases of encrypted images) by the ids that the image's options name. */
  readonly secrets?: Readonly<Record<string, string | Uint8Array>>;
  /** Keys of TLS connections by id. */
  readonly tlsCredentials?: Readonly<Record<string, TlsOptions>>;
  /** Limits of throttle groups by id, in the names of QEMU's (`iops-total`, `bps-read-max` …). */
  readonly throttleGroups?: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Told one sentence about what is odd but no error. */
  readonly warn?: (sentence: string) => void;
  readonly signal?: AbortSignal;
}

export interface NewImageOptions {
  readonly filename: string;
  /** `raw` (default), `qcow2`, `vmdk` … */
  readonly format?: string;
  /** Bytes; by default the backing image's. */
  readonly size?: number;
  /** The image that everything comes from which is not written to this one. Relative names are meant from the new image's folder. */
  readonly backing?: { readonly filename: string; readonly format: string };
  /** The format's own, as `orrery img create -o` takes them. */
  readonly options?: Readonly<Record<string, string | number | boolean>>;
}

/** What is known of a run of bytes. */
export interface ImageExtent {
  readonly offset: number;
  readonly bytes: number;
  /** Stored somewhere in the chain. */
  readonly data: boolean;
  readonly zero: boolean;
  /** Which image of the chain says so: 1 this one, 2 its backing image …; 0: none, and it reads as zeroes. */
  readonly depth: number;
}

/** See CopyOptions; without sources and target, which are images here. */
export type CopyImageOptions = Omit<Partial<CopyOptions>, 'sources' | 'target'>;

/** Options with the id of a secret, which are spelt alike for making an image and for opening it. */
const KEY_OPTIONS: readonly string[] = ['key-secret', 'encrypt.key-secret'];
/** Long requests are made in steps, between which they can be aborted. */
const STEP_BYTES: number = 16 * 1024 ** 2;
/** Questions of block status are about so many bytes at most, that many changes of state do not make one answer long in coming. */
const STATUS_STEP_BYTES: number = 1024 ** 3;

/** An open disk image. `close` it, or declare it with `await using`. */
export class DiskImage {
  readonly graph: BlockGraph;
  /** Its top node: what devices, NBD servers and jobs take. */
  readonly node: BlockNode;
  private closing: Promise<void> | undefined;

  constructor(graph: BlockGraph, node: BlockNode) {
    this.graph = graph;
    this.node = node;
  }

  /** Bytes. */
  get size(): number {
    return this.node.size;
  }

  get format(): string {
    return this.node.driver;
  }

  get filename(): string {
    return this.node.filename;
  }

  get readOnly(): boolean {
    return this.node.readOnly;
  }

  /** Reads `bytes` bytes into a new buffer, or as many as the given buffer has. Fails when they are not all in the image. */
  async read(offset: number, what: number | Uint8Array, { signal }: Abortable = {}): Promise<Uint8Array> {
    const into = typeof what === 'number' ? new Uint8Array(this.checked(offset, what)) : what;
    await inSteps(into.length, signal, (done, bytes) =>
      this.node.read(offset + done, [into.subarray(done, done + bytes)]),
    );
    return into;
  }

  async write(offset: number, data: Uint8Array, { signal, ...flags }: WriteFlags & Abortable = {}): Promise<void> {
    this.checked(offset, data.length);
    await inSteps(data.length, signal, (done, bytes) =>
      this.node.write(offset + done, [data.subarray(done, done + bytes)], flags),
    );
  }

  async writeZeroes(offset: number, bytes: number, flags: ZeroFlags = {}): Promise<void> {
    await this.node.writeZeroes(offset, this.checked(offset, bytes), flags);
  }

  /** These bytes are not needed any more; their storage may be given back. */
  async discard(offset: number, bytes: number): Promise<void> {
    await this.node.discard(offset, this.checked(offset, bytes));
  }

  /** All that was written before is on stable storage when this is done. */
  async flush(): Promise<void> {
    await this.node.flush();
  }

  async resize(size: number, options: TruncateOptions = {}): Promise<void> {
    await this.node.truncate(size, { exact: true, ...options });
  }

  /** What each run of [offset, offset + bytes) is; by default of all of it. Neighbours that are alike come as one. */
  async *blockStatus(
    offset: number = 0,
    bytes: number = this.size - offset,
    { signal }: Abortable = {},
  ): AsyncGenerator<ImageExtent, void, void> {
    this.checked(offset, bytes);
    let last: ImageExtent | undefined;
    for (let at = offset; at < offset + bytes;) {
      signal?.throwIfAborted();
      const left = Math.min(offset + bytes - at, STATUS_STEP_BYTES);
      const { bytes: run, data, zero, depth } = await statusOfChain(this.node, at, left);
      if (last !== undefined && last.data === data && last.zero === zero && last.depth === depth) {
        last = { ...last, bytes: last.bytes + run };
      } else {
        if (last !== undefined) yield last;
        last = { offset: at, bytes: run, data, zero, depth };
      }
      at += run;
    }
    if (last !== undefined) yield last;
  }

  /** What there is to know of it, in the names of QEMU's ImageInfo. */
  info(): Promise<ImageFacts> {
    return imageFacts(this.graph, this.node);
  }

  /**
   * Copies all of it to another image, whatever their formats, and yields how far it is; what was copied is on stable storage at the
   * end. `for await (const { done, total } of image.copyTo(target))`, or `finish(image.copyTo(target))`.
   */
  async *copyTo(target: DiskImage, options: CopyImageOptions = {}): AsyncGenerator<JobProgress, void, void> {
    if (target.size < this.size)
      throw new ImageError(`'${target.filename}' of ${target.size} bytes is smaller than '${this.filename}' of ${this.size}`); // prettier-ignore
    yield* copyImage({ targetIsZero: false, ...options, sources: [this.node], target: target.node });
    await target.flush();
  }

  /** Whether another image has the same content; yields how far it is, and returns what was found. */
  compareTo(other: DiskImage, options: CompareOptions = {}): AsyncGenerator<JobProgress, Comparison, void> {
    return compareImages(this.node, other.node, options);
  }

  /** Its bytes as a stream. */
  readable(options: ReadStreamOptions = {}): ReadableStream<Uint8Array> {
    return readStream(this.node, options);
  }

  /** A stream that is written to it. */
  writable(options: WriteStreamOptions = {}): WritableStream<Uint8Array> {
    return writeStream(this.node, options);
  }

  /** Once is enough, more do nothing. */
  close(): Promise<void> {
    this.closing ??= this.graph.close(this.node);
    return this.closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private checked(offset: number, bytes: number): number {
    const inside = offset >= 0 && bytes >= 0 && Number.isSafeInteger(offset) && offset + bytes <= this.size;
    if (!inside || !Number.isSafeInteger(bytes)) {
      throw new BlockError('EINVAL', `${bytes} bytes from ${offset} on are not in an image of ${this.size} bytes`);
    }
    return bytes;
  }
}

/**
 * Opens an image: a file name (`a.qcow2`, `nbd://host/export`, `https://…`, `json:{…}`) or the options of a node in the names of
 * `-blockdev`. Its format is told by its content unless `format` says it.
 * @throws {ImageError} in one sentence, for what is no image or must not be used.
 */
export async function openImage(
  host: BlockHost,
  what: string | NodeOptions,
  options: OpenImageOptions = {},
): Promise<DiskImage> {
  const { graph: given, secrets: _, tlsCredentials: __, throttleGroups: ___, warn: ____, signal, ...flags } = options;
  signal?.throwIfAborted();
  const graph = given ?? graphFor(host, options);
  const image = new DiskImage(graph, await graph.open(what, flags));
  if (signal?.aborted === true) {
    await image.close();
    signal.throwIfAborted();
  }
  return image;
}

/** Writes an empty image and opens it; a file that is there already is overwritten. */
export async function createImage(
  host: BlockHost,
  { filename, format = 'raw', size, backing, options = {} }: NewImageOptions,
  openOptions: Omit<OpenImageOptions, 'format'> = {},
): Promise<DiskImage> {
  const graph = openOptions.graph ?? graphFor(host, openOptions);
  const text = Object.entries(options).map(([name, value]): [string, string] => [name, optionText(value)]);
  await graph.create({
    format,
    filename,
    size: size ?? (await backingSize(host, filename, backing)),
    options: {
      ...Object.fromEntries(text),
      ...(backing !== undefined && { backing_file: backing.filename, backing_fmt: backing.format }),
    },
  });
  // An encrypted image is opened with the secret that it was made with.
  const keys = text.filter(([name]) => KEY_OPTIONS.includes(name));
  const what = { driver: format, file: graph.filenames.protocolOptions(filename), ...Object.fromEntries(keys) };
  return openImage(host, keys.length === 0 ? filename : what, { ...openOptions, graph, format });
}

function graphFor(
  host: BlockHost,
  { secrets = {}, tlsCredentials = {}, throttleGroups = {}, warn }: OpenImageOptions,
): BlockGraph {
  return new BlockGraph(host, {
    ...(warn !== undefined && { warn }),
    secret: (id) => secretOf(secrets, id),
    tlsCredentials: (id) => credentialsOf(tlsCredentials, id),
    throttleGroup: (id) => (Object.hasOwn(throttleGroups, id) ? throttleGroups[id] : undefined),
  });
}

async function backingSize(host: BlockHost, filename: string, backing: NewImageOptions['backing']): Promise<number> {
  if (backing === undefined) throw new ImageError(`'${filename}' needs a size, since it has no backing image`);
  const name = host.resolve?.(filename, backing.filename) ?? backing.filename;
  const image = await openImage(host, name, { format: backing.format, readOnly: true });
  try {
    return image.size;
  } finally {
    await image.close();
  }
}

function optionText(value: string | number | boolean): string {
  return typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value);
}

async function secretOf(secrets: NonNullable<OpenImageOptions['secrets']>, id: string): Promise<Uint8Array> {
  const value = Object.hasOwn(secrets, id) ? secrets[id] : undefined;
  if (value === undefined) throw new ImageError(`No secret with id '${id}'`, 'ENOENT');
  return typeof value === 'string' ? new TextEncoder().encode(value) : value;
}

async function credentialsOf(all: Readonly<Record<string, TlsOptions>>, id: string): Promise<TlsOptions> {
  const value = Object.hasOwn(all, id) ? all[id] : undefined;
  if (value === undefined) throw new ImageError(`No TLS credentials with id '${id}'`, 'ENOENT');
  return value;
}

async function inSteps(
  bytes: number,
  signal: AbortSignal | undefined,
  step: (done: number, bytes: number) => Promise<void>,
): Promise<void> {
  for (let done = 0; done < bytes; done += STEP_BYTES) {
    signal?.throwIfAborted();
    await step(done, Math.min(STEP_BYTES, bytes - done));
  }
}
