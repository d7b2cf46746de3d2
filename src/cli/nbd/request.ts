/** The arguments of `orrery nbd`: qemu-nbd's options, checked as far as they can be without opening anything. */
import { UserError } from '../../base/errors.ts';
import type { HostAddress } from '../../block/host.ts';
import { NBD_DEFAULT_PORT } from '../../block/nbd/constants.ts';
import { parseLongOptions, type OptionShape } from './getopt.ts';
import { calledAs } from '../called-as.ts';

export type CacheMode = 'none' | 'writethrough' | 'writeback' | 'unsafe' | 'directsync';

/** An image to serve, and what clients know it by. */
export interface ServedImage {
  readonly file: string;
  readonly exportName: string;
  readonly description: string;
}

export interface NbdRequest {
  readonly action: 'serve' | 'list' | 'help' | 'version';
  readonly address: HostAddress;
  /** Where to listen was said, which a socket that was handed over does not go with. */
  readonly addressGiven: string | undefined;
  /** At least one when it serves; what the other options say is for all of them. */
  readonly images: readonly ServedImage[];
  readonly imageOpts: boolean;
  readonly format: string | undefined;
  readonly readOnly: boolean;
  readonly cache: CacheMode;
  readonly discard: boolean;
  readonly detectZeroes: 'off' | 'on' | 'unmap';
  readonly temporaryOverlay: boolean;
  readonly loadSnapshot: string | undefined;
  readonly offset: number;
  readonly allocationDepth: boolean;
  readonly bitmaps: readonly string[];
  /** Clients at once, 0 for any number. */
  readonly shared: number;
  readonly persistent: boolean;
  readonly objects: readonly string[];
  readonly tlsCreds: string | undefined;
  readonly tlsHostname: string | undefined;
  readonly fork: boolean;
  readonly pidFile: string | undefined;
  readonly verbose: boolean;
}

const SHAPES: readonly OptionShape[] = [
  { name: 'help', short: 'h', value: false },
  { name: 'version', short: 'V', value: false },
  { name: 'port', short: 'p', value: true },
  { name: 'bind', short: 'b', value: true },
  { name: 'socket', short: 'k', value: true },
  { name: 'shared', short: 'e', value: true },
  { name: 'persistent', short: 't', value: false },
  { name: 'verbose', short: 'v', value: false },
  { name: 'export-name', short: 'x', value: true },
  { name: 'description', short: 'D', value: true },
  { name: 'offset', short: 'o', value: true },
  { name: 'allocation-depth', short: 'A', value: false },
  { name: 'bitmap', short: 'B', value: true },
  { name: 'list', short: 'L', value: false },
  { name: 'object', value: true },
  { name: 'tls-creds', value: true },
  { name: 'tls-hostname', value: true },
  { name: 'tls-authz', value: true },
  { name: 'trace', short: 'T', value: true },
  { name: 'selinux-label', value: true },
  { name: 'fork', value: false },
  { name: 'pid-file', value: true },
  { name: 'connect', short: 'c', value: true },
  { name: 'disconnect', short: 'd', value: false },
  { name: 'format', short: 'f', value: true },
  { name: 'read-only', short: 'r', value: false },
  { name: 'snapshot', short: 's', value: false },
  { name: 'load-snapshot', short: 'l', value: true },
  { name: 'nocache', short: 'n', value: false },
  { name: 'cache', value: true },
  { name: 'aio', value: true },
  { name: 'discard', value: true },
  { name: 'detect-zeroes', value: true },
  { name: 'image-opts', value: false },
];

function helpHint(): string {
  return `Try \`${calledAs('nbd')} --help' for more information.`;
}
/** Options that say something of the device, which a list of exports has nothing to do with. */
const DEVICE_OPTIONS: readonly string[] = [
  'export-name', 'description', 'offset', 'allocation-depth', 'bitmap', 'format', 'read-only', 'snapshot',
  'load-snapshot', 'nocache', 'cache', 'aio', 'discard', 'detect-zeroes', 'image-opts',
]; // prettier-ignore
/** Options of qemu-nbd that would have to do something that is not there. */
const REFUSED: Readonly<Record<string, string>> = {
  'tls-authz': 'there are no authorization objects; who has a key that the credentials accept is let in',
  trace: 'the NBD server has no trace events',
  'selinux-label': 'sockets are not given SELinux labels',
};
const CACHE_MODES: readonly string[] = ['none', 'writethrough', 'writeback', 'unsafe', 'directsync'];

/** @throws {UserError} in qemu-nbd's words. */
export function parseNbdArguments(args: readonly string[]): NbdRequest {
  const { options, operands } = parseLongOptions(args, SHAPES, helpHint());
  const all = (name: string): string[] => options.filter((option) => option.name === name).map(({ value }) => value);
  const last = (name: string): string | undefined => all(name).at(-1);
  const given = (name: string): boolean => last(name) !== undefined;
  const device = last('connect');
  if (device !== undefined)
    throw new UserError(`-c ${device}: there is no kernel device to attach to; serve with -k or -p instead`);
  if (given('disconnect')) throw new UserError('-d: there is no kernel device to detach from');
  for (const [name, why] of Object.entries(REFUSED)) if (given(name)) throw new UserError(`--${name}: ${why}`);
  for (const name of ['discard', 'detect-zeroes', 'aio']) {
    if (all(name).length > 1) throw new UserError(`--${name} can only be specified once`);
  }
  if (all('cache').length + all('nocache').length > 1) throw new UserError('-n and --cache can only be specified once');
  const action = given('help') ? 'help' : given('version') ? 'version' : given('list') ? 'list' : 'serve';
  if (action === 'list') checkList(operands, given);
  if (given('tls-hostname') && !given('tls-creds'))
    throw new UserError('--tls-hostname is not permitted without --tls-creds');
  if (given('tls-hostname') && action !== 'list')
    throw new UserError('TLS hostname is only supported with a list of exports');
  const detectZeroes = last('detect-zeroes') ?? 'off';
  const discard = discardOf(last('discard'));
  if (detectZeroes !== 'off' && detectZeroes !== 'on' && detectZeroes !== 'unmap') {
    throw new UserError(`Failed to parse detect_zeroes mode: invalid parameter value: ${detectZeroes}`);
  }
  if (detectZeroes === 'unmap' && !discard) {
    throw new UserError('setting detect-zeroes to unmap is not allowed without setting discard operation to unmap');
  }
  checkAio(last('aio'));
  const loadSnapshot = last('load-snapshot');
  const shared = last('shared') ?? '1';
  if (!/^\d{1,9}$/.test(shared)) throw new UserError(`Invalid shared device number '${shared}'`);
  return {
    action,
    ...addressOf(last('socket'), last('bind'), last('port')),
    images: action === 'serve' ? imagesOf(operands, all('export-name'), all('description')) : [],
    imageOpts: given('image-opts'),
    format: last('format'),
    readOnly: given('read-only') || loadSnapshot !== undefined,
    cache: cacheOf(given('nocache') ? 'none' : last('cache')),
    discard,
    detectZeroes,
    temporaryOverlay: given('snapshot'),
    loadSnapshot,
    offset: offsetOf(last('offset')),
    allocationDepth: given('allocation-depth'),
    bitmaps: [...new Set(all('bitmap'))],
    shared: Number(shared),
    persistent: given('persistent'),
    objects: all('object'),
    tlsCreds: last('tls-creds'),
    tlsHostname: last('tls-hostname'),
    fork: given('fork'),
    pidFile: last('pid-file'),
    verbose: given('verbose'),
  };
}

function checkList(operands: readonly string[], given: (name: string) => boolean): void {
  if (operands.length > 0) throw new UserError('List mode is incompatible with a file name');
  if (DEVICE_OPTIONS.some(given)) throw new UserError('List mode is incompatible with per-device settings');
  if (given('fork')) throw new UserError('List mode is incompatible with forking');
}

/** One image is called by the last name given, or the empty one; several have a name each, in their order. */
function imagesOf(
  files: readonly string[],
  names: readonly string[],
  descriptions: readonly string[],
): readonly ServedImage[] {
  const [file] = files;
  if (file === undefined) throw new UserError(`Invalid number of arguments\n${helpHint()}`);
  if (files.length === 1) return [{ file, exportName: names.at(-1) ?? '', description: descriptions.at(-1) ?? '' }];
  const wrong = (what: string): never => {
    throw new UserError(`Invalid number of arguments: ${files.length} images ${what}\n${helpHint()}`);
  };
  if (names.length !== files.length) wrong(`need as many export names (-x), in the same order, not ${names.length}`);
  if (descriptions.length > 0 && descriptions.length !== files.length) {
    wrong(`need as many descriptions (-D), in the same order, or none, not ${descriptions.length}`);
  }
  const twice = names.find((name, index) => names.indexOf(name) < index);
  if (twice !== undefined) throw new UserError(`-x '${twice}': two images cannot have the same export name`);
  return files.map((each, index) => ({
    file: each,
    exportName: names[index] ?? '',
    description: descriptions[index] ?? '',
  }));
}

function addressOf(
  socket: string | undefined,
  bind: string | undefined,
  port: string | undefined,
): Pick<NbdRequest, 'address' | 'addressGiven'> {
  const addressGiven =
    socket !== undefined ? 'Unix socket' : bind !== undefined ? 'Interface' : port && 'TCP port number';
  if (socket !== undefined) {
    if (!socket.startsWith('/')) throw new UserError('socket path must be absolute');
    return { address: { type: 'unix', path: socket }, addressGiven };
  }
  const number = Number(port ?? NBD_DEFAULT_PORT);
  if (!Number.isInteger(number) || number < 0 || number > 65_535) {
    throw new UserError(
      `address resolution failed for ${bind ?? '0.0.0.0'}:${port}: Servname not supported for ai_socktype`,
    );
  }
  return { address: { type: 'inet', host: bind ?? '0.0.0.0', port: number }, addressGiven };
}

function cacheOf(mode: string = 'writeback'): CacheMode {
  if (mode === 'off') return 'none';
  if (!CACHE_MODES.includes(mode)) throw new UserError(`Invalid cache mode \`${mode}'`);
  // INVARIANT: it is one of the list.
  return mode as CacheMode;
}

function discardOf(mode: string = 'ignore'): boolean {
  if (mode === 'unmap' || mode === 'on') return true;
  if (mode === 'ignore' || mode === 'off') return false;
  throw new UserError(`Invalid discard mode \`${mode}'`);
}

/** There is one way of doing I/O here; whichever of QEMU's is asked for, that is it. */
function checkAio(mode: string = 'threads'): void {
  if (!['threads', 'native', 'io_uring'].includes(mode)) throw new UserError(`Invalid aio mode '${mode}'`);
}

function offsetOf(text: string = '0'): number {
  const offset = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(offset)) throw new UserError(`Invalid offset '${text}'`);
  return offset;
}
