import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UserError } from '../base/errors.ts';
import { decodeState, encodeState } from './state-codec.ts';
import { nested, type SavedState, StateReader, type StateValue } from './state.ts';

const STATE: SavedState = {
  kind: 'thing',
  version: 2,
  fields: {
    small: 7,
    negative: -1.5,
    large: 2 ** 52 + 1,
    on: true,
    name: 'ä',
    bytes: Uint8Array.of(1, 2, 3),
    list: [1, 2, 3],
    inner: nested({ kind: 'inner', version: 1, fields: { x: null } }),
  },
};

describe('saved state', () => {
  it('reads named fields and nested states', () => {
    const reader = new StateReader(STATE, 'thing', 2);
    expect([reader.u8('small'), reader.number('negative'), reader.bool('on'), reader.string('name')]).toEqual([
      7,
      -1.5,
      true,
      'ä',
    ]);
    expect(reader.bytes('bytes', 3)).toEqual(Uint8Array.of(1, 2, 3));
    expect(reader.numbers('list', 3, 3)).toEqual([1, 2, 3]);
    expect(reader.state('inner')).toEqual({ kind: 'inner', version: 1, fields: { x: null } });
    expect(reader.has('absent')).toBe(false);
  });

  it('refuses other kinds, newer versions, missing fields and wrong ranges in one sentence', () => {
    expect(() => new StateReader(STATE, 'other', 2)).toThrow("Saved state of 'thing' was given to 'other'.");
    expect(() => new StateReader(STATE, 'thing', 1)).toThrow(/version 2; this build reads 1 to 1/);
    const reader = new StateReader(STATE, 'thing', 2);
    expect(() => reader.u8('absent')).toThrow(UserError);
    expect(() => reader.u8('large')).toThrow(/outside 0 to 255/);
    expect(() => reader.bytes('bytes', 4)).toThrow(UserError);
    expect(() => reader.numbers('list', 2)).toThrow(UserError);
  });
});

describe('saved state as bytes', () => {
  it('comes back as it was', () => {
    expect(decodeState(encodeState(STATE))).toEqual(STATE);
  });

  it('comes back whatever it holds', () => {
    const leaf = fc.oneof(fc.double({ noNaN: true }), fc.boolean(), fc.string(), fc.constant(null), fc.uint8Array());
    const { value } = fc.letrec<{ value: StateValue }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        leaf,
        fc.array(tie('value')),
        fc.dictionary(fc.string(), tie('value'), { noNullPrototype: true }),
      ),
    }));
    fc.assert(
      fc.property(value, (content) => {
        const state = { kind: 'k', version: 1, fields: { content } };
        expect(decodeState(encodeState(state))).toEqual(state);
      }),
      { numRuns: 200 },
    );
  });

  it('is refused when cut anywhere, and never throws anything else for damage', () => {
    const bytes = encodeState(STATE);
    for (let length = 0; length < bytes.length; length++)
      expect(() => decodeState(bytes.subarray(0, length))).toThrow(UserError);
    for (let at = 0; at < bytes.length; at++) {
      for (const damage of [0, 0xff, 8]) {
        const damaged = bytes.slice();
        damaged[at] = damage;
        try {
          decodeState(damaged);
        } catch (error) {
          expect(error).toBeInstanceOf(UserError);
        }
      }
    }
  });
});
