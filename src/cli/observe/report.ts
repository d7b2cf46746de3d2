/** The report of `--stats`, SIGUSR1 and the monitor's `info jit`: statistics as lines of text. */
import type { MachineStatistics } from '../../machine/statistics.ts';
import type { HotFunction } from '../../machine/profile/profile.ts';

const LABEL = 13;
const MOST_DEVICES = 8;
const MOST_VECTORS = 8;

const whole = (value: number): string => Math.round(value).toLocaleString('en-US');

function time(ns: number): string {
  return ns >= 1e9 ? `${(ns / 1e9).toFixed(2)} s` : `${(ns / 1e6).toFixed(1)} ms`;
}

function size(bytes: number): string {
  return bytes >= 1 << 20 ? `${(bytes / (1 << 20)).toFixed(1)} MiB` : `${(bytes / 1024).toFixed(1)} KiB`;
}

function percent(part: number, all: number): string {
  return `${(all > 0 ? (part / all) * 100 : 0).toFixed(1)} %`;
}

/** A label and its lines, which stand below each other. */
function section(label: string, lines: readonly string[]): string {
  return lines.map((line, i) => `${(i === 0 ? label : '').padEnd(LABEL)}${line}\n`).join('');
}

function tierLine(name: string, { instructions, timeNs }: MachineStatistics['tiers']['jit'], all: number): string {
  const mips = timeNs > 0 ? `${whole((instructions / timeNs) * 1000)} MIPS` : '-';
  return `${name.padEnd(8)}${whole(instructions).padStart(16)}  ${percent(instructions, all).padStart(7)}  ${time(timeNs).padStart(10)}  ${mips}`;
}

function codeLines({ code }: MachineStatistics): string[] {
  return [
    `decode ${time(code.decodeMs * 1e6)} for ${whole(code.blocksDecoded)} blocks of ${whole(code.insnsDecoded)} instructions and ${whole(code.handlers)} handlers`,
    `discover ${time(code.discoverMs * 1e6)}, generate ${time(code.generateMs * 1e6)}, compile ${time(code.compileMs * 1e6)} for ${whole(code.translations)} translations (${whole(code.retranslations)} again) in ${whole(code.modulesCompiled)} modules`,
    `${whole(code.insnsTranslated)} instructions of ${size(code.guestBytesTranslated)} became ${size(code.wasmBytesGenerated)} of wasm`,
    `live: ${whole(code.liveTranslations)} translations, ${size(code.liveWasmBytes)} of wasm; ${whole(code.liveBlocks)} blocks, ${size(code.recordBytes)} of records`,
    `dropped: ${whole(code.evictions)} translations, ${whole(code.invalidations)} pages, all records ${whole(code.flushes)} times`,
  ];
}

/** What `info jit` shows: the part about tiers and code. */
export function codeReport(statistics: MachineStatistics): string {
  const { tiers, instructions, time: times, tlb } = statistics;
  const head = `${'tier'.padEnd(8)}${'instructions'.padStart(16)}  ${'share'.padStart(7)}  ${'time (est.)'.padStart(10)}`;
  return (
    section('time', [
      `guest ran ${time(times.runNs)}, of that ${time(times.codeNs)} making code; idle ${time(times.idleNs)}; guest's clock ${time(statistics.virtualTimeNs)}`,
    ]) +
    section('execution', [
      head,
      tierLine('interp', tiers.interp, instructions),
      tierLine('jit', tiers.jit, instructions),
      `${'string'.padEnd(8)}${whole(statistics.stringIterations).padStart(16)}  ${percent(statistics.stringIterations, instructions).padStart(7)}  iterations, within either`,
    ]) +
    section('code', codeLines(statistics)) +
    section('TLB', [`${whole(tlb.fills)} fills, ${whole(tlb.flushes)} flushes`])
  );
}

/** The whole report. `hottest`, where a profile was taken, adds guest functions. */
export function statisticsReport(statistics: MachineStatistics, hottest: readonly HotFunction[] = []): string {
  const exits = Object.entries(statistics.exits)
    .filter(([, count]) => count > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name} ${whole(count)}`);
  const interrupts = statistics.interrupts.slice(0, MOST_VECTORS);
  const devices = statistics.devices.slice(0, MOST_DEVICES);
  return (
    codeReport(statistics) +
    section('exits', inRows(exits, 4)) +
    section(
      'interrupts',
      inRows(
        interrupts.map(({ vector, count }) => `vector 0x${vector.toString(16)} ${whole(count)}`),
        4,
      ),
    ) +
    section(
      'devices',
      devices.map(
        ({ kind, name, reads, writes }) =>
          `${kind.padEnd(5)}${name.padEnd(20)} ${whole(reads)} reads, ${whole(writes)} writes`,
      ),
    ) +
    section(
      'hottest',
      hottest.map(
        ({ name, owner, timeNs, share }) =>
          `${percent(share, 1).padStart(7)} ${time(timeNs).padStart(9)}  ${name}  [${owner}]`,
      ),
    )
  );
}

function inRows(items: readonly string[], perRow: number): string[] {
  const rows: string[] = [];
  for (let at = 0; at < items.length; at += perRow) rows.push(items.slice(at, at + perRow).join(', '));
  return rows;
}
