/**
 * A quick look at the benchmark's programs under Orrery beside the bare host:
 *
 *     node bench/run-program.ts [NAME...] [--tier jit|interp] [--percent N] [--repeat N]
 *
 * boots the guest once and runs the programs named (program-list.ts; all unless given) in it, N percent of each, N times; prints the
 * least time of each, the host's, the slowdown, and whether both came to the same result. It measures the bundle: run
 * `node scripts/build.ts` first.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { UserError } from '../src/base/errors.ts';
import { didYouMean } from '../src/base/nearest.ts';
import { guestAssets } from '../src/host/node/assets/assets.ts';
import { buildPrograms, type BuiltPrograms, programArchive } from './build-programs.ts';
import { withArchive } from './guest-images.ts';
import { startGuest } from './peers.ts';
import { PROGRAMS } from './program-list.ts';
import { leastTimes, type ProgramResult, programScript, resultsOf, type Step } from './program-results.ts';
import { WatchedProcess } from './watched-process.ts';

/** Which programs to run, 64-bit where there is such a build. */
function steps(names: readonly string[], built: BuiltPrograms, percent: number): Step[] {
  const known = PROGRAMS.map(({ name }) => name);
  for (const name of names) {
    if (!known.includes(name)) throw new UserError(`no program '${name}'${didYouMean(name, known)}`);
  }
  return PROGRAMS.filter(({ name }) => names.length === 0 || names.includes(name)).flatMap(({ name }): Step[] => {
    if (built.bits64.has(name)) return [{ name, bits: 64, percent }];
    return built.bits32.has(name) ? [{ name, bits: 32, percent }] : [];
  });
}

async function runNative(all: readonly Step[], built: BuiltPrograms): Promise<ProgramResult[]> {
  const results: ProgramResult[] = [];
  for (const { name, bits, percent } of all) {
    const path = (bits === 64 ? built.bits64 : built.bits32).get(name);
    if (path === undefined) continue;
    const run = new WatchedProcess(path, [String(percent)], false);
    await run.untilEnd();
    results.push(...resultsOf(run.output));
  }
  return results;
}

function print(all: readonly Step[], native: readonly ProgramResult[], guest: readonly ProgramResult[]): void {
  const host = leastTimes(native);
  const ours = leastTimes(guest);
  console.log('program            guest ms  native ms  slowdown  checksum');
  for (const { name } of all) {
    const [a, b] = [ours.get(name), host.get(name)];
    if (a === undefined) {
      console.log(`${name.padEnd(18)} did not run`);
      continue;
    }
    const ms = (ns: number | undefined): string => (ns === undefined ? '-' : (ns / 1e6).toFixed(1));
    const ratio = b === undefined ? '-' : (a.ns / b.ns).toFixed(2);
    const same = b !== undefined && a.checksum !== b.checksum ? `${a.checksum} but ${b.checksum} natively` : a.checksum;
    console.log(`${name.padEnd(18)} ${ms(a.ns).padStart(8)} ${ms(b?.ns).padStart(10)} ${ratio.padStart(9)}  ${same}`);
  }
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      tier: { type: 'string', default: 'jit' },
      percent: { type: 'string', default: '100' },
      repeat: { type: 'string', default: '1' },
    },
  });
  const { tier } = values;
  if (tier !== 'jit' && tier !== 'interp') throw new UserError(`--tier ${tier}: jit or interp is wanted`);
  const built = await buildPrograms((line) => console.error(line));
  for (const sentence of built.missing) console.error(sentence);
  const once = steps(positionals, built, Number(values.percent));
  const all = Array.from({ length: Number(values.repeat) }, () => once).flat();

  const assets = await guestAssets();
  const folder = await mkdtemp(join(tmpdir(), 'orrery-bench-'));
  try {
    const initrd = join(folder, 'initrd.cpio');
    await writeFile(
      initrd,
      withArchive(await readFile(assets.initrd), await programArchive(built, once, programScript(all))),
    );
    const native = await runNative(all, built);
    const guest = startGuest(tier, { kernel: assets.kernel, initrd });
    await guest.untilEnd();
    print(once, native, resultsOf(guest.output));
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
