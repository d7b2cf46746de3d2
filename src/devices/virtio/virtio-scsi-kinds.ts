/** virtio-scsi as -device knows it: on PCI, and behind registers in memory. */
import { UserError } from '../../base/errors.ts';
import type { DeviceKind, DeviceProperties, DeviceSockets } from '../device-kind.ts';
import type { PropertyDeclaration } from '../properties.ts';
import { ScsiBus } from '../storage/scsi/scsi-bus.ts';
import { plugVirtioMmio, RING_PROPERTIES, VirtioDevice } from './virtio-kind.ts';
import { plugVirtioPci, VIRTIO_PCI_PROPERTIES } from './virtio-pci-properties.ts';
import { VirtioScsi } from './virtio-scsi.ts';

const CLASS_STORAGE_SCSI = 0x010000;
const MAX_QUEUES = 64;
const QUEUE_SIZE = 256;

const PROPERTIES: Readonly<Record<string, PropertyDeclaration>> = {
  num_queues: { type: 'uint16', description: 'request queues', default: 1 },
  iothread: { type: 'string', description: 'accepted: requests are asynchronous without it', default: '' },
};

function makeAdapter(
  kind: string,
  sockets: DeviceSockets,
  properties: DeviceProperties,
  id: string | undefined,
): VirtioScsi {
  const queues = Number(properties['num_queues']);
  if (queues < 1 || queues > MAX_QUEUES)
    throw new UserError(`-device ${kind}: num_queues=${queues} is not between 1 and ${MAX_QUEUES}`);
  const bus = new ScsiBus(`${id ?? `scsi${sockets.scsiBuses.length}`}.0`);
  sockets.scsiBuses.push(bus);
  return new VirtioScsi({ bus, queues, queueSize: QUEUE_SIZE });
}

export const VIRTIO_SCSI_PCI: DeviceKind = {
  name: 'virtio-scsi-pci',
  description: 'a SCSI host adapter, by Virtio: gives the bus ID.0',
  properties: { ...PROPERTIES, ...VIRTIO_PCI_PROPERTIES },
  create(sockets, properties, id) {
    const adapter = makeAdapter(this.name, sockets, properties, id);
    return new VirtioDevice(this.name, adapter, plugVirtioPci(sockets, properties, adapter, CLASS_STORAGE_SCSI));
  },
};

export const VIRTIO_SCSI_DEVICE: DeviceKind = {
  name: 'virtio-scsi-device',
  description: 'a SCSI host adapter, by Virtio with registers in memory (virtio-mmio): gives the bus ID.0',
  properties: { ...PROPERTIES, ...RING_PROPERTIES },
  create(sockets, properties, id) {
    const adapter = makeAdapter(this.name, sockets, properties, id);
    return new VirtioDevice(this.name, adapter, plugVirtioMmio(this.name, sockets, properties, adapter));
  },
};
