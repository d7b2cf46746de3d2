/** The anti-forensic splitter of LUKS1 (On-Disk Format Specification 1.2.3, section 2.4): a key spread over many stripes. */
import { viewOf } from '../../base/bytes.ts';
import type { HostCrypto } from '../host.ts';

export async function splitKey(
  key: Uint8Array,
  stripes: number,
  hash: string,
  crypto: HostCrypto,
  randomBytes: (count: number) => Uint8Array,
): Promise<Uint8Array> {
  const split = new Uint8Array(key.length * stripes);
  const random = randomBytes(key.length * (stripes - 1));
  split.set(random);
  const last = await accumulate(random, key.length, hash, crypto);
  xorInto(last, key);
  split.set(last, random.length);
  return split;
}

export async function mergeKey(
  split: Uint8Array,
  keyBytes: number,
  hash: string,
  crypto: HostCrypto,
): Promise<Uint8Array> {
  const key = await accumulate(split.subarray(0, split.length - keyBytes), keyBytes, hash, crypto);
  xorInto(key, split.subarray(split.length - keyBytes));
  return key;
}

async function accumulate(
  stripes: Uint8Array,
  keyBytes: number,
  hash: string,
  crypto: HostCrypto,
): Promise<Uint8Array> {
  let sum = new Uint8Array(keyBytes);
  for (let at = 0; at < stripes.length; at += keyBytes) {
    xorInto(sum, stripes.subarray(at, at + keyBytes));
    sum = await diffuse(sum, hash, crypto);
  }
  return sum;
}

/** Each digest-sized part is replaced by the digest of its number and itself. */
async function diffuse(bytes: Uint8Array, hash: string, crypto: HostCrypto): Promise<Uint8Array<ArrayBuffer>> {
  const out = new Uint8Array(bytes.length);
  for (let at = 0, index = 0; at < bytes.length; index++) {
    const size = Math.min(crypto.digestBytes(hash), bytes.length - at);
    const input = new Uint8Array(4 + size);
    viewOf(input).setUint32(0, index);
    input.set(bytes.subarray(at, at + size), 4);
    out.set((await crypto.digest(hash, input)).subarray(0, size), at);
    at += size;
  }
  return out;
}

function xorInto(into: Uint8Array, from: Uint8Array): void {
  for (let i = 0; i < into.length; i++) into[i]! ^= from[i] ?? 0; // INVARIANT: below the length
}
