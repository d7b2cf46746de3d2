/** What the programs of programs/ are told to do, and what they print. */

/** One run of one program. */
export interface Step {
  readonly name: string;
  readonly bits: 32 | 64;
  /** How much of its rounds; slow peers run less. */
  readonly percent: number;
}

export interface ProgramResult {
  readonly name: string;
  readonly rounds: number;
  /** Time of all rounds. */
  readonly ns: number;
  /** Of it, what its process spent on a processor, as the kernel below it tells. */
  readonly cpuNs: number;
  /** Hexadecimal; the same on every peer. */
  readonly checksum: string;
}

/** Path of a program in the guest. */
export function guestPath({ name, bits }: Pick<Step, 'name' | 'bits'>): string {
  return bits === 64 ? `/bench/${name}` : `/bench/32/${name}`;
}

/** A shell script that runs `steps` in a guest. */
export function programScript(steps: readonly Step[]): string {
  return ['#!/bin/sh', ...steps.map((step) => `${guestPath(step)} ${step.percent}`), ''].join('\n');
}

/** All results in what was printed, in their order. A program that failed or was skipped has none. */
export function resultsOf(output: string): ProgramResult[] {
  return [...output.matchAll(/^bench (\S+) (\d+) (\d+) (\d+) ([0-9a-f]{8})\r?$/gm)].map(
    ([, name = '', rounds = '', ns = '', cpuNs = '', checksum = '']) => ({
      name,
      rounds: Number(rounds),
      ns: Number(ns),
      cpuNs: Number(cpuNs),
      checksum,
    }),
  );
}

/** What the host saw when a result was printed. */
export interface Moment {
  readonly wallSeconds: number;
  /** How long the emulator's thread has been ready to run while others ran. */
  readonly queuedSeconds: number;
}

/**
 * Results with the time taken off that the emulator waited for a processor: on a busy machine a guest's clock goes on meanwhile. A
 * result's moment and the one before (`start` before the first) tell which share of the time that was.
 */
export function withoutWaiting(
  results: readonly ProgramResult[],
  start: Moment,
  moments: readonly Moment[],
): ProgramResult[] {
  return results.map((result, i) => {
    const before = i === 0 ? start : moments[i - 1];
    const after = moments[i];
    if (before === undefined || after === undefined) return result;
    const wall = after.wallSeconds - before.wallSeconds;
    const queued = after.queuedSeconds - before.queuedSeconds;
    return queued <= 0 || queued >= wall ? result : { ...result, ns: result.ns * (1 - queued / wall) };
  });
}
