/**
 * An NBD server: any number of exports for any number of clients, over whatever connections it is handed.
 *
 *     const server = new NbdServer({ host });
 *     server.add({ name: 'disk', node });
 *     await server.listen({ type: 'unix', path: '/run/disk.sock' });
 */
import { ImageError } from '../../block-error.ts';
import type { BlockHost, HostAddress, HostListener, HostStream, TlsOptions } from '../../host.ts';
import { BufferPool } from './buffer-pool.ts';
import { NbdExport, type NbdExportOptions } from './export.ts';
import { type Agreement, negotiate } from './handshake.ts';
import { Session } from './session.ts';

export interface NbdServerOptions {
  readonly host: BlockHost;
  /** Clients must use TLS. */
  readonly tls?: TlsOptions;
  /** Clients at once; further ones wait for their greeting. 0: as many as come. */
  readonly maxClients?: number;
  /** Told when a client that had got an export is gone, with how many are left. */
  readonly onClientGone?: (left: number) => void;
  /** Told why a client did not get to an export: its connection broke, or it has not the right key. */
  readonly onClientRefused?: (error: unknown) => void;
}

/** Connections that wait until another client goes; further ones are closed. */
const MAX_WAITING = 1024;
/** A client that has not asked for an export by then is closed: it would keep a place that others wait for. */
const HANDSHAKE_MS = 10_000;

export class NbdServer {
  /** Where clients find it, in the order of `listen`. */
  readonly addresses: HostAddress[] = [];
  private readonly options: NbdServerOptions;
  private readonly byName: Map<string, NbdExport> = new Map();
  private readonly listeners: HostListener[] = [];
  private readonly clients: Set<HostStream> = new Set();
  private readonly work: Set<Promise<void>> = new Set();
  private waiting: HostStream[] = [];
  private readonly pool: BufferPool = new BufferPool();
  private negotiated: number = 0;
  private closed: boolean = false;

  constructor(options: NbdServerOptions) {
    this.options = options;
  }

  /** @throws {ImageError} when the name is taken, or what NbdExport finds wrong. */
  add(options: NbdExportOptions): NbdExport {
    if (this.byName.has(options.name)) throw new ImageError(`there is an export '${options.name}' already`, 'EEXIST');
    const added = new NbdExport(options);
    this.byName.set(added.name, added);
    return added;
  }

  /** Clients that use it keep it. */
  remove(name: string): void {
    this.byName.delete(name);
  }

  /** Where it listens: with the port that the system chose, if it was 0. */
  async listen(address: HostAddress): Promise<HostAddress> {
    if (this.options.host.listen === undefined) throw new ImageError('this platform cannot listen', 'ENOTSUP');
    const listener = await this.options.host.listen(address, (stream) => this.accept(stream));
    this.listeners.push(listener);
    this.addresses.push(listener.address);
    return listener.address;
  }

  /** Serves a client at the other end of `stream`. */
  accept(stream: HostStream): void {
    const most = this.options.maxClients ?? 0;
    if (this.closed || (most > 0 && this.clients.size >= most && this.waiting.length >= MAX_WAITING)) stream.close();
    else if (most > 0 && this.clients.size >= most) this.waiting.push(stream);
    else this.start(stream);
  }

  /** In the order in which they were added. */
  get exports(): readonly NbdExport[] {
    return [...this.byName.values()];
  }

  get clientCount(): number {
    return this.clients.size;
  }

  /**
   * Takes no more clients, closes those that are there when the requests that they have made are done, and flushes. Fails with the first
   * export's error when some cannot be flushed; the others are.
   */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all(this.listeners.map((listener) => listener.close()));
    for (const stream of [...this.waiting, ...this.clients]) stream.close();
    this.waiting = [];
    while (this.work.size > 0) await Promise.all(this.work);
    const writable = this.exports.filter(({ readOnly }) => !readOnly);
    const flushes = await Promise.allSettled(writable.map(async ({ node }) => node.flush()));
    for (const flush of flushes) if (flush.status === 'rejected') throw flush.reason;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private start(stream: HostStream): void {
    this.clients.add(stream);
    const work = this.serve(stream).finally(() => {
      this.work.delete(work);
      this.clients.delete(stream);
      const next = this.waiting.shift();
      if (next !== undefined) this.accept(next);
    });
    this.work.add(work);
  }

  private async serve(stream: HostStream): Promise<void> {
    const agreement = await this.handshake(stream);
    if (agreement === undefined || this.closed) {
      stream.close();
      return;
    }
    this.negotiated++;
    await new Session(stream, agreement, this.pool).run();
    stream.close();
    this.negotiated--;
    this.options.onClientGone?.(this.negotiated);
  }

  private async handshake(stream: HostStream): Promise<Agreement | undefined> {
    let done = false;
    void this.options.host.sleep(HANDSHAKE_MS, true).then(() => {
      if (!done) stream.close();
    });
    try {
      return await negotiate(stream, { exports: () => this.exports, tls: this.options.tls });
    } catch (error) {
      // It is closed, and others go on.
      this.options.onClientRefused?.(error);
      return undefined;
    } finally {
      done = true;
    }
  }
}

/** A server of these exports that listens at `address`. */
export async function serveNbd(
  address: HostAddress,
  exports: readonly NbdExportOptions[],
  options: NbdServerOptions,
): Promise<NbdServer> {
  const server = new NbdServer(options);
  for (const each of exports) server.add(each);
  await server.listen(address);
  return server;
}
