/** Little-endian bytes: reading structures out of files, and building tables whose size is not known beforehand. */

/** ASCII text to bytes; characters above 0xff are a programming error and become '?'. */
export function asciiBytes(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => {
    const code = c.charCodeAt(0);
    return code < 0x100 ? code : 0x3f;
  });
}

/** Bytes up to the first NUL (or all) as text, one character a byte. */
export function asciiText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  let text = '';
  for (const byte of end < 0 ? bytes : bytes.subarray(0, end)) text += String.fromCharCode(byte);
  return text;
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A growing little-endian byte sequence. Every method returns the writer, so that a table reads as a list. */
export class ByteBuilder {
  private bytes: Uint8Array<ArrayBuffer> = new Uint8Array(64);
  private length_: number = 0;

  get length(): number {
    return this.length_;
  }

  u8(value: number): this {
    return this.put(value, 1);
  }

  u16(value: number): this {
    return this.put(value, 2);
  }

  u32(value: number): this {
    return this.put(value, 4);
  }

  /** A value below 2^53. */
  u64(value: number): this {
    return this.u32(value % 0x1_0000_0000).u32(Math.floor(value / 0x1_0000_0000));
  }

  raw(bytes: Uint8Array | readonly number[]): this {
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.length_);
    this.length_ += bytes.length;
    return this;
  }

  /** Text in exactly `sizeBytes`, cut or filled up with `fill`. */
  text(value: string, sizeBytes: number = value.length, fill: number = 0): this {
    const field = new Uint8Array(sizeBytes).fill(fill);
    field.set(asciiBytes(value.slice(0, sizeBytes)));
    return this.raw(field);
  }

  zeros(count: number): this {
    this.reserve(count);
    this.length_ += count;
    return this;
  }

  alignTo(alignment: number): this {
    return this.zeros((alignment - (this.length_ % alignment)) % alignment);
  }

  patchU32(offset: number, value: number): this {
    viewOf(this.bytes).setUint32(offset, value, true);
    return this;
  }

  build(): Uint8Array<ArrayBuffer> {
    return this.bytes.slice(0, this.length_);
  }

  private put(value: number, size: number): this {
    this.reserve(size);
    for (let i = 0; i < size; i++) this.bytes[this.length_ + i] = (value >>> (i * 8)) & 0xff;
    this.length_ += size;
    return this;
  }

  private reserve(count: number): void {
    if (this.length_ + count <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(this.bytes.length * 2, this.length_ + count));
    larger.set(this.bytes.subarray(0, this.length_));
    this.bytes = larger;
  }
}
