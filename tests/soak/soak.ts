/**
 * Hours of work for a guest: `npm run soak`. Linux runs stress-ng's stressors with --verify and builds C programs with gcc, in turns,
 * while the memory of the emulator's process is watched. Ends with status 1 when a stressor or the kernel complained, when a
 * build came out other than on the host, or when memory grew.
 */
import { spawn } from 'node:child_process';
import { createWriteStream, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describeError, UserError } from '../../src/base/errors.ts';
import { guestAssets } from '../../src/host/node/assets/assets.ts';
import { SCRIPT_END_MARK } from '../../src/host/node/assets/guest-root.ts';
import { writeCpio } from '../../src/machine/cpio.ts';
import { cpioMember, withArchive } from '../../bench/guest-images.ts';
import { builds } from './builds.ts';
import { judgeMemory, kernelComplaints, type Sample, table, verdict } from './judge.ts';
import { parseOptions, type SoakOptions, USAGE } from './options.ts';
import { guestScript, interleave, Progress, type Step, stressorSteps } from './steps.ts';
import { rootEntries } from './toolchain.ts';

const ROOT = '/soak';
const COMMAND = fileURLToPath(new URL('../../bin/orrery.js', import.meta.url));
const SAMPLE_MS = 5000;
/** A guest that prints nothing for so long hangs. */
const SILENCE_MS = 900_000;
/** Shorter runs do not get warm. */
const FLAT_FROM_SECONDS = 600;
const MIB = 1 << 20;

const say = (line: string): void => console.error(`soak: ${line}`);

interface Prepared {
  readonly steps: readonly Step[];
  readonly kernel: string;
  readonly initrd: string;
}

async function prepare(options: SoakOptions, folder: string): Promise<Prepared> {
  const assets = await guestAssets({ progress: say });
  const base = await readFile(assets.initrd);
  const built = await builds(say);
  for (const line of built.missing) say(line);
  const all = [...stressorSteps(options.methodSeconds), ...built.steps];
  const steps = interleave(all.filter(({ kind, name }) => options.kinds.has(kind) && name.includes(options.match)));
  if (steps.length === 0) throw new UserError(`no step is left with --match ${options.match}`);
  const files = new Map(built.files);
  steps.forEach(({ script }, i) => files.set(`/steps/${i}`, `${script}\n`));
  const shell = cpioMember(base, 'bin/busybox');
  const entries = await rootEntries({ root: ROOT, shell, hostFiles: built.hostFiles, files });
  const content = guestScript(ROOT, steps.length, options.seconds);
  entries.push({ path: 'orrery-script', type: 'file', mode: 0o755, content });
  const initrd = join(folder, 'initrd.cpio');
  await writeFile(initrd, withArchive(base, writeCpio(entries)));
  return { steps, kernel: assets.kernel, initrd };
}

/** Resident memory of a process, and without the mappings that are as large as guest memory. */
function resident(pid: number, guestBytes: number): { total: number; host: number } | undefined {
  try {
    let total = 0;
    let host = 0;
    let size = 0;
    for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
      const [, name, kib] = /^(Size|Rss): +(\d+) kB$/.exec(line) ?? [];
      if (name === 'Size') size = Number(kib) * 1024;
      if (name !== 'Rss') continue;
      total += Number(kib) * 1024;
      if (size < guestBytes) host += Number(kib) * 1024;
    }
    return { total, host };
  } catch {
    return undefined;
  }
}

async function soak(options: SoakOptions): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), 'orrery-soak-'));
  const failures: string[] = [];
  const samples: Sample[] = [];
  const progress = new Progress();
  const started = performance.now();
  const elapsed = (): number => (performance.now() - started) / 1000;
  let steps: readonly Step[] = [];
  let console_ = '';
  try {
    const prepared = await prepare(options, folder);
    steps = prepared.steps;
    const log = options.log === undefined ? undefined : createWriteStream(options.log);
    say(`${steps.length} steps, ${options.seconds} s, -accel ${options.accel}, ${options.memoryMib} MiB`);
    const words = ['system', '-accel', options.accel, '-m', `${options.memoryMib}M`, '-nographic', '-no-reboot'];
    const images = ['-kernel', prepared.kernel, '-initrd', prepared.initrd, '-append', 'console=ttyS0 quiet'];
    const child = spawn(process.execPath, [COMMAND, ...words, ...images], { stdio: ['pipe', 'pipe', 'inherit'] });
    const kill = (): void => void child.kill('SIGKILL');
    process.once('exit', kill);
    let heard = performance.now();
    let judged = 0;
    let kernelSeen = 0;
    const decoder = new TextDecoder();
    child.stdout.on('data', (bytes: Buffer) => {
      heard = performance.now();
      log?.write(bytes);
      const text = decoder.decode(bytes, { stream: true });
      console_ = (console_ + text).slice(-8000);
      progress.feed(text);
      for (; judged < progress.runs.length; judged++) {
        const run = progress.runs[judged];
        const step = run === undefined ? undefined : steps[run.step];
        const why = run === undefined || step === undefined ? 'a step that there is not' : verdict(step, run);
        if (run !== undefined && why === undefined)
          say(`${elapsed().toFixed(0)} s: ${step?.name}, ${run.seconds.toFixed(1)} s`);
        if (why === undefined) continue;
        failures.push(why);
        say(`FAILED: ${why}`);
      }
      for (; kernelSeen < progress.kernelLines.length; kernelSeen++) {
        const recent = new Set(progress.runs.slice(-2).map(({ step }) => steps[step]?.name ?? ''));
        for (const line of kernelComplaints([progress.kernelLines[kernelSeen] ?? ''], recent)) {
          failures.push(`kernel: ${line}`);
          say(`FAILED: kernel: ${line}`);
        }
      }
    });
    const sampler = setInterval(() => {
      const sample = child.pid === undefined ? undefined : resident(child.pid, options.memoryMib * MIB);
      if (sample !== undefined && progress.runs.length > 0)
        samples.push({ seconds: elapsed(), residentMib: sample.total / MIB, hostMib: sample.host / MIB });
      if (performance.now() - heard > SILENCE_MS) child.kill('SIGKILL');
    }, SAMPLE_MS);
    const status = await new Promise<string>((resolve) => {
      child.on('error', (error) => resolve(error.message));
      child.on('close', (code, signal) => resolve(signal ?? `status ${code}`));
    });
    clearInterval(sampler);
    process.off('exit', kill);
    log?.end();
    const complete = console_.includes(`${SCRIPT_END_MARK}0`);
    if (status !== 'status 0' || !complete) failures.push(`the machine ended with ${status}: ${console_.slice(-2000)}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  report(options, steps, progress, samples, failures);
  return failures.length === 0;
}

function report(
  options: SoakOptions,
  steps: readonly Step[],
  progress: Progress,
  samples: readonly Sample[],
  failures: string[],
): void {
  console.log(`\n${table(steps, progress)}\n`);
  const memory = judgeMemory(samples);
  const highest = Math.max(0, ...samples.map(({ hostMib }) => hostMib));
  const mib = (value: number): string => `${value.toFixed(0)} MiB`;
  console.log(`kernel lines: ${progress.kernelLines.length}`);
  console.log(
    `resident: ${mib(memory.residentWarmMib)} when warm, ${mib(memory.residentEndMib)} at the end; ` +
      `without guest memory ${mib(memory.warmMib)} and ${mib(memory.endMib)}, at most ${mib(highest)}`,
  );
  if (options.seconds >= FLAT_FROM_SECONDS && !memory.flat) failures.push('memory grew');
  if (options.seconds < FLAT_FROM_SECONDS)
    console.log(`too short to tell whether memory is flat (${FLAT_FROM_SECONDS} s)`);
  for (const failure of failures) console.log(`FAILED: ${failure.split('\n')[0]}`);
  console.log(failures.length === 0 ? 'soak: no failure' : `soak: ${failures.length} failures`);
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options === 'help') console.log(USAGE);
  else process.exitCode = (await soak(options)) ? 0 : 1;
} catch (error) {
  console.error(`soak: ${describeError(error)}`);
  process.exitCode = 2;
}
