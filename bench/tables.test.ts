import { expect, it } from 'vitest';
import { markdownTable, textTable } from './tables.ts';

const ROWS = [['what', 'A', 'B'], ['Part'], ['  row', '1.5', '-']];

it('a table in Markdown fills the cells that a heading leaves out', () => {
  expect(markdownTable(ROWS)).toEqual([
    '| what | A | B |',
    '| --- | ---: | ---: |',
    '| Part |  |  |',
    '|   row | 1.5 | - |',
  ]);
});

it('a table as text is as wide as its widest cells', () => {
  expect(textTable(ROWS)).toEqual(['what     A  B', 'Part', '  row  1.5  -']);
});
