/** The newstyle handshake, client's side: the best that the server can do is agreed on, down to servers that know no options at all. */
import { BlockError, ImageError } from '../../block-error.ts';
import type { HostStream, TlsOptions } from '../../host.ts';
import {
  IHAVEOPT_HIGH,
  IHAVEOPT_LOW,
  MAX_LISTED_EXPORTS,
  MAX_OPTION_BYTES,
  MAX_STRING_BYTES,
  NBDMAGIC_HIGH,
  NBDMAGIC_LOW,
  OLDSTYLE_BYTES,
  OLDSTYLE_MAGIC_HIGH,
  OLDSTYLE_MAGIC_LOW,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_EXPORT,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
  REPLY_MAGIC_HIGH,
  REPLY_MAGIC_LOW,
  MAX_CONTEXTS,
} from '../constants.ts';
import { FieldWriter, textOf, u16, u32, u64, utf8 } from '../bytes.ts';
import { StreamReader } from '../stream-reader.ts';

export type WireMode = 'simple' | 'structured' | 'extended';

export interface ExportInfo {
  readonly name: string;
  readonly description: string | undefined;
  readonly size: number;
  readonly flags: number;
  readonly blockSizes: { readonly minimum: number; readonly preferred: number; readonly maximum: number } | undefined;
  /** Meta contexts that the server offers for it; asked for by `listExports` only. */
  readonly contexts: readonly string[];
}

export interface Attachment {
  readonly info: ExportInfo;
  readonly mode: WireMode;
  /** Ids of the meta contexts that the server agreed on, by name. */
  readonly contextIds: ReadonlyMap<string, number>;
  readonly reader: StreamReader;
}

export interface AttachOptions {
  readonly exportName: string;
  readonly tls?: TlsOptions | undefined;
  /** Meta contexts wanted. */
  readonly contexts: readonly string[];
  /** Without it, structured replies are the most that is asked for. */
  readonly extendedHeaders?: boolean;
}

interface OptionReply {
  readonly type: number;
  readonly data: Uint8Array;
}

/** Gets to the transmission phase. Errors are one sentence. */
export async function attach(stream: HostStream, options: AttachOptions): Promise<Attachment> {
  const client = new Negotiation(stream);
  const old = await client.greet(options.tls);
  if (old !== undefined) {
    if (options.exportName !== '') throw new ImageError('Server does not support non-empty export names');
    return { info: old, mode: 'simple', contextIds: new Map(), reader: client.reader };
  }
  if (!client.fixed) return client.exportName(options.exportName, 'simple', new Map());
  const mode = await client.chooseMode(options.extendedHeaders ?? true);
  const contextIds =
    mode === 'simple' || options.contexts.length === 0
      ? new Map<string, number>()
      : await client.setContexts(options.exportName, options.contexts);
  const info = await client.info(NBD_OPT_GO, options.exportName);
  if (info !== undefined) return { info, mode, contextIds, reader: client.reader };
  // The server knows no NBD_OPT_GO.
  return client.exportName(options.exportName, mode, contextIds);
}

/** What the server has, with what it tells of each. */
export async function listExports(stream: HostStream, tls?: TlsOptions): Promise<readonly ExportInfo[]> {
  const client = new Negotiation(stream);
  if ((await client.greet(tls)) !== undefined || !client.fixed)
    throw new ImageError('Server does not support newstyle negotiation, so it cannot list its exports');
  const mode = await client.chooseMode(false);
  const exports: ExportInfo[] = [];
  for (const { name, description } of await client.list()) {
    const info = await client.info(NBD_OPT_INFO, name).catch(() => undefined);
    const contexts = mode === 'simple' ? [] : await client.listContexts(name);
    exports.push({
      size: 0,
      flags: 0,
      blockSizes: undefined,
      ...info,
      name,
      description: info?.description ?? description,
      contexts,
    });
  }
  await client.abort();
  return exports;
}

class Negotiation {
  reader: StreamReader;
  fixed: boolean = false;
  private noZeroes: boolean = false;
  private readonly stream: HostStream;

  constructor(stream: HostStream) {
    this.stream = stream;
    this.reader = new StreamReader(stream);
  }

  /** What a server of the old handshake, which has one export and no options, tells of it. */
  async greet(tls: TlsOptions | undefined): Promise<ExportInfo | undefined> {
    const magic = await this.reader.bytes(16);
    if (u32(magic, 0) !== NBDMAGIC_HIGH || u32(magic, 4) !== NBDMAGIC_LOW)
      throw new ImageError('Bad initial magic received: this is no NBD server');
    if (u32(magic, 8) === OLDSTYLE_MAGIC_HIGH && u32(magic, 12) === OLDSTYLE_MAGIC_LOW) return this.oldstyle(tls);
    if (u32(magic, 8) !== IHAVEOPT_HIGH || u32(magic, 12) !== IHAVEOPT_LOW)
      throw new ImageError('Bad server magic received: this is no NBD server');
    const flags = u16(await this.reader.bytes(2), 0);
    this.fixed = (flags & NBD_FLAG_FIXED_NEWSTYLE) !== 0;
    this.noZeroes = (flags & NBD_FLAG_NO_ZEROES) !== 0;
    await this.stream.write([new FieldWriter(4).u32(flags & (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)).bytes]);
    if (tls === undefined) return undefined;
    if (!this.fixed || this.stream.startTls === undefined) throw new ImageError('Server does not support STARTTLS');
    const reply = await this.ask(NBD_OPT_STARTTLS);
    if (reply.type !== NBD_REP_ACK) throw refusal(reply, NBD_OPT_STARTTLS);
    if (this.reader.bufferedBytes > 0) throw new ImageError('the server sent data before TLS was started');
    await this.stream.startTls(tls);
    this.reader = new StreamReader(this.stream);
    return undefined;
  }

  private async oldstyle(tls: TlsOptions | undefined): Promise<ExportInfo> {
    if (tls !== undefined) throw new ImageError('Server does not support STARTTLS');
    const told = await this.reader.bytes(OLDSTYLE_BYTES);
    return {
      name: '',
      description: undefined,
      size: checkedSize(u64(told, 0)),
      flags: u16(told, 10),
      blockSizes: undefined,
      contexts: [],
    };
  }

  async chooseMode(extendedHeaders: boolean): Promise<WireMode> {
    if (extendedHeaders && (await this.accepted(NBD_OPT_EXTENDED_HEADERS))) return 'extended';
    return (await this.accepted(NBD_OPT_STRUCTURED_REPLY)) ? 'structured' : 'simple';
  }

  /** Undefined when the server does not know the option; throws when it does not have the export. */
  async info(option: number, name: string): Promise<ExportInfo | undefined> {
    const nameBytes = utf8(name);
    const wanted = [NBD_INFO_DESCRIPTION, NBD_INFO_BLOCK_SIZE];
    const request = new FieldWriter(6 + nameBytes.length + 2 * wanted.length)
      .u32(nameBytes.length)
      .raw(nameBytes)
      .u16(wanted.length);
    for (const kind of wanted) request.u16(kind);
    await this.send(option, request.bytes);
    let description: string | undefined;
    let blockSizes: ExportInfo['blockSizes'];
    let found: { size: number; flags: number } | undefined;
    for (let count = 0; ; count++) {
      const { type, data } = await this.reply(option);
      if (type === NBD_REP_ERR_UNSUP) return undefined;
      if (type >= NBD_REP_ERR) throw refusal({ type, data }, option);
      if (type === NBD_REP_ACK) break;
      if (type !== NBD_REP_INFO || data.length < 2 || count > 100) throw unexpected(option, type);
      switch (u16(data, 0)) {
        case NBD_INFO_EXPORT:
          if (data.length !== 12) throw unexpected(option, type);
          found = { size: checkedSize(u64(data, 2)), flags: u16(data, 10) };
          break;
        case NBD_INFO_DESCRIPTION:
          description = textOf(data.subarray(2));
          break;
        case NBD_INFO_BLOCK_SIZE:
          if (data.length !== 14) throw unexpected(option, type);
          blockSizes = { minimum: u32(data, 2), preferred: u32(data, 6), maximum: u32(data, 10) };
          if (blockSizes.minimum === 0 || (blockSizes.minimum & (blockSizes.minimum - 1)) !== 0) {
            throw new ImageError(`Requested block size ${blockSizes.minimum} is not a power of two`);
          }
          if (blockSizes.minimum > 65_536 || blockSizes.maximum < blockSizes.minimum) {
            throw new ImageError(
              `the server's block sizes, ${blockSizes.minimum} to ${blockSizes.maximum}, are not usable`,
            );
          }
          break;
      }
    }
    if (found === undefined) throw new ImageError(`the server did not tell the size of export '${name}'`);
    return { name, description, ...found, blockSizes, contexts: [] };
  }

  async exportName(name: string, mode: WireMode, contextIds: ReadonlyMap<string, number>): Promise<Attachment> {
    await this.send(NBD_OPT_EXPORT_NAME, utf8(name));
    const head = await this.reader.bytes(10);
    if (!this.noZeroes) await this.reader.skip(124);
    const info = {
      name,
      description: undefined,
      size: checkedSize(u64(head, 0)),
      flags: u16(head, 8),
      blockSizes: undefined,
      contexts: [],
    };
    return { info, mode, contextIds, reader: this.reader };
  }

  async list(): Promise<readonly { readonly name: string; readonly description: string | undefined }[]> {
    await this.send(NBD_OPT_LIST);
    const found: { name: string; description: string | undefined }[] = [];
    for (;;) {
      const { type, data } = await this.reply(NBD_OPT_LIST);
      if (type === NBD_REP_ACK) return found;
      if (type !== NBD_REP_SERVER) throw refusal({ type, data }, NBD_OPT_LIST);
      const nameBytes = u32(data, 0);
      if (data.length < 4 || nameBytes > data.length - 4) throw unexpected(NBD_OPT_LIST, type);
      if (found.length === MAX_LISTED_EXPORTS)
        throw new ImageError(`the server lists more than ${MAX_LISTED_EXPORTS} exports`);
      const description = textOf(data.subarray(4 + nameBytes));
      found.push({
        name: textOf(data.subarray(4, 4 + nameBytes)),
        description: description === '' ? undefined : description,
      });
    }
  }

  async listContexts(name: string): Promise<readonly string[]> {
    const replies = await this.contexts(NBD_OPT_LIST_META_CONTEXT, name, []);
    return replies?.map((context) => context.name) ?? [];
  }

  async setContexts(name: string, wanted: readonly string[]): Promise<Map<string, number>> {
    const replies = await this.contexts(NBD_OPT_SET_META_CONTEXT, name, wanted);
    return new Map(
      replies?.filter((context) => wanted.includes(context.name)).map((context) => [context.name, context.id]),
    );
  }

  async abort(): Promise<void> {
    // The server may close at once, or before that.
    await this.send(NBD_OPT_ABORT).catch(() => {});
    this.stream.close();
  }

  /** Undefined when the server does not know the option, or the export. */
  private async contexts(
    option: number,
    name: string,
    queries: readonly string[],
  ): Promise<readonly { readonly id: number; readonly name: string }[] | undefined> {
    const texts = [utf8(name), ...queries.map(utf8)];
    const bytes = texts.reduce((sum, text) => sum + 4 + text.length, 4);
    const request = new FieldWriter(bytes);
    for (const [index, text] of texts.entries()) {
      request.u32(text.length).raw(text);
      if (index === 0) request.u32(queries.length);
    }
    await this.send(option, request.bytes);
    const found: { id: number; name: string }[] = [];
    for (;;) {
      const { type, data } = await this.reply(option);
      if (type === NBD_REP_ACK) return found;
      if (type >= NBD_REP_ERR) return undefined;
      if (type !== NBD_REP_META_CONTEXT || data.length < 4 || found.length === MAX_CONTEXTS)
        throw unexpected(option, type);
      found.push({ id: u32(data, 0), name: textOf(data.subarray(4)) });
    }
  }

  private async accepted(option: number): Promise<boolean> {
    return (await this.ask(option)).type === NBD_REP_ACK;
  }

  private async ask(option: number): Promise<OptionReply> {
    await this.send(option);
    return this.reply(option);
  }

  private async send(option: number, data: Uint8Array = new Uint8Array(0)): Promise<void> {
    const head = new FieldWriter(16).u32(IHAVEOPT_HIGH).u32(IHAVEOPT_LOW).u32(option).u32(data.length);
    await this.stream.write(data.length > 0 ? [head.bytes, data] : [head.bytes]);
  }

  private async reply(option: number): Promise<OptionReply> {
    const head = await this.reader.bytes(20);
    if (u32(head, 0) !== REPLY_MAGIC_HIGH || u32(head, 4) !== REPLY_MAGIC_LOW)
      throw new ImageError('Unexpected option reply magic');
    if (u32(head, 8) !== option) throw new ImageError(`Unexpected option type ${u32(head, 8)}, expected ${option}`);
    const bytes = u32(head, 16);
    // GUEST: a server chooses the length; honest ones need a few names.
    if (bytes > MAX_OPTION_BYTES)
      throw new ImageError(`option reply of ${bytes} bytes is longer than ${MAX_OPTION_BYTES}`);
    return { type: u32(head, 12), data: await this.reader.bytes(bytes) };
  }
}

function checkedSize(size: number): number {
  if (!Number.isSafeInteger(size)) throw new ImageError(`export size of ${size} bytes is beyond 2^53`, 'EFBIG');
  return size;
}

function unexpected(option: number, type: number): ImageError {
  return new ImageError(`the server's reply of type ${type} to option ${option} is not what the protocol has there`);
}

/** The sentence for a refusal, in the words of QEMU's client, and what the server said on a line of its own. */
function refusal({ type, data }: OptionReply, option: number): ImageError {
  const said = data.length > 0 && data.length <= MAX_STRING_BYTES ? `\nserver reported: ${textOf(data)}` : '';
  const [reason, code] = REASONS.get(type) ?? [`Error ${type - NBD_REP_ERR} for OPTION`, 'EINVAL' as const];
  return new ImageError(`${reason.replace('OPTION', `option ${option} (${OPTION_NAMES.get(option)})`)}${said}`, code);
}

const REASONS: ReadonlyMap<number, readonly [string, 'ENOTSUP' | 'EACCES' | 'EINVAL' | 'ENOENT' | 'ESHUTDOWN']> =
  new Map([
    [NBD_REP_ERR_UNSUP, ['Unsupported OPTION', 'ENOTSUP']],
    [NBD_REP_ERR_POLICY, ['Denied by server for OPTION', 'EACCES']],
    [NBD_REP_ERR_INVALID, ['Invalid parameters for OPTION', 'EINVAL']],
    [NBD_REP_ERR_TLS_REQD, ['TLS negotiation required before OPTION\nDid you forget a valid tls-creds?', 'EACCES']],
    [NBD_REP_ERR_UNKNOWN, ['Requested export not available', 'ENOENT']],
    [NBD_REP_ERR_SHUTDOWN, ['Server shutting down before OPTION', 'ESHUTDOWN']],
    [NBD_REP_ERR_TOO_BIG, ['Too long a request for OPTION', 'EINVAL']],
  ]);

/** Of the options whose refusal is told. */
const OPTION_NAMES: ReadonlyMap<number, string> = new Map([
  [NBD_OPT_LIST, 'list'],
  [NBD_OPT_STARTTLS, 'starttls'],
  [NBD_OPT_INFO, 'info'],
  [NBD_OPT_GO, 'go'],
]);

/** A connection that ended in the middle of the handshake, in words for a user. */
export function handshakeFailure(error: unknown): unknown {
  if (error instanceof BlockError && error.code === 'ECONNRESET') {
    return new ImageError('Failed to read option reply: the server closed the connection', 'ECONNRESET');
  }
  return error;
}
