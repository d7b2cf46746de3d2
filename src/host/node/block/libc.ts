/**
 * What Node has no call for: holes, preallocation, byte locks. By way of koffi, an optional dependency; where that is not installed
 * this is undefined, and then files are as dense as they are written and nobody is kept out of them.
 */

import type * as Koffi from 'koffi';

export interface Libc {
  /** 0, or -1. */
  fallocate(fd: number, mode: number, offset: number, bytes: number): number;
  /** Reads what the page cache has, without waiting: bytes, or -1. `unsupported` when this file never can. */
  readNow(fd: number, into: readonly Uint8Array[], offset: number): number | 'unsupported';
  lseek(fd: number, offset: number, whence: number): number;
  /** OFD lock of [start, start + bytes), 0 bytes: without end. True when it was had. */
  lock(fd: number, how: 'shared' | 'exclusive' | 'none', start: number, bytes: number): boolean;
  /** Whether another open file has a lock there that excludes an exclusive one. */
  locked(fd: number, start: number): boolean;
}

/** preadv2(2) takes no more pieces. */
const MAX_PIECES = 1024;
const RWF_NOWAIT = 8;
const EAGAIN = 11;
const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const LOCK_TYPE = { shared: 0, exclusive: 1, none: 2 } as const;

let loading: Promise<Libc | undefined> | undefined;

export function libc(): Promise<Libc | undefined> {
  loading ??= load().catch(() => undefined);
  return loading;
}

/** As `require` gives it: an import would load modules of Node's that nobody uses. */
function koffiModule(): typeof Koffi {
  const { createRequire } = process.getBuiltinModule('node:module');
  // INVARIANT: the package's own declarations are of what it exports either way.
  return createRequire(import.meta.url)('koffi') as typeof Koffi;
}

async function load(): Promise<Libc | undefined> {
  if (process.platform !== 'linux') return undefined;
  const koffi = koffiModule();
  const library = koffi.load('libc.so.6');
  const fallocate = library.func('int fallocate(int fd, int mode, int64_t offset, int64_t bytes)');
  const preadv2 = library.func('int64_t preadv2(int fd, void *iov, int count, int64_t offset, int flags)');
  const lseek = library.func('int64_t lseek(int fd, int64_t offset, int whence)');
  const fcntl = library.func('int fcntl(int fd, int command, ...)');
  const pieces = new Uint32Array(MAX_PIECES * 4);
  const iov = new Uint8Array(pieces.buffer);
  /** Where the memory of buffers is; it stays there as long as they live. */
  const places = new WeakMap<ArrayBufferLike, number>();
  const placeOf = (buffer: ArrayBufferLike): number => {
    const known = places.get(buffer);
    if (known !== undefined) return known;
    const place = Number(koffi.address(new Uint8Array(buffer)));
    places.set(buffer, place);
    return place;
  };
  // struct flock of 64-bit Linux: short type, short whence, 4 bytes of nothing, i64 start, i64 length, i32 pid.
  const record = new DataView(new ArrayBuffer(32));
  const fill = (type: number, start: number, bytes: number): Uint8Array => {
    record.setInt16(0, type, true);
    record.setInt16(2, 0, true);
    record.setBigInt64(8, BigInt(start), true);
    record.setBigInt64(16, BigInt(bytes), true);
    record.setInt32(24, 0, true);
    return new Uint8Array(record.buffer);
  };
  return {
    fallocate: (fd, mode, offset, bytes) => Number(fallocate(fd, mode, offset, bytes)),
    readNow(fd, into, offset) {
      if (into.length > MAX_PIECES) return -1;
      let at = 0;
      for (const { buffer, byteOffset, length } of into) {
        const address = placeOf(buffer) + byteOffset;
        pieces[at] = address >>> 0;
        pieces[at + 1] = address / 0x1_0000_0000;
        pieces[at + 2] = length;
        pieces[at + 3] = 0;
        at += 4;
      }
      const bytes = Number(preadv2(fd, iov, into.length, offset, RWF_NOWAIT));
      return bytes < 0 && koffi.errno() !== EAGAIN ? 'unsupported' : bytes;
    },
    lseek: (fd, offset, whence) => Number(lseek(fd, offset, whence)),
    lock: (fd, how, start, bytes) => fcntl(fd, F_OFD_SETLK, 'void *', fill(LOCK_TYPE[how], start, bytes)) === 0,
    locked: (fd, start) => {
      if (fcntl(fd, F_OFD_GETLK, 'void *', fill(LOCK_TYPE.exclusive, start, 1)) !== 0) return false;
      return record.getInt16(0, true) !== LOCK_TYPE.none;
    },
  };
}
