/** Encryption inside qcow2: a LUKS header in clusters of its own, or the old AES-CBC with the passphrase as key. */
import { createLuks, readLuksHeader, unlockLuks } from '../../crypto/luks.ts';
import { LuksKeys } from '../../crypto/luks-keys.ts';
import { luksOptions } from '../../crypto/luks-options.ts';
import type { SectorCipher } from '../../crypto/sector-cipher.ts';
import { makeSectorCipher } from '../../crypto/sector-cipher.ts';
import { BlockError, ImageError } from '../../block-error.ts';
import type { DriverContext, NodeOptions } from '../../driver.ts';
import type { BlockNode, JsonValue } from '../../node.ts';
import type { Qcow2Image } from './image.ts';
import type { Header } from './layout.ts';
import { CRYPT_AES, CRYPT_LUKS, CRYPT_NONE } from './layout.ts';
import { readTable } from './metadata-file.ts';

/** Bytes of a LUKS header with eight slots of the largest key, and room: it is read in parts, but must lie somewhere. */
const LUKS_BYTES_MAX = 64 << 20;
const AES_KEY_BYTES = 16;

export interface Encryption {
  /** Undefined: no key was given, only facts are wanted. */
  readonly cipher: SectorCipher | undefined;
  /** Sectors are numbered by where they are for the guest, not in the file. */
  readonly byGuest: boolean;
  readonly luks: LuksKeys | undefined;
}

/** What the header and the options (encrypt.key-secret) say; undefined for an image in the clear. */
export async function openEncryption(
  header: Header,
  file: BlockNode,
  options: NodeOptions,
  noIo: boolean,
  context: DriverContext,
): Promise<Encryption | undefined> {
  if (header.cryptMethod === CRYPT_NONE) return undefined;
  const given = options['encrypt'];
  const secret = isRecord(given) ? given['key-secret'] : undefined;
  if (typeof secret !== 'string' && !noIo)
    throw new ImageError("Parameter 'encrypt.key-secret' is required for cipher", 'EINVAL');
  const passphrase = typeof secret === 'string' && !noIo ? await context.secret(secret) : undefined;
  if (header.cryptMethod === CRYPT_AES)
    return { cipher: passphrase && (await oldCipher(passphrase, context)), byGuest: true, luks: undefined };
  const { crypto } = header;
  if (crypto === undefined) throw new ImageError('qcow2: LUKS encryption without the header extension');
  if (crypto.offset % 2 ** header.clusterBits !== 0 || crypto.bytes > LUKS_BYTES_MAX)
    throw new ImageError(`Encryption header at ${crypto.offset} of ${crypto.bytes} bytes is invalid`);
  const read = (offset: number, bytes: number): Promise<Uint8Array> => {
    // GUEST: what the LUKS header says of its key slots; it bounds them itself, and here they must be inside.
    if (offset + bytes > crypto.bytes) return Promise.reject(new BlockError('EIO', 'encryption header is cut off'));
    return readTable(file, crypto.offset + offset, bytes);
  };
  const luks = await readLuksHeader(read);
  const keys = new LuksKeys({
    header: luks,
    read,
    host: context.host,
    secret: (id) => context.secret(id),
    openedWith: typeof secret === 'string' ? secret : undefined,
  });
  const cipher = passphrase && (await unlockLuks(luks, read, passphrase, context.host));
  return { cipher, byGuest: false, luks: keys };
}

/** AES-128-CBC; the passphrase's first 16 bytes are the key. */
async function oldCipher(passphrase: Uint8Array, context: DriverContext): Promise<SectorCipher> {
  const { crypto } = context.host;
  if (crypto === undefined)
    throw new ImageError('This platform offers no cryptography for encrypted images', 'ENOTSUP');
  const key = new Uint8Array(AES_KEY_BYTES);
  key.set(passphrase.subarray(0, AES_KEY_BYTES));
  return makeSectorCipher({ mode: 'cbc', iv: 'plain64', ivHash: undefined }, key, crypto);
}

/** Writes the LUKS header of a new image; the old encryption needs no more than a word in the image's own. */
export async function setUpEncryption(
  image: Qcow2Image,
  options: Readonly<Record<string, string>>,
  context: DriverContext,
): Promise<void> {
  const old = options['encryption'] === 'on';
  if (old && options['encrypt.format'] !== undefined)
    throw new ImageError("'encrypt.format' and its alias 'encryption' can't be used at the same time");
  const format = old ? 'aes' : options['encrypt.format'];
  if (format === undefined) {
    const stray = Object.keys(options).find((name) => name.startsWith('encrypt.'));
    if (stray !== undefined) throw new ImageError("Parameter 'encrypt.format' is missing");
    return;
  }
  if (format !== 'luks' && format !== 'aes')
    throw new ImageError(`Parameter 'format' does not accept value '${format}'`);
  const secret = options['encrypt.key-secret'];
  if (secret === undefined) throw new ImageError("Parameter 'encrypt.key-secret' is required for cipher");
  if (format === 'aes') {
    await oldCipher(await context.secret(secret), context);
    image.header.cryptMethod = CRYPT_AES;
    return;
  }
  const { header } = await createLuks(luksOptions(options, 'encrypt.'), await context.secret(secret), context.host);
  const clusters = Math.ceil(header.length / image.clusterSize);
  const { host } = await image.allocate(clusters, true);
  const whole = new Uint8Array(clusters * image.clusterSize);
  whole.set(header);
  await image.file.write(host, [whole]);
  await image.flush();
  image.header.cryptMethod = CRYPT_LUKS;
  image.header.crypto = { offset: host, bytes: header.length };
}

/** Passphrases added or taken away; `options` by their names without "encrypt.". */
export async function amendEncryption(
  image: Qcow2Image,
  options: Readonly<Record<string, string>>,
  force: boolean,
): Promise<void> {
  const { encryption, header, file } = image;
  if (encryption === undefined) throw new ImageError("Can't amend encryption options - encryption not present");
  const { luks } = encryption;
  const begin = header.crypto?.offset;
  if (luks === undefined || begin === undefined)
    throw new ImageError("Can't amend encryption options - only LUKS has keyslots");
  await luks.amend(options, force, {
    write: (offset, bytes) => file.write(begin + offset, [bytes]),
    flush: () => file.flush(),
  });
}

/** As `img info` has it. */
export function encryptionInfo(encryption: Encryption): Record<string, JsonValue> {
  const { luks } = encryption;
  if (luks === undefined) return { format: 'aes' };
  const { spec, keyBytes, hash, uuid, slots, payloadOffset, digestIterations } = luks.header;
  return {
    'ivgen-alg': spec.iv ?? 'plain',
    ...(spec.ivHash === undefined ? {} : { 'ivgen-hash-alg': spec.ivHash }),
    'hash-alg': hash,
    'cipher-alg': `aes-${(keyBytes * 8) / (spec.mode === 'xts' ? 2 : 1)}`,
    uuid,
    format: 'luks',
    'cipher-mode': spec.mode,
    slots: slots.map(({ active, iterations, keyOffset, stripes }): JsonValue =>
      active ? { active, iters: iterations, 'key-offset': keyOffset, stripes } : { active, 'key-offset': keyOffset },
    ),
    'payload-offset': payloadOffset,
    'master-key-iters': digestIterations,
  };
}

function isRecord(value: JsonValue | undefined): value is { readonly [name: string]: JsonValue } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
