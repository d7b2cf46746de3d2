/** What a disk must read as: bytes, and for those that a failed or lost request left open, what else they may be. */
export class ModelDisk {
  private value: Uint8Array;
  /** The other value that a byte may have; the same when it is certain. */
  private other: Uint8Array;
  /** 1: may be anything until it is read. */
  private wild: Uint8Array;
  /** What was on stable storage at the last flush. */
  private flushed: Uint8Array;
  /** 1: requested to change since. */
  private touched: Uint8Array;

  constructor(size: number) {
    this.value = new Uint8Array(size);
    this.other = new Uint8Array(size);
    this.wild = new Uint8Array(size);
    this.flushed = new Uint8Array(size);
    this.touched = new Uint8Array(size);
  }

  get size(): number {
    return this.value.length;
  }

  /** A request that was done. */
  set(offset: number, data: Uint8Array): void {
    const end = offset + data.length;
    this.value.set(data, offset);
    this.other.set(data, offset);
    this.wild.fill(0, offset, end);
    this.touched.fill(1, offset, end);
  }

  /** A request that failed: each byte may have its old value or the new. */
  maySet(offset: number, data: Uint8Array): void {
    for (let i = 0; i < data.length; i++) {
      const at = offset + i;
      if (this.value[at] !== this.other[at]) this.wild[at] = 1;
      this.other[at] = data[i]!; // INVARIANT: below the length
    }
    this.touched.fill(1, offset, offset + data.length);
  }

  forget(offset: number, bytes: number): void {
    this.wild.fill(1, offset, offset + bytes);
    this.touched.fill(1, offset, offset + bytes);
  }

  /** What was read: undefined when it may be so, which settles it; otherwise what is wrong. */
  observe(offset: number, seen: Uint8Array): string | undefined {
    const end = offset + seen.length;
    const certain = Buffer.compare(seen, this.value.subarray(offset, end)) === 0;
    for (let i = 0; i < seen.length && !certain; i++) {
      const at = offset + i;
      const byte = seen[i];
      if (byte !== this.value[at] && byte !== this.other[at] && this.wild[at] === 0)
        return `byte ${at} is ${byte} instead of ${this.value[at]}${this.value[at] === this.other[at] ? '' : ` or ${this.other[at]}`}`;
    }
    this.value.set(seen, offset);
    this.other.set(seen, offset);
    this.wild.fill(0, offset, end);
    return undefined;
  }

  flush(): void {
    this.flushed.set(this.value);
    this.touched.fill(0);
    // What is open stays open: the flush may have made either stable.
    for (let at = 0; at < this.size; at++)
      if (this.wild[at] !== 0 || this.value[at] !== this.other[at]) this.touched[at] = 1;
  }

  /** The program is gone: what was asked since the last flush may be there or not. */
  lose(): void {
    for (let at = 0; at < this.size; at++) {
      if (this.touched[at] === 0) continue;
      if (this.value[at] !== this.other[at]) this.wild[at] = 1;
      else this.other[at] = this.flushed[at]!; // INVARIANT: as long as the value
      // A byte may have changed several times since.
      this.wild[at] = 1;
    }
  }

  content(): Uint8Array {
    return this.value.slice();
  }

  /** All of it becomes `content`. */
  restore(content: Uint8Array): void {
    this.resize(content.length);
    this.set(0, content);
  }

  resize(size: number): void {
    const grown = (old: Uint8Array, fill: number): Uint8Array => {
      const bytes = new Uint8Array(size).fill(fill, Math.min(old.length, size));
      bytes.set(old.subarray(0, size));
      return bytes;
    };
    this.value = grown(this.value, 0);
    this.other = grown(this.other, 0);
    this.wild = grown(this.wild, 0);
    this.flushed = grown(this.flushed, 0);
    this.touched = grown(this.touched, 1);
  }
}
