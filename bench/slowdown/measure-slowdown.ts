/** Runs the C programs on the bare host and under each peer. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { guestAssets, type GuestAssets } from '../../src/host/node/assets/assets.ts';
import { type BuiltPrograms, programArchive } from '../build-programs.ts';
import { COMMAND_LINE, SCRIPT_END_MARK, SCRIPT_START_MARK, withArchive } from '../guest-images.ts';
import { qemuUser, qemuVersion, startGuest, v86Absence } from '../peers.ts';
import { PROGRAMS } from '../program-list.ts';
import {
  type Moment,
  programScript,
  type ProgramResult,
  resultsOf,
  type Step,
  withoutWaiting,
} from '../program-results.ts';
import { WatchedProcess } from '../watched-process.ts';
import { PEER_TITLES, type ProgramTimes, type SlowdownPeer } from './program-times.ts';

/** How much of each program a peer runs; the time of a round is what is compared. */
export const PERCENT: Readonly<Record<SlowdownPeer, number>> = {
  'qemu-user': 20,
  qemu: 20,
  v86: 10,
  jit: 100,
  interp: 10,
};
/** Testing its ciphers at each start is most of what a distribution's kernel does until /init, and these boots are not timed. */
const WORDS = `${COMMAND_LINE} cryptomgr.notests`;
/** A guest's clock that tells this much more than the host's is wrong. */
const CLOCK_TOLERANCE = 1.05;

/** Programs that exist in `bits`, or in the other width only. */
export function programSteps(
  peer: SlowdownPeer | 'native64' | 'native32',
  names: readonly string[],
  percent: number,
): Step[] {
  const bits = peer === 'v86' || peer === 'native32' ? 32 : 64;
  return PROGRAMS.filter((program) => names.length === 0 || names.includes(program.name)).flatMap((program): Step[] => {
    // Under an emulator of user programs the kernel is the host's.
    if (peer === 'qemu-user' && program.group === 'kernel') return [];
    const { name } = program;
    if (program.bits === 'both' || program.bits === bits) return [{ name, bits, percent }];
    return bits === 64 && peer !== 'native64' ? [{ name, bits: 32, percent }] : [];
  });
}

function pathOf(built: BuiltPrograms, { name, bits }: Step): string | undefined {
  return (bits === 64 ? built.bits64 : built.bits32).get(name);
}

/** Runs programs of the host one after another, each by what `command` makes of its path. */
async function runOnHost(
  built: BuiltPrograms,
  steps: readonly Step[],
  command: (path: string, step: Step) => readonly [string, readonly string[]] | undefined,
): Promise<ProgramResult[]> {
  let output = '';
  for (const step of steps) {
    const path = pathOf(built, step);
    const run = path === undefined ? undefined : command(path, step);
    if (run === undefined) continue;
    const watched = new WatchedProcess(run[0], [...run[1], String(step.percent)], false);
    await watched.untilEnd();
    output += watched.output;
  }
  return resultsOf(output).map(onProcessor);
}

/** On the host a program's own time on a processor counts; that of the kernel's group, of several processes, does not tell. */
function onProcessor(result: ProgramResult): ProgramResult {
  const program = PROGRAMS.find(({ name }) => name === result.name);
  return program?.group === 'kernel' ? result : { ...result, ns: result.cpuNs };
}

export async function measureNative(
  times: ProgramTimes,
  built: BuiltPrograms,
  names: readonly string[],
): Promise<void> {
  for (const column of ['native64', 'native32'] as const) {
    times.add(column, await runOnHost(built, programSteps(column, names, 100), (path) => [path, []]));
  }
}

async function measureUser(times: ProgramTimes, built: BuiltPrograms, names: readonly string[]): Promise<void> {
  const commands = { 64: qemuUser(64), 32: qemuUser(32) };
  const results = await runOnHost(built, programSteps('qemu-user', names, PERCENT['qemu-user']), (path, { bits }) => {
    const command = commands[bits];
    return command === undefined ? undefined : [command, ['-cpu', 'max', path]];
  });
  times.add('qemu-user', results);
}

export interface PeerRun {
  /** Programs; none means all. */
  readonly names: readonly string[];
  /** For temporary files. */
  readonly folder: string;
  /** Orrery's bundle, to measure another than this tree's. */
  readonly bundle?: string;
  readonly percent?: number;
}

/** Guests, each booted once in a run: an initial file system with the programs and a script that runs them all. */
async function measureGuest(
  times: ProgramTimes,
  built: BuiltPrograms,
  peer: Exclude<SlowdownPeer, 'qemu-user'>,
  assets: GuestAssets,
  options: PeerRun,
): Promise<void> {
  const steps = programSteps(peer, options.names, options.percent ?? PERCENT[peer]).filter(
    (step) => pathOf(built, step) !== undefined,
  );
  const initrd = join(options.folder, `${peer}-initrd.cpio`);
  await writeFile(
    initrd,
    withArchive(await readFile(assets.initrd), await programArchive(built, steps, programScript(steps))),
  );
  const start = { kernel: assets.kernel, initrd, commandLine: WORDS };
  const guest = startGuest(peer, options.bundle === undefined ? start : { ...start, bundle: options.bundle });
  const now = (): Moment => ({ wallSeconds: guest.seconds(), queuedSeconds: guest.queuedSeconds() });
  const moments: Moment[] = [];
  guest.onOutput = (): void => {
    const count = resultsOf(guest.output).length;
    while (moments.length < count) moments.push(now());
  };
  await guest.until('its script', () => guest.output.includes(SCRIPT_START_MARK.trim()));
  const began = now();
  await guest.until('the end of its script', () => guest.output.includes(SCRIPT_END_MARK));
  const seconds = guest.seconds() - began.wallSeconds;
  guest.kill();
  await guest.untilEnd();
  const results = resultsOf(guest.output);
  const told = results.reduce((sum, { ns }) => sum + ns, 0) / 1e9;
  if (told > seconds * CLOCK_TOLERANCE) {
    times.note(
      `${PEER_TITLES[peer]}: the guest's clock tells ${told.toFixed(1)} s where the host's tells ${seconds.toFixed(1)} s`,
    );
  }
  times.add(peer, withoutWaiting(results, began, moments));
}

/** Why a peer cannot be measured; undefined where it can. */
export function absence(peer: SlowdownPeer, built: BuiltPrograms): string | undefined {
  if (peer === 'qemu-user' && qemuUser(64) === undefined) return 'it is not installed (apt-get install qemu-user)';
  if (peer === 'qemu' && qemuVersion() === undefined) return 'it is not installed (apt-get install qemu-system-x86)';
  if (peer !== 'v86') return undefined;
  return built.bits32.size === 0 ? 'there are no 32-bit programs' : v86Absence();
}

/** One run of all programs under `peer`. What goes wrong becomes a note: the others' figures are still worth having. */
export async function measurePeer(
  times: ProgramTimes,
  built: BuiltPrograms,
  peer: SlowdownPeer,
  options: PeerRun,
): Promise<void> {
  try {
    if (peer === 'qemu-user') {
      await measureUser(times, built, options.names);
      return;
    }
    const architecture = peer === 'v86' ? 'i386' : 'amd64';
    const assets = await guestAssets({ architecture, progress: (line) => console.error(`bench: ${line}`) });
    await measureGuest(times, built, peer, assets, options);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    times.note(`${PEER_TITLES[peer]}: ${error.message}`);
  }
}
