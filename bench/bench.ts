/** `npm run bench`: Orrery's speed and memory, side by side with QEMU without hardware assistance and with the bare host. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../src/base/errors.ts';
import { GUEST_RAM_BYTES, type GuestImages, guestImages, PROMPT, SCRIPT_END_MARK } from './guest-images.ts';
import type { PromptReport } from './guest-process.ts';
import { GUEST_PROGRAMS, programsScript, programTimes } from './guest-programs.ts';
import { integerLoop } from './integer-loop.ts';
import { type BenchOptions, parseOptions, USAGE } from './options.ts';
import { type GuestPeer, qemuVersion, startGuest } from './peers.ts';
import { reportJson, reportText } from './report.ts';
import { type Peer, Samples } from './samples.ts';
import { WatchedProcess } from './watched-process.ts';

const SPEED = 'Speed of the engine';
const BOOT = 'Boot to the first shell prompt';
const MEMORY = 'Memory at the prompt';
const PROGRAMS = 'Programs in the guest';
const MIB = 1 << 20;

async function measureLoop(samples: Samples): Promise<void> {
  for (const tier of ['jit', 'interp'] as const) {
    samples.add(SPEED, 'integer loop', 'MIPS', tier, await integerLoop(tier), true);
  }
}

async function measureBoot(samples: Samples, peer: GuestPeer, images: GuestImages): Promise<void> {
  const guest = startGuest(peer, images);
  const seconds = await guest.until('the prompt', () => guest.output.includes(PROMPT));
  const cpuSeconds = guest.cpuSeconds();
  let report: PromptReport | undefined;
  if (peer !== 'qemu') {
    await guest.until('its report', () => guest.messages.length > 0);
    // INVARIANT: guest-process.ts sends nothing else.
    report = guest.messages[0] as PromptReport;
    samples.add(SPEED, 'kernel boot', 'MIPS', peer, report.instructions / report.cpuSeconds / 1e6, true);
  }
  samples.add(BOOT, 'wall time', 's', peer, seconds);
  samples.add(BOOT, 'CPU time', 's', peer, cpuSeconds);

  const resident = guest.residentBytes();
  const touched = guest.touchedRam(report?.memoryBytes ?? GUEST_RAM_BYTES, report?.ramOffset ?? 0, GUEST_RAM_BYTES);
  if (resident !== undefined && touched !== undefined) {
    samples.add(MEMORY, 'resident', 'MiB', peer, resident / MIB);
    samples.add(MEMORY, 'guest RAM touched', 'MiB', peer, touched / MIB);
    samples.add(MEMORY, 'above what the guest touched', 'MiB', peer, (resident - touched) / MIB);
  }
  guest.kill();
  await guest.untilEnd();
}

async function measurePrograms(samples: Samples, peer: Peer, images: GuestImages, nativeScript: string): Promise<void> {
  const run =
    peer === 'native'
      ? new WatchedProcess(images.busybox, ['sh', nativeScript], false)
      : startGuest(peer, { kernel: images.kernel, initrd: images.scriptInitrd });
  if (peer !== 'native') await run.until('the end of its script', () => run.output.includes(SCRIPT_END_MARK));
  await run.untilEnd();
  const times = programTimes(run.output);
  GUEST_PROGRAMS.forEach(({ name }, i) => samples.add(PROGRAMS, name, 's', peer, times.get(i)));
}

async function measure(options: BenchOptions, samples: Samples, folder: string): Promise<string> {
  const images = await guestImages(folder, programsScript('/bin/busybox', '/tmp'));
  const nativeScript = join(folder, 'native', 'programs.sh');
  await writeFile(nativeScript, programsScript(images.busybox, folder));
  const qemu = qemuVersion();
  if (qemu === undefined) samples.absent.set('qemu', 'qemu-system-x86_64 is not installed');
  const guests: GuestPeer[] = qemu === undefined ? ['jit', 'interp'] : ['jit', 'interp', 'qemu'];
  if (process.platform !== 'linux' || process.arch !== 'x64')
    samples.absent.set('native', 'the host is no x86-64 Linux');

  // Peers take turns, so that what else the host does falls on all of them.
  for (let run = 1; run <= options.runs; run++) {
    if (options.parts.has('loop')) {
      console.error(`bench: run ${run} of ${options.runs}: loop`);
      await measureLoop(samples);
    }
    for (const peer of options.parts.has('boot') ? guests : []) {
      console.error(`bench: run ${run} of ${options.runs}: boot, ${peer}`);
      await measureBoot(samples, peer, images);
    }
    const natives: Peer[] = samples.absent.has('native') ? [] : ['native'];
    for (const peer of options.parts.has('programs') ? [...guests, ...natives] : []) {
      console.error(`bench: run ${run} of ${options.runs}: programs, ${peer}`);
      await measurePrograms(samples, peer, images, nativeScript);
    }
  }
  return [`Linux ${images.kernelVersion}`, qemu ?? 'no QEMU'].join(', ');
}

async function main(words: readonly string[]): Promise<void> {
  const options = parseOptions(words);
  if (options === 'help') {
    console.log(USAGE);
    return;
  }
  const load = loadavg()[0] ?? 0;
  const folder = await mkdtemp(join(tmpdir(), 'orrery-bench-'));
  const samples = new Samples();
  try {
    const software = await measure(options, samples, folder);
    const host = {
      cpu: cpus()[0]?.model.trim() ?? 'unknown CPU',
      cpus: cpus().length,
      node: process.version,
      load,
      software,
    };
    console.log(reportText(samples, host, options.runs, options.markdown));
    if (options.json !== undefined) await writeFile(options.json, reportJson(samples, host, options.runs));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
}
