/** virtio-blk-pci as -device knows it. */
import { UserError } from '../../base/errors.ts';
import { nested, type SavedState, StateReader } from '../../state/state.ts';
import type { Device } from '../device.ts';
import type { DeviceKind } from '../device-kind.ts';
import { blockSizes, claimDrive, DRIVE_PROPERTIES } from '../storage/drive-properties.ts';
import { VirtioBlk } from './virtio-blk.ts';
import type { VirtioPci } from './virtio-pci.ts';
import { plugVirtioPci, VIRTIO_PCI_PROPERTIES } from './virtio-pci-properties.ts';
import { MAX_QUEUE_SIZE } from './virtqueue.ts';

const CLASS_STORAGE_SCSI = 0x010000;
const MAX_QUEUES = 64;

class VirtioBlkPci implements Device {
  readonly kind: string = 'virtio-blk-pci';
  private readonly disk: VirtioBlk;
  private readonly transport: VirtioPci;

  constructor(disk: VirtioBlk, transport: VirtioPci) {
    this.disk = disk;
    this.transport = transport;
  }

  reset(): void {
    this.transport.reset();
  }

  save(): SavedState {
    const { transport, disk } = this;
    return {
      kind: this.kind,
      version: 1,
      fields: { writeCache: disk.cacheEnabled, transport: nested(transport.save()) },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.transport.load(reader.state('transport'));
    this.disk.cacheEnabled = reader.bool('writeCache');
  }
}

export const VIRTIO_BLK_PCI: DeviceKind = {
  name: 'virtio-blk-pci',
  description: 'a disk, by Virtio',
  properties: {
    ...DRIVE_PROPERTIES,
    'num-queues': { type: 'uint16', description: 'request queues', default: 1 },
    'queue-size': { type: 'uint16', description: 'places in a queue, a power of two', default: 256 },
    discard: { type: 'bool', description: 'offer discard', default: true },
    'write-zeroes': { type: 'bool', description: 'offer write-zeroes', default: true },
    'config-wce': { type: 'bool', description: 'the guest may switch the write cache', default: true },
    ...VIRTIO_PCI_PROPERTIES,
  },
  create(sockets, properties) {
    const queues = Number(properties['num-queues']);
    const queueSize = Number(properties['queue-size']);
    if (queues < 1 || queues > MAX_QUEUES)
      throw new UserError(`-device virtio-blk-pci: num-queues=${queues} is not between 1 and ${MAX_QUEUES}`);
    if (queueSize < 4 || queueSize > MAX_QUEUE_SIZE || (queueSize & (queueSize - 1)) !== 0)
      throw new UserError(
        `-device virtio-blk-pci: queue-size=${queueSize} is not a power of two from 4 to ${MAX_QUEUE_SIZE}`,
      );
    const { logical, physical } = blockSizes('virtio-blk-pci', properties);
    const drive = claimDrive('virtio-blk-pci', sockets, properties);
    const disk = new VirtioBlk({
      drive,
      serial: String(properties['serial']),
      queues,
      queueSize,
      logicalBlockBytes: logical,
      physicalBlockBytes: physical,
      discard: properties['discard'] === true,
      writeZeroes: properties['write-zeroes'] === true,
      configWce: properties['config-wce'] === true,
    });
    const transport = plugVirtioPci(sockets, properties, disk, {
      classCode: CLASS_STORAGE_SCSI,
      redo: (queue, element) => disk.start(queue, element),
    });
    return new VirtioBlkPci(disk, transport);
  },
};
