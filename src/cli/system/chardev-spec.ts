/**
 * From the words of `-serial`, `-monitor` and `-chardev` to character backends. The short forms of `-serial` are turned into the
 * long form of `-chardev` first, so that each backend is opened in one place.
 */
import { UserError } from '../../base/errors.ts';
import { didYouMean } from '../../base/nearest.ts';
import { NullChardev, MemoryChardev } from '../../chardev/chardev.ts';
import type { QueuedChardev } from '../../chardev/chardev.ts';
import { FileChardev, PipeChardev } from '../../host/node/chardev/file.ts';
import { SocketChardev } from '../../host/node/chardev/socket.ts';
import type { HostChardev } from '../../host/node/chardev/host-chardev.ts';
import { parseInteger, parseOptionList, parseSize, parseSwitch } from './option-text.ts';
import type { OptionList } from './option-text.ts';

/** Backend: its properties, for `-chardev help` and for messages. */
export const CHARDEV_BACKENDS: Readonly<Record<string, readonly string[]>> = {
  null: [],
  stdio: ['mux', 'signal'],
  file: ['path', 'append'],
  pipe: ['path'],
  ringbuf: ['size'],
  socket: ['path', 'host', 'port', 'server', 'wait'],
};

const PORT_LIMIT = 65535;
const DEFAULT_RINGBUF_BYTES = 65536;

/** `server,nowait` is the older way to write `server=on,wait=off`. */
function withoutNo(properties: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(properties).map(([key, value]) =>
      key.startsWith('no') && value === 'on' ? [key.slice(2), 'off'] : [key, value],
    ),
  );
}

/** The long form of a `-serial` or `-monitor` text; `none` and `chardev:ID` are not for this. */
export function expandCharText(option: string, text: string): OptionList {
  const { name = '', properties } = parseOptionList(option, text);
  const colon = name.indexOf(':');
  const kind = colon < 0 ? name : name.slice(0, colon);
  const rest = colon < 0 ? '' : name.slice(colon + 1);
  switch (kind) {
    case 'null':
    case 'vc':
      return { name: 'null', properties: {} };
    case 'stdio':
      return { name: 'stdio', properties: { mux: 'off', ...properties } };
    case 'mon':
      if (rest !== 'stdio') throw new UserError(`-${option} ${text}: the monitor shares stdio, as mon:stdio`);
      return { name: 'stdio', properties: { mux: 'on', signal: 'off' } };
    case 'file':
    case 'pipe':
      return { name: kind, properties: { path: rest, ...properties } };
    case 'unix':
      return { name: 'socket', properties: { path: rest, ...withoutNo(properties) } };
    case 'tcp': {
      const last = rest.lastIndexOf(':');
      const host = rest.slice(0, Math.max(0, last));
      return { name: 'socket', properties: { host, port: rest.slice(last + 1), ...withoutNo(properties) } };
    }
    default: {
      const known = ['null', 'none', 'stdio', 'mon:stdio', 'file', 'pipe', 'tcp', 'unix', 'chardev'];
      throw new UserError(`-${option}: no character device '${text}'${didYouMean(kind, known)}`);
    }
  }
}

function required(list: OptionList, key: string): string {
  const value = list.properties[key];
  if (value === undefined || value === '') throw new UserError(`chardev ${list.name}: ${key}= is missing`);
  return value;
}

/** Refuses a backend or a property that there is not. */
export function checkChardev(given: OptionList): void {
  const list = { name: given.name, properties: withoutNo(given.properties) };
  const name = list.name ?? '';
  const known = CHARDEV_BACKENDS[name];
  if (known === undefined) {
    throw new UserError(`-chardev: no backend '${name}'${didYouMean(name, Object.keys(CHARDEV_BACKENDS))}`);
  }
  for (const key of Object.keys(list.properties)) {
    if (key !== 'id' && !known.includes(key)) {
      throw new UserError(`chardev ${name}: no property '${key}'${didYouMean(key, known)}`);
    }
  }
}

function openSocket(list: OptionList, report: (line: string) => void): HostChardev {
  const { path, host = '', port = '' } = list.properties;
  const server = parseSwitch('chardev socket server', list.properties['server'] ?? 'off');
  return new SocketChardev({
    address:
      path === undefined
        ? { host: host || '127.0.0.1', port: parseInteger('chardev socket port', port, 0, PORT_LIMIT) }
        : { path: required(list, 'path') },
    server,
    wait: server && parseSwitch('chardev socket wait', list.properties['wait'] ?? 'on'),
    onListening: (place) => report(`chardev ${list.properties['id'] ?? 'socket'} listens at ${place}`),
  });
}

/** Asks whoever owns standard input and output for them; `mux`: shared with the monitor; `signal`: Ctrl-C ends the emulator. */
export type OpenStdio = (mux: boolean, signal: boolean) => QueuedChardev;

export interface OpenedChardev {
  readonly chardev: QueuedChardev;
  readonly ready: Promise<void>;
  readonly close: () => Promise<void>;
}

/** Opens a backend. Throws UserError for what does not exist or cannot be opened. */
export function openChardev(given: OptionList, openStdio: OpenStdio, report: (line: string) => void): OpenedChardev {
  const list = { name: given.name, properties: withoutNo(given.properties) };
  checkChardev(list);
  const held = (chardev: QueuedChardev): OpenedChardev => ({
    chardev,
    ready: Promise.resolve(),
    close: () => Promise.resolve(),
  });
  const owned = (chardev: HostChardev): OpenedChardev => ({
    chardev,
    ready: chardev.ready,
    close: () => chardev.close(),
  });
  switch (list.name) {
    case 'stdio': {
      const mux = parseSwitch('chardev stdio mux', list.properties['mux'] ?? 'off');
      const signal = parseSwitch('chardev stdio signal', list.properties['signal'] ?? 'on');
      return held(openStdio(mux, signal));
    }
    case 'file':
      return owned(new FileChardev(required(list, 'path'), list.properties['append'] === 'on'));
    case 'pipe':
      return owned(new PipeChardev(required(list, 'path')));
    case 'ringbuf':
      return held(
        new MemoryChardev(
          parseSize('chardev ringbuf size', list.properties['size'] ?? `${DEFAULT_RINGBUF_BYTES}`, 'b'),
        ),
      );
    case 'socket':
      return owned(openSocket(list, report));
    default:
      return held(new NullChardev());
  }
}
