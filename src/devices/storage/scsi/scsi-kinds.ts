/** scsi-hd and scsi-cd as -device knows them. */
import { UserError } from '../../../base/errors.ts';
import { type SavedState, StateReader } from '../../../state/state.ts';
import type { Device } from '../../device.ts';
import type { DeviceKind, DeviceProperties, DeviceSockets } from '../../device-kind.ts';
import type { PropertyDeclaration } from '../../properties.ts';
import { blockSizes, claimDrive, DRIVE_PROPERTIES } from '../drive-properties.ts';
import { ScsiDisk } from './scsi-disk.ts';

const PROPERTIES: Readonly<Record<string, PropertyDeclaration>> = {
  ...DRIVE_PROPERTIES,
  bus: { type: 'string', description: 'the bus, such as scsi0.0 (default: the first)', default: '' },
  'scsi-id': { type: 'string', description: 'target (default: the first free one)', default: '' },
  lun: { type: 'uint16', description: 'logical unit', default: 0 },
  channel: { type: 'uint8', description: 'channel: 0', default: 0 },
  vendor: { type: 'string', description: 'vendor, 8 characters', default: 'ORRERY' },
  product: { type: 'string', description: 'product, 16 characters (default: after the kind)', default: '' },
  ver: { type: 'string', description: 'version, 4 characters', default: '1.0' },
};

class ScsiUnit implements Device {
  readonly kind: string;
  private readonly disk: ScsiDisk;

  constructor(kind: string, disk: ScsiDisk) {
    this.kind = kind;
    this.disk = disk;
  }

  reset(): void {
    this.disk.reset();
  }

  save(): SavedState {
    return { kind: this.kind, version: 1, fields: { ...this.disk.state } };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.disk.state = { writeCache: reader.bool('writeCache'), attention: reader.bool('attention') };
  }
}

function create(name: string, cdrom: boolean, sockets: DeviceSockets, properties: DeviceProperties): Device {
  const wanted = String(properties['bus']);
  const bus = sockets.scsiBuses.find((candidate) => wanted === '' || candidate.name === wanted);
  if (bus === undefined)
    throw new UserError(
      `-device ${name}: there is no ${wanted === '' ? 'SCSI bus; add a virtio-scsi-pci before' : `bus '${wanted}'`}`,
    );
  const target = String(properties['scsi-id']);
  if (!/^\d{0,3}$/.test(target)) throw new UserError(`-device ${name}: scsi-id=${target} is not a number up to 255`);
  if (properties['channel'] !== 0) throw new UserError(`-device ${name}: there is channel 0 only`);
  const { logical, physical } = blockSizes(name, properties);
  const disk = new ScsiDisk({
    drive: claimDrive(name, sockets, properties, cdrom),
    cdrom,
    blockBytes: logical,
    physicalBlockBytes: physical,
    serial: String(properties['serial']),
    vendor: String(properties['vendor']),
    product: String(properties['product']) || (cdrom ? 'CD-ROM' : 'HARDDISK'),
    version: String(properties['ver']),
  });
  bus.attach(name, disk, target === '' ? undefined : Number(target), Number(properties['lun']));
  return new ScsiUnit(name, disk);
}

export const SCSI_HD: DeviceKind = {
  name: 'scsi-hd',
  description: 'a disk on a SCSI bus',
  properties: PROPERTIES,
  create: (sockets, properties) => create('scsi-hd', false, sockets, properties),
};

export const SCSI_CD: DeviceKind = {
  name: 'scsi-cd',
  description: 'a CD-ROM drive on a SCSI bus',
  properties: PROPERTIES,
  create: (sockets, properties) => create('scsi-cd', true, sockets, properties),
};
