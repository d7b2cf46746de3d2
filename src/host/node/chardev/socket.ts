/** A TCP or Unix-domain socket as a character backend: a server with one client at a time, or a client. */
import { createServer, connect } from 'node:net';
import type { ListenOptions, Server, Socket, TcpNetConnectOpts, IpcNetConnectOpts } from 'node:net';
import { rmSync } from 'node:fs';
import { UserError } from '../../../base/errors.ts';
import { StreamBackend } from './host-chardev.ts';
import type { HostChardev } from './host-chardev.ts';

export type SocketAddress =
  | { readonly path: string }
  | {
      readonly host: string;
      /** 0 lets the system choose one. */
      readonly port: number;
    };

export interface SocketOptions {
  readonly address: SocketAddress;
  readonly server: boolean;
  /** A server's guest starts when the first client is there. */
  readonly wait: boolean;
  /** Told where a server listens. */
  readonly onListening?: (place: string) => void;
}

function describe(address: SocketAddress): string {
  return 'path' in address ? `unix:${address.path}` : `${address.host}:${address.port}`;
}

export class SocketChardev extends StreamBackend implements HostChardev {
  readonly ready: Promise<void>;
  private readonly address: SocketAddress;
  private listener: Server | undefined;
  private socket: Socket | undefined;

  constructor({ address, server, wait, onListening }: SocketOptions) {
    super();
    this.address = address;
    this.ready = server ? this.serve(wait, onListening) : this.call();
    // Whoever awaits `ready` hears of a failure; before that it is not an unhandled one.
    this.ready.catch(() => {});
  }

  private serve(wait: boolean, onListening: ((place: string) => void) | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const listener = createServer((socket) => {
        if (this.socket !== undefined) {
          socket.destroy();
          return;
        }
        this.use(socket);
        resolve();
      });
      this.listener = listener;
      listener.on('error', (error) => reject(this.failure('listen at', error)));
      const { address } = this;
      if ('path' in address) rmSync(address.path, { force: true });
      const options: ListenOptions =
        'path' in address ? { path: address.path } : { host: address.host, port: address.port };
      listener.listen(options, () => {
        const bound = listener.address();
        onListening?.(typeof bound === 'string' ? `unix:${bound}` : `${bound?.address}:${bound?.port}`);
        if (!wait) resolve();
      });
    });
  }

  private call(): Promise<void> {
    return new Promise((resolve, reject) => {
      const options: TcpNetConnectOpts | IpcNetConnectOpts = this.address;
      const socket = connect(options);
      socket.once('connect', () => {
        this.use(socket);
        resolve();
      });
      socket.once('error', (error) => reject(this.failure('connect to', error)));
    });
  }

  private failure(what: string, error: Error): UserError {
    return new UserError(
      `cannot ${what} ${describe(this.address)}: ${(error as NodeJS.ErrnoException).code ?? error.message}`,
    );
  }

  private use(socket: Socket): void {
    this.socket = socket;
    socket.setNoDelay(true);
    this.connectInput(socket, () => this.hungUp());
    this.connectOutput(socket, () => this.hungUp());
    this.sendEvent('opened');
  }

  private hungUp(): void {
    if (this.socket === undefined) return;
    this.socket.destroy();
    this.socket = undefined;
    this.disconnect();
    this.sendEvent('closed');
  }

  async close(): Promise<void> {
    if (this.socket !== undefined) await this.flush();
    this.socket?.end();
    this.socket = undefined;
    this.listener?.close();
    if (this.listener !== undefined && 'path' in this.address) rmSync(this.address.path, { force: true });
  }
}
