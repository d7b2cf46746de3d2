/**
 * Every format with its options and sizes, both ways: images that we write are judged by the distribution's tool (`check`, `info`,
 * `compare`), images that it writes are read by us, and what one of both refuses to make the other refuses too. Each kind in one size;
 * ORRERY_MATRIX=all takes all sizes.
 *
 * fixtures/images.json holds small images of every kind by that tool, for machines without it; ORRERY_RECORD=1 writes it anew.
 */
import { execFile } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'; // prettier-ignore
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ImageError } from '../../src/block/block-error.ts';
import { BlockGraph } from '../../src/block/graph.ts';
import { nodeBlockHost } from '../../src/host/node/block/host.ts';
import { contentOf, expectedAt, findDifference, nameOf, SECRET, SIZES, VARIANTS } from './support/matrix.ts';
import type { Variant } from './support/matrix.ts';
import { toolsMissing } from './support/qemu-tools.ts';

const ALL = process.env['ORRERY_MATRIX'] === 'all';
const RECORD = process.env['ORRERY_RECORD'] === '1';
const FIXTURES = join(import.meta.dirname, 'fixtures', 'images.json');
const IMG = '/usr/bin/qemu-img';
/** What `check` says besides 0: 63 is "this format has no checks". */
const NO_CHECKS = 63;
const MIB = 1 << 20;
const TOOL_MS = ALL ? 600_000 : 60_000;

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'orrery-matrix-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Outcome {
  readonly status: number;
  readonly text: string;
}

function tool(...words: readonly string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(IMG, words, { encoding: 'utf8', maxBuffer: 1 << 26, timeout: TOOL_MS }, (error, out, complaint) =>
      resolve({ status: error === null ? 0 : Number(error.code ?? -1), text: out + complaint }),
    );
  });
}

const makeGraph = (): BlockGraph =>
  new BlockGraph(nodeBlockHost, { secret: async () => new TextEncoder().encode(SECRET) });
const SECRET_OBJECT = ['--object', `secret,id=s,data=${SECRET}`];
const optionWords = (options: Variant['options']): string =>
  Object.entries(options).map(([name, value]) => `${name}=${value}`).join(','); // prettier-ignore

/** What a node of this kind needs beyond its file. */
function openOptions({ format, options }: Variant): Record<string, string> {
  if (format === 'luks') return { 'key-secret': 's' };
  if ('encrypt.format' in options) return { 'encrypt.format': 'luks', 'encrypt.key-secret': 's' };
  return {};
}

function imageOptions(variant: Variant, path: string): string {
  return optionWords({ driver: variant.format, ...openOptions(variant), 'file.driver': 'file', 'file.filename': path });
}

/** The disk as a sparse file. */
function writeRaw(path: string, size: number): void {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, size);
  for (const { offset, data } of contentOf(size)) writeSync(fd, data, 0, data.length, offset);
  closeSync(fd);
}

/** Makes an image with the disk on it; undefined: refused. */
async function writeOurs(variant: Variant, path: string, size: number): Promise<number | undefined> {
  const graph = makeGraph();
  const { format, options } = variant;
  try {
    await graph.create({ format, filename: path, size, options });
  } catch (error) {
    if (error instanceof ImageError) return undefined;
    throw error;
  }
  const node = await graph.open({ driver: format, ...openOptions(variant), 'file.driver': 'file', 'file.filename': path }); // prettier-ignore
  // A format of clusters written once is given whole clusters, as whoever converts to it does.
  const unit = options['subformat'] === 'streamOptimized' ? 65_536 : 1;
  const disk = node.size;
  const written = new Set<number>();
  // What was never written to an encrypted disk reads as anything.
  const pieces = format === 'luks' ? [{ offset: 0, data: expectedAt(size, 0, disk) }] : contentOf(size);
  for (const { offset, data } of pieces) {
    if (unit === 1) {
      await node.write(offset, [data]);
      continue;
    }
    for (let at = offset - (offset % unit); at < offset + data.length; at += unit) {
      if (written.has(at)) continue;
      written.add(at);
      await node.write(at, [expectedAt(size, at, Math.min(unit, disk - at))], { compressed: true });
    }
  }
  await node.flush();
  expect(await findDifference(node, size), 'our own, still open').toBe(undefined);
  await graph.closeAll();
  return disk;
}

async function oursToTheirs(variant: Variant, size: number, name: string): Promise<boolean> {
  const { format } = variant;
  const path = join(folder, `${name}.${format}`);
  const disk = await writeOurs(variant, path, size);
  if (disk === undefined) return false;
  writeRaw(`${path}.raw`, size);
  const image = imageOptions(variant, path);
  if (size === 0 && !(await opensItsOwn(variant, `${path}.theirs`))) {
    removeAll(name);
    return true;
  }
  const [check, info, compare] = await Promise.all([
    tool('check', '-U', ...SECRET_OBJECT, '--image-opts', image),
    tool('info', '-U', '--output=json', ...SECRET_OBJECT, '--image-opts', image),
    compareWithRaw(variant, path, size),
  ]);
  expect([0, NO_CHECKS], `check: ${check.text}`).toContain(check.status);
  expect(info.status, `info: ${info.text}`).toBe(0);
  expect((JSON.parse(info.text) as { 'virtual-size': number })['virtual-size']).toBe(Math.ceil(disk / 512) * 512);
  expect(compare, `compare: ${compare.text}`).toMatchObject({ status: 0 });
  removeAll(name);
  return true;
}

/** The tool's comparison of an image with the raw disk beside it. */
async function compareWithRaw(variant: Variant, path: string, size: number): Promise<Outcome> {
  const raw = `driver=raw,file.driver=file,file.filename=${path}.raw`;
  if (variant.large !== 'data only' || size !== SIZES['2 TiB'])
    return tool('compare', '-U', ...SECRET_OBJECT, '--image-opts', imageOptions(variant, path), raw);
  for (const { offset } of contentOf(size)) {
    const window = `offset=${Math.floor(offset / MIB) * MIB},size=${MIB}`;
    const image = `driver=raw,${window},file.driver=${variant.format},file.file.driver=file,file.file.filename=${path}`;
    const outcome = await tool('compare', '-U', '--image-opts', image, `${raw},${window}`);
    if (outcome.status !== 0) return outcome;
  }
  return { status: 0, text: '' };
}

/** Some kinds of empty image the tool makes, but cannot open. */
async function opensItsOwn(variant: Variant, path: string): Promise<boolean> {
  const words = Object.keys(variant.options).length === 0 ? [] : ['-o', optionWords(variant.options)];
  await tool('create', ...SECRET_OBJECT, '-f', variant.format, ...words, path, '0');
  return (await tool('info', ...SECRET_OBJECT, '--image-opts', imageOptions(variant, path))).status === 0;
}

async function theirsToOurs(variant: Variant, size: number, name: string): Promise<boolean> {
  const { format, options } = variant;
  const path = join(folder, `${name}.${format}`);
  writeRaw(`${path}.raw`, size);
  const words = Object.keys(options).length === 0 ? [] : ['-o', optionWords(options)];
  const make = (): Promise<Outcome> =>
    tool('convert', ...SECRET_OBJECT, '-f', 'raw', '-O', format, ...words, `${path}.raw`, path);
  let convert = await make();
  // On a busy machine it cannot tell how fast its key derivation is, and gives up.
  for (let again = 0; again < 8 && convert.text.includes('accurate CPU usage'); again++) convert = await make();
  if (convert.status === 0) {
    rmSync(`${path}.raw`);
    await readTheirs(variant, path, size);
    if (RECORD && size === SIZES['odd']) record(nameOf(variant), name);
  }
  removeAll(name);
  return convert.status === 0;
}

/** What it is, we tell by its content. */
async function readTheirs(variant: Variant, path: string, size: number): Promise<void> {
  const graph = makeGraph();
  const node = await graph.open({ ...openOptions(variant), 'file.driver': 'file', 'file.filename': path });
  const flat = variant.format === 'vpc' && variant.options['subformat'] === 'fixed';
  // A fixed VHD has its mark at its end.
  expect(node.driver).toBe(flat ? 'raw' : variant.format);
  if (!flat) {
    expect(node.size).toBeGreaterThanOrEqual(size);
    expect(await findDifference(node, size)).toBe(undefined);
  }
  await graph.closeAll();
  if (!flat) return;
  const named = await graph.open(path, { format: 'vpc' });
  expect(await findDifference(named, size)).toBe(undefined);
  await graph.closeAll();
}

function removeAll(name: string): void {
  for (const file of readdirSync(folder)) if (file.startsWith(name)) rmSync(join(folder, file));
}

type Fixtures = Readonly<Record<string, Readonly<Record<string, string>>>>;

const recorded: Record<string, Record<string, string>> = {};

function record(title: string, name: string): void {
  const files = readdirSync(folder).filter((file) => file.startsWith(name));
  const packed = files.map((file): [string, string] => [
    file.slice(name.length),
    zstdCompressSync(readFileSync(join(folder, file))).toString('base64'),
  ]);
  recorded[title] = Object.fromEntries(packed);
}

function sizesFor({ large, slow }: Variant, index: number): readonly string[] {
  if (RECORD) return slow === true ? [] : ['odd'];
  const names = Object.keys(SIZES).filter((name) => !(name === '2 TiB' && large === 'left out'));
  if (ALL) return names;
  if (slow === true) return [];
  // INVARIANT: there are at least three.
  return large === 'quick' ? ['2 TiB'] : [names[index % 3]!];
}

describe.skipIf(toolsMissing)('the matrix of formats, options and sizes', () => {
  for (const [index, variant] of VARIANTS.entries()) {
    const taken = sizesFor(variant, index);
    for (const sizeName of taken) {
      test(`${nameOf(variant)}, ${sizeName}`, async () => {
        const size = SIZES[sizeName]!; // INVARIANT: one of the names
        const name = RECORD ? 'fixture' : `m${index}-`;
        const ours = await oursToTheirs(variant, size, name);
        const theirs = await theirsToOurs(variant, size, name);
        expect(ours || size === 0, 'made by us, as by the other').toBe(theirs || size === 0);
      }, 900_000);
    }
  }
  test.runIf(RECORD)('is recorded', () => {
    writeFileSync(FIXTURES, `${JSON.stringify(recorded, undefined, 1)}\n`);
  });
});

describe('recorded images of every kind', () => {
  const fixtures = RECORD ? {} : (JSON.parse(readFileSync(FIXTURES, 'utf8')) as Fixtures);
  // Of an encrypted image a quarter of a MiB is random: too much to keep.
  for (const variant of VARIANTS.filter((one) => one.slow !== true)) {
    test.skipIf(RECORD)(nameOf(variant), async () => {
      const files = Object.entries(fixtures[nameOf(variant)] ?? {});
      expect(files.length).toBeGreaterThan(0);
      // Files that name each other have the names that they were made with.
      for (const [suffix, packed] of files)
        writeFileSync(join(folder, `fixture${suffix}`), zstdDecompressSync(Buffer.from(packed, 'base64')));
      // INVARIANT: one of the names.
      await readTheirs(variant, join(folder, `fixture.${variant.format}`), SIZES['odd']!);
      removeAll('fixture');
    });
  }
});
