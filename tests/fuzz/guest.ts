/** The long form of guest.test.ts: `node tests/fuzz/guest.ts [seconds = 60] [first seed = 1] [tiers, with commas]`. */
import { FuzzTiers } from '../support/programs/fuzz-tiers.ts';

const MAX_FAILURES = 10;
const [seconds = '60', first = '1', tiers] = process.argv.slice(2);
const fuzzer = new FuzzTiers(tiers?.split(','));
const started = performance.now();
const elapsed = (): number => (performance.now() - started) / 1000;
let seed = Number(first);
let failures = 0;
for (; elapsed() < Number(seconds) && failures < MAX_FAILURES; seed++) {
  try {
    fuzzer.run(seed);
  } catch (error) {
    failures++;
    console.log(error instanceof Error ? (error.constructor === Error ? error.message : error.stack) : error);
  }
}
const { instructions, programs, traps, vectors } = fuzzer;
const kinds = [...vectors]
  .toSorted((a, b) => Number(a[0]) - Number(b[0]))
  .map(([vector, count]) => `#${vector} ${count}`);
console.log(`${instructions} instructions, ${programs} programs, ${traps} traps (${kinds.join(', ')})`);
console.log(`${failures} failures, ${elapsed().toFixed(1)} s, next seed ${seed}`);
process.exitCode = failures === 0 ? 0 : 1;
