/** The long form of cpu.test.ts: `node tests/fuzz/cpu.ts [instructions = 10000000] [tier = interp] [first seed = 1]`. */
import { CpuFuzzer } from '../support/oracle/fuzz-cpu.ts';
import { engineOracle, PROGRAM_TIERS } from '../support/oracle/tiers.ts';

const [instructions = '10000000', tierName = 'interp', first = '1'] = process.argv.slice(2);
const tier = PROGRAM_TIERS.find((t) => t === tierName);
if (tier === undefined) throw new Error(`${tierName} is not one of ${PROGRAM_TIERS.join(', ')}`);
const fuzzer = new CpuFuzzer(engineOracle(tier));
const started = performance.now();
let seed = Number(first);
for (let failures = 0; fuzzer.instructions < Number(instructions) && failures < 10; seed++) {
  try {
    fuzzer.run(seed);
  } catch (error) {
    failures++;
    console.log(error instanceof Error ? error.message : error);
  }
}
const { programs, exceptions } = fuzzer;
const seconds = ((performance.now() - started) / 1000).toFixed(1);
console.log(
  `${tier}: ${fuzzer.instructions} instructions, ${programs} programs, ${exceptions} exceptions, ${seconds} s, next seed ${seed}`,
);
