/**
 * `-drive`, and `-hda` to `-hdd` and `-cdrom`, which are short for one: what their text says. What is no property of the drive itself
 * belongs to the block node behind it.
 */
import { UserError } from '../../../base/errors.ts';
import { didYouMean } from '../../../base/nearest.ts';
import type { NodeOptions } from '../../../block/driver.ts';
import { nestOptions } from '../../../block/options.ts';
import type { ReadErrorPolicy, WriteErrorPolicy } from '../../../devices/storage/drive.ts';
import { parseInteger, parseOptionList, parseSwitch } from '../option-text.ts';

/** What the drive hangs on; `default`: the board's choice. */
export type DriveInterface = 'default' | 'virtio' | 'scsi' | 'none';

export interface DriveRequest {
  /** As the user wrote it, for messages: "-hda disk.img". */
  readonly text: string;
  readonly id: string | undefined;
  readonly interface: DriveInterface;
  /** Place among the drives of its interface. */
  readonly index: number | undefined;
  readonly cdrom: boolean;
  readonly file: string | undefined;
  readonly format: string | undefined;
  readonly readOnly: boolean;
  /** Undefined: as -snapshot says. */
  readonly snapshot: boolean | undefined;
  readonly cache: CacheMode;
  readonly discard: boolean;
  readonly detectZeroes: 'off' | 'on' | 'unmap';
  readonly copyOnRead: boolean;
  readonly rerror: ReadErrorPolicy | undefined;
  readonly werror: WriteErrorPolicy | undefined;
  readonly serial: string | undefined;
  /** Limits by their names in -drive, without `throttling.`. */
  readonly throttling: Readonly<Record<string, string>>;
  /** What is left for the node. */
  readonly node: NodeOptions;
}

export interface CacheMode {
  /** The guest sees a cache that it must flush. */
  readonly writeback: boolean;
  readonly direct: boolean;
  readonly noFlush: boolean;
}

const CACHE_MODES: Readonly<Record<string, CacheMode>> = {
  writeback: { writeback: true, direct: false, noFlush: false },
  writethrough: { writeback: false, direct: false, noFlush: false },
  none: { writeback: true, direct: true, noFlush: false },
  off: { writeback: true, direct: true, noFlush: false },
  directsync: { writeback: false, direct: true, noFlush: false },
  unsafe: { writeback: true, direct: false, noFlush: true },
};
const DEFAULT_CACHE: CacheMode = { writeback: true, direct: false, noFlush: false };

/** Interfaces of QEMU's boards that this one has no controller for. */
const MISSING_INTERFACES: Readonly<Record<string, string>> = {
  ide: 'IDE',
  floppy: 'floppy',
  pflash: 'flash',
  mtd: 'flash',
  sd: 'SD card',
  xen: 'Xen',
};
const MAX_INDEX = 1023;
const UNITS_A_BUS: Readonly<Record<DriveInterface, number>> = { default: 2, scsi: 7, virtio: 1, none: 1 };

/** Names of limits from before they had a prefix. */
const OLD_LIMITS: Readonly<Record<string, string>> = {
  bps: 'bps-total',
  bps_rd: 'bps-read',
  bps_wr: 'bps-write',
  iops: 'iops-total',
  iops_rd: 'iops-read',
  iops_wr: 'iops-write',
  bps_max: 'bps-total-max',
  bps_rd_max: 'bps-read-max',
  bps_wr_max: 'bps-write-max',
  iops_max: 'iops-total-max',
  iops_rd_max: 'iops-read-max',
  iops_wr_max: 'iops-write-max',
  iops_size: 'iops-size',
  group: 'group',
};

/** The value of `key` if it is one of `allowed`. */
function word<Value extends string>(text: string, key: string, value: string, allowed: readonly Value[]): Value {
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined) throw new UserError(`${text}: ${key}=${value} is none of ${allowed.join(', ')}`);
  return found;
}

function interfaceOf(text: string, value: string): DriveInterface {
  const missing = MISSING_INTERFACES[value];
  if (missing !== undefined)
    throw new UserError(`${text}: this board has no ${missing} controller yet; if=virtio and if=scsi are there`);
  return word(text, 'if', value, ['virtio', 'scsi', 'none']);
}

function cacheOf(text: string, properties: Map<string, string>, take: (key: string) => string | undefined): CacheMode {
  const name = take('cache');
  const mode = name === undefined ? DEFAULT_CACHE : CACHE_MODES[name];
  if (mode === undefined)
    throw new UserError(`${text}: cache=${name}${didYouMean(name ?? '', Object.keys(CACHE_MODES)) || ` is none of ${Object.keys(CACHE_MODES).join(', ')}`}`); // prettier-ignore
  const part = (key: string, otherwise: boolean): boolean => {
    const value = properties.has(key) ? take(key) : undefined;
    return value === undefined ? otherwise : parseSwitch(`drive ${key}`, value);
  };
  return {
    writeback: part('cache.writeback', mode.writeback),
    direct: part('cache.direct', mode.direct),
    noFlush: part('cache.no-flush', mode.noFlush),
  };
}

/** Reads the value of -drive. @throws {UserError} */
export function parseDrive(value: string): DriveRequest {
  const { name, properties } = parseOptionList('drive', value);
  if (name !== undefined) throw new UserError(`-drive ${value}: it takes properties, such as file=${name}`);
  return driveOf(`-drive ${value}`, new Map(Object.entries(properties)));
}

/** -hda FILE and its like. */
export function shortDrive(option: string, file: string, index: number, cdrom: boolean): DriveRequest {
  const properties = new Map([
    ['file', file],
    ['index', String(index)],
    ['media', cdrom ? 'cdrom' : 'disk'],
  ]);
  return driveOf(`-${option} ${file}`, properties);
}

/** A drive from its properties, which are used up. */
export function driveOf(text: string, properties: Map<string, string>): DriveRequest {
  const take = (key: string): string | undefined => {
    const value = properties.get(key);
    properties.delete(key);
    return value;
  };
  const choose = <Value extends string>(key: string, allowed: readonly Value[]): Value | undefined => {
    const value = take(key);
    return value === undefined ? undefined : word(text, key, value, allowed);
  };
  const on = (key: string): boolean | undefined => {
    const value = take(key);
    return value === undefined ? undefined : parseSwitch(`drive ${key}`, value);
  };
  const place = take('if');
  const kind = place === undefined ? 'default' : interfaceOf(text, place);
  const cdrom = choose('media', ['disk', 'cdrom']) === 'cdrom';
  const index = indexOf(text, kind, take);
  const readOnly = on('readonly') ?? on('read-only') ?? false;
  const discard = choose('discard', ['ignore', 'off', 'unmap', 'on']);
  const detectZeroes = choose('detect-zeroes', ['off', 'on', 'unmap']) ?? 'off';
  const unmap = discard === 'unmap' || discard === 'on';
  if (detectZeroes === 'unmap' && !unmap)
    throw new UserError(`${text}: detect-zeroes=unmap is not allowed without discard=unmap`);
  const serial = take('serial');
  if (serial !== undefined && kind === 'none')
    throw new UserError(`${text}: with if=none the serial number is a property of the device`);
  // How the host does its work: it is asynchronous in any case.
  choose('aio', ['threads', 'native', 'io_uring']);
  const throttling: Record<string, string> = {};
  for (const key of [...properties.keys()]) {
    const limit = key.startsWith('throttling.') ? key.slice('throttling.'.length) : OLD_LIMITS[key];
    if (limit !== undefined) throttling[limit] = take(key) ?? '';
  }
  return {
    text,
    interface: kind,
    index,
    cdrom,
    id: take('id'),
    file: take('file'),
    format: take('format') ?? take('driver'),
    readOnly: readOnly || cdrom,
    snapshot: on('snapshot'),
    cache: cacheOf(text, properties, take),
    discard: unmap,
    detectZeroes,
    copyOnRead: on('copy-on-read') ?? false,
    rerror: choose('rerror', ['report', 'ignore', 'stop']),
    werror: choose('werror', ['report', 'ignore', 'stop', 'enospc']),
    serial,
    throttling,
    node: nestOptions(Object.fromEntries(properties)),
  };
}

/** index=, or bus= and unit=. */
function indexOf(text: string, kind: DriveInterface, take: (key: string) => string | undefined): number | undefined {
  const number = (key: string): number | undefined => {
    const value = take(key);
    return value === undefined ? undefined : parseInteger(`drive ${key}`, value, 0, MAX_INDEX);
  };
  const [index, bus, unit] = [number('index'), number('bus'), number('unit')];
  if (index === undefined) return bus === undefined && unit === undefined ? undefined : (bus ?? 0) * UNITS_A_BUS[kind] + (unit ?? 0); // prettier-ignore
  if (bus !== undefined || unit !== undefined) throw new UserError(`${text}: index and bus or unit exclude each other`);
  return index;
}
