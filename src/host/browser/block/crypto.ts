/** Cryptography of encrypted images by the browser: digests and key derivation; the block cipher is the block layer's own. */
import { ImageError } from '../../../block/block-error.ts';
import type { HostCrypto } from '../../../block/host.ts';

const HASHES: Readonly<Record<string, { readonly name: string; readonly bytes: number }>> = {
  sha1: { name: 'SHA-1', bytes: 20 },
  sha256: { name: 'SHA-256', bytes: 32 },
  sha384: { name: 'SHA-384', bytes: 48 },
  sha512: { name: 'SHA-512', bytes: 64 },
};

export const browserCrypto: HostCrypto = {
  digestBytes: (hash) => hashOf(hash).bytes,
  async digest(hash, data) {
    return new Uint8Array(await crypto.subtle.digest(hashOf(hash).name, data.slice()));
  },
  async pbkdf2(hash, password, salt, iterations, bytes) {
    const key = await crypto.subtle.importKey('raw', password.slice(), 'PBKDF2', false, ['deriveBits']);
    const how = { name: 'PBKDF2', hash: hashOf(hash).name, salt: salt.slice(), iterations };
    return new Uint8Array(await crypto.subtle.deriveBits(how, key, bytes * 8));
  },
};

function hashOf(name: string): { readonly name: string; readonly bytes: number } {
  const hash = Object.hasOwn(HASHES, name) ? HASHES[name] : undefined;
  if (hash === undefined) throw new ImageError(`Hash algorithm '${name}' is not offered by this browser`, 'ENOTSUP');
  return hash;
}
