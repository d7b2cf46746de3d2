/** Names of exports: `nbd://host:port/export`, `nbd+unix:///export?socket=path`, and the older `nbd:host:port:exportname=export`. */
import { ImageError } from '../../block-error.ts';
import type { HostAddress } from '../../host.ts';
import { NBD_DEFAULT_PORT } from '../constants.ts';

export interface NbdPlace {
  readonly address: HostAddress;
  readonly exportName: string;
}

/** Undefined when it is no name of this kind; throws ImageError when it is one that is wrong. */
export function parseNbdName(name: string): NbdPlace | undefined {
  if (/^nbd(\+tcp|\+unix)?:\/\//.test(name)) return parseUri(name);
  if (name.startsWith('nbd:')) return parseOld(name);
  return undefined;
}

function parseUri(name: string): NbdPlace {
  const match = /^nbd(\+tcp|\+unix)?:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(name);
  if (match === null) throw new ImageError(`'${name}' is not a valid NBD URI`);
  const [, transport, authority = '', path = '', query] = match;
  // As in QEMU: one slash belongs to the URI, and further ones do too.
  const exportName = decode(name, path.replace(/^\/+/, ''));
  const parameters = new Map(
    (query ?? '')
      .split('&')
      .filter((part) => part !== '')
      .map((part) => {
        const equals = part.indexOf('=');
        return equals < 0 ? [part, ''] : [part.slice(0, equals), decode(name, part.slice(equals + 1))];
      }),
  );
  if (transport === '+unix') {
    const socket = parameters.get('socket');
    if (authority !== '' || socket === undefined || parameters.size !== 1) {
      throw new ImageError(`'${name}' is not of the form nbd+unix:///export?socket=path`);
    }
    return { address: { type: 'unix', path: socket }, exportName };
  }
  const host = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:@[\]]+))(?::(\d*))?$/.exec(authority);
  if (host === null || query !== undefined) throw new ImageError(`'${name}' is not of the form nbd://host:port/export`);
  return {
    address: { type: 'inet', host: host[1] ?? decode(name, host[2] ?? ''), port: portOf(name, host[3]) },
    exportName,
  };
}

function parseOld(name: string): NbdPlace {
  const rest = name.slice('nbd:'.length);
  const marker = rest.indexOf(':exportname=');
  const place = marker < 0 ? rest : rest.slice(0, marker);
  const exportName = marker < 0 ? '' : rest.slice(marker + ':exportname='.length);
  if (place.startsWith('unix:')) {
    const path = place.slice('unix:'.length);
    if (path === '') throw new ImageError(`'${name}' names no socket`);
    return { address: { type: 'unix', path }, exportName };
  }
  const host = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(place);
  if (host === null) throw new ImageError(`'${name}' is not of the form nbd:host:port`);
  return { address: { type: 'inet', host: host[1] ?? host[2] ?? '', port: portOf(name, host[3]) }, exportName };
}

function portOf(name: string, text: string | undefined): number {
  if (text === undefined || text === '') return NBD_DEFAULT_PORT;
  const port = Number(text);
  if (port < 1 || port > 65_535) throw new ImageError(`'${name}' has no port from 1 to 65535`);
  return port;
}

function decode(name: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new ImageError(`'${name}' has a percent sign that is not followed by two hexadecimal digits`);
  }
}

/** The name that QEMU gives it. */
export function nbdFilename(address: HostAddress, exportName: string): string {
  const path = encodeURIComponent(exportName).replaceAll('%2F', '/');
  switch (address.type) {
    case 'unix':
      return `nbd+unix://${exportName === '' ? '' : `/${path}`}?socket=${address.path}`;
    case 'inet': {
      const host = address.host.includes(':') ? `[${address.host}]` : address.host;
      return exportName === '' ? `nbd://${host}:${address.port}` : `nbd://${host}:${address.port}/${path}`;
    }
    case 'fd':
      return `json:${JSON.stringify({ driver: 'nbd', export: exportName, server: { type: 'fd', str: String(address.fd) } })}`;
  }
}
