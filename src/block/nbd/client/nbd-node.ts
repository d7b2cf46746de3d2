/**
 * A node whose bytes an NBD server has. When the connection is lost, requests wait for another one for as long as `reconnect-delay`
 * says, and are made again: all of them may be done twice. After that time they fail without waiting, until there is a connection again.
 */
import { BlockError } from '../../block-error.ts';
import type { BlockHost } from '../../host.ts';
import { gather, sliceVector, vectorBytes, type IoVector } from '../../io-vector.ts';
import {
  BlockNode,
  type BlockStatus,
  type Child,
  type RequestLimits,
  type TruncateOptions,
  type WriteFlags,
  type ZeroFlags,
} from '../../node.ts';
import {
  MAX_PAYLOAD_BYTES,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_STATE_HOLE,
  NBD_STATE_ZERO,
} from '../constants.ts';
import { connectNbd, type NbdClientOptions } from './connect.ts';
import type { Connection, StatusExtent, WireRequest } from './connection.ts';
import { nbdFilename } from './uri.ts';

export interface NbdNodeOptions extends NbdClientOptions {
  /** How long requests wait for a lost connection, ms. 0: a lost connection stays lost. */
  readonly reconnectDelayMs?: number;
  /** How long the first connection is tried for, ms. */
  readonly openTimeoutMs?: number;
}

/** Requests without data of a server that has 32-bit lengths are made in steps. */
const STEP_BYTES: number = 1024 ** 3;
/** Waits between two tries to connect double from the first to the last. */
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 1000;
/** Once requests have waited in vain: how long a single try may take, and how long it is to the next. */
const LATE_TRY_MS = 1000;

export class NbdNode extends BlockNode {
  readonly driver: string = 'nbd';
  readonly filename: string;
  readonly children: readonly Child[] = [];
  private readonly host: BlockHost;
  private readonly options: NbdNodeOptions;
  private readonly info: Connection['info'];
  private connection: Connection;
  private reconnecting: Promise<void> | undefined;
  /** Set when requests have waited in vain: no other waits, and none tries to connect before this time. */
  private nextTryMs: number | undefined;
  private closed: boolean = false;
  /** Writes that must read what is around them, one after the other. */
  private unaligned: Promise<void> = Promise.resolve();

  private constructor(
    name: string,
    readOnly: boolean,
    host: BlockHost,
    options: NbdNodeOptions,
    connection: Connection,
  ) {
    super(name, readOnly);
    this.host = host;
    this.options = options;
    this.connection = connection;
    this.info = connection.info;
    this.filename = nbdFilename(options.address, options.exportName ?? '');
  }

  /** @throws {ImageError} in one sentence when there is no server, no such export, or no leave to write. */
  static async open(name: string, readOnly: boolean, host: BlockHost, options: NbdNodeOptions): Promise<NbdNode> {
    const connection = await connectFirst(host, options);
    const { info } = connection;
    const refuse = async (code: 'EACCES' | 'EINVAL', sentence: string): Promise<never> => {
      await connection.close();
      throw new BlockError(code, sentence);
    };
    if (!readOnly && (info.flags & NBD_FLAG_READ_ONLY) !== 0)
      return refuse('EACCES', 'request for write access denied');
    const minimum = info.blockSizes?.minimum ?? 1;
    if (info.size % minimum !== 0) {
      return refuse('EINVAL', `export length ${info.size} is not multiple of minimum block size ${minimum}`);
    }
    if (options.context !== undefined && !connection.contextIds.has(options.context)) {
      return refuse('EINVAL', `requested x-dirty-bitmap ${options.context} not found`);
    }
    return new NbdNode(name, readOnly, host, options, connection);
  }

  get size(): number {
    return this.info.size;
  }

  override get limits(): RequestLimits {
    const { minimum, preferred } = this.info.blockSizes ?? { minimum: 1, preferred: 1 };
    return { alignment: minimum, zeroAlignment: Math.max(minimum, preferred), maxTransfer: this.transferBytes };
  }

  async read(offset: number, into: IoVector): Promise<void> {
    const bytes = vectorBytes(into);
    this.checkRange(offset, bytes);
    const [start, end] = this.aligned(offset, bytes);
    if (start === offset && end === offset + bytes) {
      await this.inPieces(offset, bytes, this.transferBytes, async (at, length) => {
        await this.request({
          command: NBD_CMD_READ,
          flags: 0,
          offset: at,
          length,
          into: sliceVector(into, at - offset, length),
        });
      });
      return;
    }
    const around = new Uint8Array(end - start);
    await this.read(start, [around]);
    let at = offset - start;
    for (const piece of into) {
      piece.set(around.subarray(at, at + piece.length));
      at += piece.length;
    }
  }

  async write(offset: number, from: IoVector, flags: WriteFlags = {}): Promise<void> {
    this.checkWritable();
    const bytes = vectorBytes(from);
    this.checkRange(offset, bytes);
    const [start, end] = this.aligned(offset, bytes);
    if (start !== offset || end !== offset + bytes) return this.writeAround(offset, from, flags);
    const fua = this.fuaFlag(flags.fua);
    await this.inPieces(offset, bytes, this.transferBytes, async (at, length) => {
      const payload = sliceVector(from, at - offset, length);
      await this.request({ command: NBD_CMD_WRITE, flags: fua, offset: at, length, payload });
    });
    if (flags.fua === true && fua === 0) await this.flush();
  }

  async writeZeroes(offset: number, bytes: number, flags: ZeroFlags = {}): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, bytes);
    const [start, end] = this.aligned(offset, bytes);
    const supported = this.can(NBD_FLAG_SEND_WRITE_ZEROES) && start === offset && end === offset + bytes;
    const fast = flags.noFallback === true ? NBD_CMD_FLAG_FAST_ZERO : 0;
    if (fast !== 0 && !(supported && this.can(NBD_FLAG_SEND_FAST_ZERO))) throw new BlockError('ENOTSUP');
    if (!supported) {
      const zeroes = new Uint8Array(Math.min(bytes, 1024 ** 2));
      for (let done = 0; done < bytes; done += zeroes.length) {
        await this.write(offset + done, [zeroes.subarray(0, Math.min(zeroes.length, bytes - done))], flags);
      }
      return;
    }
    const fua = this.fuaFlag(flags.fua);
    const wireFlags = fua | fast | (flags.unmap === true ? 0 : NBD_CMD_FLAG_NO_HOLE);
    await this.inPieces(offset, bytes, this.stepBytes, async (at, length) => {
      await this.request({ command: NBD_CMD_WRITE_ZEROES, flags: wireFlags, offset: at, length });
    });
    if (flags.fua === true && fua === 0) await this.flush();
  }

  async discard(offset: number, bytes: number): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, bytes);
    const { minimum } = this.info.blockSizes ?? { minimum: 1 };
    const start = Math.ceil(offset / minimum) * minimum;
    const end = Math.floor((offset + bytes) / minimum) * minimum;
    if (!this.can(NBD_FLAG_SEND_TRIM) || end <= start) return;
    await this.inPieces(start, end - start, this.stepBytes, async (at, length) => {
      await this.request({ command: NBD_CMD_TRIM, flags: 0, offset: at, length });
    });
  }

  async flush(): Promise<void> {
    if (this.can(NBD_FLAG_SEND_FLUSH) && !this.readOnly) {
      await this.request({ command: NBD_CMD_FLUSH, flags: 0, offset: 0, length: 0 });
    }
  }

  async status(offset: number, bytes: number): Promise<BlockStatus> {
    this.checkRange(offset, bytes);
    const at = { node: this, offset };
    const contextId = this.connection.contextIds.get(this.options.context ?? 'base:allocation');
    if (contextId === undefined || bytes === 0) return { bytes, data: true, zero: false, allocated: true, at };
    const [start, end] = this.aligned(offset, Math.min(bytes, this.stepBytes));
    const [extent] = await this.request({
      command: NBD_CMD_BLOCK_STATUS,
      flags: NBD_CMD_FLAG_REQ_ONE,
      offset: start,
      length: end - start,
      contextId,
    });
    if (extent === undefined)
      throw new BlockError('EIO', 'the server answered a block status request without an extent');
    // GUEST: the server's extent, which may be longer than what was asked.
    const run = Math.min(extent.bytes - (offset - start), bytes);
    if (run <= 0)
      throw new BlockError('EIO', `the server told an extent of ${extent.bytes} bytes, less than its block size`);
    return {
      bytes: run,
      data: (extent.flags & NBD_STATE_HOLE) === 0,
      zero: this.options.context === undefined && (extent.flags & NBD_STATE_ZERO) !== 0,
      allocated: true,
      at,
    };
  }

  async truncate(size: number, { exact = false }: TruncateOptions = {}): Promise<void> {
    // The protocol has no request for it. Who needs no more than there is does not mind.
    if (size > this.size) throw new BlockError('EINVAL', 'Cannot grow NBD nodes');
    if (exact && size !== this.size) throw new BlockError('ENOTSUP', 'Cannot resize NBD nodes');
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.connection.close();
  }

  private can(flag: number): boolean {
    return (this.info.flags & flag) !== 0;
  }

  private fuaFlag(fua: boolean | undefined): number {
    return fua === true && this.can(NBD_FLAG_SEND_FUA) ? NBD_CMD_FLAG_FUA : 0;
  }

  private get transferBytes(): number {
    const { minimum, maximum } = this.info.blockSizes ?? { minimum: 1, maximum: MAX_PAYLOAD_BYTES };
    return Math.max(minimum, Math.floor(Math.min(maximum, MAX_PAYLOAD_BYTES) / minimum) * minimum);
  }

  private get stepBytes(): number {
    return this.connection.mode === 'extended' ? Number.MAX_SAFE_INTEGER : STEP_BYTES;
  }

  private aligned(offset: number, bytes: number): readonly [start: number, end: number] {
    const { minimum } = this.info.blockSizes ?? { minimum: 1 };
    return [Math.floor(offset / minimum) * minimum, Math.ceil((offset + bytes) / minimum) * minimum];
  }

  private async inPieces(
    offset: number,
    bytes: number,
    step: number,
    each: (at: number, length: number) => Promise<void>,
  ): Promise<void> {
    if (bytes <= step) {
      if (bytes > 0) await each(offset, bytes);
      return;
    }
    for (let done = 0; done < bytes; done += step) await each(offset + done, Math.min(step, bytes - done));
  }

  private async writeAround(offset: number, from: IoVector, flags: WriteFlags): Promise<void> {
    const before = this.unaligned;
    const mine = (async (): Promise<void> => {
      await before.catch(() => {});
      const [start, end] = this.aligned(offset, vectorBytes(from));
      const around = new Uint8Array(end - start);
      await this.read(start, [around]);
      around.set(gather(from), offset - start);
      await this.write(start, [around], flags);
    })();
    this.unaligned = mine;
    return mine;
  }

  /** Makes a request on whatever connection there is, again when it was lost meanwhile. */
  private async request(request: WireRequest): Promise<readonly StatusExtent[]> {
    for (;;) {
      const { connection } = this;
      try {
        return await connection.request(request);
      } catch (error) {
        // A server that is going down says so before it goes.
        if (error instanceof BlockError && error.code === 'ESHUTDOWN' && this.mayReconnect) connection.abandon(error);
        if (connection.failure === undefined || error !== connection.failure) throw error;
        await this.waitForConnection(connection.failure);
      }
    }
  }

  private get mayReconnect(): boolean {
    return !this.closed && (this.options.reconnectDelayMs ?? 0) > 0;
  }

  private async waitForConnection(failure: BlockError): Promise<void> {
    if (!this.mayReconnect) throw new BlockError('EIO', failure.message);
    if (this.connection.failure === undefined) return;
    const nowMs = this.host.nowMs();
    if (this.nextTryMs !== undefined && nowMs < this.nextTryMs) throw new BlockError('EIO', failure.message);
    const delayMs = this.nextTryMs === undefined ? (this.options.reconnectDelayMs ?? 0) : 0;
    this.reconnecting ??= this.reconnect(nowMs + delayMs).finally(() => (this.reconnecting = undefined));
    await this.reconnecting;
  }

  private async reconnect(deadlineMs: number): Promise<void> {
    for (let waitMs = FIRST_RETRY_MS; ; waitMs = Math.min(2 * waitMs, LAST_RETRY_MS)) {
      try {
        const next = await this.connectWithin(deadlineMs - this.host.nowMs());
        if (this.closed || !sameExport(next.info, this.info)) {
          await next.close();
          throw new BlockError('EIO', 'the export is another one after the connection was lost');
        }
        this.connection = next;
        this.nextTryMs = undefined;
        return;
      } catch (error) {
        const leftMs = deadlineMs - this.host.nowMs();
        if (this.closed || leftMs <= 0 || (error instanceof BlockError && error.code === 'EIO')) {
          this.nextTryMs = this.host.nowMs() + LATE_TRY_MS;
          throw new BlockError('EIO', error instanceof Error ? error.message : String(error));
        }
        await this.host.sleep(Math.min(waitMs, leftMs));
      }
    }
  }

  /** A server that is there and does not answer must not keep requests longer than they may wait. */
  private async connectWithin(leftMs: number): Promise<Connection> {
    const connecting = connectNbd(this.host, this.options);
    const late = this.host.sleep(leftMs > 0 ? leftMs : LATE_TRY_MS, true).then(() => undefined);
    const connection = await Promise.race([connecting, late]);
    if (connection !== undefined) return connection;
    void connecting.then(
      (unwanted) => unwanted.close(),
      () => {},
    );
    throw new BlockError('ETIMEDOUT', 'the server did not answer in time');
  }
}

function sameExport(one: Connection['info'], other: Connection['info']): boolean {
  return one.size === other.size && one.flags === other.flags;
}

async function connectFirst(host: BlockHost, options: NbdNodeOptions): Promise<Connection> {
  const deadlineMs = host.nowMs() + (options.openTimeoutMs ?? 0);
  for (let waitMs = FIRST_RETRY_MS; ; waitMs = Math.min(2 * waitMs, LAST_RETRY_MS)) {
    try {
      return await connectNbd(host, options);
    } catch (error) {
      const leftMs = deadlineMs - host.nowMs();
      if (leftMs <= 0) throw error;
      await host.sleep(Math.min(waitMs, leftMs));
    }
  }
}
