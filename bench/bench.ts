/** `npm run bench`: Orrery's speed and memory, side by side with QEMU without hardware assistance and with the bare host. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../src/base/errors.ts';
import { guestAssets } from '../src/host/node/assets/assets.ts';
import { buildPrograms, type BuiltPrograms } from './build-programs.ts';
import { compareCommits } from './compare.ts';
import { updateDocs } from './docs.ts';
import { GUEST_RAM_BYTES, type GuestImages, guestImages, PROMPT, SCRIPT_END_MARK } from './guest-images.ts';
import type { PromptReport } from './guest-process.ts';
import { GUEST_PROGRAMS, programsScript, programTimes } from './guest-programs.ts';
import { integerLoop } from './integer-loop.ts';
import { type BenchOptions, parseOptions, PARTS, type Part, USAGE } from './options.ts';
import { type GuestPeer, qemuVersion, startGuest, v86Absence, v86Version } from './peers.ts';
import { hostLines, reportJson, reportText } from './report.ts';
import { type Peer, Samples } from './samples.ts';
import { absence, measureNative, measurePeer } from './slowdown/measure-slowdown.ts';
import { PEER_TITLES, ProgramTimes } from './slowdown/program-times.ts';
import { plotGroups, plotSvg } from './slowdown/slowdown-plot.ts';
import { slowdownReport } from './slowdown/slowdown-table.ts';
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
  const guest = startGuest(peer, peer === 'v86' ? await guestAssets({ architecture: 'i386' }) : images);
  const seconds = await guest.until('the prompt', () => guest.output.includes(PROMPT));
  const cpuSeconds = guest.cpuSeconds();
  let report: PromptReport | undefined;
  if (peer === 'jit' || peer === 'interp') {
    await guest.until('its report', () => guest.messages.length > 0);
    // INVARIANT: guest-process.ts sends nothing else.
    report = guest.messages[0] as PromptReport;
    samples.add(SPEED, 'kernel boot', 'MIPS', peer, report.instructions / report.cpuSeconds / 1e6, true);
  }
  samples.add(BOOT, 'wall time', 's', peer, seconds);
  samples.add(BOOT, 'CPU time', 's', peer, cpuSeconds);

  // v86's guest has another kernel, and its memory is not where the others' is.
  const resident = peer === 'v86' ? undefined : guest.residentBytes();
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

/** The C programs on the host and under each peer; the host before and after, since all others are held against it. */
async function measureSlowdown(
  options: BenchOptions,
  times: ProgramTimes,
  built: BuiltPrograms,
  folder: string,
  run: number,
): Promise<void> {
  const { programs: names } = options;
  progress(options, 'slowdown', run, 'native');
  await measureNative(times, built, names);
  for (const peer of options.peers) {
    const why = absence(peer, built);
    if (why !== undefined) {
      times.note(`absent: ${PEER_TITLES[peer]}, because ${why}`);
      continue;
    }
    progress(options, 'slowdown', run, peer);
    await measurePeer(times, built, peer, { names, folder });
  }
  await measureNative(times, built, names);
}

function progress(options: BenchOptions, part: Part, run: number, what: string): void {
  console.error(`bench: ${part}, run ${run} of ${options.runs[part]}: ${what}`);
}

interface Figures {
  readonly samples: Samples;
  readonly times: ProgramTimes;
  /** Guest kernel and peers. */
  readonly software: string;
}

async function measure(options: BenchOptions, folder: string): Promise<Figures> {
  const samples = new Samples();
  const times = new ProgramTimes();
  const images = await guestImages(folder, programsScript('/bin/busybox', '/tmp'));
  const nativeScript = join(folder, 'native', 'programs.sh');
  await writeFile(nativeScript, programsScript(images.busybox, folder));
  const qemu = qemuVersion();
  if (qemu === undefined) samples.absent.set('qemu', 'qemu-system-x86_64 is not installed');
  const guests: GuestPeer[] = qemu === undefined ? ['jit', 'interp'] : ['jit', 'interp', 'qemu'];
  const noV86 = v86Absence();
  if (noV86 !== undefined) samples.absent.set('v86', noV86);
  if (process.platform !== 'linux' || process.arch !== 'x64')
    samples.absent.set('native', 'the host is no x86-64 Linux');
  let built: BuiltPrograms | undefined;
  if (options.parts.has('slowdown')) {
    try {
      built = await buildPrograms((line) => console.error(`bench: ${line}`));
      for (const sentence of built.missing) times.note(sentence);
    } catch (error) {
      // The other parts need no compiler.
      if (!(error instanceof UserError) || options.parts.size === 1) throw error;
      times.note(error.message);
    }
  }

  // Peers take turns, so that what else the host does falls on all of them.
  const wanted = (part: Part, run: number): boolean => options.parts.has(part) && run <= options.runs[part];
  for (let run = 1; run <= Math.max(...Object.values(options.runs)); run++) {
    if (built !== undefined && wanted('slowdown', run)) await measureSlowdown(options, times, built, folder, run);
    if (wanted('loop', run)) {
      progress(options, 'loop', run, 'jit, interp');
      await measureLoop(samples);
    }
    // v86 takes longer to boot than all others together.
    const boots: GuestPeer[] = noV86 === undefined && run === 1 ? [...guests, 'v86'] : guests;
    for (const peer of wanted('boot', run) ? boots : []) {
      progress(options, 'boot', run, peer);
      await measureBoot(samples, peer, images);
    }
    const natives: Peer[] = samples.absent.has('native') ? [] : ['native'];
    // The interpreter takes longer over these than everything else together.
    const patient = guests.filter((peer) => peer !== 'interp' || options.peers.includes('interp'));
    for (const peer of wanted('programs', run) ? [...patient, ...natives] : []) {
      progress(options, 'programs', run, peer);
      await measurePrograms(samples, peer, images, nativeScript);
    }
  }
  return { samples, times, software: [`Linux ${images.kernelVersion}`, qemu ?? 'no QEMU', v86Version()].join(', ') };
}

/** How often each part was measured. */
function runsText(options: BenchOptions): string {
  const parts = PARTS.filter((part) => part !== 'slowdown' && options.parts.has(part));
  return parts.map((part) => `${options.runs[part]} of ${part}`).join(', ') + ' runs';
}

async function measureAll(options: BenchOptions, folder: string): Promise<void> {
  const load = loadavg()[0] ?? 0;
  const { samples, times, software } = await measure(options, folder);
  const host = {
    cpu: cpus()[0]?.model.trim() ?? 'unknown CPU',
    cpus: cpus().length,
    node: process.version,
    load,
    software,
  };
  const loads = [load, loadavg()[0] ?? 0] as const;
  const sections = (markdown: boolean): Map<string, string> => {
    const made = new Map<string, string>();
    if (options.parts.has('slowdown')) {
      const head = hostLines(host).map((line) => (markdown ? `${line}  ` : line));
      made.set('slowdown', [...head, slowdownReport(times, loads, markdown)].join('\n'));
    }
    if (samples.measures.length > 0) made.set('figures', reportText(samples, host, runsText(options), markdown));
    return made;
  };
  console.log([...sections(options.markdown).values()].join('\n\n'));
  if (options.json !== undefined) await writeFile(options.json, reportJson(samples, host, times));
  if (options.write) {
    const plot = options.parts.has('slowdown') ? plotSvg(plotGroups(times), times.peers()) : undefined;
    await updateDocs(sections(true), plot);
  }
}

async function main(words: readonly string[]): Promise<void> {
  const options = parseOptions(words);
  if (options === 'help') {
    console.log(USAGE);
    return;
  }
  const folder = await mkdtemp(join(tmpdir(), 'orrery-bench-'));
  try {
    await (options.compare === undefined ? measureAll : compareCommits)(options, folder);
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
