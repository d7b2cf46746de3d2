/**
 * Tries instructions on the host CPU and a tier: for authors of definitions.
 *
 *     node tests/support/oracle/try.ts --name ADD [--n 200] [--tier interp] [--failures 3] [--seed 0]
 *     node tests/support/oracle/try.ts --family x87
 *     node tests/support/oracle/try.ts --key 'SHL .*64'        forms whose key matches
 *
 * `--name` is a row name of the decode tables (or several, with commas); `--n` the cases a form; `--code 32` or `16` the width of
 * the code; `--list` only lists forms.
 */
import { parseArgs } from 'node:util';
import { runForms, summary } from './conformance.ts';
import { allForms } from './forms.ts';
import { nativeOracle } from './native.ts';
import { engineOracle, TIERS } from './tiers.ts';

const { values } = parseArgs({
  options: {
    name: { type: 'string' },
    family: { type: 'string' },
    key: { type: 'string' },
    n: { type: 'string', default: '200' },
    tier: { type: 'string', default: 'interp' },
    failures: { type: 'string', default: '3' },
    seed: { type: 'string', default: '0' },
    code: { type: 'string', default: '64' },
    list: { type: 'boolean', default: false },
  },
});
const names = values.name?.split(',');
const key = values.key === undefined ? undefined : new RegExp(values.key);
const codeSize = values.code === '16' ? 16 : values.code === '32' ? 32 : 64;
const forms = allForms(codeSize).filter((form) => {
  if (names !== undefined && !names.includes(form.row.name)) return false;
  if (values.family !== undefined && form.family !== values.family) return false;
  return key === undefined || key.test(form.key);
});
const tier = TIERS.find((t) => t === values.tier);
const host = nativeOracle();
if (values.list || forms.length === 0) {
  for (const form of forms) console.log(`${form.family}: ${form.key}`);
  console.log(`${forms.length} forms`);
} else if (tier === undefined) {
  console.error(`--tier ${values.tier}: not one of ${TIERS.join(', ')}`);
  process.exitCode = 2;
} else if (host === undefined) {
  console.error('the host CPU can be asked on x86-64 Linux only');
  process.exitCode = 2;
} else {
  const states = Math.min(10, Number(values.n));
  const amount = { encodings: Math.ceil(Number(values.n) / states), states };
  const started = performance.now();
  const result = runForms(forms, host, engineOracle(tier, codeSize), amount, Number(values.seed));
  for (const text of result.failures.slice(0, Number(values.failures))) console.log(`${text}\n`);
  const failed = [...result.failedNames].map(([name, count]) => `${name} ${count}`);
  if (failed.length > 0) console.log(`failing: ${failed.join(', ')}`);
  console.log(`${tier}: ${summary(result)} in ${Math.round(performance.now() - started)} ms`);
  process.exitCode = result.failedCases === 0 ? 0 : 1;
}
