/**
 * A table of an image (block map, grain table) that is read as needed, some pages at a time: a hostile header may claim any number
 * of entries, and none of them is allocated before it is asked for. Changes stay in memory until `writeBack`.
 */
import { viewOf } from '../../../base/bytes.ts';
import { BlockError } from '../../block-error.ts';
import type { BlockNode } from '../../node.ts';

const PAGE_BYTES = 64 * 1024;
/** Pages kept of one table: 8 MiB at most, however long the table says it is. */
const MAX_PAGES = 128;
const LONGEST_ENTRY = 8;
/** Changes are written in units of this, unless told otherwise. */
const SECTOR_BYTES = 512;

/** Writes changed bytes to where they belong, some way that is safer than writing them. */
export type WriteOut = (offset: number, bytes: Uint8Array) => Promise<void>;

interface Page {
  readonly start: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** By sector: 1 when it was changed and not yet written. What lies between entries may be data that others write. */
  readonly dirty: Uint8Array;
  changed: boolean;
}

export class PagedTable {
  private readonly pages = new Map<number, Page>();
  private readonly loading = new Map<number, Promise<void>>();
  private readonly node: BlockNode;
  private readonly offset: number;
  private readonly bytes: number;

  private readonly sectorBytes: number;
  private readonly writeOut: WriteOut;

  /** `bytes` from `offset` on in `node`; changes go through `writeOut`, in multiples of `sectorBytes`. */
  constructor(node: BlockNode, offset: number, bytes: number, how?: { sectorBytes: number; writeOut: WriteOut }) {
    this.sectorBytes = how?.sectorBytes ?? SECTOR_BYTES;
    this.writeOut = how?.writeOut ?? ((at, changed): Promise<void> => node.write(at, [changed]));
    this.node = node;
    this.offset = offset;
    this.bytes = bytes;
  }

  /** Calls `use` with the view that holds the byte `at` (from the table's start) and where in it. */
  async at<T>(at: number, use: (view: DataView, at: number) => T): Promise<T> {
    const page = this.pageAt(at) ?? (await this.load(at));
    return use(page.view, at - page.start);
  }

  /** The 32-bit entry at a byte of the table, when it is in memory. */
  peek32(at: number, littleEndian: boolean): number | undefined {
    const page = this.pageAt(at);
    return page?.view.getUint32(at - page.start, littleEndian);
  }

  async get32(at: number, littleEndian: boolean): Promise<number> {
    return this.peek32(at, littleEndian) ?? (await this.at(at, (view, here) => view.getUint32(here, littleEndian)));
  }

  /** Changes `length` bytes at `at`. */
  async change(at: number, length: number, edit: (view: DataView, at: number) => void): Promise<void> {
    const page = this.pageAt(at) ?? (await this.load(at));
    const here = at - page.start;
    edit(page.view, here);
    page.dirty.fill(1, Math.floor(here / this.sectorBytes), Math.ceil((here + length) / this.sectorBytes));
    page.changed = true;
  }

  set32(at: number, value: number, littleEndian: boolean): Promise<void> {
    return this.change(at, 4, (view, here) => view.setUint32(here, value, littleEndian));
  }

  /** Writes all changes, in whole sectors. */
  async writeBack(): Promise<void> {
    for (const page of this.pages.values()) await this.writePage(page);
  }

  /** Undefined for what is not loaded, and for what is beyond the table. */
  private pageAt(at: number): Page | undefined {
    if (at >= this.bytes) return undefined;
    const start = at - (at % PAGE_BYTES);
    return this.pages.get(start);
  }

  private async load(at: number): Promise<Page> {
    if (at < 0 || at >= this.bytes)
      throw new BlockError('EIO', `entry at byte ${at} of a table of ${this.bytes} bytes`);
    const start = at - (at % PAGE_BYTES);
    for (;;) {
      const page = this.pages.get(start);
      if (page !== undefined) return page;
      let pending = this.loading.get(start);
      if (pending === undefined) {
        pending = this.loadPage(start).finally(() => this.loading.delete(start));
        this.loading.set(start, pending);
      }
      await pending;
    }
  }

  private async loadPage(start: number): Promise<void> {
    const length = Math.min(PAGE_BYTES, this.bytes - start);
    // GUEST: a file that was cut may end within an entry, whose rest reads as zeroes.
    const padded = new Uint8Array(Math.ceil(length / LONGEST_ENTRY) * LONGEST_ENTRY);
    const bytes = padded.subarray(0, length);
    await this.node.read(this.offset + start, [bytes]);
    while (this.pages.size >= MAX_PAGES) {
      // INVARIANT: the map is not empty.
      const [oldest, page] = this.pages.entries().next().value as [number, Page];
      await this.writePage(page);
      if (!page.changed) this.pages.delete(oldest);
    }
    this.pages.set(start, {
      start,
      bytes,
      view: viewOf(padded),
      dirty: new Uint8Array(PAGE_BYTES / this.sectorBytes),
      changed: false,
    });
  }

  private async writePage(page: Page): Promise<void> {
    if (!page.changed) return;
    page.changed = false;
    const { dirty } = page;
    for (let from = dirty.indexOf(1); from >= 0; from = dirty.indexOf(1, from)) {
      const clean = dirty.indexOf(0, from);
      const to = clean < 0 ? dirty.length : clean;
      dirty.fill(0, from, to);
      const bytes = page.bytes.slice(from * this.sectorBytes, to * this.sectorBytes);
      try {
        await this.writeOut(this.offset + page.start + from * this.sectorBytes, bytes);
      } catch (error) {
        dirty.fill(1, from, to);
        page.changed = true;
        throw error;
      }
    }
  }
}
