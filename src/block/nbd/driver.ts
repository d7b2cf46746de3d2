/** The protocol `nbd`: -blockdev's options of it, and the names that stand for them. */
import { ImageError } from '../block-error.ts';
import type { BlockDriver, NodeOptions } from '../driver.ts';
import type { HostAddress } from '../host.ts';
import type { JsonValue } from '../node.ts';
import { NBD_DEFAULT_PORT } from './constants.ts';
import { NbdNode } from './client/nbd-node.ts';
import { parseNbdName } from './client/uri.ts';

export const nbdDriver: BlockDriver = {
  name: 'nbd',
  kind: 'protocol',
  options: [
    {
      name: 'server',
      type: 'string',
      help: 'where the server is: {"type":"unix","path":…}, {"type":"inet","host":…,"port":…}',
    },
    { name: 'host', type: 'string', help: 'TCP host to connect to' },
    { name: 'port', type: 'string', help: `TCP port to connect to (default ${NBD_DEFAULT_PORT})` },
    { name: 'path', type: 'string', help: 'Unix socket path to connect to' },
    { name: 'export', type: 'string', help: 'Name of the NBD export to open' },
    { name: 'tls-creds', type: 'string', help: 'ID of the TLS credentials to use' },
    { name: 'tls-hostname', type: 'string', help: "Name that the server's certificate must have" },
    { name: 'x-dirty-bitmap', type: 'string', help: 'Meta context to tell as block status instead of base:allocation' },
    {
      name: 'reconnect-delay',
      type: 'number',
      help: 'Seconds for which requests wait for a lost connection',
      default: '0',
    },
    { name: 'open-timeout', type: 'number', help: 'Seconds for which the first connection is tried', default: '0' },
  ],

  async open(request, context) {
    const { options } = request;
    const text = (name: string): string | undefined => optionText(options, name);
    const address = addressOf(options);
    const exportName = text('export') ?? '';
    if (exportName.length > 4096) throw new ImageError('export name too long to send to server');
    const tlsId = text('tls-creds');
    if (tlsId !== undefined && context.tlsCredentials === undefined) {
      throw new ImageError(`No TLS credentials with id '${tlsId}'`);
    }
    const tls = tlsId === undefined ? undefined : await context.tlsCredentials?.(tlsId, 'client');
    const hostname = text('tls-hostname') ?? (address.type === 'inet' ? address.host : undefined);
    return NbdNode.open(request.name, request.readOnly, context.host, {
      address,
      exportName,
      tls: tls === undefined ? undefined : { ...tls, ...(hostname !== undefined && { hostname }) },
      context: text('x-dirty-bitmap'),
      reconnectDelayMs: 1000 * seconds(options, 'reconnect-delay'),
      openTimeoutMs: 1000 * seconds(options, 'open-timeout'),
    });
  },

  parseFilename(filename) {
    const place = parseNbdName(filename);
    if (place === undefined) return undefined;
    const { address, exportName } = place;
    const server: NodeOptions =
      address.type === 'unix'
        ? { type: 'unix', path: address.path }
        : { type: 'inet', ...(address.type === 'inet' && { host: address.host, port: String(address.port) }) };
    return { driver: 'nbd', server, ...(exportName !== '' && { export: exportName }) };
  },
};

function optionText(options: NodeOptions, name: string): string | undefined {
  const value = options[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string' || typeof value === 'number') return String(value);
  throw new ImageError(`Parameter '${name}' of driver 'nbd' should be a string`);
}

function seconds(options: NodeOptions, name: string): number {
  const text = optionText(options, name) ?? '0';
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > 0xffff_ffff)
    throw new ImageError(`Parameter '${name}' expects a number of seconds, not '${text}'`);
  return value;
}

function addressOf(options: NodeOptions): HostAddress {
  const [path, host] = [optionText(options, 'path'), optionText(options, 'host')];
  if (path !== undefined && host !== undefined) throw new ImageError('path and host may not be used at the same time');
  if (path !== undefined) return { type: 'unix', path };
  if (host !== undefined) return { type: 'inet', host, port: port(optionText(options, 'port')) };
  const server = options['server'];
  if (!isObject(server)) throw new ImageError('NBD server address missing');
  switch (optionText(server, 'type')) {
    case 'unix': {
      const socket = optionText(server, 'path');
      if (socket === undefined) throw new ImageError("Parameter 'server.path' is missing");
      return { type: 'unix', path: socket };
    }
    case 'inet': {
      const name = optionText(server, 'host');
      if (name === undefined) throw new ImageError("Parameter 'server.host' is missing");
      return { type: 'inet', host: name, port: port(optionText(server, 'port')) };
    }
    case 'fd': {
      const fd = Number(optionText(server, 'str'));
      if (!Number.isInteger(fd) || fd < 0)
        throw new ImageError("Parameter 'server.str' expects a number of an open file");
      return { type: 'fd', fd };
    }
    default:
      throw new ImageError("Parameter 'server.type' expects one of inet, unix, fd");
  }
}

function port(text: string | undefined): number {
  const value = text === undefined || text === '' ? NBD_DEFAULT_PORT : Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 65_535)
    throw new ImageError(`'${text}' is not a port from 1 to 65535`);
  return value;
}

function isObject(value: JsonValue | undefined): value is NodeOptions {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
