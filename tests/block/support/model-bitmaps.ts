/** The dirty bitmaps of a model's disk: what each must have recorded, and what it may have. */
import type { BlockNode, DirtyBitmap } from '../../../src/block/node.ts';

interface Recorded {
  readonly granularity: number;
  enabled: boolean;
  /** By granule, 1: written since there is the bitmap, while it was enabled. */
  dirty: Uint8Array;
}

export class ModelBitmaps {
  private readonly known = new Map<string, Recorded>();
  private size: number;

  constructor(size: number) {
    this.size = size;
  }

  get names(): readonly string[] {
    return [...this.known.keys()];
  }

  add(name: string, granularity: number): void {
    this.known.set(name, { granularity, enabled: true, dirty: new Uint8Array(Math.ceil(this.size / granularity)) });
  }

  remove(name: string): void {
    this.known.delete(name);
  }

  isEnabled(name: string): boolean {
    return this.known.get(name)?.enabled === true;
  }

  enable(name: string, enabled: boolean): void {
    const bitmap = this.known.get(name);
    if (bitmap !== undefined) bitmap.enabled = enabled;
  }

  /** A request that changes the disk, done or failed. */
  record(offset: number, bytes: number): void {
    if (bytes === 0) return;
    for (const { granularity, enabled, dirty } of this.known.values())
      if (enabled) dirty.fill(1, Math.floor(offset / granularity), Math.ceil((offset + bytes) / granularity));
  }

  resize(size: number): void {
    this.size = size;
    for (const bitmap of this.known.values()) {
      const dirty = new Uint8Array(Math.ceil(size / bitmap.granularity));
      dirty.set(bitmap.dirty.subarray(0, dirty.length));
      bitmap.dirty = dirty;
    }
  }

  /** The node's bitmaps are these. */
  verify(node: BlockNode): void {
    const there = node.bitmaps?.list().map(({ name }) => name) ?? [];
    if (there.toSorted().join() !== this.names.toSorted().join())
      throw new Error(`bitmaps: ${there.join()} instead of ${this.names.join()}`);
    for (const [name, recorded] of this.known) compare(name, recorded, node.bitmaps?.find(name), this.size);
  }

  /**
   * Whoever used the disk last did not close it: bitmaps that were never stored are gone, and those that are not in use are what they
   * were. The others are removed.
   */
  async afterLoss(node: BlockNode): Promise<void> {
    const listed = node.bitmaps?.list() ?? [];
    for (const { name, flags } of listed) {
      if (!flags.includes('in-use') && this.known.has(name)) continue;
      if (!flags.includes('in-use')) throw new Error(`bitmap ${name} is there again`);
      await node.bitmaps?.remove(name);
      this.known.delete(name);
    }
    for (const name of this.names) if (!listed.some((bitmap) => bitmap.name === name)) this.known.delete(name);
    this.verify(node);
  }
}

function compare(name: string, recorded: Recorded, bitmap: DirtyBitmap | undefined, size: number): void {
  const { granularity, enabled, dirty } = recorded;
  if (bitmap?.enabled !== enabled || bitmap.granularity !== granularity)
    throw new Error(`bitmap ${name} is another: enabled ${bitmap?.enabled}, granularity ${bitmap?.granularity}`);
  for (let at = 0; at < size;) {
    const run = bitmap.run(at, size - at);
    if (run.bytes <= 0) throw new Error(`bitmap ${name}: a run of nothing at ${at}`);
    for (let granule = at / granularity; granule * granularity < at + run.bytes; granule++)
      if ((dirty[granule] === 1) !== run.dirty)
        throw new Error(`bitmap ${name}: ${granule * granularity} is ${run.dirty ? 'dirty' : 'clean'}`);
    at += run.bytes;
  }
}
