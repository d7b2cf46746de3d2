/**
 * `orrery img` beside qemu-img: conversions of an image of real data, and short commands from start to end.
 *
 *     node bench/img.ts [--peers orrery,qemu] [--size MIB] [--runs N] [--jobs convert|short] [--data FOLDER]
 *
 * The data is what files of FOLDER (default /usr) hold, each at a block of its own as in a file system; the sparse image has a tenth
 * of it in pieces of 1 MiB all over. Peers take turns; the figure is the median, and the processor time of all threads stands beside
 * it. What the peers wrote is compared with the source. It measures the bundle: run `node scripts/build.ts` first.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { type FileHandle, mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { UserError } from '../src/base/errors.ts';
import { textTable } from './tables.ts';

const ORRERY = fileURLToPath(new URL('../bin/orrery.js', import.meta.url));
const PEERS = ['orrery', 'qemu'] as const;
type Peer = (typeof PEERS)[number];
const MIB = 1024 ** 2;
const BLOCK_BYTES = 4096;
const LARGEST_FILE_BYTES = 64 * MIB;
const SPARSE_EVERY = 10;

interface Job {
  readonly name: string;
  readonly command: readonly string[];
  /** Image that the command writes, which must hold the same as `source`. */
  readonly written?: string;
  readonly source?: string;
}

interface Sample {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

function commandOf(peer: Peer): readonly string[] {
  return peer === 'qemu' ? ['qemu-img'] : [process.execPath, ORRERY, 'img'];
}

/** Both come from the shell's `times`: a child's own time is told to nobody else. */
function measure(command: readonly string[]): Sample {
  const script = 'TIMEFORMAT="%R %U %S"; time "$@" >/dev/null';
  const { status, stderr, error } = spawnSync('bash', ['-c', script, 'bash', ...command], { encoding: 'utf8' });
  const times = /^([\d.]+) ([\d.]+) ([\d.]+)\n*$/m.exec(stderr);
  if (error !== undefined || status !== 0 || times === null) throw new UserError(`${command.join(' ')}: ${stderr}`);
  return { seconds: Number(times[1]), cpuSeconds: Number(times[2]) + Number(times[3]) };
}

function median(values: readonly number[]): number {
  const sorted = [...values].toSorted((a, b) => a - b);
  // INVARIANT: every job runs at least once.
  return sorted[sorted.length >> 1]!;
}

/** Fills `size` bytes of a new file with contents of files below `folder`, again and again. */
async function makeDense(path: string, folder: string, size: number): Promise<void> {
  const file = await open(path, 'w');
  let at = 0;
  try {
    while (at < size) {
      const before = at;
      for await (const path of filesBelow(folder)) {
        if (at >= size) break;
        at += await appendFile(file, at, path, size - at);
      }
      if (at === before) throw new UserError(`${folder} holds no data`);
    }
  } finally {
    await file.close();
  }
}

async function* filesBelow(folder: string): AsyncGenerator<string> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else if (entry.isFile()) yield path;
  }
}

async function appendFile(to: FileHandle, at: number, path: string, most: number): Promise<number> {
  const content = await readFile(path).catch(() => undefined);
  if (content === undefined || content.length === 0 || content.length > LARGEST_FILE_BYTES) return 0;
  const blocks = Buffer.alloc(Math.min(Math.ceil(content.length / BLOCK_BYTES) * BLOCK_BYTES, most));
  content.copy(blocks);
  await to.write(blocks, 0, blocks.length, at);
  return blocks.length;
}

async function makeSparse(path: string, dense: string, size: number): Promise<void> {
  const [from, to] = [await open(dense), await open(path, 'w')];
  const piece = Buffer.alloc(MIB);
  await to.truncate(size);
  for (let at = 0; at < size; at += SPARSE_EVERY * MIB) {
    const { bytesRead } = await from.read(piece, 0, MIB, at);
    await to.write(piece, 0, bytesRead, at);
  }
  await from.close();
  await to.close();
}

function convertJobs(folder: string): Job[] {
  const at = (name: string): string => join(folder, name);
  const convert = (name: string, words: readonly string[], source: string): Job => ({
    name,
    command: ['convert', ...words, at(source), at('out')],
    written: at('out'),
    source: at(source),
  });
  return [
    convert('convert raw to qcow2', ['-f', 'raw', '-O', 'qcow2'], 'dense'),
    convert('convert qcow2 to raw', ['-f', 'qcow2', '-O', 'raw'], 'dense.qcow2'),
    convert('convert raw to compressed qcow2', ['-c', '-f', 'raw', '-O', 'qcow2'], 'dense'),
    convert('convert compressed qcow2 to raw', ['-f', 'qcow2', '-O', 'raw'], 'packed.qcow2'),
    convert('convert sparse raw to qcow2', ['-f', 'raw', '-O', 'qcow2'], 'sparse'),
    convert('convert sparse qcow2 to raw', ['-f', 'qcow2', '-O', 'raw'], 'sparse.qcow2'),
  ];
}

function shortJobs(folder: string): Job[] {
  const image = join(folder, 'sparse.qcow2');
  return [
    { name: 'create', command: ['create', '-q', '-f', 'qcow2', join(folder, 'new'), '4G'] },
    { name: 'info', command: ['info', image] },
    { name: 'map', command: ['map', image] },
    { name: 'check', command: ['check', image] },
    { name: 'info, JSON', command: ['info', '--output=json', image] },
  ];
}

/**
 * Whoever writes to the page cache first has to get its memory from the machine below, which takes longer than the writing; so as much
 * is written and given back before each command.
 */
function warmMemory(written: string): void {
  rmSync(written, { force: true });
  const { size } = statSync(join(dirname(written), 'dense'));
  const file = openSync(written, 'w');
  const piece = Buffer.alloc(MIB);
  for (let at = 0; at < size; at += MIB) writeSync(file, piece, 0, MIB, at);
  closeSync(file);
  rmSync(written);
}

function run(jobs: readonly Job[], peers: readonly Peer[], runs: number): void {
  const rows = jobs.map((job) => {
    const samples = new Map<Peer, Sample[]>(peers.map((peer) => [peer, []]));
    for (let i = 0; i < runs; i++) {
      for (const [peer, of] of i % 2 === 0 ? [...samples] : [...samples].toReversed()) {
        if (job.written !== undefined) warmMemory(job.written);
        of.push(measure([...commandOf(peer), ...job.command]));
        if (i === 0 && job.written !== undefined && job.source !== undefined)
          measure(['qemu-img', 'compare', job.source, job.written]);
      }
    }
    const seconds = [...samples.values()].map((of) => median(of.map((sample) => sample.seconds)));
    const cpu = [...samples.values()].map((of) => median(of.map((sample) => sample.cpuSeconds)));
    const [ours = 0, theirs = 0] = seconds;
    const ratio = peers.length > 1 ? `${(theirs / ours).toFixed(2)}×` : '';
    return [job.name, ...seconds.map((s) => s.toFixed(2)), ratio, ...cpu.map((s) => s.toFixed(2))];
  });
  const head = ['seconds', ...peers, '', ...peers.map((peer) => `${peer}, CPU`)];
  console.log(textTable([head, ...rows]).join('\n'));
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      peers: { type: 'string', default: PEERS.join() },
      size: { type: 'string', default: '4096' },
      runs: { type: 'string', default: '3' },
      jobs: { type: 'string', default: 'convert,short' },
      data: { type: 'string', default: '/usr' },
    },
  });
  const peers = PEERS.filter((peer) => values.peers.split(',').includes(peer));
  const folder = await mkdtemp(join(tmpdir(), 'orrery-img-bench-'));
  try {
    const at = (name: string): string => join(folder, name);
    const size = Number(values.size) * MIB;
    await makeDense(at('dense'), values.data, size);
    await makeSparse(at('sparse'), at('dense'), size);
    for (const [source, to, ...flags] of [
      ['dense', 'dense.qcow2'],
      ['dense', 'packed.qcow2', '-c'],
      ['sparse', 'sparse.qcow2'],
    ] as const)
      measure(['qemu-img', 'convert', ...flags, '-f', 'raw', '-O', 'qcow2', at(source), at(to)]);
    if (values.jobs.includes('short')) run(shortJobs(folder), peers, Math.max(Number(values.runs), 7));
    if (values.jobs.includes('convert')) run(convertJobs(folder), peers, Number(values.runs));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
