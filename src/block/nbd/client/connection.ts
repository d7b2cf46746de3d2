/** The transmission phase, client's side: requests out, many under way, and replies in whatever form and order they come. */
import { BlockError } from '../../block-error.ts';
import type { HostStream } from '../../host.ts';
import { sliceVector, vectorBytes, type IoVector } from '../../io-vector.ts';
import {
  EXTENDED_REPLY_BYTES,
  EXTENDED_REQUEST_BYTES,
  MAX_EXTENTS,
  MAX_PAYLOAD_BYTES,
  MAX_STRING_BYTES,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_EXTENDED_REPLY_MAGIC,
  NBD_EXTENDED_REQUEST_MAGIC,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_REQUEST_MAGIC,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
  REQUEST_BYTES,
  SIMPLE_REPLY_BYTES,
  STRUCTURED_REPLY_BYTES,
} from '../constants.ts';
import { FieldWriter, textOf, u16, u32, u64 } from '../bytes.ts';
import { errnoOfNbd } from '../errors.ts';
import type { StreamReader } from '../stream-reader.ts';
import { StreamWriter } from '../stream-writer.ts';
import type { Attachment, ExportInfo, WireMode } from './handshake.ts';

export interface StatusExtent {
  readonly bytes: number;
  readonly flags: number;
}

export interface WireRequest {
  readonly command: number;
  readonly flags: number;
  readonly offset: number;
  readonly length: number;
  /** Data of a write. */
  readonly payload?: IoVector;
  /** Where a read's data goes. */
  readonly into?: IoVector;
  /** The meta context of a block status request whose extents are wanted. */
  readonly contextId?: number;
}

interface Pending {
  readonly cookie: number;
  readonly request: WireRequest;
  error: BlockError | undefined;
  /** Runs that the server's chunks have filled, to see that nothing is left out. */
  filledBytes: number;
  extents: StatusExtent[] | undefined;
  resolve(extents: StatusExtent[]): void;
  reject(error: unknown): void;
}

/** Requests under way at once: a server need not take more, and replies are looked up by number. */
const MAX_REQUESTS = 64;

export class Connection {
  readonly info: ExportInfo;
  readonly mode: WireMode;
  readonly contextIds: ReadonlyMap<string, number>;
  /** Why it is over; requests fail with it from then on. */
  failure: BlockError | undefined;
  private readonly stream: HostStream;
  private readonly reader: StreamReader;
  private readonly writer: StreamWriter;
  private readonly pending: Map<number, Pending> = new Map();
  private waiting: (() => void)[] = [];
  private nextCookie: number = 1;
  private closing: boolean = false;

  constructor(stream: HostStream, { info, mode, contextIds, reader }: Attachment) {
    this.stream = stream;
    this.info = info;
    this.mode = mode;
    this.contextIds = contextIds;
    this.reader = reader;
    this.writer = new StreamWriter(stream);
    void this.receive();
  }

  /** Extents for a block status request, else an empty list. Fails with ECONNRESET when the connection is lost. */
  async request(request: WireRequest): Promise<readonly StatusExtent[]> {
    while (this.pending.size >= MAX_REQUESTS && this.failure === undefined) {
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
    if (this.failure !== undefined) throw this.failure;
    const cookie = this.nextCookie;
    this.nextCookie = cookie === 0xffff_ffff ? 1 : cookie + 1;
    return new Promise((resolve, reject) => {
      this.pending.set(cookie, {
        cookie,
        request,
        error: undefined,
        filledBytes: 0,
        extents: undefined,
        resolve,
        reject,
      });
      this.writer
        .send([this.head(request, cookie), ...(request.payload ?? [])])
        .catch((error: unknown) => this.fail(error));
    });
  }

  /** Gives it up for lost, because of `reason`. */
  abandon(reason: BlockError): void {
    this.failure ??= reason;
    this.fail(reason);
    this.stream.close();
  }

  /** Says goodbye, unless there are requests under way: their server may not take anything any more. */
  async close(): Promise<void> {
    this.closing = true;
    if (this.failure === undefined && this.pending.size === 0) {
      const goodbye = this.head({ command: NBD_CMD_DISC, flags: 0, offset: 0, length: 0 }, 0);
      await this.writer.send([goodbye]).catch(() => {});
    }
    this.fail(new BlockError('ESHUTDOWN'));
  }

  private head(request: WireRequest, cookie: number): Uint8Array {
    const { command, flags, offset, length } = request;
    if (this.mode === 'extended') {
      const payloadFlag = command === NBD_CMD_WRITE ? NBD_CMD_FLAG_PAYLOAD_LEN : 0;
      const head = new FieldWriter(EXTENDED_REQUEST_BYTES).u32(NBD_EXTENDED_REQUEST_MAGIC).u16(flags | payloadFlag);
      return head.u16(command).u32(0).u32(cookie).u64(offset).u64(length).bytes;
    }
    const head = new FieldWriter(REQUEST_BYTES).u32(NBD_REQUEST_MAGIC).u16(flags).u16(command);
    return head.u32(0).u32(cookie).u64(offset).u32(length).bytes;
  }

  private async receive(): Promise<void> {
    try {
      while (!(await this.reader.atEnd())) await this.receiveReply();
      throw new BlockError('ECONNRESET', 'the server closed the connection');
    } catch (error) {
      this.fail(error);
    }
  }

  private fail(error: unknown): void {
    if (this.failure === undefined) {
      const reason = error instanceof Error ? error.message : String(error);
      this.failure = this.closing ? new BlockError('ESHUTDOWN') : new BlockError('ECONNRESET', reason);
      this.stream.close();
    }
    for (const pending of this.pending.values()) pending.reject(this.failure);
    this.pending.clear();
    this.admit();
  }

  private admit(): void {
    const { waiting } = this;
    this.waiting = [];
    for (const resume of waiting) resume();
  }

  private async receiveReply(): Promise<void> {
    if (this.mode === 'extended') {
      const head = await this.reader.bytes(EXTENDED_REPLY_BYTES);
      if (u32(head, 0) !== NBD_EXTENDED_REPLY_MAGIC) throw protocolError(`reply magic ${u32(head, 0)}`);
      return this.receiveChunk(u16(head, 4), u16(head, 6), this.find(head), u64(head, 24));
    }
    const start = await this.reader.bytes(SIMPLE_REPLY_BYTES);
    switch (u32(start, 0)) {
      case NBD_SIMPLE_REPLY_MAGIC:
        return this.receiveSimple(this.find(start), u32(start, 4));
      case NBD_STRUCTURED_REPLY_MAGIC: {
        if (this.mode !== 'structured') throw protocolError('a structured reply that was not agreed on');
        const rest = await this.reader.bytes(STRUCTURED_REPLY_BYTES - SIMPLE_REPLY_BYTES);
        return this.receiveChunk(u16(start, 4), u16(start, 6), this.find(start), u32(rest, 0));
      }
      default:
        throw protocolError(`reply magic ${u32(start, 0)}`);
    }
  }

  /** The request that a reply is for; both forms have the cookie at the same place. */
  private find(head: Uint8Array): Pending {
    const cookie = u32(head, 12);
    const pending = u32(head, 8) === 0 ? this.pending.get(cookie) : undefined;
    if (pending === undefined) throw protocolError(`a reply to request ${cookie}, which is not under way`);
    return pending;
  }

  private async receiveSimple(pending: Pending, error: number): Promise<void> {
    const { command, into } = pending.request;
    if (error !== 0) pending.error = new BlockError(errnoOfNbd(error));
    else if (command === NBD_CMD_READ && this.mode === 'simple' && into !== undefined) await this.reader.into(into);
    else if (command === NBD_CMD_READ || command === NBD_CMD_BLOCK_STATUS) {
      throw protocolError('a simple reply to a request that needs a structured one');
    }
    pending.filledBytes = pending.request.length;
    this.finish(pending);
  }

  private async receiveChunk(flags: number, type: number, pending: Pending, bytes: number): Promise<void> {
    // GUEST: the length of a chunk; the longest is a read's data with the offset before it.
    if (bytes > MAX_PAYLOAD_BYTES + 8) throw protocolError(`a chunk of ${bytes} bytes`);
    const { request } = pending;
    switch (type) {
      case NBD_REPLY_TYPE_NONE:
        if (bytes !== 0 || (flags & NBD_REPLY_FLAG_DONE) === 0)
          throw protocolError('an empty chunk that is not the last');
        break;
      case NBD_REPLY_TYPE_OFFSET_DATA: {
        if (bytes < 8) throw protocolError(`a data chunk of ${bytes} bytes`);
        const offset = u64(await this.reader.bytes(8), 0);
        await this.reader.into(part(request, offset, bytes - 8));
        pending.filledBytes += bytes - 8;
        break;
      }
      case NBD_REPLY_TYPE_OFFSET_HOLE: {
        if (bytes !== 12) throw protocolError(`a hole chunk of ${bytes} bytes`);
        const body = await this.reader.bytes(12);
        for (const piece of part(request, u64(body, 0), u32(body, 8))) piece.fill(0);
        pending.filledBytes += u32(body, 8);
        break;
      }
      case NBD_REPLY_TYPE_BLOCK_STATUS:
      case NBD_REPLY_TYPE_BLOCK_STATUS_EXT:
        await this.receiveExtents(pending, bytes, type === NBD_REPLY_TYPE_BLOCK_STATUS_EXT);
        break;
      default:
        await this.receiveError(pending, type, bytes);
    }
    // Chunks that fill the same place again could go on for ever.
    if (pending.filledBytes > request.length)
      throw protocolError(`more data than the ${request.length} bytes asked for`);
    if ((flags & NBD_REPLY_FLAG_DONE) !== 0) this.finish(pending);
  }

  private async receiveExtents(pending: Pending, bytes: number, wide: boolean): Promise<void> {
    const [headBytes, each] = wide ? [8, 16] : [4, 8];
    const { command, contextId } = pending.request;
    const count = (bytes - headBytes) / each;
    // GUEST: as many extents as the server likes to send; QEMU's most is 2^17.
    if (command !== NBD_CMD_BLOCK_STATUS || !Number.isInteger(count) || count < 1 || count > 8 * MAX_EXTENTS) {
      throw protocolError(`a block status chunk of ${bytes} bytes`);
    }
    const body = await this.reader.bytes(bytes);
    if (u32(body, 0) !== contextId) return;
    const extents: StatusExtent[] = [];
    for (let at = headBytes; at < bytes; at += each) {
      const extent = wide
        ? { bytes: u64(body, at), flags: u64(body, at + 8) }
        : { bytes: u32(body, at), flags: u32(body, at + 4) };
      if (extent.bytes === 0) throw protocolError('an extent of no bytes');
      extents.push(extent);
    }
    pending.extents = extents;
  }

  private async receiveError(pending: Pending, type: number, bytes: number): Promise<void> {
    if (type < 0x8000) throw protocolError(`a chunk of type ${type}`);
    if (bytes > MAX_STRING_BYTES + 14) throw protocolError(`an error chunk of ${bytes} bytes`);
    const body = await this.reader.bytes(bytes);
    const known = type === NBD_REPLY_TYPE_ERROR || type === NBD_REPLY_TYPE_ERROR_OFFSET;
    if (known && (bytes < 6 || u16(body, 4) > bytes - 6)) throw protocolError(`an error chunk of ${bytes} bytes`);
    const errno = errnoOfNbd(known ? u32(body, 0) : 0);
    const message = known && u16(body, 4) > 0 ? textOf(body.subarray(6, 6 + u16(body, 4))) : undefined;
    pending.error ??= new BlockError(errno, message);
  }

  private finish(pending: Pending): void {
    const { request, error, filledBytes, extents, cookie } = pending;
    if (error === undefined && request.command === NBD_CMD_READ && filledBytes !== request.length) {
      throw protocolError(`a read of ${request.length} bytes that got ${filledBytes}`);
    }
    this.pending.delete(cookie);
    if (error !== undefined) pending.reject(error);
    else pending.resolve(extents ?? []);
    this.admit();
  }
}

/** Where the bytes of a chunk belong. */
function part(request: WireRequest, offset: number, bytes: number): IoVector {
  const { command, into, offset: start, length } = request;
  // GUEST: offset and length in the server's reply.
  if (command !== NBD_CMD_READ || into === undefined || bytes === 0) throw protocolError('data that nobody asked for');
  if (offset < start || offset + bytes > start + length || vectorBytes(into) < length) {
    throw protocolError(`data at ${offset} for a read at ${start}`);
  }
  return sliceVector(into, offset - start, bytes);
}

function protocolError(what: string): BlockError {
  return new BlockError('ECONNRESET', `Protocol error: the server sent ${what}`);
}
