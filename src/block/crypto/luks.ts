/**
 * LUKS1 volumes (LUKS On-Disk Format Specification 1.2.3), with AES: header, key slots, the master key. Used by the luks format and
 * for encryption inside qcow2. Big-endian.
 */
import { asciiBytes, asciiText, viewOf } from '../../base/bytes.ts';
import { BlockError, ImageError } from '../block-error.ts';
import type { BlockHost, HostCrypto } from '../host.ts';
import { mergeKey, splitKey } from './anti-forensic.ts';
import { makeSectorCipher, parseCipherMode, SECTOR_BYTES } from './sector-cipher.ts';
import type { CipherSpec, SectorCipher } from './sector-cipher.ts';

export const LUKS_HEADER_BYTES = 592;
const MAGIC = 'LUKS\xba\xbe';
const SLOTS = 8;
const SLOT_AT = 208;
const SLOT_BYTES = 48;
const SLOT_ENABLED = 0x00ac71f3;
const SLOT_DISABLED = 0x0000dead;
const STRIPES = 4000;
const SALT_BYTES = 32;
const DIGEST_BYTES = 20;
/** Key material begins at multiples of this many sectors. */
const KEY_ALIGNMENT = 8;
const MIN_ITERATIONS = 1000;
/** Most iterations accepted from an image: about a minute's work. More would let an image keep a program busy for hours. */
const MAX_ITERATIONS = 100_000_000;
/** Stripes of a key slot, of which everybody writes 4000; each costs two digests when a passphrase is tried. */
const MAX_STRIPES = 10_000;
const HASHES: readonly string[] = ['sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'ripemd160', 'md5'];
const AT = {
  version: 6, cipher: 8, mode: 40, hash: 72, payload: 104, keyBytes: 108, digest: 112, digestSalt: 132, digestIterations: 164, uuid: 168,
} as const; // prettier-ignore

export interface LuksSlot {
  readonly active: boolean;
  readonly iterations: number;
  readonly salt: Uint8Array;
  /** In bytes from the header. */
  readonly keyOffset: number;
  readonly stripes: number;
}

export interface LuksHeader {
  readonly cipher: string;
  readonly mode: string;
  readonly spec: CipherSpec;
  readonly hash: string;
  /** Where the encrypted disk begins, bytes from the header. */
  readonly payloadOffset: number;
  readonly keyBytes: number;
  readonly digest: Uint8Array;
  readonly digestSalt: Uint8Array;
  readonly digestIterations: number;
  readonly uuid: string;
  readonly slots: readonly LuksSlot[];
}

/** Reads bytes from where the header begins. */
export type ReadHeader = (offset: number, bytes: number) => Promise<Uint8Array>;

export function isLuks(head: Uint8Array): boolean {
  if (head.length < 8) return false;
  return [...asciiBytes(MAGIC)].every((byte, i) => head[i] === byte) && viewOf(head).getUint16(AT.version) === 1;
}

export async function readLuksHeader(read: ReadHeader): Promise<LuksHeader> {
  const bytes = await read(0, LUKS_HEADER_BYTES);
  const view = viewOf(bytes);
  if (![...asciiBytes(MAGIC)].every((byte, i) => bytes[i] === byte))
    throw new ImageError('Volume is not in LUKS format');
  const version = view.getUint16(AT.version);
  if (version !== 1) throw new ImageError(`LUKS version ${version} is not supported`, 'ENOTSUP');
  const text = (at: number, length: number): string => asciiText(bytes.subarray(at, at + length));
  const [cipher, mode, hash] = [text(AT.cipher, 32), text(AT.mode, 32), text(AT.hash, 32)];
  if (cipher !== 'aes') throw new ImageError(`Algorithm '${cipher}' is not supported`, 'ENOTSUP');
  if (!HASHES.includes(hash)) throw new ImageError(`Hash algorithm '${hash}' is not supported`, 'ENOTSUP');
  const spec = parseCipherMode(mode);
  const keyBytes = view.getUint32(AT.keyBytes);
  const sizes = spec.mode === 'xts' ? [32, 64] : [16, 24, 32];
  if (!sizes.includes(keyBytes)) throw new ImageError(`LUKS key of ${keyBytes} bytes does not fit ${cipher}-${mode}`);
  const digestIterations = iterationsIn(view.getUint32(AT.digestIterations), 'master key digest');
  const payloadOffset = view.getUint32(AT.payload) * SECTOR_BYTES;
  const slots: LuksSlot[] = [];
  for (let i = 0; i < SLOTS; i++) {
    const at = SLOT_AT + i * SLOT_BYTES;
    const state = view.getUint32(at);
    if (state !== SLOT_ENABLED && state !== SLOT_DISABLED)
      throw new ImageError(`LUKS keyslot ${i} state 0x${state.toString(16)} is corrupt`);
    const stripes = view.getUint32(at + 44);
    const keyOffset = view.getUint32(at + 40) * SECTOR_BYTES;
    // GUEST: a slot's key material is read whole when a passphrase is tried.
    if (stripes < 1 || stripes > MAX_STRIPES) throw new ImageError(`LUKS keyslot ${i} has ${stripes} stripes`);
    if (keyOffset < LUKS_HEADER_BYTES || keyOffset + stripes * keyBytes > payloadOffset)
      throw new ImageError(`LUKS keyslot ${i} at ${keyOffset} overlaps the header or the payload at ${payloadOffset}`);
    const active = state === SLOT_ENABLED;
    const iterations = active ? iterationsIn(view.getUint32(at + 4), `keyslot ${i}`) : 0;
    slots.push({ active, iterations, salt: bytes.slice(at + 8, at + 8 + SALT_BYTES), keyOffset, stripes });
  }
  return {
    cipher, mode, spec, hash, payloadOffset, keyBytes, digestIterations, slots,
    digest: bytes.slice(AT.digest, AT.digest + DIGEST_BYTES),
    digestSalt: bytes.slice(AT.digestSalt, AT.digestSalt + SALT_BYTES),
    uuid: text(AT.uuid, 40),
  }; // prettier-ignore
}

/** Finds the slot that `passphrase` opens; the cipher numbers sectors from the payload's start. */
export async function unlockLuks(
  header: LuksHeader,
  read: ReadHeader,
  passphrase: Uint8Array,
  host: BlockHost,
): Promise<SectorCipher> {
  const key = await masterKey(header, read, passphrase, host);
  if (key === undefined) throw new ImageError('Invalid password, cannot unlock any keyslot', 'EPERM');
  return makeSectorCipher(header.spec, key, cryptoOf(host));
}

/** The key of the disk, from the first slot that `passphrase` opens. */
export async function masterKey(
  header: LuksHeader,
  read: ReadHeader,
  passphrase: Uint8Array,
  host: BlockHost,
): Promise<Uint8Array | undefined> {
  for (const slot of header.slots) {
    const key = await keyInSlot(header, slot, read, passphrase, host);
    if (key !== undefined) return key;
  }
  return undefined;
}

/** The key of the disk, if `passphrase` opens this slot. */
export async function keyInSlot(
  header: LuksHeader,
  slot: LuksSlot,
  read: ReadHeader,
  passphrase: Uint8Array,
  host: BlockHost,
): Promise<Uint8Array | undefined> {
  if (!slot.active) return undefined;
  const crypto = cryptoOf(host);
  const { hash, keyBytes } = header;
  const slotKey = await crypto.pbkdf2(hash, passphrase, slot.salt, slot.iterations, keyBytes);
  const bytes = keyBytes * slot.stripes;
  const stored = await read(slot.keyOffset, sectorsUp(bytes));
  const cipher = await makeSectorCipher(header.spec, slotKey, crypto);
  const key = await mergeKey(cipher.decrypt(0, stored).subarray(0, bytes), keyBytes, hash, crypto);
  const digest = await crypto.pbkdf2(hash, key, header.digestSalt, header.digestIterations, DIGEST_BYTES);
  return digest.every((byte, i) => byte === header.digest[i]) ? key : undefined;
}

export interface LuksOptions {
  readonly keyBits: 128 | 192 | 256;
  readonly mode: 'xts' | 'cbc' | 'ecb';
  readonly iv: 'plain' | 'plain64' | 'essiv';
  readonly ivHash?: string;
  readonly hash: string;
  /** How long trying a passphrase shall take. */
  readonly iterTimeMs: number;
}

/** A new volume's header with its key slots: all bytes before the payload. */
export async function createLuks(
  options: LuksOptions,
  passphrase: Uint8Array,
  host: BlockHost,
): Promise<{ readonly header: Uint8Array; readonly cipher: SectorCipher }> {
  const crypto = cryptoOf(host);
  const { hash } = options;
  if (!HASHES.includes(hash)) throw new ImageError(`Parameter 'hash-alg' does not accept value '${hash}'`);
  const suffix = options.iv === 'essiv' ? `essiv:${options.ivHash ?? 'sha256'}` : options.iv;
  const mode = `${options.mode}-${suffix}`;
  const spec = parseCipherMode(mode);
  const keyBytes = (options.keyBits / 8) * (options.mode === 'xts' ? 2 : 1);
  const layout = luksLayout(keyBytes);
  const iterations = await measureIterations(hash, keyBytes, options.iterTimeMs, host, crypto);
  const digestIterations = Math.max(MIN_ITERATIONS, Math.floor(iterations / 8));

  const key = host.randomBytes(keyBytes);
  const [digestSalt, slotSalt] = [host.randomBytes(SALT_BYTES), host.randomBytes(SALT_BYTES)];
  const header = new Uint8Array(layout.payloadOffset);
  const view = viewOf(header);
  header.set(asciiBytes(MAGIC));
  view.setUint16(AT.version, 1);
  header.set(asciiBytes('aes'), AT.cipher);
  header.set(asciiBytes(mode), AT.mode);
  header.set(asciiBytes(hash), AT.hash);
  view.setUint32(AT.payload, layout.payloadOffset / SECTOR_BYTES);
  view.setUint32(AT.keyBytes, keyBytes);
  header.set(await crypto.pbkdf2(hash, key, digestSalt, digestIterations, DIGEST_BYTES), AT.digest);
  header.set(digestSalt, AT.digestSalt);
  view.setUint32(AT.digestIterations, digestIterations);
  header.set(asciiBytes(uuidText(host.randomBytes(16))), AT.uuid);
  for (let i = 0; i < SLOTS; i++) {
    const at = SLOT_AT + i * SLOT_BYTES;
    view.setUint32(at, i === 0 ? SLOT_ENABLED : SLOT_DISABLED);
    view.setUint32(at + 40, layout.slotOffset(i) / SECTOR_BYTES);
    view.setUint32(at + 44, STRIPES);
  }
  header.set(slotRecord({ iterations, salt: slotSalt, keyOffset: layout.slotOffset(0), stripes: STRIPES }), SLOT_AT);
  const slot = { iterations, salt: slotSalt, stripes: STRIPES };
  header.set(await sealKey(key, passphrase, { hash, spec, ...slot }, host), layout.slotOffset(0));
  return { header, cipher: await makeSectorCipher(spec, key, crypto) };
}

/** Key material of a slot that `passphrase` opens. */
async function sealKey(
  key: Uint8Array,
  passphrase: Uint8Array,
  { hash, spec, iterations, salt, stripes }: Pick<LuksHeader, 'hash' | 'spec'> & Omit<LuksSlot, 'active' | 'keyOffset'>,
  host: BlockHost,
): Promise<Uint8Array> {
  const crypto = cryptoOf(host);
  const slotKey = await crypto.pbkdf2(hash, passphrase, salt, iterations, key.length);
  const split = await splitKey(key, stripes, hash, crypto, (count) => host.randomBytes(count));
  const padded = new Uint8Array(sectorsUp(split.length));
  padded.set(split);
  return (await makeSectorCipher(spec, slotKey, crypto)).encrypt(0, padded);
}

/** An active slot in the header. */
function slotRecord({ iterations, salt, keyOffset, stripes }: Omit<LuksSlot, 'active'>): Uint8Array {
  const record = new Uint8Array(SLOT_BYTES);
  const view = viewOf(record);
  view.setUint32(0, SLOT_ENABLED);
  view.setUint32(4, iterations);
  record.set(salt, 8);
  view.setUint32(40, keyOffset / SECTOR_BYTES);
  view.setUint32(44, stripes);
  return record;
}

export interface WriteHeader {
  /** Writes from where the header begins. */
  readonly write: (offset: number, bytes: Uint8Array) => Promise<void>;
  /** What was written is on stable storage. */
  readonly flush: () => Promise<void>;
}

/** Lets `passphrase` open slot `index`, which is not in use; the key material is there before the header says so. */
export async function fillSlot(
  header: LuksHeader,
  index: number,
  how: { readonly key: Uint8Array; readonly passphrase: Uint8Array; readonly iterTimeMs: number },
  { write, flush }: WriteHeader,
  host: BlockHost,
): Promise<void> {
  const slot = header.slots[index];
  if (slot === undefined) throw new RangeError(`keyslot ${index}`);
  const { hash, keyBytes } = header;
  const { keyOffset, stripes } = slot;
  const iterations = await measureIterations(hash, keyBytes, how.iterTimeMs, host, cryptoOf(host));
  const salt = host.randomBytes(SALT_BYTES);
  const sealed = await sealKey(how.key, how.passphrase, { ...header, iterations, salt, stripes }, host);
  await write(keyOffset, sealed);
  await flush();
  await write(SLOT_AT + index * SLOT_BYTES, slotRecord({ iterations, salt, keyOffset, stripes }));
  await flush();
}

/** Nothing opens slot `index` any more: the header says so, and its key material is written over. */
export async function eraseSlot(
  header: LuksHeader,
  index: number,
  { write, flush }: WriteHeader,
  host: BlockHost,
): Promise<void> {
  const slot = header.slots[index];
  if (slot === undefined) throw new RangeError(`keyslot ${index}`);
  const record = new Uint8Array(SLOT_BYTES);
  record.set(slotRecord({ ...slot, iterations: 0, salt: new Uint8Array(SALT_BYTES) }));
  viewOf(record).setUint32(0, SLOT_DISABLED);
  await write(SLOT_AT + index * SLOT_BYTES, record);
  await flush();
  await write(slot.keyOffset, host.randomBytes(sectorsUp(header.keyBytes * slot.stripes)));
  await flush();
}

/** Where the slots and the payload of a new volume are. */
export function luksLayout(keyBytes: number): { slotOffset(slot: number): number; readonly payloadOffset: number } {
  const unit = KEY_ALIGNMENT * SECTOR_BYTES;
  const slotBytes = Math.ceil((keyBytes * STRIPES) / unit) * unit;
  return { slotOffset: (slot) => unit + slot * slotBytes, payloadOffset: unit + SLOTS * slotBytes };
}

/** What lies before the encrypted disk in a new volume. */
export function luksBytes({ keyBits, mode }: LuksOptions): number {
  return luksLayout((keyBits / 8) * (mode === 'xts' ? 2 : 1)).payloadOffset;
}

/** Iterations that take `ms` here, at least the least that is allowed. */
async function measureIterations(
  hash: string,
  keyBytes: number,
  ms: number,
  host: BlockHost,
  crypto: HostCrypto,
): Promise<number> {
  const [password, salt] = [new Uint8Array(32), new Uint8Array(SALT_BYTES)];
  for (let count = 1 << 14; ; count *= 2) {
    const start = host.nowMs();
    await crypto.pbkdf2(hash, password, salt, count, keyBytes);
    const took = host.nowMs() - start;
    const found = Math.max(MIN_ITERATIONS, Math.floor((count * ms) / Math.max(took, 1)));
    if (took >= 100 || count >= 1 << 26) return Math.min(MAX_ITERATIONS, found);
  }
}

function cryptoOf(host: BlockHost): HostCrypto {
  if (host.crypto === undefined)
    throw new BlockError('ENOTSUP', 'This platform offers no cryptography for encrypted images');
  return host.crypto;
}

function iterationsIn(count: number, what: string): number {
  if (count < 1 || count > MAX_ITERATIONS)
    throw new ImageError(`LUKS ${what} has ${count} iterations, not 1 to ${MAX_ITERATIONS}`);
  return count;
}

function sectorsUp(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES;
}

function uuidText(random: Uint8Array): string {
  const bytes = random.slice();
  // INVARIANT: 16 bytes. Version 4 (RFC 9562, 5.4).
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
