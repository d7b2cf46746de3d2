/**
 * AES (FIPS 197) on whole blocks, for platforms that offer no raw AES, and for CBC, which a platform's block mode cannot chain.
 * The tables are computed, not typed in. Table look-ups take time that depends on data: the keys here guard a disk from who finds it,
 * not from who shares its cache.
 */
import { viewOf } from '../../base/bytes.ts';

export const AES_BLOCK_BYTES = 16;

/** Encrypts or decrypts any number of blocks, each for itself (ECB), into a new buffer. */
export interface BlockCipher {
  encrypt(blocks: Uint8Array): Uint8Array;
  decrypt(blocks: Uint8Array): Uint8Array;
}

interface Tables {
  readonly sbox: Uint8Array;
  readonly inverse: Uint8Array;
  /** Column mixes of a substituted byte in the highest place; others are rotations. */
  readonly mix: Uint32Array;
  readonly unmix: Uint32Array;
}

let tables: Tables | undefined;

function makeTables(): Tables {
  const [exp, log] = [new Uint8Array(256), new Uint8Array(256)];
  for (let i = 0, value = 1; i < 255; i++) {
    exp[i] = value;
    log[value] = i;
    value ^= (value << 1) ^ (value & 0x80 ? 0x11b : 0); // times 3, a generator
  }
  // INVARIANT: indices stay below the tables' 256 entries here and below.
  const times = (a: number, b: number): number => (a === 0 || b === 0 ? 0 : exp[(log[a]! + log[b]!) % 255]!);
  const [sbox, inverse] = [new Uint8Array(256), new Uint8Array(256)];
  const [mix, unmix] = [new Uint32Array(256), new Uint32Array(256)];
  for (let i = 0; i < 256; i++) {
    const inv = i === 0 ? 0 : exp[(255 - log[i]!) % 255]!;
    let value = inv;
    for (let shift = 1; shift <= 4; shift++) value ^= (inv << shift) | (inv >>> (8 - shift));
    sbox[i] = (value & 0xff) ^ 0x63;
    inverse[sbox[i]!] = i;
  }
  for (let i = 0; i < 256; i++) {
    const s = sbox[i]!;
    mix[i] = (times(s, 2) << 24) | (s << 16) | (s << 8) | times(s, 3);
    const t = inverse[i]!;
    unmix[i] = (times(t, 14) << 24) | (times(t, 9) << 16) | (times(t, 13) << 8) | times(t, 11);
  }
  return { sbox, inverse, mix, unmix };
}

export class Aes implements BlockCipher {
  private readonly tables: Tables;
  private readonly rounds: number;
  private readonly encryptKeys: Uint32Array;
  private readonly decryptKeys: Uint32Array;

  /** `key`: 16, 24 or 32 bytes. */
  constructor(key: Uint8Array) {
    if (![16, 24, 32].includes(key.length)) throw new RangeError(`AES key of ${key.length} bytes`);
    this.tables = tables ??= makeTables();
    this.rounds = key.length / 4 + 6;
    this.encryptKeys = this.expand(key);
    this.decryptKeys = this.invert(this.encryptKeys);
  }

  encrypt(blocks: Uint8Array): Uint8Array {
    const out = new Uint8Array(blocks.length);
    const [from, to] = [viewOf(blocks), viewOf(out)];
    for (let at = 0; at < blocks.length; at += AES_BLOCK_BYTES) this.encryptBlock(from, to, at);
    return out;
  }

  decrypt(blocks: Uint8Array): Uint8Array {
    const out = new Uint8Array(blocks.length);
    const [from, to] = [viewOf(blocks), viewOf(out)];
    for (let at = 0; at < blocks.length; at += AES_BLOCK_BYTES) this.decryptBlock(from, to, at);
    return out;
  }

  private expand(key: Uint8Array): Uint32Array {
    const { sbox } = this.tables;
    const words = key.length / 4;
    const keys = new Uint32Array(4 * (this.rounds + 1));
    const view = viewOf(key);
    for (let i = 0; i < words; i++) keys[i] = view.getUint32(i * 4);
    const substitute = (w: number): number =>
      (sbox[w >>> 24]! << 24) | (sbox[(w >>> 16) & 255]! << 16) | (sbox[(w >>> 8) & 255]! << 8) | sbox[w & 255]!;
    for (let i = words, constant = 1; i < keys.length; i++) {
      let word = keys[i - 1]!;
      if (i % words === 0) {
        word = substitute((word << 8) | (word >>> 24)) ^ (constant << 24);
        constant = (constant << 1) ^ (constant & 0x80 ? 0x11b : 0);
      } else if (words > 6 && i % words === 4) word = substitute(word);
      keys[i] = keys[i - words]! ^ word;
    }
    return keys;
  }

  /** Keys of the equivalent inverse cipher (FIPS 197, 5.3.5), last round first. */
  private invert(keys: Uint32Array): Uint32Array {
    const { sbox, unmix } = this.tables;
    const inverted = new Uint32Array(keys.length);
    for (let round = 0; round <= this.rounds; round++)
      for (let column = 0; column < 4; column++) {
        const word = keys[(this.rounds - round) * 4 + column]!;
        const mixed =
          unmix[sbox[word >>> 24]!]! ^
          rotate(unmix[sbox[(word >>> 16) & 255]!]!, 8) ^
          rotate(unmix[sbox[(word >>> 8) & 255]!]!, 16) ^
          rotate(unmix[sbox[word & 255]!]!, 24);
        inverted[round * 4 + column] = round === 0 || round === this.rounds ? word : mixed;
      }
    return inverted;
  }

  private encryptBlock(from: DataView, to: DataView, at: number): void {
    const { mix, sbox } = this.tables;
    const keys = this.encryptKeys;
    let a = from.getUint32(at) ^ keys[0]!;
    let b = from.getUint32(at + 4) ^ keys[1]!;
    let c = from.getUint32(at + 8) ^ keys[2]!;
    let d = from.getUint32(at + 12) ^ keys[3]!;
    const column = (w: number, x: number, y: number, z: number, key: number): number =>
      mix[w >>> 24]! ^
      rotate(mix[(x >>> 16) & 255]!, 8) ^
      rotate(mix[(y >>> 8) & 255]!, 16) ^
      rotate(mix[z & 255]!, 24) ^
      key;
    let k = 4;
    for (let round = 1; round < this.rounds; round++, k += 4)
      [a, b, c, d] = [
        column(a, b, c, d, keys[k]!),
        column(b, c, d, a, keys[k + 1]!),
        column(c, d, a, b, keys[k + 2]!),
        column(d, a, b, c, keys[k + 3]!),
      ];
    const last = (w: number, x: number, y: number, z: number, key: number): number =>
      ((sbox[w >>> 24]! << 24) | (sbox[(x >>> 16) & 255]! << 16) | (sbox[(y >>> 8) & 255]! << 8) | sbox[z & 255]!) ^
      key;
    to.setUint32(at, last(a, b, c, d, keys[k]!));
    to.setUint32(at + 4, last(b, c, d, a, keys[k + 1]!));
    to.setUint32(at + 8, last(c, d, a, b, keys[k + 2]!));
    to.setUint32(at + 12, last(d, a, b, c, keys[k + 3]!));
  }

  private decryptBlock(from: DataView, to: DataView, at: number): void {
    const { unmix, inverse } = this.tables;
    const keys = this.decryptKeys;
    let a = from.getUint32(at) ^ keys[0]!;
    let b = from.getUint32(at + 4) ^ keys[1]!;
    let c = from.getUint32(at + 8) ^ keys[2]!;
    let d = from.getUint32(at + 12) ^ keys[3]!;
    const column = (w: number, x: number, y: number, z: number, key: number): number =>
      unmix[w >>> 24]! ^
      rotate(unmix[(x >>> 16) & 255]!, 8) ^
      rotate(unmix[(y >>> 8) & 255]!, 16) ^
      rotate(unmix[z & 255]!, 24) ^
      key;
    let k = 4;
    for (let round = 1; round < this.rounds; round++, k += 4)
      [a, b, c, d] = [
        column(a, d, c, b, keys[k]!),
        column(b, a, d, c, keys[k + 1]!),
        column(c, b, a, d, keys[k + 2]!),
        column(d, c, b, a, keys[k + 3]!),
      ];
    const last = (w: number, x: number, y: number, z: number, key: number): number =>
      ((inverse[w >>> 24]! << 24) |
        (inverse[(x >>> 16) & 255]! << 16) |
        (inverse[(y >>> 8) & 255]! << 8) |
        inverse[z & 255]!) ^
      key;
    to.setUint32(at, last(a, d, c, b, keys[k]!));
    to.setUint32(at + 4, last(b, a, d, c, keys[k + 1]!));
    to.setUint32(at + 8, last(c, b, a, d, keys[k + 2]!));
    to.setUint32(at + 12, last(d, c, b, a, keys[k + 3]!));
  }
}

function rotate(word: number, right: number): number {
  return (word >>> right) | (word << (32 - right));
}
