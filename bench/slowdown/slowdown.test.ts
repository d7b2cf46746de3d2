/** Times of programs, the table and the plot made of them. */
import { describe, expect, it } from 'vitest';
import { PROGRAMS, type Program } from '../program-list.ts';
import { programSteps } from './measure-slowdown.ts';
import { ProgramTimes } from './program-times.ts';
import { plotGroups, plotSvg } from './slowdown-plot.ts';
import { slowdownReport } from './slowdown-table.ts';

function program(name: string): Program {
  const found = PROGRAMS.find((known) => known.name === name);
  if (found === undefined) throw new Error(`no program ${name}`);
  return found;
}

function result(
  name: string,
  rounds: number,
  ns: number,
  checksum = '0000000a',
): Parameters<ProgramTimes['add']>[1][0] {
  return { name, rounds, ns, cpuNs: ns, checksum };
}

function someTimes(): ProgramTimes {
  const times = new ProgramTimes();
  times.add('native64', [result('lz', 400, 4e8), result('lua', 400, 2e8)]);
  times.add('native64', [result('lz', 400, 5e8), result('lua', 400, 2e8)]);
  times.add('native32', [result('lz', 400, 8e8), result('nbody-x87', 100, 1e8)]);
  times.add('v86', [result('lz', 40, 8e8)]);
  times.add('jit', [result('lz', 400, 8e8), result('lua', 400, 16e8), result('nbody-x87', 100, 5e8)]);
  return times;
}

describe('times of the programs', () => {
  it('are compared by the round with the least of the same build on the host', () => {
    const times = someTimes();

    expect(times.slowdown('jit', program('lz'))).toBeCloseTo(2);
    expect(times.slowdown('v86', program('lz'))).toBeCloseTo(10);
    expect(times.slowdown('jit', program('nbody-x87'))).toBeCloseTo(5);
    expect(times.slowdown('v86', program('lua'))).toBeUndefined();
  });

  it('have a geometric mean over the CPU set, to which x87 does not belong', () => {
    const mean = someTimes().mean('jit');

    expect(mean?.programs).toBe(2);
    expect(mean?.slowdown).toBeCloseTo(4);
  });

  it('tell how far runs lie apart', () => {
    expect(someTimes().spread('native64')?.most).toBeCloseTo(0.25);
    expect(someTimes().spread('jit')).toBeUndefined();
  });

  it('name the programs whose result is not the host’s', () => {
    const times = someTimes();
    times.add('qemu', [result('lz', 40, 1e8, '0000000b')]);

    expect(times.disagreements()).toEqual(['QEMU system: lz comes to 0000000b, the host to 0000000a']);
  });
});

it('the table holds a row a program that anybody ran, and the means', () => {
  const text = slowdownReport(someTimes(), [0.1, 0.2], true);

  expect(text).toContain('| slowdown against native | native, s | v86 | Orrery |');
  expect(text).toContain('| LZ, both ways | 0.40 | 10.0 | 2.00 |');
  expect(text).toContain('| n-body, x87 (32-bit) | 0.10 | - | 5.00 |');
  expect(text).toContain('| **Geometric mean of the CPU set (2 programs)** |  | **10.0** (of 1) | **4.00** |');
  expect(text).toContain('ran: v86 10 %, Orrery 100 %');
  expect(text).not.toContain('getppid');
  expect(text).toContain('native 25 % (at most 25 %)');
});

describe('the plot', () => {
  it('has a bar for each figure, and its scale holds them all', () => {
    const times = someTimes();

    const svg = plotSvg(plotGroups(times), times.peers());

    expect(svg.match(/<rect class="jit"/g)).toHaveLength(1 + 4); // the legend, three programs, the mean
    expect(svg).toContain('>10×</text>');
    expect(svg).not.toMatch(/NaN|undefined|Infinity/);
    expect(svg).toContain('prefers-color-scheme: dark');
  });

  it('shows what is faster than the host to the left of it', () => {
    const svg = plotSvg([{ title: 'Memory', rows: [{ title: 'chase & copy', values: [0.5] }] }], ['v86']);
    const host = Number(/class="host" x1="([\d.]+)"/.exec(svg)?.[1]);
    const bar = /<rect class="v86" x="([\d.]+)" y="\d+" width="([\d.]+)" height="7"/.exec(svg);

    expect(Number(bar?.[1]) + Number(bar?.[2])).toBeCloseTo(host, 0);
    expect(svg).toContain('chase &amp; copy');
  });
});

describe('which build a peer runs', () => {
  it('is the 64-bit one, except under v86 and where there is none', () => {
    expect(programSteps('jit', ['lz', 'nbody-x87'], 100)).toEqual([
      { name: 'lz', bits: 64, percent: 100 },
      { name: 'nbody-x87', bits: 32, percent: 100 },
    ]);
    expect(programSteps('v86', ['lz', 'pixels'], 20)).toEqual([{ name: 'lz', bits: 32, percent: 20 }]);
    expect(programSteps('native64', ['nbody-x87'], 100)).toEqual([]);
  });

  it('leaves the kernel’s rows out where the kernel is the host’s', () => {
    expect(programSteps('qemu-user', ['getppid'], 30)).toEqual([]);
  });
});
