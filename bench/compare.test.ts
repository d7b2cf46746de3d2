import { describe, expect, it } from 'vitest';
import { comparedText, compareSamples, standsOut } from './compare.ts';

describe('two commits compared by samples of a program', () => {
  it('are held against each other by their least times', () => {
    expect(compareSamples('lz', [100, 110], [80, 82])).toMatchObject({ a: 100, b: 80, ratio: 0.8 });
  });

  it('differ only where the difference is larger than what the runs of a side differ by', () => {
    const quiet = compareSamples('lz', [100, 101], [90, 91]);
    const loud = compareSamples('lz', [100, 130], [90, 91]);

    expect(quiet !== undefined && standsOut(quiet)).toBe(true);
    expect(loud !== undefined && standsOut(loud)).toBe(false);
  });

  it('have no row where one side did not run', () => {
    expect(compareSamples('pixels', [], [5])).toBeUndefined();
  });

  it('are printed with the geometric mean of the ratios', () => {
    const rows = [compareSamples('lz', [100, 100], [50, 50]), compareSamples('lua', [100, 100], [200, 200])];

    const text = comparedText(
      rows.filter((row) => row !== undefined),
      'aaa',
      'bbb',
    );

    expect(text).toMatch(/lz .* 0\.500 .* faster/);
    expect(text).toMatch(/lua .* 2\.000 .* slower/);
    expect(text).toContain('geometric mean of B/A: 1.000');
  });
});
