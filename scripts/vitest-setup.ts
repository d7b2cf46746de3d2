/** Before any test: the compiled microcode is that of the sources. A test run by hand must not see yesterday's. */
import { buildMicrocode } from './build-microcode.ts';

export default async function setup(): Promise<void> {
  try {
    await buildMicrocode();
  } catch (error) {
    // Tests that do not touch it can still tell something; the others will fail for themselves.
    console.error(error instanceof Error ? error.message : error);
  }
}
