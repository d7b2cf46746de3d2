/** LUKS1 volumes as an image format: a header, then every sector of the disk encrypted. */
import { BlockError, ImageError } from '../../block-error.ts';
import type { BlockDriver, CreateRequest, DriverContext, OpenRequest } from '../../driver.ts';
import { gather, scatter, sliceVector, vectorBytes } from '../../io-vector.ts';
import type { IoVector } from '../../io-vector.ts';
import { BlockNode } from '../../node.ts';
import type {
  BlockStatus,
  Child,
  JsonValue,
  RequestLimits,
  TruncateOptions,
  WriteFlags,
  ZeroFlags,
} from '../../node.ts';
import { createLuks, isLuks, luksBytes, readLuksHeader, unlockLuks } from '../../crypto/luks.ts';
import { LUKS_AMEND_OPTIONS, LuksKeys } from '../../crypto/luks-keys.ts';
import { LUKS_CREATE_OPTIONS, luksOptions } from '../../crypto/luks-options.ts';
import { SECTOR_BYTES } from '../../crypto/sector-cipher.ts';
import type { SectorCipher } from '../../crypto/sector-cipher.ts';
import { roundUp } from '../mapped/create-options.ts';
import { Mutex } from '../mapped/mutex.ts';
import { readExactly, readOrZero } from '../mapped/node-bytes.ts';

/** Bytes encrypted or decrypted at once. */
const CHUNK_BYTES = 1 << 20;

class LuksNode extends BlockNode {
  override readonly driver = 'luks';
  private readonly file: BlockNode;
  private readonly keys: LuksKeys;
  /** Undefined: opened for its facts only. */
  private readonly cipher: SectorCipher | undefined;
  /** Writes that share a sector with what is around them read it first: one after the other. */
  private readonly partial = new Mutex();

  constructor(name: string, readOnly: boolean, file: BlockNode, keys: LuksKeys, cipher: SectorCipher | undefined) {
    super(name, readOnly);
    this.file = file;
    this.keys = keys;
    this.cipher = cipher;
  }

  private get header(): LuksKeys['header'] {
    return this.keys.header;
  }

  override get size(): number {
    const bytes = Math.max(0, this.file.size - this.header.payloadOffset);
    return bytes - (bytes % SECTOR_BYTES);
  }

  override get children(): readonly Child[] {
    return [{ name: 'file', role: 'file', node: this.file }];
  }

  override get filename(): string {
    return this.file.filename;
  }

  override get limits(): RequestLimits {
    return { alignment: SECTOR_BYTES, zeroAlignment: SECTOR_BYTES, maxTransfer: 0x7ffffe00 };
  }

  override imageInfo(): { encrypted: boolean } {
    return { encrypted: true };
  }

  override specificInfo(): { type: string; data: Record<string, JsonValue> } {
    const { spec, keyBytes, hash, uuid, slots, payloadOffset, digestIterations } = this.header;
    const bits = (keyBytes * 8) / (spec.mode === 'xts' ? 2 : 1);
    return {
      type: 'luks',
      data: {
        'ivgen-alg': spec.iv ?? 'plain',
        ...(spec.ivHash === undefined ? {} : { 'ivgen-hash-alg': spec.ivHash }),
        'hash-alg': hash,
        'cipher-alg': `aes-${bits}`,
        uuid,
        'cipher-mode': spec.mode,
        slots: slots.map(({ active, iterations, keyOffset, stripes }): JsonValue =>
          active
            ? { active, iters: iterations, 'key-offset': keyOffset, stripes }
            : { active, 'key-offset': keyOffset },
        ),
        'payload-offset': payloadOffset,
        'master-key-iters': digestIterations,
      },
    };
  }

  override async read(offset: number, into: IoVector): Promise<void> {
    const total = vectorBytes(into);
    this.checkRange(offset, total);
    for (let at = 0; at < total;) {
      const from = offset + at;
      const start = from - (from % SECTOR_BYTES);
      const end = Math.min(start + CHUNK_BYTES, roundUp(offset + total, SECTOR_BYTES));
      const plain = await this.readSectors(start, end - start);
      const bytes = Math.min(end, offset + total) - from;
      scatter(plain.subarray(from - start, from - start + bytes), into, at);
      at += bytes;
    }
  }

  override async write(offset: number, from: IoVector, flags: WriteFlags = {}): Promise<void> {
    this.checkWritable();
    const total = vectorBytes(from);
    this.checkRange(offset, total);
    const whole = offset % SECTOR_BYTES === 0 && total % SECTOR_BYTES === 0;
    const work = (): Promise<void> =>
      this.writeChunks(offset, total, (at, bytes) => gather(sliceVector(from, at, bytes)));
    await (whole ? work() : this.partial.run(work));
    if (flags.fua === true) await this.flush();
  }

  override async writeZeroes(offset: number, bytes: number, flags: ZeroFlags = {}): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, bytes);
    // Zeroes are written encrypted, like everything.
    if (flags.noFallback === true) throw new BlockError('ENOTSUP');
    await this.partial.run(() => this.writeChunks(offset, bytes, (_at, count) => new Uint8Array(count)));
    if (flags.fua === true) await this.flush();
  }

  override discard(offset: number, bytes: number): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, bytes);
    return Promise.resolve();
  }

  override flush(): Promise<void> {
    return this.file.readOnly ? Promise.resolve() : this.file.flush();
  }

  override status(offset: number, bytes: number): Promise<BlockStatus> {
    this.checkRange(offset, bytes);
    return Promise.resolve({ bytes, data: bytes > 0, zero: false, allocated: bytes > 0 });
  }

  override async truncate(size: number, options: TruncateOptions = {}): Promise<void> {
    this.checkWritable();
    const before = this.size;
    await this.file.truncate(this.header.payloadOffset + size, options);
    if (options.zero === true && size > before) await this.writeZeroes(before, this.size - before);
  }

  override async amend(
    options: Readonly<Record<string, string>>,
    force: boolean,
    progress: (done: number) => void,
  ): Promise<void> {
    this.checkWritable();
    await this.keys.amend(options, force, {
      write: (offset, bytes) => this.file.write(offset, [bytes]),
      flush: () => this.file.flush(),
    });
    progress(1);
  }

  override close(): Promise<void> {
    return this.flush();
  }

  private get open(): SectorCipher {
    if (this.cipher === undefined) throw new BlockError('EIO', `node '${this.name}' was opened without its key`);
    return this.cipher;
  }

  private async readSectors(offset: number, bytes: number): Promise<Uint8Array> {
    const data = new Uint8Array(bytes);
    await readOrZero(this.file, this.header.payloadOffset + offset, [data]);
    return this.open.decrypt(offset / SECTOR_BYTES, data);
  }

  private async writeChunks(
    offset: number,
    total: number,
    piece: (at: number, bytes: number) => Uint8Array,
  ): Promise<void> {
    for (let at = 0; at < total;) {
      const from = offset + at;
      const start = from - (from % SECTOR_BYTES);
      const bytes = Math.min(start + CHUNK_BYTES - from, total - at);
      const end = roundUp(from + bytes, SECTOR_BYTES);
      let plain = piece(at, bytes);
      if (from !== start || from + bytes !== end) {
        const around = await this.readSectors(start, end - start);
        around.set(plain, from - start);
        plain = around;
      }
      await this.file.write(this.header.payloadOffset + start, [this.open.encrypt(start / SECTOR_BYTES, plain)]);
      at += bytes;
    }
  }
}

async function open(request: OpenRequest, context: DriverContext): Promise<BlockNode> {
  // INVARIANT: openChild throws unless the child may be missing.
  const file = (await context.openChild('file'))!;
  const read = (offset: number, bytes: number): Promise<Uint8Array> => readExactly(file, offset, bytes, 'LUKS header');
  const header = await readLuksHeader(read);
  const secret = request.options['key-secret'];
  const keys = new LuksKeys({
    header,
    read,
    host: context.host,
    secret: (id) => context.secret(id),
    openedWith: typeof secret === 'string' ? secret : undefined,
  });
  if (request.noIo && typeof secret !== 'string')
    return new LuksNode(request.name, request.readOnly, file, keys, undefined);
  if (typeof secret !== 'string') throw new ImageError("Parameter 'key-secret' is required for cipher");
  const cipher = await unlockLuks(header, read, await context.secret(secret), context.host);
  return new LuksNode(request.name, request.readOnly, file, keys, cipher);
}

async function create({ file, size, options, preallocation }: CreateRequest, context: DriverContext): Promise<void> {
  const secret = options['key-secret'];
  if (secret === undefined) throw new ImageError("Parameter 'key-secret' is required for cipher");
  const { header } = await createLuks(luksOptions(options), await context.secret(secret), context.host);
  await file.truncate(0);
  await file.write(0, [header]);
  const end = header.length + roundUp(size, SECTOR_BYTES);
  await file.truncate(end, preallocation === undefined ? {} : { preallocation });
}

export const luksDriver: BlockDriver = {
  name: 'luks',
  kind: 'format',
  options: [{ name: 'key-secret', type: 'string', help: 'ID of the secret that provides the keyslot passphrase' }],
  createOptions: [{ name: 'size', type: 'size', help: 'Virtual disk size' }, ...LUKS_CREATE_OPTIONS],
  probe: (head) => (isLuks(head) ? 100 : 0),
  open,
  create,
  amendOptions: LUKS_AMEND_OPTIONS,
  measure: async (size, options) => {
    if (options['key-secret'] === undefined) throw new ImageError("Parameter 'key-secret' is required for cipher");
    const required = luksBytes(luksOptions(options)) + size;
    return { required, fullyAllocated: required };
  },
};
