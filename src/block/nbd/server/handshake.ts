/** The newstyle handshake, server's side: options until the client has an export or goes away. */
import type { HostStream, TlsOptions } from '../../host.ts';
import {
  IHAVEOPT_HIGH,
  IHAVEOPT_LOW,
  MAX_OPTIONS,
  MAX_OPTION_BYTES,
  MAX_PAYLOAD_BYTES,
  NBDMAGIC_HIGH,
  NBDMAGIC_LOW,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_EXPORT,
  NBD_INFO_NAME,
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
  NBD_REP_ERR_EXT_HEADER_REQD,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
  REPLY_MAGIC_HIGH,
  REPLY_MAGIC_LOW,
} from '../constants.ts';
import { FieldWriter, textOf, u32, utf8 } from '../bytes.ts';
import { StreamReader } from '../stream-reader.ts';
import type { NbdExport } from './export.ts';
import { matchingContexts, parseExportRequest, parseMetaContextRequest } from './option-data.ts';

export type ReplyMode = 'simple' | 'structured' | 'extended';

export interface HandshakeContext {
  /** The exports as they are now. */
  exports(): readonly NbdExport[];
  /** Clients must start TLS before they learn anything. */
  readonly tls: TlsOptions | undefined;
}

/** What client and server have agreed on. */
export interface Agreement {
  readonly target: NbdExport;
  readonly mode: ReplyMode;
  /** Places in `target.contexts`, which are the ids that the client was told. */
  readonly contexts: readonly number[];
  readonly reader: StreamReader;
}

/** Undefined when the client went away, or did what ends a connection without an answer. */
export async function negotiate(stream: HostStream, context: HandshakeContext): Promise<Agreement | undefined> {
  return new Handshake(stream, context).run();
}

type Outcome = 'next' | 'end' | NbdExport;

class Handshake {
  private readonly stream: HostStream;
  private readonly context: HandshakeContext;
  private reader: StreamReader;
  private secure: boolean = false;
  private mode: ReplyMode = 'simple';
  private noZeroes: boolean = false;
  private chosen: { readonly target: NbdExport; readonly ids: readonly number[] } | undefined;

  constructor(stream: HostStream, context: HandshakeContext) {
    this.stream = stream;
    this.context = context;
    this.reader = new StreamReader(stream);
  }

  async run(): Promise<Agreement | undefined> {
    const greeting = new FieldWriter(18).u32(NBDMAGIC_HIGH).u32(NBDMAGIC_LOW).u32(IHAVEOPT_HIGH).u32(IHAVEOPT_LOW);
    await this.stream.write([greeting.u16(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES).bytes]);
    if (await this.reader.atEnd()) return undefined;
    const clientFlags = u32(await this.reader.bytes(4), 0);
    if ((clientFlags & ~(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) !== 0) return undefined;
    const fixed = (clientFlags & NBD_FLAG_FIXED_NEWSTYLE) !== 0;
    this.noZeroes = (clientFlags & NBD_FLAG_NO_ZEROES) !== 0;
    for (let count = 0; count < MAX_OPTIONS && !(await this.reader.atEnd()); count++) {
      const head = await this.reader.bytes(16);
      if (u32(head, 0) !== IHAVEOPT_HIGH || u32(head, 4) !== IHAVEOPT_LOW) return undefined;
      const [option, bytes] = [u32(head, 8), u32(head, 12)];
      // An old client knows no replies to options, and can only name an export.
      if (!fixed && option !== NBD_OPT_EXPORT_NAME) return undefined;
      const outcome = await this.answer(option, bytes);
      if (outcome === 'end') return undefined;
      if (outcome !== 'next') {
        const ids = this.chosen?.target === outcome ? this.chosen.ids : [];
        return { target: outcome, mode: this.mode, contexts: ids, reader: this.reader };
      }
    }
    return undefined;
  }

  private async answer(option: number, bytes: number): Promise<Outcome> {
    // GUEST: the length of an option's data; what does not fit is passed over, and what nobody sends in earnest ends it.
    if (bytes > MAX_PAYLOAD_BYTES) return 'end';
    if (bytes > MAX_OPTION_BYTES) {
      await this.reader.skip(bytes);
      if (option === NBD_OPT_EXPORT_NAME) return 'end';
      return this.refuse(option, NBD_REP_ERR_TOO_BIG, `option data of ${bytes} bytes`);
    }
    const data = await this.reader.bytes(bytes);
    if (this.context.tls !== undefined && !this.secure && option !== NBD_OPT_STARTTLS && option !== NBD_OPT_ABORT) {
      if (option === NBD_OPT_EXPORT_NAME) return 'end';
      return this.refuse(option, NBD_REP_ERR_TLS_REQD, `Option 0x${option.toString(16)} not permitted before TLS`);
    }
    switch (option) {
      case NBD_OPT_EXPORT_NAME:
        return this.exportName(data);
      case NBD_OPT_ABORT:
        // It may be gone already, and does not need the answer.
        await this.reply(option, NBD_REP_ACK).catch(() => {});
        return 'end';
      case NBD_OPT_LIST:
        return this.list(data);
      case NBD_OPT_STARTTLS:
        return this.startTls(data);
      case NBD_OPT_INFO:
      case NBD_OPT_GO:
        return this.info(option, data);
      case NBD_OPT_STRUCTURED_REPLY:
        if (data.length > 0) return this.refuseData(option);
        if (this.mode === 'extended') {
          return this.refuse(option, NBD_REP_ERR_EXT_HEADER_REQD, 'extended headers are in use');
        }
        this.mode = 'structured';
        return this.reply(option, NBD_REP_ACK);
      case NBD_OPT_EXTENDED_HEADERS:
        if (data.length > 0) return this.refuseData(option);
        this.mode = 'extended';
        return this.reply(option, NBD_REP_ACK);
      case NBD_OPT_LIST_META_CONTEXT:
      case NBD_OPT_SET_META_CONTEXT:
        return this.metaContexts(option, data);
      default:
        return this.refuse(option, NBD_REP_ERR_UNSUP, `option ${option} is not known`);
    }
  }

  private async exportName(data: Uint8Array): Promise<Outcome> {
    const target = this.find(textOf(data));
    if (target === undefined || this.mode === 'extended') return 'end';
    const answer = new FieldWriter(this.noZeroes ? 10 : 134).u64(target.size);
    await this.stream.write([answer.u16(target.flags(this.mode !== 'simple', false)).bytes]);
    return target;
  }

  private async list(data: Uint8Array): Promise<Outcome> {
    if (data.length > 0) return this.refuseData(NBD_OPT_LIST);
    for (const { name, description } of this.context.exports()) {
      const [nameBytes, text] = [utf8(name), utf8(description)];
      const entry = new FieldWriter(4 + nameBytes.length + text.length).u32(nameBytes.length).raw(nameBytes);
      await this.reply(NBD_OPT_LIST, NBD_REP_SERVER, entry.raw(text).bytes);
    }
    return this.reply(NBD_OPT_LIST, NBD_REP_ACK);
  }

  private async startTls(data: Uint8Array): Promise<Outcome> {
    if (data.length > 0) return this.refuseData(NBD_OPT_STARTTLS);
    if (this.secure) return this.refuse(NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID, 'TLS is in use already');
    if (this.context.tls === undefined || this.stream.startTls === undefined) {
      return this.refuse(NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY, 'TLS not configured');
    }
    // What came in the clear behind this option could be from anybody, and would be taken as the client's.
    if (this.reader.bufferedBytes > 0) return 'end';
    await this.reply(NBD_OPT_STARTTLS, NBD_REP_ACK);
    await this.stream.startTls(this.context.tls);
    this.secure = true;
    this.mode = 'simple';
    this.chosen = undefined;
    this.reader = new StreamReader(this.stream);
    return 'next';
  }

  private async info(option: number, data: Uint8Array): Promise<Outcome> {
    const request = parseExportRequest(data);
    if (request === undefined) return this.refuseData(option);
    const target = this.find(request.name);
    if (target === undefined) {
      return this.refuse(option, NBD_REP_ERR_UNKNOWN, `export '${request.name}' not present`);
    }
    const [name, text] = [utf8(target.name), utf8(target.description)];
    const send = (kind: number, body: FieldWriter): Promise<Outcome> =>
      this.reply(option, NBD_REP_INFO, new FieldWriter(2 + body.bytes.length).u16(kind).raw(body.bytes).bytes);
    if (request.infos.has(NBD_INFO_NAME)) await send(NBD_INFO_NAME, new FieldWriter(name.length).raw(name));
    if (target.description !== '') await send(NBD_INFO_DESCRIPTION, new FieldWriter(text.length).raw(text));
    const { minimum, preferred, maximum } = target.blockSizes;
    await send(NBD_INFO_BLOCK_SIZE, new FieldWriter(12).u32(minimum).u32(preferred).u32(maximum));
    const flags = target.flags(this.mode !== 'simple', this.mode === 'extended');
    await send(NBD_INFO_EXPORT, new FieldWriter(10).u64(target.size).u16(flags));
    await this.reply(option, NBD_REP_ACK);
    return option === NBD_OPT_GO ? target : 'next';
  }

  private async metaContexts(option: number, data: Uint8Array): Promise<Outcome> {
    if (option === NBD_OPT_SET_META_CONTEXT) this.chosen = undefined;
    if (this.mode === 'simple') {
      return this.refuse(option, NBD_REP_ERR_INVALID, 'structured replies must be agreed on before meta contexts');
    }
    const request = parseMetaContextRequest(data);
    if (request === undefined) return this.refuseData(option);
    const target = this.find(request.name);
    if (target === undefined) {
      return this.refuse(option, NBD_REP_ERR_UNKNOWN, `export '${request.name}' not present`);
    }
    const listing = option === NBD_OPT_LIST_META_CONTEXT;
    const ids = matchingContexts(target, request.queries, listing);
    for (const id of ids) {
      const name = utf8(target.contexts[id]?.name ?? '');
      // In a list the id means nothing.
      const body = new FieldWriter(4 + name.length).u32(listing ? 0 : id).raw(name).bytes;
      await this.reply(option, NBD_REP_META_CONTEXT, body);
    }
    if (!listing) this.chosen = { target, ids };
    return this.reply(option, NBD_REP_ACK);
  }

  private find(name: string): NbdExport | undefined {
    return this.context.exports().find((candidate) => candidate.name === name);
  }

  private async reply(option: number, type: number, data: Uint8Array = new Uint8Array(0)): Promise<'next'> {
    const head = new FieldWriter(20).u32(REPLY_MAGIC_HIGH).u32(REPLY_MAGIC_LOW).u32(option).u32(type).u32(data.length);
    await this.stream.write(data.length > 0 ? [head.bytes, data] : [head.bytes]);
    return 'next';
  }

  private refuse(option: number, type: number, sentence: string): Promise<'next'> {
    return this.reply(option, type, utf8(sentence.slice(0, 1000)));
  }

  private refuseData(option: number): Promise<'next'> {
    return this.refuse(
      option,
      NBD_REP_ERR_INVALID,
      `the data of option ${option} is not of the form that it should have`,
    );
  }
}
