import { expect, it } from 'vitest';
import { parseNbdArguments } from './request.ts';

const FILE = 'disk.qcow2';

it('without options serves one client on all interfaces', () => {
  expect(parseNbdArguments([FILE])).toMatchObject({
    action: 'serve', address: { type: 'inet', host: '0.0.0.0', port: 10_809 }, shared: 1, persistent: false,
    images: [{ file: FILE, exportName: '', description: '' }],
    readOnly: false, cache: 'writeback', discard: false, detectZeroes: 'off', offset: 0, bitmaps: [],
  }); // prettier-ignore
});

it('takes short options in clusters, long ones shortened, operands anywhere', () => {
  const request = parseNbdArguments(
    'disk.qcow2 -rtfqcow2 --shar=0 -x name --desc text -B one -B two -B one -An -o 0x200 --pid /p -k /s'.split(' '),
  );
  expect(request).toMatchObject({
    images: [{ file: FILE, exportName: 'name', description: 'text' }],
    readOnly: true, persistent: true, format: 'qcow2', shared: 0,
    bitmaps: ['one', 'two'], allocationDepth: true, cache: 'none', offset: 512, pidFile: '/p',
    address: { type: 'unix', path: '/s' }, addressGiven: 'Unix socket',
  }); // prettier-ignore
});

it('gives several images their names in order', () => {
  expect(parseNbdArguments('-x a one.raw -D first -x b -r two.raw -D second'.split(' '))).toMatchObject({
    images: [
      { file: 'one.raw', exportName: 'a', description: 'first' },
      { file: 'two.raw', exportName: 'b', description: 'second' },
    ],
    readOnly: true,
  });
  expect(parseNbdArguments(['-x', '', '-x', 'b', FILE, FILE]).images.map(({ exportName }) => exportName)).toEqual([
    '',
    'b',
  ]);
  expect(parseNbdArguments(['-x', 'a', '-x', 'b', FILE]).images).toMatchObject([{ exportName: 'b' }]);
});

it('a snapshot to load makes it read-only', () => {
  expect(parseNbdArguments(['-l', 'snapshot.name=a', FILE])).toMatchObject({
    readOnly: true,
    loadSnapshot: 'snapshot.name=a',
  });
});

it.each([
  [[], 'Invalid number of arguments'],
  [['a', 'b'], 'Invalid number of arguments: 2 images need as many export names (-x), in the same order, not 0'],
  [['-x', '1', '-x', '2', '-x', '3', 'a', 'b'], 'need as many export names (-x), in the same order, not 3'],
  [['-x', '1', '-x', '2', '-D', 't', 'a', 'b'], 'need as many descriptions (-D), in the same order, or none, not 1'],
  [['-x', '1', '-x', '1', 'a', 'b'], "-x '1': two images cannot have the same export name"],
  [['-c', '/dev/nbd0', FILE], 'there is no kernel device to attach to'],
  [['-d', '/dev/nbd0'], 'there is no kernel device to detach from'],
  [['--tls-authz', 'a', FILE], 'there are no authorization objects'],
  [['-T', 'nbd*', FILE], 'has no trace events'],
  [['-P', '1', FILE], "invalid option -- 'P'"],
  [['--s', '1', FILE], "option '--s' is ambiguous"],
  [['--export-name'], "option '--export-name' requires an argument"],
  [['--fork=yes', FILE], "option '--fork' doesn't allow an argument"],
  [['-p', '70000', FILE], 'address resolution failed'],
  [['-k', 'relative', FILE], 'socket path must be absolute'],
  [['-e', '-1', FILE], "Invalid shared device number '-1'"],
  [['-o', '1k', FILE], "Invalid offset '1k'"],
  [['--cache=fast', FILE], "Invalid cache mode `fast'"],
  [['-n', '--cache=none', FILE], '-n and --cache can only be specified once'],
  [['--discard=maybe', FILE], "Invalid discard mode `maybe'"],
  [['--aio=posix', FILE], "Invalid aio mode 'posix'"],
  [['--detect-zeroes=some', FILE], 'Failed to parse detect_zeroes mode'],
  [['--detect-zeroes=unmap', FILE], 'without setting discard operation to unmap'],
  [['--list', FILE], 'List mode is incompatible with a file name'],
  [['--list', '-r'], 'List mode is incompatible with per-device settings'],
  [['--list', '--fork'], 'List mode is incompatible with forking'],
  [['--tls-hostname', 'h', FILE], '--tls-hostname is not permitted without --tls-creds'],
] as const)('refuses %j', (args, sentence) => {
  expect(() => parseNbdArguments(args)).toThrow(sentence);
});
