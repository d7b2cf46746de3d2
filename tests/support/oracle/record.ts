/**
 * Records tests/conformance/vectors anew from the host CPU: `node tests/support/oracle/record.ts [family ...]` (x86-64 Linux, with
 * AVX2 for the family `avx`).
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { deflateRawSync } from 'node:zlib';
import { newArea, randomEncoding, randomState } from './cases.ts';
import { FAMILIES, formsOf } from './conformance.ts';
import { createOutcome, createState } from './machine-state.ts';
import { nativeOracle } from './native.ts';
import { Random, seedOf } from './random.ts';
import { VECTOR_CASES, vectorFile } from './replay.ts';
import { VectorWriter } from './vectors.ts';

const host = nativeOracle();
if (host === undefined) throw new Error('recording needs an x86-64 Linux host');
const state = createState();
const outcome = createOutcome();
const wanted = process.argv.slice(2);
const families = FAMILIES.filter((family) => wanted.length === 0 || wanted.includes(family));
for (const [family, codeSize] of families.flatMap((f) => ([64, 32, 16] as const).map((size) => [f, size] as const))) {
  const writer = new VectorWriter();
  const forms = formsOf(family, codeSize);
  for (const form of forms) {
    writer.form(seedOf(form.key));
    const random = new Random(seedOf(form.key));
    for (let i = 0; i < VECTOR_CASES; i++) {
      const encoding = randomEncoding(form, random);
      newArea(encoding, state, random);
      randomState(encoding, state, random);
      host.run(encoding.code, state, outcome, encoding.step);
      writer.case(state, outcome);
    }
  }
  const file = vectorFile(family, codeSize);
  mkdirSync(new URL('.', file), { recursive: true });
  const packed = deflateRawSync(writer.finish(), { level: 9 });
  writeFileSync(file, packed);
  console.log(`${family}, ${codeSize}-bit code: ${forms.length} forms, ${packed.length} bytes`);
}
