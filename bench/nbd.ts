/**
 * `orrery nbd` beside qemu-nbd on one image, from the host's page cache.
 *
 *     node bench/nbd.ts [--peers orrery,qemu] [--format raw|qcow2] [--size MIB] [--requests N] [--runs N] [--jobs 'random read']
 *
 * The clients are libnbd's nbdcopy (sequential, 256 KiB a request, 64 under way) and `qemu-img bench` (4 KiB all over the image, 16 under
 * way), one and eight at a time, over a Unix-domain socket. Servers take turns, the best of the runs counts, and the processor
 * time that the server needed stands beside it, which other programs on the host disturb less. It measures the bundle: run
 * `node scripts/build.ts` first.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { UserError } from '../src/base/errors.ts';
import { createImage } from '../src/node.ts';
import { textTable } from './tables.ts';

const ORRERY = fileURLToPath(new URL('../bin/orrery.js', import.meta.url));
const PEERS = ['orrery', 'qemu'] as const;
type Peer = (typeof PEERS)[number];
const MIB = 1024 ** 2;
const BLOCK_BYTES = 4096;
/** Blocks from one request to the next, with no factor in common with any size in MiB: every block's turn comes. */
const STEP_BLOCKS = 7919;
/** Unit of the times in /proc/PID/stat on every Linux that Node runs on. */
const TICKS_A_SECOND = 100;
const START_MS = 10_000;

interface Job {
  readonly name: string;
  readonly clients: number;
  readonly unit: 'MiB/s' | 'requests/s';
  /** What all clients together do, in the unit's numerator. */
  readonly work: number;
  readonly command: readonly string[];
}

interface Sample {
  readonly perSecond: number;
  readonly cpuSeconds: number;
}

function jobs(uri: string, source: string, sizeMib: number, requests: number): Job[] {
  const random = (count: number, ...more: string[]): string[] => [
    'qemu-img', 'bench', '-q', '-f', 'raw', '-c', String(count), '-d', '16', '-s', String(BLOCK_BYTES),
    '-S', String(STEP_BLOCKS * BLOCK_BYTES), ...more, uri,
  ]; // prettier-ignore
  return [1, 8].flatMap((clients): Job[] => {
    const each = Math.floor(requests / clients);
    const sequential = { clients, unit: 'MiB/s', work: sizeMib * clients } as const;
    const inBlocks = { clients, unit: 'requests/s', work: each * clients } as const;
    return [
      { name: 'sequential read', ...sequential, command: ['nbdcopy', '-C', '1', uri, 'null:'] },
      { name: 'sequential write', ...sequential, command: ['nbdcopy', '-C', '1', source, uri] },
      { name: 'random read', ...inBlocks, command: random(each) },
      { name: 'random write', ...inBlocks, command: random(each, '-w') },
    ];
  });
}

/** A server, once clients can come. */
async function start(peer: Peer, options: readonly string[], socket: string): Promise<ChildProcess> {
  const [program, ...words] = peer === 'qemu' ? ['qemu-nbd'] : [process.execPath, ORRERY, 'nbd'];
  const child = spawn(program ?? '', [...words, '-t', '-e', '16', '-k', socket, ...options], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  for (const endMs = performance.now() + START_MS; !existsSync(socket) && performance.now() < endMs;) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return child;
}

function cpuSeconds({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
}

async function measure(server: ChildProcess, { command, clients, work }: Job): Promise<Sample> {
  const [program = '', ...args] = command;
  const [before, startMs] = [cpuSeconds(server), performance.now()];
  await Promise.all(
    Array.from({ length: clients }, () => {
      const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
      return new Promise<void>((resolve, reject) => {
        child.on('error', reject);
        child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`${program} ended with ${code}`))));
      });
    }),
  );
  return {
    perSecond: (work * 1000) / (performance.now() - startMs),
    cpuSeconds: Math.max(cpuSeconds(server) - before, 1 / TICKS_A_SECOND),
  };
}

async function makeSource(path: string, bytes: number): Promise<void> {
  const file = await open(path, 'w');
  const piece = randomFillSync(new Uint8Array(MIB));
  for (let at = 0; at < bytes; at += MIB) await file.write(piece, 0, MIB, at);
  await file.close();
}

function best(samples: readonly Sample[]): Sample {
  return {
    perSecond: Math.max(...samples.map(({ perSecond }) => perSecond)),
    cpuSeconds: Math.min(...samples.map((sample) => sample.cpuSeconds)),
  };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      peers: { type: 'string', default: PEERS.join() },
      format: { type: 'string', default: 'raw' },
      size: { type: 'string', default: '256' },
      requests: { type: 'string', default: '40000' },
      runs: { type: 'string', default: '3' },
      jobs: { type: 'string', default: '' },
    },
  });
  const peers = PEERS.filter((peer) => values.peers.split(',').includes(peer));
  for (const program of ['qemu-nbd', 'qemu-img', 'nbdcopy']) {
    if (spawnSync('which', [program]).status !== 0) throw new UserError(`${program} is not there`);
  }
  const [sizeMib, requests, runs] = [values.size, values.requests, values.runs].map(Number) as [number, number, number];
  const folder = await mkdtemp(join(tmpdir(), 'orrery-bench-nbd-'));
  const [source, image] = [join(folder, 'source.raw'), join(folder, `image.${values.format}`)];
  try {
    await makeSource(source, sizeMib * MIB);
    await (await createImage({ filename: image, format: values.format, size: sizeMib * MIB })).close();
    const servers = new Map<Peer, ChildProcess>();
    const samples = new Map<string, Map<Peer, Sample[]>>();
    const all = new Map(
      peers.map((peer) => [peer, jobs(`nbd+unix:///?socket=${join(folder, peer)}`, source, sizeMib, requests)]),
    );
    // Both have the same image, one after the other: it is dense from the first on.
    for (let run = 0; run < runs; run++) {
      for (const peer of run % 2 === 0 ? peers : peers.toReversed()) {
        const server = await start(peer, ['-f', values.format, image], join(folder, peer));
        servers.set(peer, server);
        if (run === 0) spawnSync('nbdcopy', [source, `nbd+unix:///?socket=${join(folder, peer)}`]);
        for (const job of all.get(peer) ?? []) {
          if (!job.name.includes(values.jobs)) continue;
          const key = `${job.name}, ${job.clients} client${job.clients > 1 ? 's' : ''}, ${job.unit}`;
          const byPeer = samples.get(key) ?? new Map<Peer, Sample[]>();
          samples.set(key, byPeer.set(peer, [...(byPeer.get(peer) ?? []), await measure(server, job)]));
        }
        const ended = new Promise((resolve) => server.once('exit', resolve));
        server.kill();
        await ended;
        servers.delete(peer);
      }
    }
    const rows = [...samples].map(([name, byPeer]) => {
      const [ours, theirs] = PEERS.map((peer) => (byPeer.has(peer) ? best(byPeer.get(peer) ?? []) : undefined));
      const cell = (sample: Sample | undefined): string =>
        sample === undefined ? '' : `${Math.round(sample.perSecond)} (${sample.cpuSeconds.toFixed(2)} s)`;
      const share = ours && theirs ? (ours.perSecond / theirs.perSecond).toFixed(2) : '';
      return [name, cell(ours), cell(theirs), share];
    });
    console.log(textTable([['', 'orrery nbd (processor)', 'qemu-nbd (processor)', 'share'], ...rows]).join('\n'));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

await main();
