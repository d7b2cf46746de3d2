/** Connections of the block layer on Node: TCP and Unix-domain sockets, and TLS inside them with certificates or pre-shared keys. */
import { unlinkSync } from 'node:fs';
import {
  createServer,
  connect as connectSocket,
  isIP,
  Socket,
  type ListenOptions,
  type OnReadOpts,
  type Server,
} from 'node:net';
import { createSecureContext, connect as connectTls, TLSSocket, type SecureContextOptions } from 'node:tls';
import { ImageError } from '../../../block/block-error.ts';
import type { HostAddress, HostListener, HostStream, TlsOptions } from '../../../block/host.ts';

/** Pieces that may wait to be read before the other side is made to wait, and what one has at most. */
const PIECES_AHEAD = 4;
const PIECE_BYTES: number = 256 * 1024;
/** Pieces of memory that are kept for later. */
const MAX_FREE = 16;
/** Connections that may wait to be accepted; the kernel has a limit of its own. Beyond it clients fail to connect. */
const BACKLOG = 4096;
/** How long a connection that was closed may take to send what was written. */
const LINGER_MS = 2000;
/** TLS with pre-shared keys: OpenSSL wants its ciphers named. */
const PSK_CIPHERS = 'TLS_AES_128_GCM_SHA256:PSK';

class SocketStream implements HostStream {
  private socket: Socket;
  private readonly pieces: Uint8Array[] = [];
  /** Pieces are parts of our own memory, which is used again and again: buffers that Node makes for each cost more than copying. */
  private reuses: boolean = true;
  private readonly free: Uint8Array[] = [];
  /** The piece that was read last, and how many still use its memory: the reader until it reads again, and those that `keep` it. */
  private lent: { readonly piece: Uint8Array; users: number } | undefined;
  private stopped: boolean = false;
  private ended: boolean = false;
  private failure: Error | undefined;
  private wake: (() => void) | undefined;

  /** `make` gives a socket that reads into the memory it is told of, or that has no such thing. */
  constructor(make: (memory: OnReadOpts) => Socket) {
    this.socket = make({
      buffer: () => this.free.pop() ?? new Uint8Array(PIECE_BYTES),
      callback: (bytes, buffer) => this.arrived(buffer.subarray(0, bytes)),
    });
    this.attach();
  }

  async read(): Promise<Uint8Array | undefined> {
    if (this.lent !== undefined) this.release(this.lent);
    this.lent = undefined;
    for (;;) {
      const piece = this.pieces.shift();
      if (piece !== undefined) {
        if (this.reuses) this.lent = { piece, users: 1 };
        if (this.stopped && this.pieces.length < PIECES_AHEAD / 2) {
          this.stopped = false;
          this.socket.resume();
        }
        return piece;
      }
      if (this.failure !== undefined) throw this.failure;
      if (this.ended) return undefined;
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }

  keep(): () => void {
    const { lent } = this;
    if (lent === undefined) return () => {};
    lent.users++;
    return () => this.release(lent);
  }

  private release(lent: { readonly piece: Uint8Array; users: number }): void {
    lent.users--;
    if (lent.users === 0 && this.free.length < MAX_FREE) this.free.push(new Uint8Array(lent.piece.buffer));
  }

  write(pieces: readonly Uint8Array[]): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => {
      const { socket } = this;
      const done = (error?: Error | null): void => {
        if (error === undefined || error === null) resolve();
        else reject(this.failure ?? error);
      };
      if (socket.destroyed || !socket.writable) {
        done(Object.assign(new Error('write to a closed connection'), { code: 'ESHUTDOWN' }));
        return;
      }
      socket.cork();
      for (const [index, piece] of pieces.entries()) {
        if (index === pieces.length - 1) socket.write(piece, done);
        else socket.write(piece);
      }
      socket.uncork();
      if (pieces.length === 0) resolve();
    });
  }

  async startTls(options: TlsOptions): Promise<void> {
    const { socket } = this;
    socket.removeAllListeners('data').removeAllListeners('end').removeAllListeners('close').pause();
    // The other side may have begun already.
    for (const piece of this.pieces.toReversed()) socket.unshift(piece.slice());
    this.pieces.length = 0;
    this.reuses = false;
    this.lent = undefined;
    this.stopped = false;
    const secure = options.server ? serverTls(socket, options) : clientTls(socket, options);
    await new Promise<void>((resolve, reject) => {
      const failed = (error: Error): void => reject(tlsError(error, options.hostname));
      secure.once('error', failed);
      secure.once('close', () =>
        reject(Object.assign(new Error('closed within the TLS handshake'), { code: 'ECONNRESET' })),
      );
      secure.once(options.server ? 'secure' : 'secureConnect', () => {
        const refused = options.server && options.verifyPeer && secure.ssl.verifyError();
        if (refused) {
          const shown = Object.keys(secure.getPeerCertificate()).length > 0;
          secure.destroy();
          reject(shown ? tlsError(refused) : new ImageError('No certificate was found', 'EACCES'));
          return;
        }
        secure.removeListener('error', failed);
        resolve();
      });
    });
    this.socket = secure;
    this.attach();
  }

  close(): void {
    const { socket } = this;
    if (socket.writableLength === 0) {
      socket.destroy();
      return;
    }
    // What was written is still sent, unless the other side does not take it.
    socket.destroySoon();
    setTimeout(() => socket.destroy(), LINGER_MS).unref();
  }

  private attach(): void {
    const { socket } = this;
    socket.setNoDelay(true);
    // Sockets with memory of ours have no such event.
    socket.on('data', (piece: Uint8Array) => {
      this.reuses = false;
      if (!this.arrived(piece)) socket.pause();
    });
    socket.on('error', (error) => {
      this.failure ??= tlsError(error);
      this.wakeReader();
    });
    const ended = (): void => {
      this.ended = true;
      this.wakeReader();
    };
    socket.on('end', ended).on('close', ended);
    socket.resume();
  }

  /** False: enough for now. */
  private arrived(piece: Uint8Array): boolean {
    this.pieces.push(piece);
    this.wakeReader();
    this.stopped = this.pieces.length >= PIECES_AHEAD;
    return !this.stopped;
  }

  private wakeReader(): void {
    this.wake?.();
    this.wake = undefined;
  }
}

function credentials({ caPem, certificatePem, keyPem, crlPem, psk }: TlsOptions): SecureContextOptions {
  return {
    ...(caPem !== undefined && { ca: Buffer.from(caPem) }),
    ...(certificatePem !== undefined && { cert: Buffer.from(certificatePem) }),
    ...(keyPem !== undefined && { key: Buffer.from(keyPem) }),
    ...(crlPem !== undefined && { crl: Buffer.from(crlPem) }),
    ...(psk !== undefined && { ciphers: PSK_CIPHERS }),
    minVersion: 'TLSv1.2',
  };
}

function serverTls(socket: Socket, options: TlsOptions): TLSSocket & { ssl: { verifyError(): Error | null } } {
  const { psk } = options;
  const lookUp = (identity: string): Uint8Array | undefined => {
    if (typeof psk === 'function') return psk(identity);
    return psk?.identity === identity ? psk.key : undefined;
  };
  const secure = new TLSSocket(socket, {
    isServer: true,
    secureContext: createSecureContext(credentials(options)),
    ...(psk === undefined && { requestCert: options.verifyPeer, rejectUnauthorized: false }),
    ...(psk !== undefined && { pskCallback: (_socket: TLSSocket, identity: string) => lookUp(identity) ?? null }),
  } as ConstructorParameters<typeof TLSSocket>[1]);
  // INVARIANT: Node's TLSSocket has its OpenSSL object here; nothing else tells a server why a certificate was refused.
  return secure as TLSSocket & { ssl: { verifyError(): Error | null } };
}

function clientTls(socket: Socket, options: TlsOptions): TLSSocket & { ssl: { verifyError(): Error | null } } {
  const { psk, hostname } = options;
  const verifies = psk === undefined && options.verifyPeer;
  if (verifies && hostname === undefined) throw new ImageError('No hostname for certificate validation', 'EACCES');
  const secure = connectTls({
    socket,
    ...credentials(options),
    // The certificate is compared with either; servers are told names only.
    ...(hostname !== undefined && (isIP(hostname) === 0 ? { servername: hostname } : { host: hostname })),
    ...(psk !== undefined && {
      pskCallback: () => (typeof psk === 'function' ? null : { psk: psk.key, identity: psk.identity }),
      checkServerIdentity: () => undefined,
    }),
    rejectUnauthorized: verifies,
  });
  // INVARIANT: as above.
  return secure as TLSSocket & { ssl: { verifyError(): Error | null } };
}

/** What OpenSSL finds wrong with a certificate, by its codes. */
const CERTIFICATE_ERRORS: Readonly<Record<string, string>> = {
  UNABLE_TO_GET_ISSUER_CERT: "The certificate hasn't got a known issuer",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "The certificate hasn't got a known issuer",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "The certificate hasn't got a known issuer",
  SELF_SIGNED_CERT_IN_CHAIN: "The certificate hasn't got a known issuer",
  DEPTH_ZERO_SELF_SIGNED_CERT: "The certificate hasn't got a known issuer",
  CERT_HAS_EXPIRED: 'The certificate has expired',
  CERT_NOT_YET_VALID: 'The certificate is not yet activated',
  CERT_REVOKED: 'The certificate has been revoked',
};

/** A sentence for what TLS found wrong; other errors as they are. */
function tlsError(error: Error, hostname = ''): Error {
  const code = (error as { code?: string }).code ?? '';
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return new ImageError(`Certificate does not match the hostname ${hostname}`, 'EACCES');
  // What the other side did not like comes as an alert, with TLS 1.3 only after the handshake.
  const alert = code.startsWith('ERR_SSL_')
    ? `TLS failed: ${(error as { reason?: string }).reason ?? code}`
    : undefined;
  const sentence = CERTIFICATE_ERRORS[code] ?? alert;
  return sentence === undefined ? error : new ImageError(sentence, 'EACCES');
}

/** Connects; fails with the platform's error. */
export function connectStream(address: HostAddress): Promise<HostStream> {
  if (address.type === 'fd')
    return Promise.resolve(new SocketStream((onread) => new Socket({ fd: address.fd, onread })));
  const place = address.type === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
  return new Promise((resolve, reject) => {
    const stream = new SocketStream((onread) => {
      const socket = connectSocket({ ...place, onread });
      socket.once('error', reject);
      socket.once('connect', () => resolve(stream));
      return socket;
    });
  });
}

/** A socket of a server, which Node lets nobody give memory, in another one that has it; as it is, if Node's sockets are made otherwise. */
function withMemory(accepted: Socket, onread: OnReadOpts): Socket {
  const holder = accepted as unknown as { _handle?: { useUserBuffer?: unknown } | null };
  const handle = holder._handle;
  if (typeof handle?.useUserBuffer !== 'function') return accepted;
  holder._handle = null;
  return new Socket({ handle, onread } as ConstructorParameters<typeof Socket>[0]);
}

/** Listens; a socket file that is in the way and that nobody listens at is replaced. */
export async function listenStream(address: HostAddress, accept: (stream: HostStream) => void): Promise<HostListener> {
  const server = createServer({ pauseOnConnect: true }, (socket) =>
    accept(new SocketStream((onread) => withMemory(socket, onread))),
  );
  if (address.type === 'unix') await removeStaleSocket(address.path);
  await startListening(server, listenOptions(address));
  const bound = server.address();
  const actual: HostAddress =
    bound === null || typeof bound === 'string' || address.type !== 'inet'
      ? address
      : { type: 'inet', host: bound.address, port: bound.port };
  return {
    address: actual,
    close: () =>
      new Promise((resolve) => {
        // Node removes the socket's file; connections that are open are the listener's user's.
        server.close(() => resolve());
        resolve();
      }),
  };
}

function listenOptions(address: HostAddress): ListenOptions & { fd?: number } {
  if (address.type === 'unix') return { path: address.path, backlog: BACKLOG };
  if (address.type === 'fd') return { fd: address.fd };
  return { host: address.host, port: address.port, backlog: BACKLOG };
}

function startListening(server: Server, options: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

async function removeStaleSocket(path: string): Promise<void> {
  try {
    (await connectStream({ type: 'unix', path })).close();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ECONNREFUSED') return;
    // Somebody else may have removed it meanwhile.
    try {
      unlinkSync(path);
    } catch {}
  }
}
