/** What the block layer needs of the platform; implemented in src/host. Absent members: the platform has no such thing. */

/** An open file or device. Offsets are bytes; errors carry a `code` (errno). */
export interface HostFile {
  readonly size: number;
  /** 'file': can grow, has holes; 'device': fixed size. */
  readonly kind: 'file' | 'device';
  /** Bytes that a request must be aligned to (O_DIRECT, devices); 1 when anything goes. */
  readonly alignment: number;
  /** Reads as much as there is: less than asked only at the end of the file. */
  readv(offset: number, into: readonly Uint8Array[]): Promise<number>;
  /** Fills `into` from memory (the host's page cache) if all of it is there; false: it is not, and `into` may hold anything. */
  readNow?(offset: number, into: readonly Uint8Array[]): boolean;
  /** Writes all. */
  writev(offset: number, from: readonly Uint8Array[]): Promise<void>;
  /** fdatasync. */
  flush(): Promise<void>;
  truncate(size: number): Promise<void>;
  /** Gives the storage back; reads as zeroes afterwards. False: the file system cannot. */
  punchHole(offset: number, bytes: number): Promise<boolean>;
  /** Makes it read as zeroes without writing them. False: cannot. */
  zeroRange(offset: number, bytes: number, keepAllocated: boolean): Promise<boolean>;
  /** posix_fallocate. False: cannot. */
  allocate(offset: number, bytes: number): Promise<boolean>;
  /** Where data or a hole begins: the run at `offset`. Undefined: the platform does not tell. */
  extent(offset: number): Promise<{ readonly data: boolean; readonly bytes: number } | undefined>;
  /** Bytes of storage in use. */
  allocatedBytes(): Promise<number>;
  /** Advisory locks of single bytes, shared or exclusive, kept until close (QEMU's image locking). False: somebody else has one. */
  lock(firstByte: number, bytes: number, how: 'shared' | 'exclusive' | 'none'): Promise<boolean>;
  /** Whether another process holds a lock on that byte. */
  isLocked(byte: number): Promise<boolean>;
  close(): Promise<void>;
}

export interface OpenFileOptions {
  readonly write: boolean;
  readonly create?: boolean;
  readonly truncate?: boolean;
  /** O_DIRECT. */
  readonly direct?: boolean;
  /** O_DSYNC. */
  readonly sync?: boolean;
}

/** A connection: bytes both ways. */
export interface HostStream {
  /** The next bytes; undefined at the end. They are the reader's until it reads again. */
  read(): Promise<Uint8Array | undefined>;
  /** Leaves the piece that was read last to the reader until it calls the function given. Absent: pieces are the reader's for good. */
  keep?(): () => void;
  write(pieces: readonly Uint8Array[]): Promise<void>;
  /** The same connection inside TLS from here on. */
  startTls?(options: TlsOptions): Promise<void>;
  close(): void;
}

export type HostAddress =
  | { readonly type: 'unix'; readonly path: string }
  | { readonly type: 'inet'; readonly host: string; readonly port: number }
  | { readonly type: 'fd'; readonly fd: number };

export interface TlsOptions {
  readonly server: boolean;
  readonly hostname?: string;
  readonly verifyPeer: boolean;
  readonly caPem?: Uint8Array;
  readonly certificatePem?: Uint8Array;
  readonly keyPem?: Uint8Array;
  /** Certificates that are no longer good. */
  readonly crlPem?: Uint8Array;
  /** Pre-shared key instead of certificates. */
  readonly psk?:
    { readonly identity: string; readonly key: Uint8Array } | ((identity: string) => Uint8Array | undefined);
}

export interface HostListener {
  readonly address: HostAddress;
  close(): Promise<void>;
}

/** Cryptography of encrypted images. Hashes by their LUKS names: sha1, sha224, sha256, sha384, sha512, ripemd160, md5. */
export interface HostCrypto {
  digestBytes(hash: string): number;
  digest(hash: string, data: Uint8Array): Promise<Uint8Array>;
  pbkdf2(hash: string, password: Uint8Array, salt: Uint8Array, iterations: number, bytes: number): Promise<Uint8Array>;
  /** AES of whole blocks, each for itself. Absent: the block layer's own is used. */
  aes?(key: Uint8Array): { encrypt(blocks: Uint8Array): Uint8Array; decrypt(blocks: Uint8Array): Uint8Array };
}

export interface BlockHost {
  /** Absent: encrypted images are refused. */
  readonly crypto?: HostCrypto;
  openFile?(path: string, options: OpenFileOptions): Promise<HostFile>;
  exists?(path: string): Promise<boolean>;
  removeFile?(path: string): Promise<void>;
  /** Path of `name` as somebody at `base` means it. */
  resolve?(base: string, name: string): string;
  connect?(address: HostAddress): Promise<HostStream>;
  listen?(address: HostAddress, accept: (stream: HostStream) => void): Promise<HostListener>;
  /** Bytes [from, from + bytes) of a URL, and its whole size if the server tells. */
  fetchRange?(
    url: string,
    from: number,
    bytes: number,
    headers?: Readonly<Record<string, string>>,
  ): Promise<{ readonly data: Uint8Array; readonly size?: number }>;
  readFile?(path: string): Promise<Uint8Array>;
  /** Raw deflate and zstd. `limit`: most bytes that may come out, whatever the input says; more is an error. */
  inflateRaw(data: Uint8Array, limit: number): Promise<Uint8Array>;
  inflateZlib(data: Uint8Array, limit: number): Promise<Uint8Array>;
  /** With a window of 4 KiB (windowBits 12), which is all that readers of qcow2 have. */
  deflateRaw(data: Uint8Array): Promise<Uint8Array>;
  unzstd(data: Uint8Array, limit: number): Promise<Uint8Array>;
  zstd(data: Uint8Array): Promise<Uint8Array>;
  randomBytes(count: number): Uint8Array;
  nowMs(): number;
  /** `background`: nothing waits for it, and it keeps no process alive. */
  sleep(ms: number, background?: boolean): Promise<void>;
}
