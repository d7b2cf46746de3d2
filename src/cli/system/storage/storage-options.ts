/** The options of `orrery system` that are about disks. */
import { UserError } from '../../../base/errors.ts';
import type { NodeOptions } from '../../../block/driver.ts';
import { jsonFilename, nestOptions } from '../../../block/options.ts';
import { parseOptionList } from '../option-text.ts';
import type { SystemOption } from '../system-option.ts';
import { parseDrive, shortDrive } from './drive-option.ts';
import type { BlockdevRequest } from './storage-request.ts';

/** -blockdev: options of one node, as JSON or as a list. @throws {UserError} */
export function parseBlockdev(value: string): BlockdevRequest {
  const text = `-blockdev ${value}`;
  const options = value.startsWith('{') ? jsonFilename(`json:${value}`) : listOptions(text, value);
  const name = options?.['node-name'];
  if (options?.['driver'] === undefined) throw new UserError(`${text}: driver= is missing`);
  if (typeof name !== 'string') throw new UserError(`${text}: node-name= is missing`);
  return { text, name, options };
}

function listOptions(text: string, value: string): NodeOptions {
  const { name, properties } = parseOptionList('blockdev', value);
  if (name !== undefined && 'driver' in properties) throw new UserError(`${text}: there are two drivers`);
  return nestOptions({ ...(name !== undefined && { driver: name }), ...properties });
}

const DISKS: readonly (readonly [string, number])[] = [
  ['hda', 0],
  ['hdb', 1],
  ['hdc', 2],
  ['hdd', 3],
];
/** Where QEMU's board has its CD-ROM drive. */
const CDROM_INDEX = 2;

export const STORAGE_OPTIONS: readonly SystemOption[] = [
  ...DISKS.map(([name, index]): SystemOption => ({
    name,
    value: 'FILE',
    help: `disk ${index} (a virtio-blk device)`,
    apply: ({ storage }, value) => storage.drives.push(shortDrive(name, value, index, false)),
  })),
  {
    name: 'cdrom',
    value: 'FILE',
    help: 'disc in a CD-ROM drive (on virtio-scsi)',
    apply: ({ storage }, value) => storage.drives.push(shortDrive('cdrom', value, CDROM_INDEX, true)),
  },
  {
    name: 'drive',
    value: 'file=FILE[,format=F][,if=virtio|scsi|none][,media=disk|cdrom][,…]',
    help: 'a disk; the manual tells the other properties',
    apply: ({ storage }, value) => storage.drives.push(parseDrive(value)),
  },
  {
    name: 'blockdev',
    value: '[driver=]DRIVER,node-name=NAME[,property=value]',
    help: 'a block node for devices to name with drive=, or JSON',
    apply: ({ storage }, value) => storage.blockdevs.push(parseBlockdev(value)),
  },
  {
    name: 'snapshot',
    help: 'drives keep what is written to them no longer than the machine runs',
    apply: ({ storage }) => (storage.snapshot = true),
  },
  {
    name: 'object',
    value: 'TYPE,id=ID[,property=value]',
    help: 'an object that others name: secret, tls-creds-x509, tls-creds-psk, throttle-group, iothread',
    apply: ({ storage }, value) => storage.objects.push(value),
  },
];
