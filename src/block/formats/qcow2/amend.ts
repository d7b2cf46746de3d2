/** `img amend`: what can be changed of an existing image. */
import { ImageError } from '../../block-error.ts';
import { LUKS_AMEND_OPTIONS } from '../../crypto/luks-keys.ts';
import type { OptionDeclaration } from '../../driver.ts';
import { boolOf, sizeOf, versionOf } from './create.ts';
import { amendEncryption } from './encryption.ts';
import type { Qcow2Image } from './image.ts';
import {
  AUTOCLEAR_DATA_FILE_RAW, COMPATIBLE_LAZY_REFCOUNTS, ENTRY_COMPRESSED, ENTRY_COPIED, ENTRY_ZERO, INCOMPATIBLE_CORRUPT, INCOMPATIBLE_DIRTY, viewOf, writeU64,
} from './layout.ts'; // prettier-ignore
import { readTable } from './metadata-file.ts';
import type { Qcow2Node } from './qcow2-node.ts';
import { writeStructure } from './rebuild.ts';
import { entryOffset } from './walk.ts';

export const AMEND_OPTIONS: readonly OptionDeclaration[] = [
  { name: 'backing_file', type: 'string', help: 'File name of a base image' },
  { name: 'backing_fmt', type: 'string', help: 'Image format of the base image' },
  { name: 'compat', type: 'string', help: 'Compatibility level (v2 [0.10] or v3 [1.1])' },
  { name: 'data_file', type: 'string', help: 'File name of an external data file' },
  { name: 'data_file_raw', type: 'bool', help: 'The external data file must stay valid as a raw image' },
  ...LUKS_AMEND_OPTIONS.map((option) => ({ ...option, name: `encrypt.${option.name}` })),
  { name: 'lazy_refcounts', type: 'bool', help: 'Postpone refcount updates' },
  { name: 'refcount_bits', type: 'number', help: 'Width of a reference count entry in bits' },
  { name: 'size', type: 'size', help: 'Virtual disk size' },
];

const NEWER = 'only supported with compatibility level 1.1 and above (use compat=1.1 or greater)';

export async function amendQcow2(
  node: Qcow2Node,
  options: Readonly<Record<string, string>>,
  force: boolean,
  progress: (done: number) => void,
): Promise<void> {
  for (const name of Object.keys(options))
    if (!AMEND_OPTIONS.some((option) => option.name === name))
      throw new ImageError(`Option '${name}' cannot be amended`, 'ENOTSUP');
  const { image } = node;
  const { header } = image;
  const version = options['compat'] === undefined ? header.version : levelOf(options['compat']);
  const lazy =
    options['lazy_refcounts'] === undefined ? undefined : boolOf(options['lazy_refcounts'], 'lazy_refcounts');
  const order = orderOf(options['refcount_bits'], header.refcountOrder);
  checkOptions(image, options);
  if (order !== 4 && version < 3) {
    throw new ImageError(
      options['refcount_bits'] === undefined
        ? 'compat=0.10 requires refcount_bits=16'
        : `Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)`,
    );
  }
  await image.ranges.alone(async () => {
    await image.settle();
    if (version > header.version) {
      if (!node.snapshots.isComplete) await node.snapshots.rewrite();
      header.version = version;
      await image.writeHeader();
      image.tables.reconfigure();
    }
    const encryption = encryptionOptions(options);
    if (encryption !== undefined) await amendEncryption(image, encryption, force);
    const steps = new Steps([order !== header.refcountOrder, version < header.version], progress);
    if (order !== header.refcountOrder) {
      await writeStructure(image, await node.countReferences(), order);
      steps.done();
    }
    await setDataFile(image, options);
    if (lazy === true && version < 3) throw new ImageError(`Lazy refcounts ${NEWER}`);
    if (lazy !== undefined) await setLazy(image, lazy);
    if (options['size'] !== undefined) await node.resizeAlone(sizeOf(options['size'], 'size'));
    // Last: what the older version does not have may be gone now.
    if (version < header.version) await downgrade(node, (share) => steps.within(share));
  });
}

/** Progress of those steps that there are. */
class Steps {
  private readonly count: number;
  private readonly progress: (done: number) => void;
  private finished = 0;

  constructor(wanted: readonly boolean[], progress: (done: number) => void) {
    this.count = wanted.filter((step) => step).length;
    this.progress = progress;
  }

  /** `share` of 1 of the present step. */
  within(share: number): void {
    this.progress((this.finished + share) / this.count);
  }

  done(): void {
    this.finished++;
    this.within(0);
  }
}

function levelOf(text: string): number {
  try {
    return versionOf(text);
  } catch {
    throw new ImageError(`Unknown compatibility level ${text}`);
  }
}

/** What no image can have changed, or not this one. */
function checkOptions({ header, hasDataFile }: Qcow2Image, options: Readonly<Record<string, string>>): void {
  const { backing_file: file, backing_fmt: format, data_file: dataFile, data_file_raw: dataFileRaw } = options;
  const changed = file !== header.backingFile || format !== header.backingFormat;
  if ((file !== undefined || format !== undefined) && changed)
    throw new ImageError("Cannot amend the backing file\nYou can use 'orrery img rebase' instead.");
  if (dataFile !== undefined && !hasDataFile)
    throw new ImageError('data-file can only be set for images that use an external data file');
  const isRaw = (header.autoclear & AUTOCLEAR_DATA_FILE_RAW) !== 0;
  if (dataFileRaw !== undefined && boolOf(dataFileRaw, 'data_file_raw') && !isRaw)
    throw new ImageError('data-file-raw cannot be set on existing images');
}

/** Options of encryption by their own names; undefined when there are none. */
function encryptionOptions(options: Readonly<Record<string, string>>): Record<string, string> | undefined {
  const prefix = 'encrypt.';
  const own = Object.entries(options)
    .filter(([name]) => name.startsWith(prefix))
    .map(([name, value]): [string, string] => [name.slice(prefix.length), value]);
  return own.length === 0 ? undefined : Object.fromEntries(own);
}

async function setDataFile(image: Qcow2Image, options: Readonly<Record<string, string>>): Promise<void> {
  const { header } = image;
  const { data_file: file, data_file_raw: isRaw } = options;
  if (file === undefined && isRaw === undefined) return;
  if (file !== undefined) header.dataFile = file === '' ? undefined : file;
  if (isRaw !== undefined && !boolOf(isRaw, 'data_file_raw')) header.autoclear &= ~AUTOCLEAR_DATA_FILE_RAW;
  await image.writeHeader();
}

function orderOf(bits: string | undefined, present: number): number {
  if (bits === undefined) return present;
  const order = Math.log2(Number(bits));
  if (!Number.isInteger(order) || order < 0 || order > 6)
    throw new ImageError('Refcount width must be a power of two and may not exceed 64 bits');
  return order;
}

async function setLazy(image: Qcow2Image, lazy: boolean): Promise<void> {
  const { header } = image;
  if (lazy) header.compatible |= COMPATIBLE_LAZY_REFCOUNTS;
  else header.compatible &= ~COMPATIBLE_LAZY_REFCOUNTS;
  image.lazyRefcounts = lazy;
  await image.writeHeader();
}

/** Version 2 knows no zero clusters and no features: what they say is said otherwise, or cannot be. */
async function downgrade(node: Qcow2Node, progress: (share: number) => void): Promise<void> {
  const { image } = node;
  const { header } = image;
  if (image.hasDataFile) throw new ImageError('Cannot downgrade an image with a data file', 'ENOTSUP');
  if (header.incompatible & ~(INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT))
    throw new ImageError(
      `Cannot downgrade an image with incompatible features 0x${header.incompatible.toString(16)} set`,
      'ENOTSUP',
    );
  if (node.bitmaps.list().length > 0) throw new ImageError('Cannot downgrade an image with bitmaps', 'ENOTSUP');
  if (
    node.snapshots.records.some(({ vmStateBytes, diskBytes }) => vmStateBytes > 0xffffffff || diskBytes !== header.size)
  )
    throw new ImageError('Internal snapshots prevent downgrade of image', 'ENOTSUP');
  await setLazy(image, false);
  await image.setDirtyBit();
  await expandZeroClusters(node, progress);
  await image.settle();
  header.compatible = 0;
  header.autoclear = 0;
  header.incompatible = 0;
  header.version = 2;
  await image.writeHeader();
  image.tables.reconfigure();
}

/** In each L2 table, active or of a snapshot, "reads as zeroes" becomes nothing, or storage full of zeroes. */
async function expandZeroClusters(node: Qcow2Node, progress: (share: number) => void): Promise<void> {
  const { image } = node;
  const weights = new Map<number, number>();
  const l1s = [image.tables.l1];
  for (const { l1Offset, l1Entries } of node.snapshots.records)
    l1s.push(await readTable(image.file, l1Offset, l1Entries * 8));
  const entries = l1s.flatMap((l1) =>
    Array.from({ length: l1.length / 8 }, (_, at) => entryOffset(viewOf(l1), at * 8)),
  );
  for (const offset of entries) if (offset !== 0) weights.set(offset, (weights.get(offset) ?? 0) + 1);
  image.tables.forget();
  for (const [visited, offset] of entries.entries()) {
    const weight = weights.get(offset);
    weights.delete(offset);
    if (weight !== undefined) await expandTableAt(image, offset, weight);
    progress((visited + 1) / entries.length);
  }
}

async function expandTableAt(image: Qcow2Image, offset: number, weight: number): Promise<void> {
  const bytes = await readTable(image.file, offset, image.clusterSize);
  if (!(await expandTable(image, bytes, weight))) return;
  await image.flush();
  await image.file.write(offset, [bytes]);
  await image.file.flush();
}

async function expandTable(image: Qcow2Image, bytes: Uint8Array, weight: number): Promise<boolean> {
  const view = viewOf(bytes);
  let changed = false;
  for (let at = 0; at < bytes.length; at += 8) {
    if (view.getUint32(at) & ENTRY_COMPRESSED || !(view.getUint32(at + 4) & ENTRY_ZERO)) continue;
    changed = true;
    const storage = entryOffset(view, at);
    const users = storage === 0 ? 0 : await image.refcounts.get(storage / image.clusterSize);
    if (storage === 0 && image.header.backingFile === undefined) {
      writeU64(view, at, 0);
      continue;
    }
    let host = storage;
    if (users !== weight) {
      host = (await image.allocate(1, true)).host;
      if (weight > 1) await image.refcounts.change(host / image.clusterSize, 1, weight - 1);
      for (let user = 0; storage !== 0 && user < weight; user++) image.refcounts.free(storage, 1, false);
    }
    await image.file.write(host, [new Uint8Array(image.clusterSize)]);
    writeU64(view, at, host);
    if (weight === 1) view.setUint32(at, (view.getUint32(at) | ENTRY_COPIED) >>> 0);
  }
  return changed;
}
