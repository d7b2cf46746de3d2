import { describe, expect, it } from 'vitest';
import { allRows } from '../decode/decoder.ts';
import { semantics } from './index.ts';

describe('instruction definitions', () => {
  it('exist for every row of the decode tables', () => {
    const names = new Set(allRows().map((row) => row.name));

    expect([...names].filter((name) => semantics[name] === undefined)).toEqual([]);
  });

  it('belong to a row each', () => {
    const names = new Set(allRows().map((row) => row.name));

    expect(Object.keys(semantics).filter((name) => !names.has(name))).toEqual([]);
  });
});
