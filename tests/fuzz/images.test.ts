/** A slice of the fuzzing of images, `node tests/fuzz/images.ts` being the whole: changed images fail in one sentence or work. */
import { expect, test } from 'vitest';
import { makeSeeds, runCase } from '../support/fuzz-images.ts';

const IMAGES = Number(process.env['ORRERY_FUZZ_IMAGES'] ?? 400);

test('changed images of every format are refused, or read without harm', async () => {
  const seeds = await makeSeeds();
  let opened = 0;
  for (let number = 1; number <= IMAGES; number++) {
    const result = await runCase(seeds, number).catch((error: unknown) => {
      throw new Error(`image ${number}`, { cause: error });
    });
    if (result.opened) opened++;
  }
  expect(opened).toBeGreaterThan(IMAGES / 4);
});
