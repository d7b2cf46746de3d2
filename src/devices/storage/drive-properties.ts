/** Properties of devices that stand before a drive, named as in QEMU. */
import { UserError } from '../../base/errors.ts';
import type { DeviceProperties, DeviceSockets } from '../device-kind.ts';
import type { PropertyDeclaration } from '../properties.ts';
import type { Drive } from './drive.ts';

export const DRIVE_PROPERTIES: Readonly<Record<string, PropertyDeclaration>> = {
  drive: { type: 'string', description: 'ID of the -drive, or node name of the -blockdev', default: '' },
  serial: { type: 'string', description: 'serial number', default: '' },
  bootindex: { type: 'string', description: 'order in which firmware tries to boot', default: '' },
  logical_block_size: { type: 'uint32', description: 'bytes of the smallest transfer', default: 512 },
  physical_block_size: { type: 'uint32', description: 'bytes of what is written at once', default: 512 },
  'write-cache': { type: 'string', description: 'on, off, or auto: as the drive says', default: 'auto' },
  'share-rw': { type: 'bool', description: 'others may write to the drive as well', default: false },
  rerror: {
    type: 'string',
    description: 'after a failed read: report, ignore, stop, or auto: as the drive says',
    default: 'auto',
  },
  werror: { type: 'string', description: 'after a failed write: the same, or enospc', default: 'auto' },
};

const SMALLEST_BLOCK = 512;
const LARGEST_BLOCK = 32768;

/** The drive that a device names, or without a name one that has no medium; taken so that no other device gets it. */
export function claimDrive(
  device: string,
  sockets: DeviceSockets,
  properties: DeviceProperties,
  mayBeEmpty = false,
): Drive {
  const id = String(properties['drive']);
  if (id === '' && !mayBeEmpty) throw new UserError(`-device ${device}: drive= is missing`);
  return sockets.drive(device, id, {
    ...choice(device, 'rerror', properties, ['report', 'ignore', 'stop'] as const),
    ...choice(device, 'werror', properties, ['report', 'ignore', 'stop', 'enospc'] as const),
    ...writeCache(device, properties),
  });
}

function choice<Name extends string, Value extends string>(
  device: string,
  name: Name,
  properties: DeviceProperties,
  values: readonly Value[],
): Partial<Record<Name, Value>> {
  const text = String(properties[name]);
  if (text === 'auto') return {};
  const value = values.find((candidate) => candidate === text);
  if (value === undefined)
    throw new UserError(`-device ${device}: ${name}=${text} is none of ${values.join(', ')}, auto`);
  // INVARIANT: one property of the record's type.
  return { [name]: value } as Partial<Record<Name, Value>>;
}

function writeCache(device: string, properties: DeviceProperties): { writeCache?: boolean } {
  const text = String(properties['write-cache']);
  if (text === 'auto') return {};
  if (text !== 'on' && text !== 'off')
    throw new UserError(`-device ${device}: write-cache=${text} is none of on, off, auto`);
  return { writeCache: text === 'on' };
}

/** Logical and physical block size. */
export function blockSizes(device: string, properties: DeviceProperties): { logical: number; physical: number } {
  const [logical, physical] = (['logical_block_size', 'physical_block_size'] as const).map((name) => {
    const bytes = Number(properties[name]);
    if (bytes < SMALLEST_BLOCK || bytes > LARGEST_BLOCK || (bytes & (bytes - 1)) !== 0)
      throw new UserError(`-device ${device}: ${name}=${bytes} is not a power of two from 512 to 32768`);
    return bytes;
  }) as [number, number]; // INVARIANT: one for each of two names.
  return { logical, physical: Math.max(logical, physical) };
}
