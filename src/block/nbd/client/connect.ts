/** From an address to a connection that takes requests, with sentences for what can go wrong. */
import { ERRNO_TEXT, ImageError, errnoOf } from '../../block-error.ts';
import type { BlockHost, HostAddress, HostStream, TlsOptions } from '../../host.ts';
import { Connection } from './connection.ts';
import { attach, type ExportInfo, handshakeFailure, listExports } from './handshake.ts';

export interface NbdClientOptions {
  readonly address: HostAddress;
  /** The empty name is the server's default export. */
  readonly exportName?: string;
  readonly tls?: TlsOptions | undefined;
  /** Instead of `base:allocation`: this context's bit 0 is told as data (`qemu:dirty-bitmap:NAME`). */
  readonly context?: string | undefined;
  /** False: structured replies at most. */
  readonly extendedHeaders?: boolean;
}

/** A server that takes the connection and then says nothing would keep us waiting for ever. */
const HANDSHAKE_MS = 30_000;

export async function connectNbd(host: BlockHost, options: NbdClientOptions): Promise<Connection> {
  const { address, exportName = '', tls, context, extendedHeaders = true } = options;
  const contexts = [context ?? 'base:allocation'];
  return withStream(host, address, async (stream) => {
    const attachment = await attach(stream, { exportName, tls, contexts, extendedHeaders });
    return new Connection(stream, attachment);
  });
}

export async function listNbd(host: BlockHost, address: HostAddress, tls?: TlsOptions): Promise<readonly ExportInfo[]> {
  return withStream(host, address, (stream) => listExports(stream, tls));
}

async function withStream<T>(
  host: BlockHost,
  address: HostAddress,
  use: (stream: HostStream) => Promise<T>,
): Promise<T> {
  if (host.connect === undefined) throw new ImageError('this platform cannot connect to an NBD server', 'ENOTSUP');
  const stream = await host.connect(address).catch((error: unknown) => {
    const errno = errnoOf(error);
    if ((error as { code?: unknown }).code === 'ENOTFOUND')
      throw new ImageError(`address resolution failed for ${describeAddress(address)}: Name or service not known`);
    const reason = errno === 'EIO' && error instanceof Error ? error.message : ERRNO_TEXT[errno];
    throw new ImageError(`Failed to connect to '${describeAddress(address)}': ${reason}`, errno);
  });
  let late = false;
  let done = false;
  void host.sleep(HANDSHAKE_MS, true).then(() => {
    if (done) return;
    late = true;
    stream.close();
  });
  try {
    return await use(stream);
  } catch (error) {
    stream.close();
    if (late)
      throw new ImageError(`'${describeAddress(address)}' did not finish the NBD handshake in time`, 'ETIMEDOUT');
    throw handshakeFailure(error);
  } finally {
    done = true;
  }
}

/** As messages and file names have it. */
export function describeAddress(address: HostAddress): string {
  switch (address.type) {
    case 'unix':
      return address.path;
    case 'fd':
      return `fd:${address.fd}`;
    case 'inet':
      return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
  }
}
