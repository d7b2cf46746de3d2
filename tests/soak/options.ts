/** The command line of `npm run soak`. */
import { UserError } from '../../src/base/errors.ts';
import { KINDS, type Kind } from './steps.ts';

export interface SoakOptions {
  /** How long the guest works; it finishes the step it is at. */
  readonly seconds: number;
  /** What `orrery system -accel` is given. */
  readonly accel: string;
  readonly memoryMib: number;
  /** How long each method of a stressor runs. */
  readonly methodSeconds: number;
  readonly kinds: ReadonlySet<Kind>;
  /** Only steps whose names hold this. */
  readonly match: string;
  /** File that gets everything the guest printed. */
  readonly log: string | undefined;
}

export const USAGE = `usage: npm run soak -- [--seconds N] [--accel NAME] [--memory MIB] [--method-seconds N] [--only KIND] [--match TEXT] [--log FILE]
  --seconds N         how long (default 1800)
  --accel NAME        as for orrery system: jit (default), interp, jit,verify=on
  --memory MIB        the guest's memory (default 1024)
  --method-seconds N  how long each stressor runs at a time (default 3)
  --only KIND         one kind of step, may be given several times: ${KINDS.join(', ')}
  --match TEXT        only the steps whose names hold that text
  --log FILE          everything that the guest printed`;

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new UserError(`${option} ${text}: a whole number from 1 is wanted`);
  return value;
}

/** @throws {UserError} in one sentence. */
export function parseOptions(words: readonly string[]): SoakOptions | 'help' {
  const kinds = new Set<Kind>();
  let options: Omit<SoakOptions, 'kinds'> = {
    seconds: 1800,
    accel: 'jit',
    memoryMib: 1024,
    methodSeconds: 3,
    match: '',
    log: undefined,
  };
  for (let i = 0; i < words.length; i += 2) {
    const word = words[i] ?? '';
    if (word === '--help' || word === '-h') return 'help';
    const value = words[i + 1];
    if (value === undefined) throw new UserError(`${word} wants a value`);
    if (word === '--seconds') options = { ...options, seconds: wholeNumber(word, value) };
    else if (word === '--accel') options = { ...options, accel: value };
    else if (word === '--memory') options = { ...options, memoryMib: wholeNumber(word, value) };
    else if (word === '--method-seconds') options = { ...options, methodSeconds: wholeNumber(word, value) };
    else if (word === '--match') options = { ...options, match: value };
    else if (word === '--log') options = { ...options, log: value };
    else if (word === '--only') {
      const kind = KINDS.find((known) => known === value);
      if (kind === undefined) throw new UserError(`--only ${value}: the kinds are ${KINDS.join(', ')}`);
      kinds.add(kind);
    } else throw new UserError(`${word} is no option of the soak (--help lists them)`);
  }
  return { ...options, kinds: kinds.size === 0 ? new Set(KINDS) : kinds };
}
