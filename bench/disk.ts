/**
 * A guest's disk under Orrery beside QEMU without hardware assistance: virtio-blk on one image, from the host's page cache.
 *
 *     node bench/disk.ts [--peers orrery,qemu] [--format raw|qcow2] [--ms N] [--runs N] [--size MIB] [--console]
 *
 * A C program (disk/disk.c) reads and writes in the guest, sequentially in 128 KiB and at random in 4 KiB, with 1 and 32 requests under
 * way, N ms each, and looks afterwards whether every block is where it was written. It measures the bundle: run `node scripts/build.ts`
 * first. Needs gcc, and for the peer the distribution's qemu-system-x86_64.
 */
import { randomFillSync } from 'node:crypto';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { UserError } from '../src/base/errors.ts';
import { guestAssets } from '../src/host/node/assets/assets.ts';
import { writeCpio } from '../src/machine/cpio.ts';
import { createImage } from '../src/node.ts';
import { withArchive } from './guest-images.ts';
import { textTable } from './tables.ts';

const SOURCE = fileURLToPath(new URL('disk/disk.c', import.meta.url));
const ORRERY = fileURLToPath(new URL('../bin/orrery.js', import.meta.url));
const FORMATS = ['raw', 'qcow2'];
const PEERS = ['orrery', 'qemu'];
const MIB = 1 << 20;
const TIMEOUT_MS = 300_000;

interface Job {
  readonly name: string;
  readonly depth: number;
  readonly blockBytes: number;
  readonly perSecond: number;
}

interface Run {
  readonly jobs: readonly Job[];
  /** Blocks that say where they are, rightly and wrongly. */
  readonly right: number;
  readonly wrong: number;
}

function words(peer: string, image: string, format: string, guest: { kernel: string; initrd: string }): string[] {
  const disk = ['-drive', `file=${image},format=${format},if=virtio`];
  const boot = ['-kernel', guest.kernel, '-initrd', guest.initrd, '-append', 'console=ttyS0 quiet'];
  const common = ['-m', '512', ...disk, ...boot, '-nographic', '-no-reboot'];
  if (peer === 'orrery') return [process.execPath, ORRERY, 'system', ...common];
  return ['qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'max', '-nic', 'none', ...common];
}

async function run(command: readonly string[], show: boolean): Promise<Run> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const timer = setTimeout(() => child.kill(), TIMEOUT_MS);
  let text = '';
  child.stdout.on('data', (bytes: Uint8Array) => {
    text += Buffer.from(bytes).toString('latin1');
    if (show) process.stderr.write(bytes);
  });
  await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));
  clearTimeout(timer);
  const jobs = [...text.matchAll(/^disk (\w+) (\d+) (\d+) (\d+) (\d+) \d+\r?$/gm)].map(
    ([, name = '', depth, block, count, ns]): Job => ({
      name,
      depth: Number(depth),
      blockBytes: Number(block),
      perSecond: (Number(count) * 1e9) / Number(ns),
    }),
  );
  const verified = /^disk verify (\d+) (\d+)/m.exec(text);
  if (verified === null) throw new UserError(`${program}: the guest did not come to its end:\n${text.slice(-2000)}`);
  return { jobs, right: Number(verified[1]), wrong: Number(verified[2]) };
}

async function makeImage(path: string, format: string, sizeBytes: number): Promise<void> {
  const piece = Buffer.alloc(MIB);
  if (format === 'raw') {
    const file = await open(path, 'w');
    for (let at = 0; at < sizeBytes; at += MIB) await file.write(randomFillSync(piece), 0, MIB, at);
    await file.close();
    return;
  }
  const image = await createImage({ filename: path, format, size: sizeBytes });
  for (let at = 0; at < sizeBytes; at += MIB) await image.write(at, randomFillSync(piece));
  await image.close();
}

async function makeInitrd(folder: string, ms: number): Promise<{ kernel: string; initrd: string }> {
  const program = join(folder, 'disk');
  const { status, stderr, error } = spawnSync('gcc', ['-O2', '-static', '-s', SOURCE, '-o', program], {
    encoding: 'utf8',
  });
  if (error !== undefined) throw new UserError('the program needs a C compiler: apt-get install gcc');
  if (status !== 0) throw new Error(`gcc: ${stderr}`);
  const assets = await guestAssets({ progress: (line) => console.error(line) });
  const script = `dmesg -n 1; /bench/disk /dev/vda ${ms} && /bench/disk /dev/vda verify`;
  const archive = writeCpio([
    { path: 'bench', type: 'directory' },
    { path: 'bench/disk', type: 'file', mode: 0o755, content: await readFile(program) },
    { path: 'orrery-script', type: 'file', mode: 0o755, content: script },
  ]);
  const initrd = join(folder, 'initrd');
  await writeFile(initrd, withArchive(await readFile(assets.initrd), archive));
  return { kernel: assets.kernel, initrd };
}

function print(results: ReadonlyMap<string, readonly Run[]>): void {
  const peers = [...results.keys()];
  const best = (peer: string, wanted: Job): number =>
    Math.max(
      ...(results.get(peer) ?? []).map(
        ({ jobs }) => jobs.find(({ name, depth }) => name === wanted.name && depth === wanted.depth)?.perSecond ?? 0,
      ),
    );
  const [first] = [...results.values()].flat();
  const rows = (first?.jobs ?? []).map((job) => {
    const unit = job.blockBytes === 4096 ? 'requests/s' : 'MiB/s';
    const scale = job.blockBytes === 4096 ? 1 : job.blockBytes / MIB;
    const figures = peers.map((peer) => best(peer, job) * scale);
    const [ours = 0, theirs = 0] = figures;
    const ratio = peers.length > 1 ? `${(ours / theirs).toFixed(2)}×` : '';
    return [job.name, String(job.depth), unit, ...figures.map((figure) => figure.toFixed(0)), ratio];
  });
  console.log(textTable([['job', 'depth', 'unit', ...peers, ''], ...rows]).join('\n'));
  for (const [peer, runs] of results)
    console.log(`${peer}: blocks where they were written ${runs.map(({ right }) => right).join(', ')}; elsewhere ${runs.map(({ wrong }) => wrong).join(', ')}`); // prettier-ignore
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      peers: { type: 'string', default: PEERS.join(',') },
      format: { type: 'string', default: 'raw' },
      ms: { type: 'string', default: '2000' },
      runs: { type: 'string', default: '1' },
      size: { type: 'string', default: '512' },
      console: { type: 'boolean', default: false },
    },
  });
  const { format } = values;
  if (!FORMATS.includes(format)) throw new UserError(`--format ${format}: raw or qcow2 is wanted`);
  const peers = values.peers.split(',');
  for (const peer of peers)
    if (!PEERS.includes(peer)) throw new UserError(`--peers ${peer}: orrery and qemu are there`);
  const folder = await mkdtemp(join(tmpdir(), 'orrery-disk-bench-'));
  try {
    const guest = await makeInitrd(folder, Number(values.ms));
    const image = join(folder, `image.${format}`);
    await makeImage(image, format, Number(values.size) * MIB);
    const results = new Map<string, Run[]>(peers.map((peer) => [peer, []]));
    for (let i = 0; i < Number(values.runs); i++)
      for (const [peer, runs] of results) runs.push(await run(words(peer, image, format, guest), values.console));
    print(results);
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
