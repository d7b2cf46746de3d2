/** A dirty bitmap in memory, in pages that are clusters of the image when it is stored; empty pages cost nothing. */
import type { DirtyBitmap } from '../../node.ts';
import { FLAG_AUTO, FLAG_IN_USE } from './bitmap-directory.ts';

export class StoredBitmap implements DirtyBitmap {
  readonly name: string;
  readonly granularity: number;
  enabled: boolean;
  /** Nobody stored it when the image was last closed: only good for being removed. */
  readonly inconsistent: boolean;
  readonly extra: Uint8Array;
  /** Different from what is in the image. */
  changed = false;
  /** By number; absent: all clear. Those with all bits set may be one and the same, so bits are only cleared in a copy. */
  readonly pages: Map<number, Uint8Array> = new Map();
  readonly pageBytes: number;
  private size: number;

  constructor(how: {
    readonly name: string;
    readonly granularity: number;
    readonly flags: number;
    readonly extra: Uint8Array;
    readonly pageBytes: number;
    readonly size: number;
  }) {
    this.name = how.name;
    this.granularity = how.granularity;
    this.enabled = (how.flags & FLAG_AUTO) !== 0;
    this.inconsistent = (how.flags & FLAG_IN_USE) !== 0;
    this.extra = how.extra;
    this.pageBytes = how.pageBytes;
    this.size = how.size;
  }

  get bits(): number {
    return Math.ceil(this.size / this.granularity);
  }

  get pageCount(): number {
    return Math.ceil(this.bits / (this.pageBytes * 8));
  }

  private get(bit: number): boolean {
    const page = this.pages.get(Math.floor(bit / (this.pageBytes * 8)));
    if (page === undefined) return false;
    const inPage = bit % (this.pageBytes * 8);
    return ((page[inPage >> 3] ?? 0) & (1 << (inPage & 7))) !== 0;
  }

  /** First bit from `bit` on, below `end`, that is not `value`. */
  private endOfRun(bit: number, end: number, value: boolean): number {
    const perPage = this.pageBytes * 8;
    const whole = value ? 0xff : 0;
    let at = bit;
    while (at < end) {
      const page = this.pages.get(Math.floor(at / perPage));
      if (page === undefined) {
        if (value) return at;
        at = (Math.floor(at / perPage) + 1) * perPage;
      } else if (at % 8 === 0 && page[(at % perPage) >> 3] === whole) {
        at += 8;
      } else if (this.get(at) === value) {
        at++;
      } else {
        return at;
      }
    }
    return end;
  }

  run(offset: number, bytes: number): { readonly dirty: boolean; readonly bytes: number } {
    const first = Math.floor(offset / this.granularity);
    const dirty = this.get(first);
    const end = this.endOfRun(first, Math.min(this.bits, Math.ceil((offset + bytes) / this.granularity)), dirty);
    return { dirty, bytes: Math.min(bytes, end * this.granularity - offset) };
  }

  set(offset: number, bytes: number): void {
    if (bytes <= 0) return;
    const perPage = this.pageBytes * 8;
    const last = Math.floor((offset + bytes - 1) / this.granularity);
    for (let bit = Math.floor(offset / this.granularity); bit <= last;) {
      const number = Math.floor(bit / perPage);
      let page = this.pages.get(number);
      if (page === undefined) this.pages.set(number, (page = new Uint8Array(this.pageBytes)));
      const end = Math.min(last + 1, (number + 1) * perPage);
      while (bit < end) {
        const inPage = bit % perPage;
        if ((inPage & 7) === 0 && end - bit >= 8) {
          const bytesNow = Math.floor((end - bit) / 8);
          page.fill(0xff, inPage >> 3, (inPage >> 3) + bytesNow);
          bit += bytesNow * 8;
        } else {
          page[inPage >> 3] = (page[inPage >> 3] ?? 0) | (1 << (inPage & 7));
          bit++;
        }
      }
    }
    this.changed = true;
  }

  clear(): void {
    this.pages.clear();
    this.changed = true;
  }

  dirtyBytes(): number {
    let bytes = 0;
    for (let at = 0; at < this.size;) {
      const { dirty, bytes: length } = this.run(at, this.size - at);
      if (dirty) bytes += length;
      at += length;
    }
    return bytes;
  }

  resize(size: number): void {
    if (size === this.size) return;
    const shrinks = size < this.size;
    this.size = size;
    this.changed = true;
    if (!shrinks) return;
    for (const number of [...this.pages.keys()]) if (number >= this.pageCount) this.pages.delete(number);
    const perPage = this.pageBytes * 8;
    const last = Math.floor(this.bits / perPage);
    const page = this.pages.get(last)?.slice();
    if (page === undefined) return;
    this.pages.set(last, page);
    for (let inPage = this.bits % perPage; inPage < perPage; inPage++)
      page[inPage >> 3] = (page[inPage >> 3] ?? 0) & ~(1 << (inPage & 7));
  }
}
