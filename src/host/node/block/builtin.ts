/**
 * Node's own modules as `require` gives them. Importing node:fs or node:util loads all that each of them would load when it is wanted
 * (promises, readline, worker threads …), which takes as long as what most commands on images do.
 */
import type * as Fs from 'node:fs';
import type * as Util from 'node:util';

export const fs: typeof Fs = process.getBuiltinModule('node:fs');

export function utilModule(): typeof Util {
  return process.getBuiltinModule('node:util');
}
