/** Big-endian fields, as all of NBD has them; 64-bit ones as numbers, which are exact below 2^53. */

const TWO_32 = 0x1_0000_0000;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

export function u32(bytes: Uint8Array, at: number): number {
  return ((u16(bytes, at) << 16) | u16(bytes, at + 2)) >>> 0;
}

/** Numbers from 2^53 on lose their low bits: whoever reads an offset compares it with a size, which is below that. */
export function u64(bytes: Uint8Array, at: number): number {
  return u32(bytes, at) * TWO_32 + u32(bytes, at + 4);
}

export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

export function textOf(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** Writes fields one behind the other into a buffer of known size. */
export class FieldWriter {
  readonly bytes: Uint8Array;
  private at: number = 0;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
  }

  u16(value: number): this {
    this.bytes[this.at++] = value >>> 8;
    this.bytes[this.at++] = value;
    return this;
  }

  u32(value: number): this {
    this.bytes[this.at++] = value >>> 24;
    this.bytes[this.at++] = value >>> 16;
    this.bytes[this.at++] = value >>> 8;
    this.bytes[this.at++] = value;
    return this;
  }

  u64(value: number): this {
    return this.u32(Math.floor(value / TWO_32)).u32(value % TWO_32);
  }

  raw(bytes: Uint8Array): this {
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
    return this;
  }
}
