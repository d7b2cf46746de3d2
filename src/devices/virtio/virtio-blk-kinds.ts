/** virtio-blk as -device knows it: on PCI, and behind registers in memory. */
import { UserError } from '../../base/errors.ts';
import type { DeviceKind, DeviceProperties, DeviceSockets } from '../device-kind.ts';
import type { PropertyDeclaration } from '../properties.ts';
import { blockSizes, claimDrive, DRIVE_PROPERTIES } from '../storage/drive-properties.ts';
import { VirtioBlk } from './virtio-blk.ts';
import { plugVirtioMmio, RING_PROPERTIES, VirtioDevice } from './virtio-kind.ts';
import { plugVirtioPci, VIRTIO_PCI_PROPERTIES } from './virtio-pci-properties.ts';
import { MAX_QUEUE_SIZE } from './virtqueue.ts';

const CLASS_STORAGE_SCSI = 0x010000;
const MAX_QUEUES = 64;

const PROPERTIES: Readonly<Record<string, PropertyDeclaration>> = {
  ...DRIVE_PROPERTIES,
  'num-queues': { type: 'uint16', description: 'request queues', default: 1 },
  'queue-size': { type: 'uint16', description: 'places in a queue, a power of two', default: 256 },
  discard: { type: 'bool', description: 'offer discard', default: true },
  'write-zeroes': { type: 'bool', description: 'offer write-zeroes', default: true },
  'config-wce': { type: 'bool', description: 'the guest may switch the write cache', default: true },
  iothread: { type: 'string', description: 'accepted: requests are asynchronous without it', default: '' },
};

function makeDisk(kind: string, sockets: DeviceSockets, properties: DeviceProperties): VirtioBlk {
  const queues = Number(properties['num-queues']);
  const queueSize = Number(properties['queue-size']);
  if (queues < 1 || queues > MAX_QUEUES)
    throw new UserError(`-device ${kind}: num-queues=${queues} is not between 1 and ${MAX_QUEUES}`);
  if (queueSize < 4 || queueSize > MAX_QUEUE_SIZE || (queueSize & (queueSize - 1)) !== 0)
    throw new UserError(`-device ${kind}: queue-size=${queueSize} is not a power of two from 4 to ${MAX_QUEUE_SIZE}`);
  const { logical, physical } = blockSizes(kind, properties);
  return new VirtioBlk({
    drive: claimDrive(kind, sockets, properties),
    serial: String(properties['serial']),
    queues,
    queueSize,
    logicalBlockBytes: logical,
    physicalBlockBytes: physical,
    discard: properties['discard'] === true,
    writeZeroes: properties['write-zeroes'] === true,
    configWce: properties['config-wce'] === true,
  });
}

export const VIRTIO_BLK_PCI: DeviceKind = {
  name: 'virtio-blk-pci',
  description: 'a disk, by Virtio',
  properties: { ...PROPERTIES, ...VIRTIO_PCI_PROPERTIES },
  create(sockets, properties) {
    const disk = makeDisk(this.name, sockets, properties);
    return new VirtioDevice(this.name, disk, plugVirtioPci(sockets, properties, disk, CLASS_STORAGE_SCSI));
  },
};

export const VIRTIO_BLK_DEVICE: DeviceKind = {
  name: 'virtio-blk-device',
  description: 'a disk, by Virtio with registers in memory (virtio-mmio)',
  properties: { ...PROPERTIES, ...RING_PROPERTIES },
  create(sockets, properties) {
    const disk = makeDisk(this.name, sockets, properties);
    return new VirtioDevice(this.name, disk, plugVirtioMmio(this.name, sockets, properties, disk));
  },
};
