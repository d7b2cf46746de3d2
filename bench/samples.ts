/** Samples by measure and peer, their medians and spread. */

/** Who is measured: two tiers of Orrery, QEMU without hardware assistance, v86, and programs run by the host itself. */
export const PEERS = ['jit', 'interp', 'qemu', 'v86', 'native'] as const;
export type Peer = (typeof PEERS)[number];

export interface Measure {
  readonly section: string;
  readonly name: string;
  readonly unit: string;
  /** Whether more is better; else less is. */
  readonly higherIsBetter: boolean;
  readonly samples: Map<Peer, number[]>;
}

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export class Samples {
  readonly measures: Measure[] = [];
  /** Peers that could not be measured, and why. */
  readonly absent: Map<Peer, string> = new Map();

  add(
    section: string,
    name: string,
    unit: string,
    peer: Peer,
    value: number | undefined,
    higherIsBetter = false,
  ): void {
    let measure = this.measures.find((m) => m.section === section && m.name === name && m.unit === unit);
    if (measure === undefined) {
      measure = { section, name, unit, higherIsBetter, samples: new Map() };
      this.measures.push(measure);
    }
    if (value === undefined) return;
    const samples = measure.samples.get(peer) ?? [];
    samples.push(value);
    measure.samples.set(peer, samples);
  }
}

export function summary(samples: readonly number[]): Summary | undefined {
  const sorted = samples.toSorted((a, b) => a - b);
  const [min] = sorted;
  const max = sorted.at(-1);
  if (min === undefined || max === undefined) return undefined;
  const upper = sorted[sorted.length >> 1] ?? max;
  const lower = sorted[(sorted.length - 1) >> 1] ?? min;
  return { median: (lower + upper) / 2, min, max };
}
