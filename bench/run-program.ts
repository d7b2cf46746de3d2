/**
 * A quick look at the benchmark's programs under Orrery beside the bare host:
 *
 *     node bench/run-program.ts [NAME...] [--tier jit|interp] [--percent N] [--repeat N]
 *
 * boots the guest and runs the programs named (program-list.ts; all unless given) in it, N percent of each; again with --repeat.
 * Prints the least time of each, the host's, the slowdown, and what differs. It measures the bundle: run `node scripts/build.ts` first.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { UserError } from '../src/base/errors.ts';
import { didYouMean } from '../src/base/nearest.ts';
import { buildPrograms } from './build-programs.ts';
import { PROGRAMS } from './program-list.ts';
import { measureNative, measurePeer } from './slowdown/measure-slowdown.ts';
import { ProgramTimes } from './slowdown/program-times.ts';
import { slowdownText } from './slowdown/slowdown-table.ts';
import { textTable } from './tables.ts';

function print(times: ProgramTimes, tier: 'jit' | 'interp', names: readonly string[]): void {
  const rows = PROGRAMS.filter(({ name }) => names.length === 0 || names.includes(name)).map((program) => {
    const ms = (ns: readonly number[]): string => (ns.length === 0 ? '-' : (Math.min(...ns) / 1e6).toFixed(1));
    const host = times.fullTimes(program.bits === 32 ? 'native32' : 'native64', program.name);
    const slowdown = slowdownText(times.slowdown(tier, program));
    return [program.name, ms(times.fullTimes(tier, program.name)), ms(host), slowdown];
  });
  console.log(textTable([['program', `${tier}, ms`, 'native, ms', 'slowdown'], ...rows]).join('\n'));
  const mean = times.mean(tier);
  if (mean !== undefined) {
    console.log(`geometric mean of the CPU set (${mean.programs} programs): ${slowdownText(mean.slowdown)}`);
  }
  for (const sentence of [...times.disagreements(), ...times.notes]) console.log(sentence);
}

async function main(): Promise<void> {
  const { values, positionals: names } = parseArgs({
    allowPositionals: true,
    options: {
      tier: { type: 'string', default: 'jit' },
      percent: { type: 'string', default: '100' },
      repeat: { type: 'string', default: '1' },
    },
  });
  const { tier } = values;
  if (tier !== 'jit' && tier !== 'interp') throw new UserError(`--tier ${tier}: jit or interp is wanted`);
  const known = PROGRAMS.map(({ name }) => name);
  for (const name of names) {
    if (!known.includes(name)) throw new UserError(`no program '${name}'${didYouMean(name, known)}`);
  }
  const built = await buildPrograms((line) => console.error(line));
  for (const sentence of built.missing) console.error(sentence);
  const folder = await mkdtemp(join(tmpdir(), 'orrery-bench-'));
  const times = new ProgramTimes();
  try {
    for (let run = 0; run < Number(values.repeat); run++) {
      await measureNative(times, built, names);
      await measurePeer(times, built, tier, { names, folder, percent: Number(values.percent) });
    }
    print(times, tier, names);
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
