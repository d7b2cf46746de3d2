/** The table of slowdowns: a program a row, a peer a column. */
import { GROUP_TITLES, GROUPS, PROGRAMS } from '../program-list.ts';
import { markdownTable, textTable } from '../tables.ts';
import { type Column, PEER_TITLES, type ProgramTimes } from './program-times.ts';

/** Three digits are more than the noise lets one know. */
export function slowdownText(slowdown: number | undefined): string {
  if (slowdown === undefined) return '-';
  return slowdown.toFixed(slowdown >= 100 ? 0 : slowdown >= 10 ? 1 : 2);
}

function percent(fraction: number): string {
  return `${(fraction * 100).toFixed(fraction < 0.1 ? 1 : 0)} %`;
}

/** How far repeated runs lie apart, a peer a phrase. */
function noise(times: ProgramTimes): string {
  const columns: readonly (readonly [Column, string])[] = [
    ['native64', 'native'],
    ...times.peers().map((peer) => [peer, PEER_TITLES[peer]] as const),
  ];
  const phrases = columns.flatMap(([column, title]) => {
    const spread = times.spread(column);
    return spread === undefined ? [] : [`${title} ${percent(spread.median)} (at most ${percent(spread.most)})`];
  });
  if (phrases.length === 0) return 'each program ran once';
  return `times are the least of the runs; the slowest run of a program took longer than its quickest by, in the middle: ${phrases.join(', ')}`;
}

/** Lines about the figures, and the table. `load`: load average before and after. */
export function slowdownReport(times: ProgramTimes, load: readonly [number, number], markdown: boolean): string {
  const peers = times.peers();
  const rows: string[][] = [['slowdown against native', 'native, s', ...peers.map((peer) => PEER_TITLES[peer])]];
  const strong = (text: string): string => (markdown ? `**${text}**` : text);
  for (const group of GROUPS) {
    const programs = PROGRAMS.filter((program) => program.group === group);
    const filled = programs.filter((program) => peers.some((peer) => times.slowdown(peer, program) !== undefined));
    if (filled.length === 0) continue;
    rows.push([strong(GROUP_TITLES[group])]);
    for (const program of filled) {
      const host = times.fullTimes(program.bits === 32 ? 'native32' : 'native64', program.name);
      const cells = peers.map((peer) => slowdownText(times.slowdown(peer, program)));
      rows.push([
        markdown ? program.title : `  ${program.title}`,
        host.length === 0 ? '-' : (Math.min(...host) / 1e9).toFixed(2),
        ...cells,
      ]);
    }
  }
  const means = peers.map((peer) => times.mean(peer));
  const most = Math.max(0, ...means.map((mean) => mean?.programs ?? 0));
  rows.push([strong(`Geometric mean of the CPU set (${most} programs)`), '', ...means.map(meanText)]);

  function meanText(mean: (typeof means)[number]): string {
    if (mean === undefined) return '-';
    const text = strong(slowdownText(mean.slowdown));
    return mean.programs === most ? text : `${text} (of ${mean.programs})`;
  }

  const shares = peers.map((peer) => `${PEER_TITLES[peer]} ${Math.round(times.share(peer) * 100)} %`);
  const lines = [
    `of a program's rounds each peer ran: ${shares.join(', ')}`,
    `load average ${load[0].toFixed(2)} before, ${load[1].toFixed(2)} after; ${noise(times)}`,
    ...times.disagreements(),
    ...times.notes,
  ];
  return [
    ...lines.map((line) => (markdown ? `${line}  ` : line)),
    '',
    ...(markdown ? markdownTable(rows) : textTable(rows)),
  ].join('\n');
}
