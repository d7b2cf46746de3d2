import { describe, expect, it } from 'vitest';
import { type CodeSymbol, readSystemMap, SymbolTable } from './symbol-table.ts';

const code = (address: number, name: string, global = true): CodeSymbol => ({ address, name, code: true, global });

describe('a table of symbols', () => {
  it('finds the function that an address lies in', () => {
    const table = new SymbolTable([code(0x2000, 'second'), code(0x1000, 'first')]);
    expect(table.find(0xfff)).toBeUndefined();
    expect(table.find(0x1000)?.name).toBe('first');
    expect(table.find(0x1fff)).toMatchObject({ name: 'first', address: 0x1000 });
    expect(table.find(0x2001)?.name).toBe('second');
    expect(table.addressOf('second')).toBe(0x2000);
  });

  it('does not stretch the last function over all that follows', () => {
    const data: CodeSymbol = { address: 0x3000, name: 'data', code: false, global: true };
    const table = new SymbolTable([code(0x1000, 'first'), data, code(0x5000, 'last')]);
    expect(table.find(0x3000)).toBeUndefined();
    expect(table.find(0x5000 + (2 << 20))).toBeUndefined();
  });

  it('prefers global names, and names of functions over marks', () => {
    const table = new SymbolTable([
      code(0x1000, '__pfx_f'),
      code(0x1000, 'f', false),
      code(0x2000, 'local', false),
      code(0x2000, 'global'),
    ]);
    expect(table.find(0x1000)?.name).toBe('f');
    expect(table.find(0x2000)?.name).toBe('global');
  });
});

describe('a System.map', () => {
  it('gives a 64-bit kernel negative addresses', () => {
    const table = new SymbolTable(
      readSystemMap('ffffffff81000000 T _text\nffffffff81000123 t helper\nffffffff82000000 D data\n'),
    );
    expect(table.addressOf('_text')).toBe(-0x7f000000);
    expect(table.find(-0x7f000000 + 0x130)?.name).toBe('helper');
  });

  it('may be of a 32-bit kernel, and what is no symbol is left out', () => {
    const table = new SymbolTable(readSystemMap('c1000000 T _stext\nnonsense\nc1000010 W weak\n'));
    expect(table.addressOf('_stext')).toBe(0xc1000000);
    expect(table.hasCode).toBe(true);
    expect(table.find(0xc1000011)?.name).toBe('weak');
  });
});
