/**
 * Images with bytes changed, opened and used: whatever is in them, an image's reader may fail only with an error that says so, must not
 * run in circles, and takes a bounded amount of memory.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateSync, zstdDecompressSync } from 'node:zlib';
import { BlockError, ImageError } from '../../src/block/block-error.ts';
import { crc32c } from '../../src/block/formats/vhdx/crc32c.ts';
import { BlockGraph } from '../../src/block/graph.ts';
import type { BlockHost } from '../../src/block/host.ts';
import type { BlockNode } from '../../src/block/node.ts';
import { nodeBlockHost } from '../../src/host/node/block/host.ts';
import { bochsImage, cloopImage, dmgImage, packAdc } from '../block/support/read-only-images.ts';
import { OverlayFile } from './overlay-file.ts';

/** Checking a mutated image's tables takes most; a whole case on an unchanged image some hundred. */
const MAX_REQUESTS = 100_000;
const KEY = 'key';
/** Beyond this, key derivation is only slow: it is bounded by the opener, and not looked at again. */
const MAX_ITERATIONS = 20_000;

type Random = (below: number) => number;

interface Seed {
  readonly name: string;
  readonly format: string;
  readonly options: Readonly<Record<string, string>>;
  readonly image: Uint8Array;
  /** Starts of the 64-byte pieces that are not zeroes: tables and headers, mostly. */
  readonly pieces: readonly number[];
}

/** A platform without files: names in an image lead nowhere. */
const host: BlockHost = {
  crypto: {
    ...nodeBlockHost.crypto!, // INVARIANT: Node has cryptography
    pbkdf2: async (hash, password, salt, iterations, bytes) => {
      if (iterations > MAX_ITERATIONS) throw new ImageError(`${iterations} iterations`);
      return nodeBlockHost.crypto!.pbkdf2(hash, password, salt, iterations, bytes);
    },
  },
  openFile: () => Promise.reject(new ImageError('no such file', 'ENOENT')),
  inflateRaw: (data, limit) => nodeBlockHost.inflateRaw(data, limit),
  inflateZlib: (data, limit) => nodeBlockHost.inflateZlib(data, limit),
  deflateRaw: (data) => nodeBlockHost.deflateRaw(data),
  unzstd: (data, limit) => nodeBlockHost.unzstd(data, limit),
  zstd: (data) => nodeBlockHost.zstd(data),
  randomBytes: (count) => nodeBlockHost.randomBytes(count),
  nowMs: () => 0,
  sleep: () => Promise.resolve(),
};

const makeGraph = (): BlockGraph => new BlockGraph(host, { secret: async () => new TextEncoder().encode(KEY) });

/** mulberry32: a failure names its seed. */
export function makeRandom(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

function makeSeed(name: string, bytes: Uint8Array, options: Seed['options'] = {}): Seed {
  // A Buffer's `slice` would not be a copy.
  const image = new Uint8Array(bytes);
  const pieces: number[] = [];
  const words = new Uint32Array(image.buffer, 0, image.length >>> 2);
  for (let at = 0; at < words.length; at++) {
    if (words[at] === 0) continue;
    pieces.push(at * 4 - ((at * 4) % 64));
    at |= 15; // the next piece
  }
  return { name, format: name.split(' ')[0] ?? '', options, image, pieces };
}

/** Images of every kind: the recorded ones, the ones that are only read, and some of ours with more in them. */
export async function makeSeeds(): Promise<readonly Seed[]> {
  const file = join(import.meta.dirname, '..', 'block', 'fixtures', 'images.json');
  const recorded = JSON.parse(readFileSync(file, 'utf8')) as Record<string, Record<string, string>>;
  const seeds: Seed[] = [];
  for (const [name, files] of Object.entries(recorded)) {
    const [packed] = Object.values(files);
    // The format's whole is a gigabyte of nothing.
    if (packed === undefined || name.includes('256M') || name.startsWith('raw')) continue;
    seeds.push(makeSeed(name, zstdDecompressSync(Buffer.from(packed, 'base64'))));
  }
  const disk = Uint8Array.from({ length: 96 << 10 }, (_, i) => (i % 9000 < 4000 ? (i * 7) >> 4 : 0));
  const part = disk.subarray(0, 4096);
  seeds.push(makeSeed('bochs 1', bochsImage(disk, 1)), makeSeed('bochs 2', bochsImage(disk, 2)));
  seeds.push(makeSeed('cloop', cloopImage(disk, 4096)));
  const chunks = [
    { type: 0x80000005, plain: part, packed: deflateSync(part) },
    { type: 0x80000004, plain: part, packed: packAdc(part) },
    { type: 1, plain: part, packed: part },
    { type: 0x80000006, plain: new Uint8Array(40960), packed: readFileSync(join(file, '..', 'runs.bz2')) },
  ];
  seeds.push(makeSeed('dmg list', dmgImage(chunks, 'list')), makeSeed('dmg fork', dmgImage(chunks, 'fork')));
  seeds.push(await qcow2Seed({}), await qcow2Seed({ extended_l2: 'on', compression_type: 'zstd' }));
  seeds.push(await qcow2Seed({ cluster_size: '512', refcount_bits: '64' }));
  seeds.push(await luksSeed());
  return seeds;
}

async function imageOf(file: OverlayFile): Promise<Uint8Array> {
  const image = new Uint8Array(file.size);
  await file.read(0, [image]);
  return image;
}

/** Snapshots, a bitmap, compressed clusters. */
async function qcow2Seed(options: Readonly<Record<string, string>>): Promise<Seed> {
  const graph = makeGraph();
  const file = new OverlayFile(new Uint8Array(0), MAX_REQUESTS);
  await graph.driver('qcow2')!.create!({ file, size: 1 << 20, options }, { host } as never); // opens no child
  graph.add(file);
  const node = await graph.open({ driver: 'qcow2', file: file.name });
  const moment = { vmStateBytes: 0, dateSeconds: 1, dateNs: 0, vmClockNs: 0n };
  await node.write(1000, [new Uint8Array(70_000).fill(5)]);
  await node.snapshots!.create({ name: 'first', ...moment });
  await node.write(131_072, [new Uint8Array(65_536).fill(6)], { compressed: true });
  await node.snapshots!.create({ name: 'second', ...moment });
  await node.writeZeroes(0, 65_536);
  const bitmap = await node.bitmaps!.add('marks', 65_536, true);
  bitmap.set(0, 200_000);
  await node.setBackingReference?.({ file: 'below', format: 'raw' });
  await graph.close(node);
  return makeSeed(`qcow2 with all ${JSON.stringify(options)}`, await imageOf(file));
}

async function luksSeed(): Promise<Seed> {
  const graph = makeGraph();
  const file = new OverlayFile(new Uint8Array(0), MAX_REQUESTS);
  const secret = async (): Promise<Uint8Array> => new TextEncoder().encode(KEY);
  const options = { 'key-secret': 's', 'iter-time': '1', 'cipher-alg': 'aes-128' };
  await graph.driver('luks')!.create!({ file, size: 8192, options }, { host: nodeBlockHost, secret } as never); // opens no child
  const image = await imageOf(file);
  const seed = makeSeed('luks', image, { 'key-secret': 's' });
  // Nearly all of it is key material, of which one bit is like another.
  return { ...seed, pieces: seed.pieces.filter((at) => at < 1024) };
}

const WORDS = [
  0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x1ff, 0x200, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
];

/** Longest change, and how far before its place it may begin. */
const CHANGE_BYTES = 80;
const CHANGE_BEFORE = 8;

function changeOnce(image: Uint8Array, seed: Seed, random: Random, keep: (at: number, bytes: number) => void): void {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const piece =
    seed.pieces[random(2) === 0 ? random(Math.min(seed.pieces.length, 16)) : random(seed.pieces.length)] ?? 0;
  const at = Math.min(piece + random(64), image.length - 9);
  if (at < 0) return;
  keep(Math.max(0, at - CHANGE_BEFORE), CHANGE_BYTES);
  const little = random(2) === 0;
  const word = (): number =>
    [WORDS[random(WORDS.length)]!, 2 ** random(32), image.length, image.length >>> 9, random(2 ** 32)][random(5)]!;
  switch (random(8)) {
    case 0:
      image[at] = random(256);
      break;
    case 1:
      image[at]! ^= 1 << random(8);
      break;
    case 2:
      image[at] = WORDS[random(6)]!;
      break;
    case 3:
      view.setUint32(at - (at % 4), word(), little);
      break;
    case 4:
      view.setUint32(at - (at % 8), little ? word() : 0, little);
      view.setUint32(at - (at % 8) + 4, little ? 0 : word(), little);
      break;
    case 5:
      image.fill(random(2) * 255, at, at + 1 + random(8));
      break;
    case 6: {
      const from = seed.pieces[random(seed.pieces.length)] ?? 0;
      image.copyWithin(at - (at % 8), from, from + 8 * (1 + random(8))); // within CHANGE_BYTES
      break;
    }
    default:
      view.setUint32(at - (at % 4), view.getUint32(at - (at % 4), little) + random(9) - 4, little);
  }
}

/** Sums that would have the change found at once are made right again. */
function mendSums(image: Uint8Array, format: string, keep: (at: number, bytes: number) => void): void {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const KIB = 1024;
  if (format === 'vhdx' && image.length > 320 * KIB) {
    for (const at of [64, 128, 192, 256]) keep(at * KIB, 8);
    for (const at of [64, 128]) view.setUint32(at * KIB + 4, crc32c(image.subarray(at * KIB, (at + 4) * KIB), 4), true);
    for (const at of [192, 256]) view.setUint32(at * KIB + 4, crc32c(image.subarray(at * KIB, (at + 64) * KIB), 4), true);
  }
  if (format !== 'vpc' || image.length < 2048) return;
  for (const [start, bytes, hole] of [[0, 512, 64], [image.length - 512, 512, 64], [512, 1024, 36]] as const) {
    let sum = 0;
    for (let i = 0; i < bytes; i++) if (i < hole || i >= hole + 4) sum += image[start + i]!;
    keep(start + hole, 4);
    view.setUint32(start + hole, ~sum);
  }
} // prettier-ignore

/** Only what an opener or a node may throw passes. */
async function allow(work: () => unknown): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (error instanceof ImageError || error instanceof BlockError) return;
    // A decompressor's.
    const code = (error as { code?: unknown }).code;
    if (typeof code === 'string' && (code.startsWith('Z_') || code.startsWith('ZSTD_') || code === 'ERR_BUFFER_TOO_LARGE')) return; // prettier-ignore
    throw error;
  }
}

async function use(node: BlockNode, random: Random): Promise<void> {
  const { size } = node;
  const places = [0, Math.floor(size / 3), 65_536, 131_072, Math.max(0, size - 5000), random(size)];
  for (const at of places) await allow(() => node.read(at, [new Uint8Array(Math.max(0, Math.min(5000, size - at)))]));
  let at = 0;
  for (let runs = 0; runs < 40 && at < size; runs++) {
    let bytes = 65_536;
    await allow(async () => ({ bytes } = await node.status(at, Math.min(size - at, 1 << 30))));
    if (bytes <= 0) throw new Error(`status of ${bytes} bytes at ${at}`);
    at += bytes;
  }
  if (!node.readOnly) {
    await allow(() => node.write(places[random(places.length)]!, [new Uint8Array(3000).fill(9)]));
    await allow(() => node.write(Math.min(65_536, size), [new Uint8Array(65_536).fill(8)], { compressed: random(2) === 0 }));
    await allow(() => node.writeZeroes(0, Math.min(200_000, size), { unmap: random(2) === 0 }));
    await allow(() => node.discard(65_536, Math.max(0, Math.min(400_000, size - 65_536))));
    await allow(() => node.flush());
  } // prettier-ignore
  const { snapshots, bitmaps } = node;
  if (snapshots !== undefined) {
    const [first] = snapshots.list();
    if (first !== undefined) {
      await allow(async () => {
        const view = await snapshots.open(first.id);
        await allow(() => view.read(0, [new Uint8Array(Math.min(view.size, 70_000))]));
        await view.close();
      });
      if (!node.readOnly) await allow(() => snapshots[random(2) === 0 ? 'apply' : 'delete'](first.id));
    }
  }
  if (bitmaps !== undefined)
    for (const { name } of bitmaps.list()) await allow(() => bitmaps.find(name)?.run(0, node.size));
  if (node.check !== undefined && random(2) === 0)
    await allow(() => node.check?.(node.readOnly ? 'none' : random(2) === 0 ? 'all' : 'leaks'));
  if (!node.readOnly && random(8) === 0) await allow(() => node.truncate(random(4) << 18));
}

export interface CaseResult {
  readonly name: string;
  readonly opened: boolean;
  readonly requests: number;
}

/** One changed image, opened as what it was (or what it looks like now), read, written, checked, closed. */
export async function runCase(seeds: readonly Seed[], number: number): Promise<CaseResult> {
  const random = makeRandom(number);
  const seed = seeds[random(seeds.length)]!; // INVARIANT: there are seeds
  const cut = random(20) === 0 ? random(seed.image.length) : seed.image.length;
  const image = seed.image.subarray(0, cut);
  // The next case wants the seed as it was.
  const kept: { at: number; bytes: Uint8Array }[] = [];
  const keep = (at: number, bytes: number): void => void kept.push({ at, bytes: image.slice(at, at + bytes) });
  for (let count = 1 + random(4); count > 0; count--) changeOnce(image, seed, random, keep);
  if (random(4) !== 0) mendSums(image, seed.format, keep);
  try {
    return { name: seed.name, ...(await openAndUse(seed, image, random)) };
  } finally {
    for (const { at, bytes } of kept.toReversed()) image.set(bytes, at);
  }
}

async function openAndUse(seed: Seed, image: Uint8Array, random: Random): Promise<Omit<CaseResult, 'name'>> {
  const graph = makeGraph();
  const file = new OverlayFile(image, MAX_REQUESTS);
  graph.add(file);
  let opened = false;
  await allow(async () => {
    const [readOnly, noIo, check] = [random(4) === 0, random(12) === 0, random(4) === 0];
    const driver = random(16) === 0 ? undefined : seed.format;
    const options = driver === undefined ? {} : { driver, ...seed.options };
    // Half of the backing files are named and not there; without them the rest of the image is looked at.
    const node = await graph.open({ ...options, file: file.name }, { readOnly, noIo, check, noBacking: random(2) === 0 });
    opened = true;
    if (!noIo) await use(node, random);
    await allow(() => graph.close(node));
  });
  return { opened, requests: file.requests };
} // prettier-ignore
