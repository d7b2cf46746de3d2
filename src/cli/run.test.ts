import { describe, expect, it } from 'vitest';
import { parseRunArguments } from './run.ts';

describe('the command line of orrery run', () => {
  it('needs nothing', () => {
    expect(parseRunArguments([])).toMatchObject({
      arch: 'amd64',
      memoryBytes: 512 * 1024 ** 2,
      command: [],
      script: undefined,
    });
  });

  it('takes values behind a space or an equals sign', () => {
    expect(parseRunArguments(['--memory', '1G', '--cpu=qemu64', '--append', 'a=b c', '--accel=interp'])).toMatchObject({
      memoryBytes: 1024 ** 3,
      cpu: 'qemu64',
      append: 'a=b c',
      accel: 'interp',
    });
  });

  it('leaves everything behind -- to the guest', () => {
    expect(parseRunArguments(['--verbose', '--', 'ls', '--memory', '-l'])).toMatchObject({
      verbose: true,
      command: ['ls', '--memory', '-l'],
    });
  });

  it('takes what looks at the guest', () => {
    const args = [
      '--stats',
      '--profile',
      'p.svg',
      '--profile-rate=500',
      '--symbols',
      'System.map',
      '-d',
      'jit,int',
      '-D',
      'log',
    ];
    expect(parseRunArguments(args)).toMatchObject({
      observe: { stats: true, profiles: ['p.svg'], rateHz: 500, symbols: ['System.map'] },
      logCategories: ['jit', 'int'],
      logFile: 'log',
    });
  });

  it.each([
    [['--memroy', '1G'], "run: no option '--memroy'; did you mean '--memory'?"],
    [['--memory'], '--memory: a value is missing'],
    [['ls'], "run: 'ls' belongs to no option; a command for the guest stands behind --"],
    [['--accel', 'kvm'], "--accel: 'kvm' is neither jit nor interp"],
    [['--profile', 'p.gif'], '--profile p.gif: the name ends in none of'],
    [['-d', 'jti'], "-d: no log category 'jti'; did you mean 'jit'?"],
    [['--arch', 'arm'], "--arch: 'arm' is neither amd64 nor i386"],
    [['--script', 'f', '--', 'ls'], '--script f: there is a command behind -- as well'],
  ])('refuses %j in one sentence', (args, message) => {
    expect(() => parseRunArguments(args)).toThrow(message);
  });
});
