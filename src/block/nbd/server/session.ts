/** The transmission phase for one client: requests in, many under way at once, replies out in the order in which they are ready. */
import { BlockError, errnoOf } from '../../block-error.ts';
import { gather, type IoVector } from '../../io-vector.ts';
import type { HostStream } from '../../host.ts';
import { statusOfChain } from '../../chain-status.ts';
import {
  EXTENDED_REQUEST_BYTES,
  MAX_CONTEXTS,
  MAX_EXTENTS,
  MAX_PAYLOAD_BYTES,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EXTENDED_REQUEST_MAGIC,
  NBD_REQUEST_MAGIC,
  REQUEST_BYTES,
} from '../constants.ts';
import { isAllZero } from '../../zero-bytes.ts';
import { u16, u32, u64 } from '../bytes.ts';
import type { StreamReader } from '../stream-reader.ts';
import { StreamWriter } from '../stream-writer.ts';
import type { BufferPool } from './buffer-pool.ts';
import { collectExtents } from './contexts.ts';
import type { NbdExport } from './export.ts';
import type { Agreement, ReplyMode } from './handshake.ts';
import { dataHead, doneReply, emptyRead, errorReply, holeChunk, simpleReply, statusChunk } from './replies.ts';

/** Requests of one client under way: more than that wait in the connection. */
const MAX_REQUESTS = 64;
/**
 * Bytes of their data together, unless one alone has more. Without it a client could make us hold MAX_REQUESTS times MAX_PAYLOAD_BYTES; and
 * what is read long before the connection takes it has left the processor's caches by then.
 */
const MAX_BYTES_UNDER_WAY: number = 2 * 1024 ** 2;
/** Discards and zeroes go to the node in steps, between which a client that is gone stops them. */
const ZERO_STEP_BYTES: number = 1024 ** 3;
/** Prefetching reads into a buffer of this size. */
const CACHE_STEP_BYTES: number = 1024 ** 2;
/** Reads from here on are asked for holes first: below it asking costs more than the zeroes. */
const HOLES_FROM_BYTES = 65_536;
/** Holes shorter than this go as zeroes. */
const SMALLEST_HOLE_BYTES = 4096;
/** Chunks of one read: a node with a hole in each second sector must not make more head than data. */
const MAX_READ_CHUNKS = 256;

interface Request {
  readonly command: number;
  readonly flags: number;
  readonly cookie: Uint8Array;
  readonly offset: number;
  /** Bytes that it is about; not those of its payload. */
  readonly length: number;
  readonly payload: IoVector;
  /** Meta contexts that it asks, by id. */
  readonly contexts: readonly number[];
}

export class Session {
  private readonly target: NbdExport;
  private readonly mode: ReplyMode;
  private readonly contexts: readonly number[];
  private readonly reader: StreamReader;
  private readonly writer: StreamWriter;
  private readonly stream: HostStream;
  private readonly pool: BufferPool;
  private readonly underWay: Set<Promise<void>> = new Set();
  private bytesUnderWay: number = 0;
  private roomMade: (() => void) | undefined;
  private over: boolean = false;

  constructor(stream: HostStream, { target, mode, contexts, reader }: Agreement, pool: BufferPool) {
    this.stream = stream;
    this.target = target;
    this.mode = mode;
    this.contexts = contexts;
    this.reader = reader;
    this.pool = pool;
    this.writer = new StreamWriter(stream);
  }

  /** Serves until the client goes away. All its requests are done afterwards. */
  async run(): Promise<void> {
    try {
      while (!this.over && !(await this.reader.atEnd()) && (await this.next()));
    } catch {
      // The connection is broken, and there is nobody to tell.
    } finally {
      while (this.underWay.size > 0) await Promise.all(this.underWay);
      this.over = true;
    }
  }

  /** Takes no further requests. */
  stop(): void {
    this.over = true;
    this.stream.close();
  }

  /** Reads one request and starts it; false at the last. */
  private async next(): Promise<boolean> {
    const extended = this.mode === 'extended';
    const headBytes = extended ? EXTENDED_REQUEST_BYTES : REQUEST_BYTES;
    const head = this.reader.take(headBytes) ?? (await this.reader.bytes(headBytes));
    // What does not begin like a request cannot be told from the next one.
    if (u32(head, 0) !== (extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC)) return false;
    const [flags, command] = [u16(head, 4), u16(head, 6)];
    const [offset, length] = [u64(head, 16), extended ? u64(head, 24) : u32(head, 24)];
    if (command === NBD_CMD_DISC) return false;
    const carriesPayload = extended ? (flags & NBD_CMD_FLAG_PAYLOAD_LEN) !== 0 : command === NBD_CMD_WRITE;
    // GUEST: the length of the data behind a request. More than we told we take cannot be passed over in good time.
    if (carriesPayload && length > MAX_PAYLOAD_BYTES) return false;
    const cookie = head.slice(8, 16);
    const held = carriesPayload || command === NBD_CMD_READ ? Math.min(length, MAX_PAYLOAD_BYTES) : 0;
    if (this.isFull(held)) await this.makeRoom(held);
    const payload = carriesPayload ? await this.reader.borrow(length) : undefined;
    const { contexts } = this;
    const request = { command, flags, cookie, offset, length, payload: payload?.pieces ?? [], contexts };
    this.bytesUnderWay += held;
    const work = this.serve(request, carriesPayload).finally(() => {
      payload?.release();
      this.bytesUnderWay -= held;
      this.underWay.delete(work);
      this.roomMade?.();
    });
    this.underWay.add(work);
    return true;
  }

  private isFull(bytes: number): boolean {
    const { size } = this.underWay;
    return size >= MAX_REQUESTS || (size > 0 && this.bytesUnderWay + bytes > MAX_BYTES_UNDER_WAY);
  }

  private async makeRoom(bytes: number): Promise<void> {
    while (this.isFull(bytes)) await new Promise<void>((resolve) => (this.roomMade = resolve));
  }

  /** Never fails: what goes wrong is the client's reply, and when that cannot be sent the reading side finds out. */
  private async serve(request: Request, carriesPayload: boolean): Promise<void> {
    try {
      await this.execute(carriesPayload ? withPayload(request) : request, carriesPayload);
    } catch (error) {
      const sentence = error instanceof Error ? error.message : String(error);
      await this.writer.send(errorReply(this.mode, request, errnoOf(error), sentence)).catch(() => this.stop());
    }
  }

  private async execute(request: Request, carriesPayload: boolean): Promise<void> {
    const { command, flags, offset, length } = request;
    if (this.mode === 'extended' && command === NBD_CMD_WRITE && !carriesPayload) {
      throw new BlockError('EINVAL', 'a write without data');
    }
    this.check(request);
    const { node } = this.target;
    const at = this.target.offset + offset;
    const fua = (flags & NBD_CMD_FLAG_FUA) !== 0 || this.target.writethrough;
    switch (command) {
      case NBD_CMD_READ:
        return this.read(request);
      case NBD_CMD_WRITE:
        await this.write(at, request, fua);
        break;
      case NBD_CMD_FLUSH:
        await node.flush();
        break;
      case NBD_CMD_TRIM:
        if (this.target.discard)
          await this.inSteps(offset, length, ZERO_STEP_BYTES, (from, bytes) => node.discard(from, bytes));
        if (fua) await node.flush();
        break;
      case NBD_CMD_WRITE_ZEROES: {
        const how = {
          fua,
          unmap: this.target.discard && (flags & NBD_CMD_FLAG_NO_HOLE) === 0,
          noFallback: (flags & NBD_CMD_FLAG_FAST_ZERO) !== 0,
        };
        await this.inSteps(offset, length, ZERO_STEP_BYTES, (from, bytes) => node.writeZeroes(from, bytes, how));
        break;
      }
      case NBD_CMD_CACHE: {
        const buffer = new Uint8Array(Math.min(CACHE_STEP_BYTES, length));
        await this.inSteps(offset, length, CACHE_STEP_BYTES, (from, bytes) =>
          node.read(from, [buffer.subarray(0, bytes)]),
        );
        break;
      }
      case NBD_CMD_BLOCK_STATUS:
        return this.blockStatus(request);
      default:
        throw new BlockError('EINVAL', `request of type ${command} is not known`);
    }
    await this.writer.send([doneReply(this.mode, request)]);
  }

  /** Everything about a request that can be wrong before it is begun. */
  private check({ command, flags, offset, length }: Request): void {
    const known = KNOWN_FLAGS.get(command);
    if (known === undefined) throw new BlockError('EINVAL', `request of type ${command} is not known`);
    if ((flags & ~known) !== 0)
      throw new BlockError('EINVAL', `flags ${flags} are not for requests of type ${command}`);
    if ((flags & NBD_CMD_FLAG_PAYLOAD_LEN) !== 0 && this.mode !== 'extended') {
      throw new BlockError('EINVAL', 'flag PAYLOAD_LEN without extended headers');
    }
    if ((flags & NBD_CMD_FLAG_DF) !== 0 && this.mode === 'simple') {
      throw new BlockError('EINVAL', 'flag DF without structured replies');
    }
    const writes = command === NBD_CMD_WRITE || command === NBD_CMD_TRIM || command === NBD_CMD_WRITE_ZEROES;
    if (writes && this.target.readOnly) throw new BlockError('EPERM', 'Export is read-only');
    if (command === NBD_CMD_FLUSH) return;
    if (command === NBD_CMD_READ && length > MAX_PAYLOAD_BYTES) {
      throw new BlockError(
        this.mode === 'extended' ? 'EOVERFLOW' : 'EINVAL',
        `len (${length}) is larger than max len (${MAX_PAYLOAD_BYTES})`,
      );
    }
    // GUEST: offset and length, which may be any 64-bit numbers.
    if (offset + length > this.target.size) {
      const grows = command === NBD_CMD_WRITE || command === NBD_CMD_WRITE_ZEROES;
      throw new BlockError(
        grows ? 'ENOSPC' : 'EINVAL',
        `operation past EOF; From: ${offset}, Len: ${length}, Size: ${this.target.size}`,
      );
    }
  }

  private async write(at: number, { payload, length }: Request, fua: boolean): Promise<void> {
    const { node, detectZeroes } = this.target;
    const zeroes = detectZeroes !== 'off' && length > 0 && payload.every(isAllZero);
    if (zeroes) await node.writeZeroes(at, length, { fua, unmap: detectZeroes === 'unmap' });
    else await node.write(at, payload, { fua });
  }

  private async inSteps(
    offset: number,
    length: number,
    step: number,
    each: (from: number, bytes: number) => Promise<void>,
  ): Promise<void> {
    for (let done = 0; done < length && !this.over; done += step) {
      await each(this.target.offset + offset + done, Math.min(step, length - done));
    }
  }

  private async read(request: Request): Promise<void> {
    const { offset, length, flags } = request;
    if (this.mode !== 'simple' && length >= HOLES_FROM_BYTES && (flags & NBD_CMD_FLAG_DF) === 0) {
      return this.readSparse(request);
    }
    if (length === 0) await this.writer.send([emptyRead(this.mode, request)]);
    else await this.readPiece(request, offset, length, true);
  }

  /** Sends what is stored as data and what reads as zeroes as holes, in order. */
  private async readSparse(request: Request): Promise<void> {
    const end = request.offset + request.length;
    for (let [at, chunks] = [request.offset, 1]; at < end; chunks++) {
      let bytes = end - at;
      let hole = false;
      if (chunks < MAX_READ_CHUNKS) {
        const status = await statusOfChain(this.target.node, this.target.offset + at, bytes);
        hole = status.zero && (status.bytes >= SMALLEST_HOLE_BYTES || status.bytes === bytes);
        bytes = status.bytes;
        // Short holes, and data up to the next long one, go together.
        while (!hole && at + bytes < end) {
          const next = await statusOfChain(this.target.node, this.target.offset + at + bytes, end - at - bytes);
          if (next.zero && next.bytes >= SMALLEST_HOLE_BYTES) break;
          bytes += next.bytes;
        }
      }
      const last = at + bytes >= end;
      if (hole) await this.writer.send(holeChunk(this.mode, request, at, bytes, last));
      else await this.readPiece(request, at, bytes, last);
      at += bytes;
    }
  }

  private async readPiece(request: Request, offset: number, bytes: number, last: boolean): Promise<void> {
    const buffer = this.pool.get(bytes);
    try {
      const data = buffer.subarray(0, bytes);
      const { node, offset: start } = this.target;
      if (!node.readNow(start + offset, [data])) await node.read(start + offset, [data]);
      const head =
        this.mode === 'simple' ? simpleReply(request, undefined) : dataHead(this.mode, request, offset, bytes, last);
      await this.writer.send([head, data]);
    } finally {
      this.pool.put(buffer);
    }
  }

  private async blockStatus(request: Request): Promise<void> {
    const { offset, length, flags, contexts } = request;
    if (length === 0) throw new BlockError('EINVAL', 'need non-zero length');
    if (contexts.length === 0) throw new BlockError('EINVAL', 'CMD_BLOCK_STATUS not negotiated');
    const most = (flags & NBD_CMD_FLAG_REQ_ONE) !== 0 ? 1 : MAX_EXTENTS;
    for (const [index, id] of contexts.entries()) {
      const context = this.target.contexts[id];
      if (context === undefined) throw new BlockError('EINVAL', `meta context ${id} is not known`);
      const extents = await collectExtents(context, this.target.offset + offset, length, most, () => this.over);
      await this.writer.send(statusChunk(this.mode, request, id, extents, index === contexts.length - 1));
    }
  }
}

const KNOWN_FLAGS: ReadonlyMap<number, number> = new Map([
  [NBD_CMD_READ, NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_DF],
  [NBD_CMD_WRITE, NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_PAYLOAD_LEN],
  [NBD_CMD_FLUSH, NBD_CMD_FLAG_FUA],
  [NBD_CMD_TRIM, NBD_CMD_FLAG_FUA],
  [NBD_CMD_CACHE, NBD_CMD_FLAG_FUA],
  [NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO],
  [NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE | NBD_CMD_FLAG_PAYLOAD_LEN],
]);

/** A block status request with payload: the bytes that it is about, and the ids of the contexts that it asks. */
function withPayload(request: Request): Request {
  if (request.command !== NBD_CMD_BLOCK_STATUS) return request;
  const { length, contexts } = request;
  const bytes = gather(request.payload);
  // GUEST: a list of ids, no longer than all that there are.
  if (length < 8 || length % 4 !== 0 || (length - 8) / 4 > MAX_CONTEXTS) {
    throw new BlockError('EINVAL', `payload of ${length} bytes for a block status request`);
  }
  const asked = new Set<number>();
  for (let at = 8; at < length; at += 4) {
    const id = u32(bytes, at);
    if (!contexts.includes(id) || asked.has(id))
      throw new BlockError('EINVAL', `meta context ${id} is not agreed on, or twice there`);
    asked.add(id);
  }
  return { ...request, length: u64(bytes, 0), contexts: [...asked] };
}
