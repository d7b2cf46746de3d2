import { expect, it } from 'vitest';
import { replaceBetween } from './docs.ts';

const PAGE = 'before\n<!-- a: begin -->\nold\n<!-- a: end -->\n<!-- b: begin -->\nkept\n<!-- b: end -->\n';

it('only what lies between the markers of that name is replaced', () => {
  expect(replaceBetween(PAGE, 'a', 'new')).toBe(
    'before\n<!-- a: begin -->\n\nnew\n\n<!-- a: end -->\n<!-- b: begin -->\nkept\n<!-- b: end -->\n',
  );
});

it('a page without the markers is an error, not left as it is', () => {
  expect(() => replaceBetween(PAGE, 'c', 'new')).toThrow(/no place for c/);
});
