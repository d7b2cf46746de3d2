import { describe, expect, it } from 'vitest';
import { UserError } from '../src/base/errors.ts';
import { parseOptions } from './options.ts';

function parsed(...words: string[]): Exclude<ReturnType<typeof parseOptions>, 'help'> {
  const options = parseOptions(words);
  if (options === 'help') throw new Error('help was not asked for');
  return options;
}

describe('options of the benchmark', () => {
  it('without any, every part runs as often as suits it, and interp is no peer', () => {
    const options = parsed();

    expect([...options.parts]).toEqual(['slowdown', 'loop', 'boot', 'programs']);
    expect(options.runs.loop).toBeGreaterThan(options.runs.programs);
    expect(options.peers).toEqual(['qemu-user', 'qemu', 'v86', 'jit']);
  });

  it('--runs holds for every part', () => {
    expect(parsed('--runs', '5').runs).toEqual({ slowdown: 5, loop: 5, boot: 5, programs: 5 });
  });

  it('--compare takes two commits, under jit unless told otherwise', () => {
    const options = parsed('--compare', 'HEAD~1', 'HEAD', '--runs', '4', '--program', 'lua');

    expect(options.compare).toEqual({ a: 'HEAD~1', b: 'HEAD', runs: 4 });
    expect(options.peers).toEqual(['jit']);
    expect(options.programs).toEqual(['lua']);
  });

  it.each([
    [['--only', 'bots'], /the parts are/],
    [['--runs', '0'], /whole number from 1/],
    [['--peers', 'jit,vbox'], /--peers vbox: the peers are/],
    [['--program', 'luaa'], /no such program/],
    [['--compare', 'HEAD'], /--compare wants a value/],
    [['--compare', 'A', 'B', '--peers', 'qemu'], /jit and interp only/],
    [['--fast'], /--fast: no such option/],
  ])('%j is refused in one sentence', (words, sentence) => {
    expect(() => parseOptions(words)).toThrow(UserError);
    expect(() => parseOptions(words)).toThrow(sentence);
  });
});
