/** Making a new image: the options, and the first clusters in the order header, refcount table, refcount block, L1. */
import { ImageError } from '../../block-error.ts';
import type { CreateRequest, DriverContext, OptionDeclaration } from '../../driver.ts';
import type { BlockNode, Preallocation } from '../../node.ts';
import { codecFor } from './codec.ts';
import { Qcow2Image } from './image.ts';
import { setUpEncryption } from './encryption.ts';
import type { Header } from './layout.ts';
import {
  AUTOCLEAR_DATA_FILE_RAW, CLUSTER_BITS_MAX, CLUSTER_BITS_MIN, COMPATIBLE_LAZY_REFCOUNTS, COMPRESSION_ZLIB, COMPRESSION_ZSTD,
  HEADER_BYTES_V3, INCOMPATIBLE_COMPRESSION, INCOMPATIBLE_DATA_FILE, INCOMPATIBLE_EXTENDED_L2, L1_BYTES_MAX, l1EntriesFor,
  serializeHeader, viewOf, writeU64,
} from './layout.ts'; // prettier-ignore
import { resize } from './resize.ts';

export const CREATE_OPTIONS: readonly OptionDeclaration[] = [
  { name: 'backing_file', type: 'string', help: 'File name of a base image' },
  { name: 'backing_fmt', type: 'string', help: 'Image format of the base image' },
  { name: 'cluster_size', type: 'size', help: 'qcow2 cluster size', default: '65536' },
  { name: 'compat', type: 'string', help: 'Compatibility level (v2 [0.10] or v3 [1.1])' },
  { name: 'compression_type', type: 'string', help: 'Compression method used for image cluster compression', default: 'zlib' },
  { name: 'data_file', type: 'string', help: 'File name of an external data file' },
  { name: 'data_file_raw', type: 'bool', help: 'The external data file must stay valid as a raw image' },
  { name: 'encrypt.cipher-alg', type: 'string', help: 'Name of encryption cipher algorithm' },
  { name: 'encrypt.cipher-mode', type: 'string', help: 'Name of encryption cipher mode' },
  { name: 'encrypt.format', type: 'string', help: "Encrypt the image, format choices: 'aes', 'luks'" },
  { name: 'encrypt.hash-alg', type: 'string', help: 'Name of encryption hash algorithm' },
  { name: 'encrypt.iter-time', type: 'number', help: 'Time to spend in PBKDF in milliseconds' },
  { name: 'encrypt.ivgen-alg', type: 'string', help: 'Name of IV generator algorithm' },
  { name: 'encrypt.ivgen-hash-alg', type: 'string', help: 'Name of IV generator hash algorithm' },
  { name: 'encrypt.key-secret', type: 'string', help: 'ID of secret providing qcow AES key or LUKS passphrase' },
  { name: 'encryption', type: 'bool', help: "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)" },
  { name: 'extended_l2', type: 'bool', help: 'Extended L2 tables', default: 'off' },
  { name: 'lazy_refcounts', type: 'bool', help: 'Postpone refcount updates', default: 'off' },
  { name: 'preallocation', type: 'string', help: 'Preallocation mode (allowed values: off, metadata, falloc, full)' },
  { name: 'refcount_bits', type: 'number', help: 'Width of a reference count entry in bits', default: '16' },
  { name: 'size', type: 'size', help: 'Virtual disk size' },
]; // prettier-ignore

const PREALLOCATIONS: readonly string[] = ['off', 'metadata', 'falloc', 'full'];

/** What the options say, checked against each other. */
export interface CreatePlan {
  readonly header: Header;
  readonly preallocation: Preallocation;
}

export function planCreate(size: number, options: Readonly<Record<string, string>>, mode?: Preallocation): CreatePlan {
  const clusterSize = sizeOf(options['cluster_size'] ?? '65536', 'cluster_size');
  const clusterBits = Math.log2(clusterSize);
  if (!Number.isInteger(clusterBits) || clusterBits < CLUSTER_BITS_MIN || clusterBits > CLUSTER_BITS_MAX)
    throw new ImageError('Cluster size must be a power of two between 512 and 2048k');
  const version = versionOf(options['compat']);
  const refcountBits = Number(options['refcount_bits'] ?? '16');
  const refcountOrder = Math.log2(refcountBits);
  if (!Number.isInteger(refcountOrder) || refcountOrder < 0 || refcountOrder > 6)
    throw new ImageError('Refcount width must be a power of two and may not exceed 64 bits');
  const newer = 'compatibility level 1.1 and above (use version=v3 or greater)';
  if (version < 3 && refcountBits !== 16)
    throw new ImageError(
      'Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)',
    );
  const lazy = boolOf(options['lazy_refcounts'], 'lazy_refcounts');
  if (version < 3 && lazy) throw new ImageError(`Lazy refcounts only supported with ${newer}`);
  const dataFile = options['data_file'];
  const dataFileRaw = boolOf(options['data_file_raw'], 'data_file_raw');
  const backingFile = options['backing_file'];
  if (backingFile === undefined && options['backing_fmt'] !== undefined)
    throw new ImageError('Backing format cannot be used without backing file');
  if (version < 3 && dataFile !== undefined)
    throw new ImageError(`External data files are only supported with ${newer}`);
  if (dataFileRaw && dataFile === undefined) throw new ImageError('data-file-raw requires data-file');
  if (dataFileRaw && backingFile !== undefined)
    throw new ImageError('Backing file and data-file-raw cannot be used at the same time');
  const extended = boolOf(options['extended_l2'], 'extended_l2');
  if (extended && version < 3) throw new ImageError(`Extended L2 entries are only supported with ${newer}`);
  if (extended && clusterSize < 16384)
    throw new ImageError('Extended L2 entries are only supported with cluster sizes of at least 16384 bytes');
  const preallocation = preallocationOf(options['preallocation'] ?? mode ?? 'off');
  if (backingFile !== undefined && preallocation !== 'off' && !extended)
    throw new ImageError('Backing file and preallocation can only be used at the same time if extended_l2 is on');
  const compressionType = compressionOf(options['compression_type']);
  if (version < 3 && compressionType !== COMPRESSION_ZLIB)
    throw new ImageError(`Non-zlib compression type is only supported with ${newer}`);
  let incompatible = compressionType === COMPRESSION_ZLIB ? 0 : INCOMPATIBLE_COMPRESSION;
  if (extended) incompatible |= INCOMPATIBLE_EXTENDED_L2;
  if (dataFile !== undefined) incompatible |= INCOMPATIBLE_DATA_FILE;
  const header: Header = {
    version,
    clusterBits,
    size: 0,
    cryptMethod: 0,
    l1Entries: 0,
    l1Offset: 0,
    refcountTableOffset: clusterSize,
    refcountTableClusters: 1,
    snapshotCount: 0,
    snapshotsOffset: 0,
    incompatible,
    compatible: lazy ? COMPATIBLE_LAZY_REFCOUNTS : 0,
    autoclear: dataFileRaw ? AUTOCLEAR_DATA_FILE_RAW : 0,
    refcountOrder,
    headerBytes: HEADER_BYTES_V3,
    compressionType,
    backingFile,
    backingFormat: options['backing_fmt'],
    dataFile,
    bitmaps: undefined,
    crypto: undefined,
    unknownExtensions: [],
    unknownFields: new Uint8Array(0),
  };
  if (l1EntriesFor(header, size) * 8 > L1_BYTES_MAX)
    throw new ImageError(
      `The image size is too large for file format 'qcow2' (try using a larger cluster size)`,
      'EFBIG',
    );
  return { header, preallocation };
}

/** Writes an image without any data into `request.file`. */
export async function createQcow2(request: CreateRequest, context: DriverContext): Promise<void> {
  const { header, preallocation } = planCreate(request.size, request.options, request.preallocation);
  const { file } = request;
  const clusterSize = 2 ** header.clusterBits;
  const dataFile = header.dataFile === undefined ? undefined : await makeDataFile(request, header.dataFile, context);
  try {
    await file.truncate(0);
    const table = new Uint8Array(clusterSize);
    writeU64(viewOf(table), 0, 2 * clusterSize);
    // The first three clusters are in use: header, refcount table, and this block, which counts them.
    const block = new Uint8Array(clusterSize);
    const image = new Qcow2Image({
      name: file.name,
      header,
      file,
      dataFile,
      backing: undefined,
      readOnly: false,
      lazyRefcounts: false,
      unmap: false,
      codec: codecFor(context.host, header.compressionType),
      encryption: undefined,
      warn: (sentence) => context.warn(sentence),
    });
    await file.write(0, [serializeHeader(header), table, block]);
    await image.open();
    await image.refcounts.change(0, 3, 1);
    await setUpEncryption(image, request.options, context);
    await resize(image, Math.ceil(request.size / 512) * 512, { preallocation });
    await image.settle();
  } finally {
    await dataFile?.close();
  }
}

async function makeDataFile(request: CreateRequest, name: string, context: DriverContext): Promise<BlockNode> {
  const { host } = context;
  if (host.openFile === undefined) throw new ImageError(`data_file '${name}': this platform has no files`);
  const path = host.resolve?.(request.file.filename, name) ?? name;
  const made = await host.openFile(path, { write: true, create: true, truncate: true });
  // Storage that is to be there from the beginning is got when the disk gets its size.
  const preallocated = (request.options['preallocation'] ?? 'off') !== 'off';
  await made.truncate(preallocated ? 0 : Math.ceil(request.size / 512) * 512);
  await made.close();
  return context.openNamed(name, { format: 'raw', readOnly: false, role: 'data-file' });
}

export function versionOf(compat: string | undefined): number {
  if (compat === undefined || compat === '1.1' || compat === 'v3') return 3;
  if (compat === '0.10' || compat === 'v2') return 2;
  throw new ImageError(`Parameter 'version' does not accept value '${compat}'`);
}

function compressionOf(name: string | undefined): number {
  if (name === undefined || name === 'zlib') return COMPRESSION_ZLIB;
  if (name === 'zstd') return COMPRESSION_ZSTD;
  throw new ImageError(`Parameter 'compression-type' does not accept value '${name}'`);
}

function preallocationOf(name: string): Preallocation {
  if (!PREALLOCATIONS.includes(name)) throw new ImageError(`Parameter 'preallocation' does not accept value '${name}'`);
  // INVARIANT: the list holds exactly the members of the type.
  return name as Preallocation;
}

export function boolOf(text: string | undefined, option: string): boolean {
  if (text === undefined || text === 'off' || text === 'no' || text === 'false') return false;
  if (text === 'on' || text === 'yes' || text === 'true') return true;
  throw new ImageError(`Parameter '${option}' expects 'on' or 'off', not '${text}'`);
}

/** "64k", "1.5G", "512": bytes. */
export function sizeOf(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)([bkmgtpe]?)$/i.exec(text);
  const power = 'bkmgtpe'.indexOf((match?.[2] ?? '').toLowerCase() || 'b');
  const bytes = match === null ? Number.NaN : Math.ceil(Number(match[1]) * 1024 ** power);
  if (!Number.isSafeInteger(bytes)) throw new ImageError(`Parameter '${option}' expects a size, not '${text}'`);
  return bytes;
}
