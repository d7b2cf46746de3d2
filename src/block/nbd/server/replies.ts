/** Replies of the transmission phase in the three forms that a client may have agreed on. */
import type { Errno } from '../../block-error.ts';
import {
  EXTENDED_REPLY_BYTES,
  NBD_EXTENDED_REPLY_MAGIC,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
  SIMPLE_REPLY_BYTES,
  STRUCTURED_REPLY_BYTES,
} from '../constants.ts';
import { FieldWriter, utf8 } from '../bytes.ts';
import { nbdError } from '../errors.ts';
import type { Extent } from './contexts.ts';
import type { ReplyMode } from './handshake.ts';

/** What a reply repeats of its request. */
export interface RequestMark {
  /** The client's eight bytes, whatever they mean to it. */
  readonly cookie: Uint8Array;
  readonly offset: number;
}

export function simpleReply({ cookie }: RequestMark, error: Errno | undefined): Uint8Array {
  return new FieldWriter(SIMPLE_REPLY_BYTES)
    .u32(NBD_SIMPLE_REPLY_MAGIC)
    .u32(error ? nbdError(error) : 0)
    .raw(cookie).bytes;
}

/** A request without data in its reply is done. */
export function doneReply(mode: ReplyMode, mark: RequestMark): Uint8Array {
  if (mode !== 'extended') return simpleReply(mark, undefined);
  return chunkHead(mode, mark, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0);
}

/** A read of nothing: once structured replies are agreed on, reads have no others. */
export function emptyRead(mode: ReplyMode, mark: RequestMark): Uint8Array {
  if (mode === 'simple') return simpleReply(mark, undefined);
  return chunkHead(mode, mark, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0);
}

export function errorReply(mode: ReplyMode, mark: RequestMark, error: Errno, sentence: string): readonly Uint8Array[] {
  if (mode === 'simple') return [simpleReply(mark, error)];
  const text = utf8(sentence.slice(0, 1000));
  const body = new FieldWriter(6 + text.length).u32(nbdError(error)).u16(text.length).raw(text).bytes;
  return [chunkHead(mode, mark, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, body.length), body];
}

/** Bytes that stand before a piece of data. */
export function dataHead(mode: ReplyMode, mark: RequestMark, offset: number, bytes: number, last: boolean): Uint8Array {
  const flags = last ? NBD_REPLY_FLAG_DONE : 0;
  const head = chunkHead(mode, mark, flags, NBD_REPLY_TYPE_OFFSET_DATA, 8 + bytes);
  return new FieldWriter(head.length + 8).raw(head).u64(offset).bytes;
}

export function holeChunk(
  mode: ReplyMode,
  mark: RequestMark,
  offset: number,
  bytes: number,
  last: boolean,
): Uint8Array[] {
  const flags = last ? NBD_REPLY_FLAG_DONE : 0;
  return [
    chunkHead(mode, mark, flags, NBD_REPLY_TYPE_OFFSET_HOLE, 12),
    new FieldWriter(12).u64(offset).u32(bytes).bytes,
  ];
}

export function statusChunk(
  mode: ReplyMode,
  mark: RequestMark,
  contextId: number,
  extents: readonly Extent[],
  last: boolean,
): Uint8Array[] {
  const flags = last ? NBD_REPLY_FLAG_DONE : 0;
  if (mode === 'extended') {
    const body = new FieldWriter(8 + 16 * extents.length).u32(contextId).u32(extents.length);
    for (const extent of extents) body.u64(extent.bytes).u64(extent.flags);
    return [chunkHead(mode, mark, flags, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, body.bytes.length), body.bytes];
  }
  const body = new FieldWriter(4 + 8 * extents.length).u32(contextId);
  for (const extent of extents) body.u32(extent.bytes).u32(extent.flags);
  return [chunkHead(mode, mark, flags, NBD_REPLY_TYPE_BLOCK_STATUS, body.bytes.length), body.bytes];
}

function chunkHead(mode: ReplyMode, mark: RequestMark, flags: number, type: number, bytes: number): Uint8Array {
  if (mode === 'extended') {
    const head = new FieldWriter(EXTENDED_REPLY_BYTES).u32(NBD_EXTENDED_REPLY_MAGIC).u16(flags).u16(type);
    return head.raw(mark.cookie).u64(mark.offset).u64(bytes).bytes;
  }
  const head = new FieldWriter(STRUCTURED_REPLY_BYTES).u32(NBD_STRUCTURED_REPLY_MAGIC).u16(flags).u16(type);
  return head.raw(mark.cookie).u32(bytes).bytes;
}
