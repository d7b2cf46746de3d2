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
  return [...output.matchAll(/^bench (\S+) (\d+) (\d+) ([0-9a-f]{8})\r?$/gm)].map(
    ([, name = '', rounds = '', ns = '', checksum = '']) => ({
      name,
      rounds: Number(rounds),
      ns: Number(ns),
      checksum,
    }),
  );
}

/** Of each program the result with the least time. */
export function leastTimes(results: readonly ProgramResult[]): Map<string, ProgramResult> {
  const least = new Map<string, ProgramResult>();
  for (const result of results) {
    const before = least.get(result.name);
    if (before === undefined || result.ns / result.rounds < before.ns / before.rounds) least.set(result.name, result);
  }
  return least;
}
