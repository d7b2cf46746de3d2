/** A growing byte buffer with the LEB128 forms of the WebAssembly binary format (core specification, chapter 5). */
export class ByteWriter {
  private buffer: Uint8Array = new Uint8Array(256);
  length = 0;

  private grow(needed: number): void {
    let capacity = this.buffer.length * 2;
    while (capacity < needed) capacity *= 2;
    const larger = new Uint8Array(capacity);
    larger.set(this.buffer.subarray(0, this.length));
    this.buffer = larger;
  }

  byte(value: number): void {
    if (this.length === this.buffer.length) this.grow(this.length + 1);
    this.buffer[this.length++] = value;
  }

  bytes(values: ArrayLike<number>): void {
    const end = this.length + values.length;
    if (end > this.buffer.length) this.grow(end);
    this.buffer.set(values, this.length);
    this.length = end;
  }

  /** Unsigned LEB128 of a number below 2^32. */
  u32(value: number): void {
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.byte((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    this.byte(rest);
  }

  /** Signed LEB128 of a number taken modulo 2^32. */
  s32(value: number): void {
    let rest = value | 0;
    for (;;) {
      const low = rest & 0x7f;
      rest >>= 7;
      if ((rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0)) {
        this.byte(low);
        return;
      }
      this.byte(low | 0x80);
    }
  }

  /** Signed LEB128 of the 64-bit value whose halves these are. */
  s64(low: number, high: number): void {
    let lo = low | 0;
    let hi = high | 0;
    for (;;) {
      const group = lo & 0x7f;
      lo = (lo >>> 7) | (hi << 25);
      hi >>= 7;
      if ((lo === 0 && hi === 0 && (group & 0x40) === 0) || (lo === -1 && hi === -1 && (group & 0x40) !== 0)) {
        this.byte(group);
        return;
      }
      this.byte(group | 0x80);
    }
  }

  name(text: string): void {
    const encoded = new TextEncoder().encode(text);
    this.u32(encoded.length);
    this.bytes(encoded);
  }

  /** Appends `body` with its length before it, as sections and function bodies are written. */
  sized(body: ByteWriter): void {
    this.u32(body.length);
    this.bytes(body.view());
  }

  view(): Uint8Array {
    return this.buffer.subarray(0, this.length);
  }

  toBytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.buffer.slice(0, this.length));
  }

  clear(): void {
    this.length = 0;
  }
}
