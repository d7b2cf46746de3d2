/** Cryptography of encrypted images by Node's own (OpenSSL), which is loaded when it is wanted: that takes as long as opening an image. */
import type * as Crypto from 'node:crypto';
import { ImageError } from '../../../block/block-error.ts';
import type { HostCrypto } from '../../../block/host.ts';

const DIGEST_BYTES: Readonly<Record<string, number>> = {
  md5: 16, ripemd160: 20, sha1: 20, sha224: 28, sha256: 32, sha384: 48, sha512: 64,
}; // prettier-ignore

/** node:crypto. */
export function opensslModule(): typeof Crypto {
  return process.getBuiltinModule('node:crypto');
}

export const nodeCrypto: HostCrypto = {
  digestBytes,
  digest(hash, data) {
    digestBytes(hash);
    return Promise.resolve(new Uint8Array(opensslModule().createHash(hash).update(data).digest()));
  },
  pbkdf2(hash, password, salt, iterations, bytes) {
    digestBytes(hash);
    return new Promise((resolve, reject) => {
      opensslModule().pbkdf2(password, salt, iterations, bytes, hash, (error, key) => {
        if (error === null) resolve(new Uint8Array(key));
        else reject(error);
      });
    });
  },
  aes(key) {
    const { createCipheriv, createDecipheriv } = opensslModule();
    const name = `aes-${key.length * 8}-ecb`;
    const cipher = createCipheriv(name, key, null).setAutoPadding(false);
    const decipher = createDecipheriv(name, key, null).setAutoPadding(false);
    return {
      encrypt: (blocks) => cipher.update(blocks),
      decrypt: (blocks) => decipher.update(blocks),
    };
  },
};

function digestBytes(hash: string): number {
  const bytes = Object.hasOwn(DIGEST_BYTES, hash) ? DIGEST_BYTES[hash] : undefined;
  if (bytes === undefined) throw new ImageError(`Hash algorithm '${hash}' is not supported`, 'ENOTSUP');
  return bytes;
}
