/** The table of slowdowns as a plot: bars on a logarithmic scale from 1, the bare host, in SVG that suits light and dark pages. */
import { GROUP_TITLES, GROUPS, PROGRAMS } from '../program-list.ts';
import { PEER_TITLES, type ProgramTimes, type SlowdownPeer } from './program-times.ts';
import { slowdownText } from './slowdown-table.ts';

const WIDTH = 860;
const LEFT = 210; // where the scale begins
const RIGHT = 60;
const TOP = 56;
const BAR = 8;
const ROW_GAP = 8;
const HEADING = 24;

/** Two colours each: on white, on black. */
const COLOURS: Readonly<Record<SlowdownPeer, readonly [string, string]>> = {
  'qemu-user': ['#c9a227', '#e0bd4a'],
  qemu: ['#d9822b', '#f0a050'],
  v86: ['#8a8f98', '#9aa0aa'],
  jit: ['#2a6fdb', '#6ea8ff'],
  interp: ['#7a5cc0', '#b09af0'],
};

const TICKS = [0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];

export interface PlotRow {
  readonly title: string;
  readonly values: readonly (number | undefined)[];
}
export interface PlotGroup {
  readonly title: string;
  readonly rows: readonly PlotRow[];
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

/** What the plot shows. */
export function plotGroups(times: ProgramTimes): PlotGroup[] {
  const peers = times.peers();
  const groups = GROUPS.map((group) => ({
    title: GROUP_TITLES[group],
    rows: PROGRAMS.filter((program) => program.group === group)
      .map((program) => ({ title: program.title, values: peers.map((peer) => times.slowdown(peer, program)) }))
      .filter(({ values }) => values.some((value) => value !== undefined)),
  })).filter(({ rows }) => rows.length > 0);
  const means = peers.map((peer) => times.mean(peer)?.slowdown);
  return [...groups, { title: 'CPU set', rows: [{ title: 'geometric mean', values: means }] }];
}

export function plotSvg(groups: readonly PlotGroup[], peers: readonly SlowdownPeer[]): string {
  const values = groups.flatMap(({ rows }) => rows.flatMap((row) => row.values.filter((v) => v !== undefined)));
  const least = Math.min(1, ...values);
  const most = Math.max(2, ...values);
  // The scale goes from tick to tick.
  const from = TICKS.findLast((tick) => tick <= least) ?? least;
  const to = TICKS.find((tick) => tick >= most) ?? most;
  const x = (value: number): number => LEFT + ((WIDTH - LEFT - RIGHT) * Math.log(value / from)) / Math.log(to / from);

  const body: string[] = [];
  let y = TOP;
  const text = (kind: string, atX: number, atY: number, words: string): void => {
    body.push(`<text class="${kind}" x="${atX.toFixed(1)}" y="${atY.toFixed(1)}">${escape(words)}</text>`);
  };
  for (const { title, rows } of groups) {
    y += HEADING;
    text('heading', 12, y - 8, title);
    for (const row of rows) {
      const height = BAR * peers.length;
      text('row', LEFT - 10, y + height / 2 + 4, row.title);
      peers.forEach((peer, i) => {
        const value = row.values[i];
        if (value === undefined) return;
        const [low, high] = [x(Math.min(1, value)), x(Math.max(1, value))];
        const top = y + i * BAR;
        body.push(
          `<rect class="${peer}" x="${low.toFixed(1)}" y="${top}" width="${Math.max(high - low, 1).toFixed(1)}" height="${BAR - 1}"/>`,
        );
        text('value', high + 4, top + BAR - 1, slowdownText(value));
      });
      y += height + ROW_GAP;
    }
  }

  const grid = TICKS.filter((tick) => tick >= from && tick <= to).map(
    (tick) =>
      `<line class="${tick === 1 ? 'host' : 'grid'}" x1="${x(tick).toFixed(1)}" x2="${x(tick).toFixed(1)}" y1="${TOP}" y2="${y}"/>` +
      `<text class="tick" x="${x(tick).toFixed(1)}" y="${TOP - 6}">${tick === 1 ? 'native' : `${tick}×`}</text>`,
  );
  const legend = peers.map((peer, i) => {
    const at = LEFT + i * 120;
    return `<rect class="${peer}" x="${at}" y="12" width="12" height="12"/><text class="legend" x="${at + 18}" y="22">${escape(PEER_TITLES[peer])}</text>`;
  });
  const fills = (dark: 0 | 1): string => peers.map((peer) => `.${peer} { fill: ${COLOURS[peer][dark]} }`).join(' ');
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + 12}" width="${WIDTH}" height="${y + 12}" role="img" aria-label="Slowdown against native, by program">
<style>
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .heading { font-weight: 600 } .row { text-anchor: end } .tick { text-anchor: middle }
  .value { font-size: 8px; fill: #57606a } .tick { font-size: 11px; fill: #57606a }
  .paper { fill: #ffffff } .grid { stroke: #d8dee4 } .host { stroke: #57606a }
  ${fills(0)}
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .value, .tick { fill: #9aa4af }
    .paper { fill: #0d1117 } .grid { stroke: #2b323b } .host { stroke: #9aa4af }
    ${fills(1)}
  }
</style>
<rect class="paper" width="100%" height="100%" rx="6"/>
${[...legend, ...grid, ...body].join('\n')}
</svg>
`;
}
