/** The qcow2 format as a driver: probing, opening, creating. */
import { ImageError } from '../../block-error.ts';
import { describeNode } from '../../describe-node.ts';
import type { BlockDriver, DriverContext, NodeOptions, OpenRequest } from '../../driver.ts';
import type { BlockNode, JsonValue } from '../../node.ts';
import { AMEND_OPTIONS } from './amend.ts';
import { codecFor } from './codec.ts';
import { CREATE_OPTIONS, createQcow2 } from './create.ts';
import { Qcow2Image } from './image.ts';
import { openEncryption } from './encryption.ts';
import type { Header } from './layout.ts';
import {
  INCOMPATIBLE_CORRUPT, INCOMPATIBLE_DATA_FILE, INCOMPATIBLE_DIRTY, isQcow2, KNOWN_AUTOCLEAR, parseHeader, viewOf,
} from './layout.ts'; // prettier-ignore
import { measureQcow2 } from './measure.ts';
import { readTable } from './metadata-file.ts';
import { Qcow2Node } from './qcow2-node.ts';
import { CACHE_OPTIONS, RUNTIME_OPTIONS, runtimeOptions } from './runtime-options.ts';

export const qcow2: BlockDriver = {
  name: 'qcow2',
  kind: 'format',
  options: RUNTIME_OPTIONS,
  replacedTogether: [CACHE_OPTIONS],
  probe: (head) => (isQcow2(head) ? 100 : 0),
  open: openQcow2,
  createOptions: CREATE_OPTIONS,
  create: createQcow2,
  supportsBacking: true,
  compresses: true,
  amendOptions: AMEND_OPTIONS,
  measure: measureQcow2,
};

async function openQcow2(request: OpenRequest, context: DriverContext): Promise<BlockNode> {
  const file = await context.openChild('file');
  if (file === undefined) throw new ImageError("A 'file' node is missing");
  const header = await readHeader(file);
  const { readOnly, options } = request;
  if (header.incompatible & INCOMPATIBLE_CORRUPT && !readOnly && !request.check)
    throw new ImageError('qcow2: Image is corrupt; cannot be opened read/write', 'EACCES');
  // GUEST: who only wants to know what the image is does not open the files that it names.
  const dataFile =
    header.incompatible & INCOMPATIBLE_DATA_FILE && !request.noIo
      ? await openDataFile(header, request, context)
      : undefined;
  const backing = await openBacking(header, request, context);
  const { lazyRefcounts, unmap } = runtimeOptions(request, header);
  const image = new Qcow2Image({
    name: request.name,
    header,
    file,
    dataFile,
    backing,
    readOnly,
    lazyRefcounts,
    unmap,
    codec: codecFor(context.host, header.compressionType),
    encryption: await openEncryption(header, file, options, request.noIo, context),
    warn: (sentence) => context.warn(sentence),
  });
  await image.open();
  if (!readOnly && !request.noIo) await clearUnknown(image);
  const node = new Qcow2Node(image, keyedName(options, file));
  // A check reads the table itself, and tells what is wrong with it.
  if (!request.check) await node.snapshots.load();
  await node.bitmaps.load();
  if (header.incompatible & INCOMPATIBLE_DIRTY && !readOnly && !request.check) await repair(node, context);
  return node;
}

/** Refcounts of an image that was not closed are put right before it is written to. */
async function repair(node: Qcow2Node, context: DriverContext): Promise<void> {
  const { messages, checkErrors } = await node.check('all');
  for (const sentence of messages) context.warn(sentence);
  if (checkErrors > 0) throw new ImageError('Could not repair dirty image: Input/output error', 'EIO');
}

/** The name of an image that needs a key; undefined: its file's name says enough. */
function keyedName(options: NodeOptions, file: BlockNode): string | undefined {
  const { encrypt } = options;
  const secret = isObject(encrypt) ? encrypt['key-secret'] : undefined;
  if (secret === undefined) return undefined;
  return `json:${JSON.stringify({ 'encrypt.key-secret': secret, driver: 'qcow2', file: describeNode(file) })}`;
}

/** Whoever writes without knowing what a bit of this kind vouches for takes the bit away. */
async function clearUnknown(image: Qcow2Image): Promise<void> {
  const { header, file } = image;
  if (header.version < 3) return;
  const stored = viewOf(await readTable(file, 88, 8)).getBigUint64(0);
  if ((stored & ~BigInt(KNOWN_AUTOCLEAR)) === 0n) return;
  header.autoclear &= KNOWN_AUTOCLEAR;
  await image.writeHeader();
}

async function readHeader(file: BlockNode): Promise<Header> {
  const start = await readTable(file, 0, Math.min(512, file.size));
  if (start.length < 72 || !isQcow2(start)) throw new ImageError('Image is not in qcow2 format');
  const bits = viewOf(start).getUint32(20);
  // GUEST: cluster_bits; parseHeader refuses what is out of bounds, and nothing larger than 2 MiB is read for it.
  return parseHeader(await readTable(file, 0, Math.min(file.size, 2 ** Math.min(21, Math.max(9, bits)))));
}

async function openDataFile(
  header: Header,
  request: OpenRequest,
  context: DriverContext,
): Promise<BlockNode | undefined> {
  const given = await context.openChild('data-file', { optional: true });
  if (given !== undefined) return given;
  if (header.dataFile === undefined) {
    throw new ImageError("'data-file' is required for this image");
  }
  return context.openNamed(header.dataFile, { format: 'raw', readOnly: request.readOnly, role: 'data-file' });
}

/** The node that options name, or the file that the header names; `backing: null` or noBacking: none. */
async function openBacking(
  header: Header,
  request: OpenRequest,
  context: DriverContext,
): Promise<BlockNode | undefined> {
  if (request.noBacking || request.options['backing'] === null) return undefined;
  const format = header.backingFormat;
  const more = request.options['backing'];
  // Options that do not say which file: they are for the one that the header names.
  const isPartial = isObject(more) && ['file', 'filename'].every((name) => !(name in more));
  if (!isPartial || header.backingFile === undefined) {
    const given = await context.openChild('backing', { optional: true, readOnly: true });
    if (given !== undefined || header.backingFile === undefined) return given;
  }
  return context.openNamed(header.backingFile, {
    ...(format === undefined ? {} : { format }),
    readOnly: true,
    role: 'backing',
    ...(isPartial ? { options: more } : {}),
  });
}

function isObject(value: JsonValue | undefined): value is NodeOptions {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
