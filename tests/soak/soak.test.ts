import { describe, expect, it } from 'vitest';
import { judgeMemory, kernelComplaints, type Sample, table, verdict } from './judge.ts';
import { parseOptions } from './options.ts';
import { interleave, Progress, type Step } from './steps.ts';

const STRESSOR: Step = { kind: 'cpu', name: 'cpu fft', script: 'stress-ng' };
const BUILD: Step = { kind: 'build', name: 'build lua', script: 'gcc', expected: 'aa  -\nbb  -\n' };
const SUCCESS = 'stress-ng: info:  [9] successful run completed in 3.01s\n';

const consoleOf = (step: number, output: string, status = 0): string =>
  `\x1estep ${step}\r\n${output.replaceAll('\n', '\r\n')}\x1eend ${status} 1000 1350\r\n`;

function runs(text: string): Progress {
  const progress = new Progress();
  // In pieces, as a console gives it.
  for (let at = 0; at < text.length; at += 7) progress.feed(text.slice(at, at + 7));
  return progress;
}

function verdictOf(step: Step, output: string, status = 0): string | undefined {
  const [run] = runs(consoleOf(0, output, status)).runs;
  if (run === undefined) throw new Error('no run');
  return verdict(step, run);
}

describe('what the guest prints', () => {
  it('is taken apart into runs and lines of the kernel', () => {
    const progress = runs(`${consoleOf(3, SUCCESS)}\x1ekernel [ 1.0] a line\r\n\x1estep 4\r\n`);
    expect(progress.runs).toEqual([{ step: 3, status: 0, seconds: 3.5, output: SUCCESS.trimEnd() }]);
    expect(progress.kernelLines).toEqual(['[ 1.0] a line']);
    expect(progress.current).toBe(4);
  });

  it('may end without a line feed', () => {
    expect(runs(consoleOf(0, 'half a line')).runs[0]?.output).toBe('half a line');
  });
});

describe('a failure', () => {
  it('is none when a stressor succeeds or a build prints what the host did', () => {
    expect(verdictOf(STRESSOR, SUCCESS)).toBeUndefined();
    expect(verdictOf(BUILD, 'aa  -\nbb  -\n')).toBeUndefined();
  });

  it('is a status, a line of stress-ng, or no word of success', () => {
    expect(verdictOf(STRESSOR, SUCCESS, 2)).toContain('cpu fft: status 2');
    expect(verdictOf(STRESSOR, `stress-ng: fail:  [9] cpu: fft was wrong\n${SUCCESS}`)).toContain('told a failure');
    expect(verdictOf(STRESSOR, 'Killed\n')).toContain('told no success');
  });

  it('is a checksum other than the host has', () => {
    expect(verdictOf(BUILD, 'aa  -\nbc  -\n')).toContain('expected bb  -\ngot      bc  -');
    expect(verdictOf(BUILD, 'aa  -\n')).toContain('got      nothing');
    expect(verdictOf(BUILD, 'aa  -\nbb  -\ncc  -\n')).toContain('more lines: cc');
  });

  it('is an oops or a segmentation fault, unless a stressor is there to cause it', () => {
    const lines = ['lua[9]: segfault at 0', 'BUG: unable to handle page fault', 'clocksource: marking unstable'];
    expect(kernelComplaints(lines, new Set(['build lua']))).toEqual(lines.slice(0, 2));
    expect(kernelComplaints(lines, new Set(['opcode']))).toEqual(lines.slice(1, 2));
  });
});

describe('memory', () => {
  const grown = (rate: number): Sample[] =>
    Array.from({ length: 100 }, (_, i) => ({
      seconds: i * 5,
      residentMib: 900,
      hostMib: 300 + i * rate + (i % 3) * 20,
    }));

  it('is flat when only collections come and go', () => {
    expect(judgeMemory(grown(0)).flat).toBe(true);
  });

  it('is not when it grows on', () => {
    expect(judgeMemory(grown(1)).flat).toBe(false);
  });
});

it('kinds of steps come in proportion, each in its order', () => {
  const step = (kind: Step['kind'], name: string): Step => ({ kind, name, script: '' });
  const cpu = Array.from({ length: 6 }, (_, i) => step('cpu', `c${i}`));
  const vm = Array.from({ length: 3 }, (_, i) => step('vm', `v${i}`));
  expect(interleave([...cpu, ...vm]).map(({ name }) => name)).toEqual([
    'c0',
    'v0',
    'c1',
    'c2',
    'v1',
    'c3',
    'c4',
    'v2',
    'c5',
  ]);
});

it('the table counts steps, runs and failures of each kind', () => {
  const progress = runs(consoleOf(0, SUCCESS) + consoleOf(0, SUCCESS) + consoleOf(1, 'aa  -\n'));
  expect(
    table([STRESSOR, BUILD], progress)
      .split('\n')
      .slice(1)
      .map((row) => row.split(/\s+/)),
  ).toEqual([
    ['cpu', '1', '1', '2', '7', '0'],
    ['build', '1', '1', '1', '4', '1'],
  ]);
});

it('options are understood or refused in one sentence', () => {
  expect(parseOptions(['--seconds', '60', '--only', 'vm'])).toMatchObject({ seconds: 60, kinds: new Set(['vm']) });
  expect(() => parseOptions(['--seconds', 'x'])).toThrow('--seconds x: a whole number from 1 is wanted');
  expect(() => parseOptions(['--only', 'disk'])).toThrow('--only disk: the kinds are');
});
