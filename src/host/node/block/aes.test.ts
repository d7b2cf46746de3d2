import { createCipheriv } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { nodeCrypto } from './crypto.ts';
import type { HostCrypto } from '../../../block/host.ts';
import { Aes } from '../../../block/crypto/aes.ts';
import { makeSectorCipher, parseCipherMode } from '../../../block/crypto/sector-cipher.ts';

const bytes = (count: number, seed: number): Uint8Array =>
  Uint8Array.from({ length: count }, (_, i) => (i * 167 + seed * 31 + (i >> 3)) & 255);
const withoutAes: HostCrypto = {
  digestBytes: (hash) => nodeCrypto.digestBytes(hash),
  digest: (hash, data) => nodeCrypto.digest(hash, data),
  pbkdf2: (...how) => nodeCrypto.pbkdf2(...how),
};

describe('AES', () => {
  it('gives the vectors of FIPS 197, appendix C', () => {
    const plain = Uint8Array.from({ length: 16 }, (_, i) => i * 0x11);
    for (const [length, cipher] of [
      [16, '69c4e0d86a7b0430d8cdb78070b4c55a'],
      [24, 'dda97ca4864cdfe06eaf70a0ec0d7191'],
      [32, '8ea2b7ca516745bfeafc49904b496089'],
    ] as const) {
      const aes = new Aes(Uint8Array.from({ length }, (_, i) => i));
      const encrypted = aes.encrypt(plain);
      expect(Buffer.from(encrypted).toString('hex')).toBe(cipher);
      expect(aes.decrypt(encrypted)).toEqual(plain);
    }
  });
});

describe('sector ciphers', () => {
  it.each([
    ['xts-plain64', 64, 'aes-256-xts'],
    ['xts-plain', 32, 'aes-128-xts'],
    ['cbc-plain64', 32, 'aes-256-cbc'],
  ])(
    // prettier-ignore
    '%s with a key of %d bytes agrees with the platform',
    async (mode, keyBytes, name) => {
      const [key, data] = [bytes(keyBytes, 1), bytes(4 * 512, 2)];
      const sector = 2 ** 32 - 2;
      for (const host of [nodeCrypto, withoutAes]) {
        const cipher = await makeSectorCipher(parseCipherMode(mode), key, host);
        const encrypted = cipher.encrypt(sector, data);
        for (let i = 0; i < 4; i++) {
          const iv = Buffer.alloc(16);
          if (mode.endsWith('64')) iv.writeBigUInt64LE(BigInt(sector + i));
          else iv.writeUInt32LE((sector + i) >>> 0);
          const platform = createCipheriv(name, key, iv).setAutoPadding(false);
          const expected = platform.update(data.subarray(i * 512, (i + 1) * 512));
          expect(Buffer.from(encrypted.subarray(i * 512, (i + 1) * 512))).toEqual(expected);
        }
        expect(Uint8Array.from(cipher.decrypt(sector, encrypted))).toEqual(data);
      }
    },
  );

  it('essiv encrypts the number with the hash of the key', async () => {
    const cipher = await makeSectorCipher(parseCipherMode('cbc-essiv:sha256'), bytes(16, 3), withoutAes);
    const encrypted = cipher.encrypt(7, bytes(1024, 4));
    expect(Uint8Array.from(cipher.decrypt(7, encrypted))).toEqual(bytes(1024, 4));
    expect(Uint8Array.from(cipher.decrypt(8, encrypted))).not.toEqual(bytes(1024, 4));
  });

  it('refuses modes it does not have', () => {
    for (const mode of ['ctr-plain', 'xts', 'cbc-essiv', 'xts-plain64:sha1'])
      expect(() => parseCipherMode(mode)).toThrow(/Cipher mode/);
  });
});
