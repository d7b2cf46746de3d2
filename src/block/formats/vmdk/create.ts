/** New VMDK images of every subformat that is written. */
import { asciiBytes } from '../../../base/bytes.ts';
import { ImageError } from '../../block-error.ts';
import type { CreateRequest, DriverContext, OptionDeclaration } from '../../driver.ts';
import type { IoVector } from '../../io-vector.ts';
import { boolOption, roundUp } from '../mapped/create-options.ts';
import { buildDescriptor, NO_PARENT } from './descriptor.ts';
import { buildSparseStart, FLAG_COMPRESSED, FLAG_MARKERS, FLAG_ZERO_GRAIN, SECTOR_BYTES } from './sparse-header.ts';

const SUBFORMATS = [
  'monolithicSparse',
  'monolithicFlat',
  'twoGbMaxExtentSparse',
  'twoGbMaxExtentFlat',
  'streamOptimized',
] as const;
const ADAPTERS = ['ide', 'buslogic', 'lsilogic', 'legacyESX'] as const;
const SPLIT_BYTES = 0x80000000;
/** 64 TiB, a little more than VMware makes. Where a grain lies is a 32-bit number of sectors, so 2 TiB of it may have data. */
const MAX_EXTENT_BYTES = 2 ** 46;
const DESCRIPTOR_OFFSET = SECTOR_BYTES;
const DESCRIPTOR_BYTES = 20 * SECTOR_BYTES;

export const createOptions: readonly OptionDeclaration[] = [
  { name: 'size', type: 'size', help: 'Virtual disk size' },
  { name: 'adapter_type', type: 'string', help: 'Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX' },
  { name: 'backing_file', type: 'string', help: 'File name of a base image' },
  { name: 'backing_fmt', type: 'string', help: "Must be 'vmdk' if present" },
  { name: 'compat6', type: 'bool', help: 'VMDK version 6 image', default: 'off' },
  { name: 'hwversion', type: 'string', help: 'VMDK hardware version', default: 'undefined' },
  { name: 'toolsversion', type: 'string', help: 'VMware guest tools version' },
  { name: 'subformat', type: 'string', help: 'VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} ' },
  { name: 'zeroed_grain', type: 'bool', help: 'Enable efficient zero writes using the zeroed-grain GTE feature' },
]; // prettier-ignore

/** A file to be filled: the one that was given, or a new one beside it. */
interface Target {
  write(offset: number, data: IoVector): Promise<void>;
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}

export async function createVmdk({ file, size, options }: CreateRequest, context: DriverContext): Promise<void> {
  const { host } = context;
  const subformat = known(options['subformat'] ?? 'monolithicSparse', SUBFORMATS);
  const adapterType = known(options['adapter_type'] ?? 'ide', ADAPTERS);
  const flat = subformat.endsWith('Flat');
  const split = subformat.startsWith('twoGb');
  const compressed = subformat === 'streamOptimized';
  const zeroGrain = boolOption(options, 'zeroed_grain');
  if (flat && options['backing_file'] !== undefined)
    throw new ImageError("Flat image can't have backing file", 'ENOTSUP');
  if (flat && zeroGrain) throw new ImageError("Flat image can't enable zeroed grain", 'ENOTSUP');
  const compat6 = boolOption(options, 'compat6');
  const hardware = options['hwversion'] === 'undefined' ? undefined : options['hwversion'];
  if (compat6 && hardware !== undefined) throw new ImageError('compat6 cannot be enabled with hwversion set');
  for (const value of [options['backing_file'], hardware, options['toolsversion']])
    if (value !== undefined && /["\n]/.test(value))
      throw new ImageError(`'${value}' cannot be written into a VMDK descriptor`);

  const diskBytes = roundUp(size, SECTOR_BYTES);
  if (!split && !flat && diskBytes > MAX_EXTENT_BYTES)
    throw new ImageError(`VMDK extent of ${diskBytes} bytes is larger than ${MAX_EXTENT_BYTES}`, 'EFBIG');
  const flags = (compressed ? FLAG_COMPRESSED | FLAG_MARKERS : 0) | (zeroGrain ? FLAG_ZERO_GRAIN : 0);
  const name = file.filename.slice(file.filename.lastIndexOf('/') + 1);
  const dot = name.lastIndexOf('.');
  const [stem, extension] = dot < 0 ? [name, ''] : [name.slice(0, dot), name.slice(dot)];
  const itself: Target = {
    write: (offset, data) => file.write(offset, data),
    truncate: (bytes) => file.truncate(bytes),
    close: () => Promise.resolve(),
  };

  await file.truncate(0);
  const lines: string[] = [];
  const partBytes = split ? SPLIT_BYTES : Math.max(diskBytes, 1);
  for (let start = 0, index = 1; start < diskBytes || index === 1; start += partBytes, index++) {
    const bytes = Math.min(partBytes, diskBytes - start);
    const embedded = !flat && !split;
    let part = name;
    if (split) part = `${stem}-${flat ? 'f' : 's'}${String(index).padStart(3, '0')}${extension}`;
    else if (flat) part = `${stem}-flat${extension}`;
    const target = embedded ? itself : await newFile(context, file.filename, part);
    try {
      if (flat) await target.truncate(bytes);
      else await writeSparse(target, bytes, flags);
    } finally {
      await target.close();
    }
    lines.push(`RW ${bytes / SECTOR_BYTES} ${flat ? `FLAT "${part}" 0` : `SPARSE "${part}"`}`);
  }

  const parentCid = await parentCidOf(options, context);
  const text = buildDescriptor({
    cid: new DataView(host.randomBytes(4).slice().buffer).getUint32(0),
    parentCid,
    createType: subformat,
    parentFile: options['backing_file'],
    extentLines: lines,
    hwVersion: compat6 ? '6' : (hardware ?? '4'),
    toolsVersion: options['toolsversion'] ?? '2147483647',
    adapterType,
    diskBytes,
  });
  const bytes = asciiBytes(text);
  if (flat || split) return file.write(0, [bytes]);
  if (bytes.length > DESCRIPTOR_BYTES)
    throw new ImageError(`VMDK descriptor of ${bytes.length} bytes does not fit into the image`);
  await file.write(DESCRIPTOR_OFFSET, [bytes]);
}

async function writeSparse(target: Target, bytes: number, flags: number): Promise<void> {
  const start = buildSparseStart(bytes, flags);
  await target.write(0, [start.header]);
  for (const { at, bytes: directory } of start.directories) await target.write(at, [directory]);
  await target.truncate(start.dataOffset);
}

async function newFile({ host }: DriverContext, base: string, name: string): Promise<Target> {
  if (host.openFile === undefined || host.resolve === undefined)
    throw new ImageError(`VMDK extent '${name}' cannot be made beside '${base}' here`, 'ENOTSUP');
  const file = await host.openFile(host.resolve(base, name), { write: true, create: true, truncate: true });
  return {
    write: (offset, data) => file.writev(offset, data),
    truncate: (size) => file.truncate(size),
    close: () => file.close(),
  };
}

function known<T extends string>(value: string, words: readonly T[]): T {
  const found = words.find((word) => word === value);
  if (found === undefined) throw new ImageError(`invalid parameter value: ${value}`);
  return found;
}

async function parentCidOf(options: CreateRequest['options'], context: DriverContext): Promise<number> {
  const backing = options['backing_file'];
  if (backing === undefined) return NO_PARENT;
  const parent = await context.openNamed(backing, { readOnly: true, role: 'backing' });
  try {
    const cid = parent.driver === 'vmdk' ? parent.specificInfo?.()?.data['cid'] : undefined;
    if (typeof cid !== 'number') throw new ImageError('backing_file must be a vmdk image');
    return cid;
  } finally {
    await parent.close();
  }
}
