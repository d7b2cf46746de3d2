/** What an NBD server offers under a name: a node, or a part of it, and what clients are told about it. */
import { ImageError } from '../../block-error.ts';
import type { BlockNode } from '../../node.ts';
import {
  CONTEXT_DIRTY_BITMAP,
  MAX_CONTEXTS,
  MAX_PAYLOAD_BYTES,
  MAX_STRING_BYTES,
  NBD_FLAG_BLOCK_STAT_PAYLOAD,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from '../constants.ts';
import { utf8 } from '../bytes.ts';
import { AllocationDepth, BaseAllocation, BitmapContext, type MetaContext } from './contexts.ts';

export interface NbdExportOptions {
  /** Name that clients ask for; the empty one is what they get who ask for none. */
  readonly name: string;
  /** Text that `--list` shows. */
  readonly description?: string;
  readonly node: BlockNode;
  /** Where in the node it begins, and how many bytes there are; all from there on by default. */
  readonly offset?: number;
  readonly size?: number;
  readonly readOnly?: boolean;
  /** Every write is on stable storage when it is answered. */
  readonly writethrough?: boolean;
  /** Discards and zeroes may give storage back; default true. */
  readonly discard?: boolean;
  /** Writes of nothing but zeroes become zeroes without data; 'unmap' gives their storage back. */
  readonly detectZeroes?: 'off' | 'on' | 'unmap';
  /** Clients may use several connections at once: what one has written the others read. All our connections share one node. */
  readonly multiConn?: boolean;
  /** Offers `qemu:allocation-depth`. */
  readonly allocationDepth?: boolean;
  /** Dirty bitmaps to offer as `qemu:dirty-bitmap:NAME`. */
  readonly bitmaps?: readonly string[];
}

export class NbdExport {
  readonly name: string;
  readonly description: string;
  readonly node: BlockNode;
  readonly offset: number;
  readonly size: number;
  readonly readOnly: boolean;
  readonly contexts: readonly MetaContext[];
  readonly writethrough: boolean;
  readonly discard: boolean;
  readonly detectZeroes: 'off' | 'on' | 'unmap';
  private readonly multiConn: boolean;

  /** @throws {ImageError} for a name that is too long, a bitmap that is not there, a part beyond the end. */
  constructor(options: NbdExportOptions) {
    const { name, node, description = '', offset = 0, bitmaps = [] } = options;
    if (utf8(name).length > MAX_STRING_BYTES) throw new ImageError(`export name '${name}' too long`);
    if (utf8(description).length > MAX_STRING_BYTES) throw new ImageError(`description '${description}' too long`);
    if (offset > node.size)
      throw new ImageError(`Offset (${offset}) has to be smaller than the image size (${node.size})`);
    this.name = name;
    this.description = description;
    this.node = node;
    this.offset = offset;
    this.size = options.size ?? node.size - offset;
    if (offset + this.size > node.size) {
      throw new ImageError(`Size (${this.size}) from offset ${offset} on is more than the image has (${node.size})`);
    }
    this.readOnly = options.readOnly === true || node.readOnly;
    this.writethrough = options.writethrough ?? false;
    this.discard = options.discard ?? true;
    this.detectZeroes = options.detectZeroes ?? 'off';
    this.multiConn = options.multiConn ?? true;
    const contexts: MetaContext[] = [new BaseAllocation(node)];
    if (options.allocationDepth === true) contexts.push(new AllocationDepth(node));
    for (const bitmap of bitmaps) contexts.push(bitmapContext(node, bitmap));
    if (contexts.length > MAX_CONTEXTS)
      throw new ImageError(`export '${name}' has more than ${MAX_CONTEXTS} meta contexts`);
    this.contexts = contexts;
  }

  /** Transmission flags for a client that has agreed on structured replies or extended headers. */
  flags(structured: boolean, extended: boolean): number {
    let flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_CACHE;
    if (this.readOnly) flags |= NBD_FLAG_READ_ONLY;
    else flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
    if (this.multiConn || this.readOnly) flags |= NBD_FLAG_CAN_MULTI_CONN;
    if (structured) flags |= NBD_FLAG_SEND_DF;
    if (extended) flags |= NBD_FLAG_BLOCK_STAT_PAYLOAD;
    return flags;
  }

  /** Smallest, best and largest request, bytes. Any node takes requests of any alignment. */
  get blockSizes(): { readonly minimum: number; readonly preferred: number; readonly maximum: number } {
    return {
      minimum: 1,
      preferred: Math.min(Math.max(4096, this.node.limits.alignment), MAX_PAYLOAD_BYTES),
      maximum: MAX_PAYLOAD_BYTES,
    };
  }
}

/** The bitmap is in the node, or in one that it is built on, nearest first. */
function bitmapContext(top: BlockNode, bitmap: string): MetaContext {
  for (let node: BlockNode | undefined = top; node !== undefined; node = nodeBelow(node)) {
    const found = node.bitmaps?.find(bitmap);
    if (found !== undefined) return new BitmapContext(`${CONTEXT_DIRTY_BITMAP}${bitmap}`, found);
  }
  throw new ImageError(`Bitmap '${bitmap}' is not found`);
}

function nodeBelow({ children }: BlockNode): BlockNode | undefined {
  const below = children.find(({ role }) => role === 'filtered') ?? children.find(({ role }) => role === 'backing');
  return below?.node;
}
