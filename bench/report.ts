/** The tables that the benchmark prints, and its JSON. */
import { type Measure, type Peer, PEERS, type Samples, summary } from './samples.ts';
import { markdownTable, textTable } from './tables.ts';

export interface HostFacts {
  readonly cpu: string;
  readonly cpus: number;
  readonly node: string;
  /** Load average over one minute before the first run. */
  readonly load: number;
  /** Guest kernel and QEMU. */
  readonly software: string;
}

const TITLES: Readonly<Record<Peer, string>> = {
  jit: 'jit',
  interp: 'interp',
  qemu: 'QEMU TCG',
  v86: 'v86',
  native: 'native',
};
/** A busy machine: figures of one that does something else as well are no figures. */
const QUIET_LOAD = 0.5;
const BUSY = 'The machine was busy: do not compare these figures with others.';

function number(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value.toFixed(value >= 10 ? 1 : 2);
}

/** Median, with least and most where there were several runs. */
function cell(measure: Measure, peer: Peer): string {
  const of = summary(measure.samples.get(peer) ?? []);
  if (of === undefined) return '-';
  return of.min === of.max ? number(of.median) : `${number(of.median)} (${number(of.min)}–${number(of.max)})`;
}

/** How many times as fast (or small) as QEMU the default tier is. */
function ratio(measure: Measure): string {
  const ours = summary(measure.samples.get('jit') ?? []);
  const theirs = summary(measure.samples.get('qemu') ?? []);
  if (ours === undefined || theirs === undefined) return '-';
  const times = measure.higherIsBetter ? ours.median / theirs.median : theirs.median / ours.median;
  return `${times.toFixed(2)}×`;
}

/** The largest distance of a sample from its median, in percent of it. */
function spread(samples: Samples): number {
  let most = 0;
  for (const measure of samples.measures) {
    for (const values of measure.samples.values()) {
      const of = summary(values);
      if (of === undefined || of.median === 0) continue;
      most = Math.max(most, (of.max - of.median) / of.median, (of.median - of.min) / of.median);
    }
  }
  return most * 100;
}

/** Who was measured on what, and whether that says much, for the head of every table. */
export function hostLines(host: HostFacts): string[] {
  const line = `${host.cpu}, ${host.cpus} CPUs; Node ${host.node}; ${host.software}`;
  return host.load > QUIET_LOAD ? [line, BUSY] : [line];
}

/** `runs`: how often each part was measured, in words. */
export function reportText(samples: Samples, host: HostFacts, runs: string, markdown: boolean): string {
  const rows = [['', 'unit', ...PEERS.map((peer) => TITLES[peer]), 'jit against QEMU']];
  const sections = [...new Set(samples.measures.map((m) => m.section))];
  for (const section of sections) {
    rows.push([markdown ? `**${section}**` : section]);
    for (const measure of samples.measures.filter((m) => m.section === section)) {
      const cells = PEERS.map((peer) => cell(measure, peer));
      rows.push([markdown ? measure.name : `  ${measure.name}`, measure.unit, ...cells, ratio(measure)]);
    }
  }
  const noise = `load average before the first run ${host.load.toFixed(2)}; samples are up to ${spread(samples).toFixed(0)} % off their median`;
  const lines = [
    ...hostLines(host),
    `medians (least–most) of ${runs}; ${noise}`,
    ...[...samples.absent].map(([peer, why]) => `absent: ${TITLES[peer]}, because ${why}`),
  ];
  return [
    ...lines.map((line) => (markdown ? `${line}  ` : line)),
    '',
    ...(markdown ? markdownTable(rows, 2) : textTable(rows, 2)),
  ].join('\n');
}

export function reportJson(samples: Samples, host: HostFacts, programs: unknown): string {
  const measures = samples.measures.map(({ section, name, unit, samples: values }) => ({
    section,
    name,
    unit,
    samples: Object.fromEntries(values),
  }));
  return `${JSON.stringify({ host, absent: Object.fromEntries(samples.absent), measures, programs }, null, 2)}\n`;
}
