/**
 * The options that look at a running guest, the same for every command that runs one: `--stats`, `--profile`, `--profile-rate`,
 * `--symbols`. Reports go to standard error, profiles to files.
 */
import { accessSync, constants, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { UserError } from '../../base/errors.ts';
import type { Profile } from '../../machine/profile/profile.ts';
import type { MachineHandle } from '../system/machine-door.ts';
import { codeReport, statisticsReport } from './report.ts';

/** What the command line asks for. */
export interface ObserveRequest {
  stats: boolean;
  /** Files; the ending of the name says in which format. */
  profiles: string[];
  rateHz: number | undefined;
  /** Files with symbols of guest code. */
  symbols: string[];
}

export function nothingObserved(): ObserveRequest {
  return { stats: false, profiles: [], rateHz: undefined, symbols: [] };
}

const HOT_FUNCTIONS = 15;

/** Formats by the end of the file's name. */
const FORMATS: readonly { readonly ending: string; readonly write: (profile: Profile, title: string) => string }[] = [
  { ending: '.svg', write: (profile, title) => profile.toFlameGraphSvg(title) },
  { ending: '.json', write: (profile, title) => profile.toSpeedscope(title) },
  { ending: '.folded', write: (profile) => profile.toFolded() },
];

/** Adds a file that a profile is to be written to. Throws UserError for a name whose format is not known. */
export function addProfileFile(request: ObserveRequest, option: string, path: string): void {
  if (!FORMATS.some(({ ending }) => path.endsWith(ending))) {
    throw new UserError(
      `${option} ${path}: the name ends in none of .svg (flame graph), .speedscope.json or .json (speedscope), .folded (stacks as text)`,
    );
  }
  request.profiles.push(path);
}

/** Reads the samples a second. Throws UserError. */
export function parseRate(option: string, text: string): number {
  const rate = Number(text);
  if (text === '' || !(rate >= 1 && rate <= 20_000)) {
    throw new UserError(`${option}: '${text}' is not a number of samples a second from 1 to 20000`);
  }
  return rate;
}

function readSymbols(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UserError(`--symbols: ${path} cannot be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
}

function checkWritable(path: string): void {
  try {
    accessSync(existsSync(path) ? path : dirname(path), constants.W_OK);
  } catch (error) {
    throw new UserError(
      `--profile: ${path} cannot be written: ${(error as NodeJS.ErrnoException).code ?? String(error)}`,
    );
  }
}

/** An observation under way. */
export interface Observation {
  /** The report as it is now. */
  report(): string;
  /** The machine has ended: reports, and writes the profiles. */
  finish(): void;
}

/**
 * Begins what `request` asks for; from now on SIGUSR1 prints the report if it asks for statistics. `title` names the guest in profiles.
 * Throws UserError for files that cannot be used.
 */
export function observe(request: ObserveRequest, machine: MachineHandle, title: string): Observation {
  for (const path of request.profiles) checkWritable(path);
  const symbols = request.symbols.map((path) => ({ name: path, bytes: readSymbols(path) }));
  const profiling = request.profiles.length > 0;
  const profile =
    profiling || request.stats
      ? machine.profile({ stacks: profiling, symbols, ...(request.rateHz !== undefined && { rateHz: request.rateHz }) })
      : undefined;
  const report = (): string => {
    const statistics = machine.statistics();
    return profile === undefined
      ? codeReport(statistics)
      : statisticsReport(statistics, profile.snapshot().hottest(HOT_FUNCTIONS));
  };
  const onSignal = (): void => void process.stderr.write(report());
  if (request.stats && process.platform !== 'win32') process.on('SIGUSR1', onSignal);
  return {
    report,
    finish() {
      process.off('SIGUSR1', onSignal);
      if (request.stats) process.stderr.write(report());
      const finished = profile?.stop();
      if (finished === undefined) return;
      for (const path of request.profiles) {
        const format = FORMATS.find(({ ending }) => path.endsWith(ending));
        if (format !== undefined) writeFileSync(path, format.write(finished, title));
      }
    },
  };
}
