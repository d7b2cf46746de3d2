/** A chain of images on failing files, and the operations that the model test does to it and to its model alike. */
import { BlockError, ImageError } from '../../../src/block/block-error.ts';
import { BlockGraph } from '../../../src/block/graph.ts';
import { commitImage } from '../../../src/block/jobs/commit.ts';
import type { BlockNode } from '../../../src/block/node.ts';
import { nodeBlockHost } from '../../../src/host/node/block/host.ts';
import { FailingFile } from './failing-file.ts';
import { ModelBitmaps } from './model-bitmaps.ts';
import { ModelDisk } from './model-disk.ts';

export interface Layer {
  readonly format: string;
  readonly options?: Readonly<Record<string, string>>;
  readonly open?: Readonly<Record<string, string>>;
  readonly size: number;
}

export interface Chain {
  readonly name: string;
  /** From the bottom; the last is the disk. */
  readonly layers: readonly Layer[];
  /** Of compressed writes; undefined: the format has none. */
  readonly clusterBytes?: number;
  /** What a check may complain of, and no more, when the program ended or a request failed in the middle. */
  readonly excused?: string;
  /** Takes long to open: fewer runs. */
  readonly slow?: boolean;
  /** It keeps dirty bitmaps. */
  readonly bitmaps?: boolean;
  /** It never changes its size. */
  readonly fixedSize?: boolean;
}

/** Numbers that each operation takes as it needs them. */
export interface Operation {
  readonly kind:
    | 'read' | 'write' | 'compressed' | 'zero' | 'discard' | 'flush' | 'resize' | 'snapshot' | 'apply' | 'delete' | 'commit'
    | 'bitmap' | 'parallel' | 'reopen' | 'crash' | 'fault' | 'check';
  readonly at: number;
  readonly bytes: number;
  readonly fill: number;
} // prettier-ignore

const secret = async (): Promise<Uint8Array> => new TextEncoder().encode('model');
const UNIT = 512;

export class ModelRig {
  private readonly chain: Chain;
  private readonly files: readonly FailingFile[];
  private readonly model: ModelDisk;
  private readonly bitmaps: ModelBitmaps;
  /** What the disk was; undefined when it looked through to what was changed below since. */
  private readonly snapshots = new Map<string, Uint8Array | undefined>();
  private graph!: BlockGraph;
  private node!: BlockNode;
  private base: BlockNode | undefined;
  private count = 0;
  /** Faults before the image was opened. */
  private faultsBefore = 0;
  /** Whether something went wrong in this image's life, which may leave leaks. */
  private disturbed = false;

  constructor(chain: Chain) {
    this.chain = chain;
    this.files = chain.layers.map((_, i) => new FailingFile(`file${i}`));
    this.model = new ModelDisk(chain.layers.at(-1)?.size ?? 0);
    this.bitmaps = new ModelBitmaps(this.model.size);
  }

  async create(): Promise<void> {
    const graph = new BlockGraph(nodeBlockHost);
    for (const [i, { format, options = {}, size }] of this.chain.layers.entries()) {
      const driver = graph.driver(format);
      // INVARIANT: a file each; a context that is asked for nothing else.
      await driver?.create?.({ file: this.files[i]!, size, options }, { host: nodeBlockHost, secret } as never);
    }
    await this.open();
    const [bottom] = this.chain.layers;
    if (bottom === undefined || this.chain.layers.length === 1) {
      if (bottom?.format === 'luks') await this.write(0, new Uint8Array(this.model.size));
      return;
    }
    // Something to see through from above.
    const data = Uint8Array.from({ length: bottom.size >> 1 }, (_, i) => (i >> 9) + 1);
    const base = this.base ?? this.node;
    await base.write(UNIT, [data]);
    await base.flush();
    this.model.set(UNIT, data.subarray(0, Math.max(0, this.model.size - UNIT)));
    this.model.flush();
  }

  async run(operation: Operation): Promise<void> {
    try {
      await this.perform(operation);
    } catch (error) {
      const expected = error instanceof BlockError || error instanceof ImageError;
      if (!expected || !this.wounded) throw error;
    }
  }

  /** Everything is as it must be, now and after opening it again. */
  async finish(): Promise<void> {
    for (const file of this.files) file.failAt(0, 'EIO');
    await this.reopen();
    await this.verify();
    await this.check();
    await this.graph.closeAll();
  }

  private get wounded(): boolean {
    return this.faults() > this.faultsBefore;
  }

  private faults(): number {
    return this.files.reduce((sum, file) => sum + file.faults, 0);
  }

  private async open(): Promise<void> {
    this.faultsBefore = this.faults();
    this.graph = new BlockGraph(nodeBlockHost, { secret });
    let below: string | undefined;
    this.base = undefined;
    for (const [i, { format, open = {} }] of this.chain.layers.entries()) {
      const file = this.files[i]!; // INVARIANT: a file each
      this.graph.add(file);
      const options = { driver: format, ...open, file: file.name, ...(below !== undefined && { backing: below }) };
      this.node = await this.graph.open(options, { unmap: true });
      below = this.node.name;
      if (i === this.chain.layers.length - 2) this.base = this.node;
    }
  }

  private async perform(operation: Operation): Promise<void> {
    const { kind, fill } = operation;
    const [offset, bytes] = this.range(operation);
    switch (kind) {
      case 'read':
        return this.read(offset, bytes);
      case 'write':
        return this.write(offset, pattern(bytes, fill));
      case 'compressed':
        return this.writeCompressed(offset, bytes, fill);
      case 'zero':
        return this.change(offset, new Uint8Array(bytes), () => this.node.writeZeroes(offset, bytes, { unmap: fill % 2 === 0 }));
      case 'discard':
        this.model.forget(offset, bytes);
        this.bitmaps.record(offset, bytes);
        return this.node.discard(offset, bytes);
      case 'flush':
        await this.node.flush();
        return this.model.flush();
      case 'resize':
        return this.resize(operation);
      case 'snapshot':
      case 'apply':
      case 'delete':
        return this.snapshot(kind, fill);
      case 'commit':
        return this.commit();
      case 'bitmap':
        return this.bitmap(operation);
      case 'parallel':
        return this.parallel(operation);
      case 'reopen':
        return this.reopen();
      case 'crash':
        return this.crash();
      case 'fault':
        // INVARIANT: there are files, and errors.
        return this.files.at(-1)!.failAt(1 + (operation.at % 12), (['EIO', 'ENOSPC'] as const)[fill % 2]!);
      case 'check':
        return this.check();
    }
  } // prettier-ignore

  /** Where an operation's numbers are on the disk: anywhere, to the byte or to the sector. */
  private range({ at, bytes, fill }: Operation): readonly [offset: number, bytes: number] {
    const { size } = this.model;
    if (size === 0) return [0, 0];
    const unit = fill % 3 === 0 ? 1 : UNIT;
    const offset = Math.floor((at % size) / unit) * unit;
    return [offset, Math.min(Math.max(unit, Math.floor(bytes / unit) * unit), size - offset)];
  }

  private async read(offset: number, bytes: number): Promise<void> {
    const seen = new Uint8Array(bytes);
    await this.node.read(offset, [seen.subarray(0, bytes >> 1), seen.subarray(bytes >> 1)]);
    const wrong = this.model.observe(offset, seen);
    if (wrong !== undefined) throw new Error(wrong);
  }

  private write(offset: number, data: Uint8Array): Promise<void> {
    return this.change(offset, data, () => this.node.write(offset, [data]));
  }

  private async change(offset: number, data: Uint8Array, request: () => Promise<void>): Promise<void> {
    this.bitmaps.record(offset, data.length);
    try {
      await request();
    } catch (error) {
      this.model.maySet(offset, data);
      throw error;
    }
    this.model.set(offset, data);
  }

  private async writeCompressed(offset: number, bytes: number, fill: number): Promise<void> {
    const { clusterBytes } = this.chain;
    if (clusterBytes === undefined) return;
    const start = Math.floor(offset / clusterBytes) * clusterBytes;
    const data = pattern(Math.min(Math.ceil(bytes / clusterBytes) * clusterBytes, this.model.size - start), fill);
    await this.change(start, data, () => this.node.write(start, [data], { compressed: true }));
  }

  private async resize({ bytes, at }: Operation): Promise<void> {
    if (this.chain.fixedSize === true) return;
    const top = this.chain.layers.at(-1)?.size ?? 0;
    const size = Math.floor((top / 2 + ((bytes * 31 + at) % top)) / UNIT) * UNIT;
    if (this.snapshots.size > 0) return;
    let failure: unknown;
    await this.node.truncate(size, { zero: true }).catch((error: unknown) => (failure = error));
    const seen = this.node.size;
    if (seen !== size && !this.wounded) throw new Error(`became ${seen} bytes instead of ${size}`, { cause: failure });
    this.model.resize(seen);
    this.bitmaps.resize(seen);
    if (failure === undefined) return;
    this.model.forget(0, seen);
    throw failure;
  }

  private async snapshot(kind: 'snapshot' | 'apply' | 'delete', fill: number): Promise<void> {
    const { snapshots } = this.node;
    if (snapshots === undefined) return;
    const names = [...this.snapshots.keys()];
    const name = kind === 'snapshot' ? `s${this.count++}` : names[fill % Math.max(1, names.length)];
    if (name === undefined || (kind === 'snapshot' && names.length >= 3)) return;
    try {
      if (kind === 'snapshot') {
        await this.verify();
        await snapshots.create({ name, vmStateBytes: 0, dateSeconds: 1, dateNs: 0, vmClockNs: 0n });
        this.snapshots.set(name, this.model.content());
      } else if (kind === 'delete') {
        await snapshots.delete(name);
        this.snapshots.delete(name);
      } else {
        await snapshots.apply(name);
        const content = this.snapshots.get(name);
        if (content === undefined) this.model.forget(0, this.model.size);
        else this.model.restore(content);
      }
    } catch (error) {
      if (!this.wounded) throw error;
      if (kind === 'apply') {
        this.model.resize(this.node.size);
        this.model.forget(0, this.model.size);
      }
      await this.keepSnapshots();
      throw error;
    }
  }

  /** Of snapshots under way when a fault came, the image tells which there are. */
  private async keepSnapshots(): Promise<void> {
    const there = new Set(this.node.snapshots?.list().map((snapshot) => snapshot.name));
    for (const name of this.snapshots.keys()) if (!there.has(name)) this.snapshots.delete(name);
    await Promise.resolve();
  }

  private async commit(): Promise<void> {
    if (this.base === undefined) return;
    for (const name of this.snapshots.keys()) this.snapshots.set(name, undefined);
    for await (const _ of commitImage(this.node, this.base));
    await this.node.makeEmpty?.();
  }

  /** One more, one less, or one that begins or ceases to record; after a fault none is left that nobody knows the state of. */
  private async bitmap({ at, fill }: Operation): Promise<void> {
    const { bitmaps } = this.node;
    if (this.chain.bitmaps !== true || bitmaps === undefined) return;
    const { names } = this.bitmaps;
    const name = names[at % Math.max(1, names.length)];
    if (name === undefined || (names.length < 3 && fill % 3 === 0)) {
      const granularity = 512 << (at % 9);
      const added = `b${this.count++}`;
      await bitmaps.add(added, granularity, true);
      this.bitmaps.add(added, granularity);
    } else if (fill % 3 === 1) {
      this.bitmaps.remove(name);
      await bitmaps.remove(name);
    } else {
      const enabled = !this.bitmaps.isEnabled(name);
      this.bitmaps.enable(name, enabled);
      await bitmaps.enable(name, enabled);
    }
    this.bitmaps.verify(this.node);
  }

  private async parallel({ at, bytes, fill }: Operation): Promise<void> {
    const part = Math.floor(this.model.size / 4 / UNIT) * UNIT;
    if (part === 0) return;
    const requests = [0, 1, 2, 3].map((i) => {
      const offset = i * part + ((at * (i + 1)) % (part >> 1));
      const data = pattern(Math.min(1 + bytes, part >> 1), fill + i);
      return i === 3 && fill % 2 === 0
        ? this.change(offset, new Uint8Array(data.length), () => this.node.writeZeroes(offset, data.length, {}))
        : this.write(offset, data);
    });
    const outcomes = await Promise.allSettled(requests);
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  private async reopen(): Promise<void> {
    if (this.chain.bitmaps === true) this.bitmaps.verify(this.node);
    let lost = false;
    try {
      await this.graph.closeAll();
      this.model.flush();
    } catch (error) {
      if (!this.wounded || !(error instanceof BlockError || error instanceof ImageError)) throw error;
      this.model.lose();
      lost = true;
    }
    await this.openAgain(lost);
  }

  /** The program ends without a word: whatever it had written to its files is there. */
  private async crash(): Promise<void> {
    this.model.lose();
    this.disturbed = true;
    await this.openAgain(true);
  }

  private async openAgain(lost: boolean): Promise<void> {
    for (const file of this.files) file.failAt(0, 'EIO');
    this.disturbed ||= this.wounded;
    await this.open();
    const before = this.model.size;
    if (before !== this.node.size) this.model.resize(this.node.size);
    if (before !== this.node.size) this.bitmaps.resize(this.node.size);
    if (this.chain.bitmaps === true) await (lost ? this.bitmaps.afterLoss(this.node) : this.bitmaps.verify(this.node));
    // A resize that was lost has brought back what was there.
    if (before < this.node.size) this.model.forget(before, this.node.size - before);
    await this.keepSnapshots();
  }

  private async verify(): Promise<void> {
    const STEP = 1 << 20;
    for (let at = 0; at < this.model.size; at += STEP) await this.read(at, Math.min(STEP, this.model.size - at));
  }

  private async check(): Promise<void> {
    if (this.node.check === undefined) return;
    await this.node.flush();
    this.model.flush();
    const { corruptions, leaks, checkErrors, messages } = await this.node.check('none');
    const disturbed = this.disturbed || this.wounded;
    const { excused: excuse } = this.chain;
    const excused =
      disturbed && excuse !== undefined ? messages.filter((message) => message.startsWith(excuse)).length : 0;
    if (corruptions > excused || checkErrors > 0 || (leaks > 0 && !disturbed))
      throw new Error(
        `check: ${corruptions} corruptions, ${leaks} leaks: ${messages.toSorted(leaksLast).slice(0, 8).join('; ')}`,
      );
  }
}

function leaksLast(a: string, b: string): number {
  return Number(a.startsWith('Leaked')) - Number(b.startsWith('Leaked'));
}

function pattern(bytes: number, fill: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => (fill % 5 === 0 ? (i * 131 + fill) >> 3 : fill));
}
