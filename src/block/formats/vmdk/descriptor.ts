/** The text descriptor of a VMDK (Virtual Disk Format 5.0, "The Descriptor File"): read as lines, written from a template. */
import { ImageError } from '../../block-error.ts';

/** Longest descriptor read, wherever its header says it ends. */
export const MAX_DESCRIPTOR_BYTES: number = 1 << 20;
/** Most extents accepted: each is an open file. */
const MAX_EXTENTS = 1024;
const SECTOR_BYTES = 512;
export const NO_PARENT = 0xffffffff;

export interface ExtentLine {
  readonly writable: boolean;
  readonly bytes: number;
  /** SPARSE, FLAT, ZERO, VMFS, VMFSSPARSE. */
  readonly type: string;
  readonly filename: string;
  /** Where the data begins in a flat extent's file. */
  readonly fileOffset: number;
}

export interface Descriptor {
  readonly cid: number;
  readonly parentCid: number;
  readonly createType: string;
  readonly parentFile: string | undefined;
  readonly extents: readonly ExtentLine[];
}

export function isDescriptor(head: Uint8Array): boolean {
  const text = new TextDecoder('latin1').decode(head.subarray(0, 512));
  for (const line of text.split('\n')) {
    const trimmed = line.replace(/\r$/, '');
    if (trimmed.startsWith('#') || /^ *$/.test(trimmed)) continue;
    return /^version=[123]$/.test(trimmed);
  }
  return false;
}

export function parseDescriptor(text: string): Descriptor {
  const value = (key: string): string | undefined =>
    new RegExp(`^${key}\\s*=\\s*"?([^"\\r\\n]*)"?\\s*$`, 'm').exec(text)?.[1];
  const cid = (key: string): number | undefined => {
    const hex = value(key);
    return hex !== undefined && /^[0-9a-f]{1,8}$/i.test(hex) ? Number.parseInt(hex, 16) : undefined;
  };
  const extents: ExtentLine[] = [];
  for (const line of text.split('\n')) {
    const match = /^(RW|RDONLY|NOACCESS)\s+(\d+)\s+(\S+)(?:\s+"([^"\n]*)"(?:\s+(\d+))?)?\s*$/.exec(line);
    if (match === null) {
      if (/^(RW|RDONLY|NOACCESS)\s/.test(line)) throw new ImageError(`Invalid extent line: ${line.trim()}`);
      continue;
    }
    const [, access, sectors, type = '', filename = '', offset = '0'] = match;
    if (access === 'NOACCESS') throw new ImageError(`VMDK extent '${filename}' is marked NOACCESS`);
    const bytes = Number(sectors) * SECTOR_BYTES;
    const fileOffset = Number(offset) * SECTOR_BYTES;
    if (!Number.isSafeInteger(bytes) || !Number.isSafeInteger(fileOffset))
      throw new ImageError(`Invalid extent line: ${line.trim()}`);
    if (type !== 'ZERO' && filename === '') throw new ImageError(`Invalid extent line: ${line.trim()}`);
    if (extents.length >= MAX_EXTENTS) throw new ImageError(`VMDK descriptor has more than ${MAX_EXTENTS} extents`);
    extents.push({ writable: access === 'RW', bytes, type, filename, fileOffset });
  }
  const createType = value('createType');
  if (createType === undefined) throw new ImageError('invalid VMDK image descriptor: no createType');
  return {
    cid: cid('CID') ?? NO_PARENT,
    parentCid: cid('parentCID') ?? NO_PARENT,
    createType,
    parentFile: value('parentFileNameHint'),
    extents,
  };
}

export interface NewDescriptor extends Omit<Descriptor, 'extents'> {
  readonly extentLines: readonly string[];
  readonly hwVersion: string;
  readonly toolsVersion: string;
  readonly adapterType: string;
  readonly diskBytes: number;
}

export function buildDescriptor(of: NewDescriptor): string {
  const heads = of.adapterType === 'ide' ? 16 : 255;
  const cylinders = Math.floor(of.diskBytes / (63 * heads * SECTOR_BYTES));
  return [
    '# Disk DescriptorFile',
    'version=1',
    `CID=${cidText(of.cid)}`,
    `parentCID=${cidText(of.parentCid)}`,
    `createType="${of.createType}"`,
    of.parentFile === undefined ? '' : `parentFileNameHint="${of.parentFile}"\n`,
    '# Extent description',
    ...of.extentLines,
    '',
    '# The Disk Data Base',
    '#DDB',
    '',
    `ddb.virtualHWVersion = "${of.hwVersion}"`,
    `ddb.geometry.cylinders = "${cylinders}"`,
    `ddb.geometry.heads = "${heads}"`,
    'ddb.geometry.sectors = "63"',
    `ddb.adapterType = "${of.adapterType}"`,
    `ddb.toolsVersion = "${of.toolsVersion}"`,
    '',
  ].join('\n');
}

/** The same descriptor with another content ID, and parent's if given. Undefined: it has none. */
export function withCid(text: string, cid: number): string | undefined {
  const line = /^CID=[0-9a-f]*/im;
  return line.test(text) ? text.replace(line, `CID=${cidText(cid)}`) : undefined;
}

function cidText(cid: number): string {
  return cid.toString(16).padStart(8, '0');
}
