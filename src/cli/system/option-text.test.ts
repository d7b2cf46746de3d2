import { describe, expect, it } from 'vitest';
import { parseInteger, parseOptionList, parseSize, parseSwitch } from './option-text.ts';

describe('option values', () => {
  it('splits a driver from its properties', () => {
    expect(parseOptionList('device', 'isa-debug-exit,iobase=0xf4,iosize=4')).toEqual({
      name: 'isa-debug-exit',
      properties: { iobase: '0xf4', iosize: '4' },
    });
  });

  it('reads a doubled comma as one', () => {
    expect(parseOptionList('chardev', 'file,id=a,path=x,,y')).toEqual({
      name: 'file',
      properties: { id: 'a', path: 'x,y' },
    });
  });

  it('takes a list without a name, and words as switches', () => {
    expect(parseOptionList('machine', 'accel=jit')).toEqual({ name: undefined, properties: { accel: 'jit' } });
    expect(parseOptionList('chardev', 'socket,id=s,server,wait=off').properties).toEqual({
      id: 's',
      server: 'on',
      wait: 'off',
    });
    expect(() => parseOptionList('device', 'a,,,b=c,,')).not.toThrow();
    expect(() => parseOptionList('device', 'a,b=c,')).toThrow('-device a,b=c,: there is nothing between two commas');
  });

  it.each([
    ['512', 'm', 512 * 1024 ** 2],
    ['512M', 'm', 512 * 1024 ** 2],
    ['2G', 'm', 2 * 1024 ** 3],
    ['1.5G', 'm', 1.5 * 1024 ** 3],
    ['64k', 'b', 65536],
    ['0x1000', 'b', 4096],
  ] as const)('reads the size %s', (text, unit, bytes) => {
    expect(parseSize('m', text, unit)).toBe(bytes);
  });

  it('says in one sentence what is wrong', () => {
    expect(() => parseSize('m', 'lots', 'm')).toThrow("-m: 'lots' is not a size such as 512M or 2G");
    expect(() => parseInteger('smp', '0', 1, 255)).toThrow("-smp: '0' is not a number from 1 to 255");
    expect(() => parseSwitch('S', 'maybe')).toThrow("-S: 'maybe' is neither on nor off");
  });
});
