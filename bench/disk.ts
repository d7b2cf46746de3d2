/**
 * A guest's disk under Orrery beside QEMU without hardware assistance: virtio-blk on one image, from the host's page cache.
 *
 *     node bench/disk.ts [--peers orrery,qemu] [--format raw|qcow2] [--ms N] [--runs N] [--size MIB]
 *
 * A C program (disk/disk.c) reads and writes in the guest, sequentially in 128 KiB and at random in 4 KiB, with 1 and 32 requests under
 * way, N ms each when it has done so for N ms, and looks afterwards whether every block is where it was written. The best of the runs counts.
 * Beside it stands the processor time that a request took, guest and host together, which other programs on the host disturb less. It
 * measures the bundle: run `node scripts/build.ts` first. Needs gcc, and for the peer the distribution's qemu-system-x86_64.
 */
import { randomFillSync } from 'node:crypto';
import { spawnSync } from 'node:child_process';
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
import { WatchedProcess } from './watched-process.ts';

const SOURCE = fileURLToPath(new URL('disk/disk.c', import.meta.url));
const ORRERY = fileURLToPath(new URL('../bin/orrery.js', import.meta.url));
const FORMATS = ['raw', 'qcow2'];
const PEERS = ['orrery', 'qemu'];
const MIB = 1 << 20;

interface Job {
  readonly name: string;
  readonly depth: number;
  readonly blockBytes: number;
  readonly perSecond: number;
  /** Processor time of the process a request. */
  readonly cpuMicroseconds: number;
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

/** Runs the guest, and reads the processor time that its process has needed whenever the guest says something. */
async function run([program = '', ...args]: readonly string[]): Promise<Run> {
  const guest = new WatchedProcess(program, args, false);
  const jobs: Job[] = [];
  let seen = 0;
  let startSeconds = 0;
  guest.onOutput = (): void => {
    for (let end = guest.output.indexOf('\n', seen); end >= 0; end = guest.output.indexOf('\n', seen)) {
      const line = guest.output.slice(seen, end).trim();
      seen = end + 1;
      const nowSeconds = guest.cpuSeconds() ?? 0;
      const job = /^disk (\w+) (\d+) (\d+) (\d+) (\d+)$/.exec(line);
      if (line === 'disk starts') startSeconds = nowSeconds;
      else if (job !== null && job[1] !== 'warm-up') {
        const [, name = '', depth, block, count, ns] = job;
        const cpuMicroseconds = ((nowSeconds - startSeconds) * 1e6) / Number(count);
        const perSecond = (Number(count) * 1e9) / Number(ns);
        jobs.push({ name, depth: Number(depth), blockBytes: Number(block), perSecond, cpuMicroseconds });
      }
    }
  };
  await guest.untilEnd();
  const verified = /^disk verify (\d+) (\d+)/m.exec(guest.output);
  if (verified === null)
    throw new UserError(`${program}: the guest did not come to its end:\n${guest.output.slice(-2000)}`);
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
  const samples = (peer: string, wanted: Job): Job[] =>
    (results.get(peer) ?? []).flatMap(({ jobs }) =>
      jobs.filter(({ name, depth }) => name === wanted.name && depth === wanted.depth),
    );
  const ratio = ([ours = 0, theirs = 0]: readonly number[]): string =>
    peers.length > 1 ? `${(ours / theirs).toFixed(2)}×` : '';
  const [first] = [...results.values()].flat();
  const rows = (first?.jobs ?? []).map((job) => {
    const small = job.blockBytes < MIB / 16;
    const scale = small ? 1 : job.blockBytes / MIB;
    const rates = peers.map((peer) => Math.max(...samples(peer, job).map(({ perSecond }) => perSecond)) * scale);
    const costs = peers.map((peer) => Math.min(...samples(peer, job).map(({ cpuMicroseconds }) => cpuMicroseconds)));
    const cells = [...rates.map((rate) => rate.toFixed(0)), ratio(rates), ...costs.map((cost) => cost.toFixed(1)), ratio(costs)]; // prettier-ignore
    return [job.name, String(job.depth), small ? 'requests/s' : 'MiB/s', ...cells];
  });
  const head = ['job', 'depth', 'unit', ...peers, '', ...peers.map((peer) => `${peer}, µs CPU`), ''];
  console.log(textTable([head, ...rows]).join('\n'));
  for (const [peer, runs] of results)
    console.log(`${peer}: blocks where they were written ${runs.map(({ right }) => right).join(', ')}; elsewhere ${runs.map(({ wrong }) => wrong).join(', ')}`); // prettier-ignore
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      peers: { type: 'string', default: PEERS.join(',') },
      format: { type: 'string', default: 'raw' },
      ms: { type: 'string', default: '4000' },
      runs: { type: 'string', default: '1' },
      size: { type: 'string', default: '512' },
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
      for (const [peer, runs] of results) runs.push(await run(words(peer, image, format, guest)));
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
