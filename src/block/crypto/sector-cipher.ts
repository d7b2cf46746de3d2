/**
 * Encryption of disk sectors: a block cipher in XTS (IEEE 1619), CBC or ECB mode, with an initial vector from the sector's number
 * (plain, plain64, essiv). As dm-crypt and LUKS name them: "xts-plain64", "cbc-essiv:sha256".
 */
import { viewOf } from '../../base/bytes.ts';
import { ImageError } from '../block-error.ts';
import type { HostCrypto } from '../host.ts';
import { Aes, AES_BLOCK_BYTES } from './aes.ts';
import type { BlockCipher } from './aes.ts';

export const SECTOR_BYTES = 512;
const WORDS = SECTOR_BYTES / 4;

/** `data` is whole sectors, the first of them number `sector`. The result is a new buffer. */
export interface SectorCipher {
  encrypt(sector: number, data: Uint8Array): Uint8Array;
  decrypt(sector: number, data: Uint8Array): Uint8Array;
}

export type CipherMode = 'xts' | 'cbc' | 'ecb';
export type IvGenerator = 'plain' | 'plain64' | 'essiv';

export interface CipherSpec {
  readonly mode: CipherMode;
  readonly iv: IvGenerator | undefined;
  /** Of essiv. */
  readonly ivHash: string | undefined;
}

/** "xts-plain64" and its like. */
export function parseCipherMode(text: string): CipherSpec {
  const match = /^(xts|cbc|ecb)(?:-(plain|plain64|essiv)(?::(\w+))?)?$/.exec(text);
  if (match === null) throw new ImageError(`Cipher mode '${text}' is not supported`, 'ENOTSUP');
  const [, mode, iv, ivHash] = match;
  if (mode !== 'ecb' && iv === undefined) throw new ImageError(`Cipher mode '${text}' names no IV generator`);
  if ((iv === 'essiv') !== (ivHash !== undefined))
    throw new ImageError(`Cipher mode '${text}' must name a hash with essiv only`);
  // INVARIANT: the expression admits only these words.
  return { mode: mode as CipherMode, iv: iv as IvGenerator | undefined, ivHash };
}

export async function makeSectorCipher(spec: CipherSpec, key: Uint8Array, host: HostCrypto): Promise<SectorCipher> {
  const aes = (bytes: Uint8Array): BlockCipher => host.aes?.(bytes) ?? new Aes(bytes);
  const essiv = spec.iv === 'essiv' ? aes(await host.digest(spec.ivHash ?? '', key)) : undefined;
  const vectors = new Vectors(spec.iv, essiv);
  if (spec.mode === 'xts') {
    if (key.length % 2 !== 0) throw new ImageError(`XTS key of ${key.length} bytes cannot be halved`);
    return new Xts(aes(key.subarray(0, key.length / 2)), aes(key.subarray(key.length / 2)), vectors);
  }
  // Chaining needs a block at a time when encrypting, which calls out of the language would make slow.
  return new Cbc(aes(key), new Aes(key), spec.mode === 'cbc' ? vectors : undefined);
}

/** Initial vectors, one block for each sector. */
class Vectors {
  private readonly iv: IvGenerator | undefined;
  private readonly essiv: BlockCipher | undefined;

  constructor(iv: IvGenerator | undefined, essiv: BlockCipher | undefined) {
    this.iv = iv;
    this.essiv = essiv;
  }

  from(sector: number, count: number): Uint8Array {
    const blocks = new Uint8Array(count * AES_BLOCK_BYTES);
    const view = viewOf(blocks);
    for (let i = 0; i < count; i++) {
      view.setUint32(i * AES_BLOCK_BYTES, (sector + i) >>> 0, true);
      if (this.iv !== 'plain') view.setUint32(i * AES_BLOCK_BYTES + 4, Math.floor((sector + i) / 2 ** 32), true);
    }
    return this.essiv === undefined ? blocks : this.essiv.encrypt(blocks);
  }
}

class Xts implements SectorCipher {
  private readonly data: BlockCipher;
  private readonly tweak: BlockCipher;
  private readonly vectors: Vectors;

  constructor(data: BlockCipher, tweak: BlockCipher, vectors: Vectors) {
    this.data = data;
    this.tweak = tweak;
    this.vectors = vectors;
  }

  encrypt(sector: number, data: Uint8Array): Uint8Array {
    return this.run(sector, data, (blocks) => this.data.encrypt(blocks));
  }

  decrypt(sector: number, data: Uint8Array): Uint8Array {
    return this.run(sector, data, (blocks) => this.data.decrypt(blocks));
  }

  private run(sector: number, data: Uint8Array, transform: (blocks: Uint8Array) => Uint8Array): Uint8Array {
    const tweaks = this.tweaks(sector, data.length / SECTOR_BYTES);
    const masked = xor(data, tweaks);
    return xor(transform(masked), tweaks);
  }

  /** For each sector the encrypted vector, then for each block that times x in GF(2^128), all little-endian. */
  private tweaks(sector: number, count: number): Uint32Array<ArrayBuffer> {
    const first = this.tweak.encrypt(this.vectors.from(sector, count));
    const view = viewOf(first);
    const words = new Uint32Array(count * WORDS);
    for (let i = 0, at = 0; i < count; i++) {
      let a = view.getUint32(i * AES_BLOCK_BYTES, true);
      let b = view.getUint32(i * AES_BLOCK_BYTES + 4, true);
      let c = view.getUint32(i * AES_BLOCK_BYTES + 8, true);
      let d = view.getUint32(i * AES_BLOCK_BYTES + 12, true);
      for (const end = at + WORDS; at < end; at += 4) {
        words[at] = a;
        words[at + 1] = b;
        words[at + 2] = c;
        words[at + 3] = d;
        const carry = d >>> 31 === 1 ? 0x87 : 0;
        d = (d << 1) | (c >>> 31);
        c = (c << 1) | (b >>> 31);
        b = (b << 1) | (a >>> 31);
        a = (a << 1) ^ carry;
      }
    }
    return words;
  }
}

/** With vectors CBC, without ECB. */
class Cbc implements SectorCipher {
  private readonly bulk: BlockCipher;
  private readonly single: Aes;
  private readonly vectors: Vectors | undefined;

  constructor(bulk: BlockCipher, single: Aes, vectors: Vectors | undefined) {
    this.bulk = bulk;
    this.single = single;
    this.vectors = vectors;
  }

  encrypt(sector: number, data: Uint8Array): Uint8Array {
    if (this.vectors === undefined) return this.bulk.encrypt(data);
    const out = data.slice();
    const vectors = this.vectors.from(sector, data.length / SECTOR_BYTES);
    for (let at = 0; at < out.length; at += AES_BLOCK_BYTES) {
      const number = at / SECTOR_BYTES;
      const before = Number.isInteger(number)
        ? vectors.subarray(number * AES_BLOCK_BYTES)
        : out.subarray(at - AES_BLOCK_BYTES);
      // INVARIANT: both have 16 bytes from there.
      for (let i = 0; i < AES_BLOCK_BYTES; i++) out[at + i]! ^= before[i]!;
      out.set(this.single.encrypt(out.subarray(at, at + AES_BLOCK_BYTES)), at);
    }
    return out;
  }

  decrypt(sector: number, data: Uint8Array): Uint8Array {
    const plain = this.bulk.decrypt(data);
    if (this.vectors === undefined) return plain;
    const count = data.length / SECTOR_BYTES;
    const before = new Uint8Array(data.length);
    before.set(data.subarray(0, data.length - AES_BLOCK_BYTES), AES_BLOCK_BYTES);
    const vectors = this.vectors.from(sector, count);
    for (let i = 0; i < count; i++)
      before.set(vectors.subarray(i * AES_BLOCK_BYTES, (i + 1) * AES_BLOCK_BYTES), i * SECTOR_BYTES);
    return xor(plain, new Uint32Array(before.buffer));
  }
}

function xor(data: Uint8Array, mask: Uint32Array): Uint8Array {
  // Words need an aligned start; what comes from a pool may have none.
  const aligned = data.byteOffset % 4 === 0 ? data : data.slice();
  const from = new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
  const out = new Uint32Array(from.length);
  for (let i = 0; i < from.length; i++) out[i] = from[i]! ^ mask[i]!; // INVARIANT: of equal length
  return new Uint8Array(out.buffer);
}
