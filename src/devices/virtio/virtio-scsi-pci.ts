/** virtio-scsi-pci as -device knows it. */
import { UserError } from '../../base/errors.ts';
import { nested, type SavedState, StateReader } from '../../state/state.ts';
import type { Device } from '../device.ts';
import type { DeviceKind } from '../device-kind.ts';
import { ScsiBus } from '../storage/scsi/scsi-bus.ts';
import type { VirtioPci } from './virtio-pci.ts';
import { plugVirtioPci, VIRTIO_PCI_PROPERTIES } from './virtio-pci-properties.ts';
import { VirtioScsi } from './virtio-scsi.ts';

const CLASS_STORAGE_SCSI = 0x010000;
const MAX_QUEUES = 64;
const QUEUE_SIZE = 256;

class VirtioScsiPci implements Device {
  readonly kind: string = 'virtio-scsi-pci';
  private readonly adapter: VirtioScsi;
  private readonly transport: VirtioPci;

  constructor(adapter: VirtioScsi, transport: VirtioPci) {
    this.adapter = adapter;
    this.transport = transport;
  }

  reset(): void {
    this.transport.reset();
  }

  save(): SavedState {
    const { cdbBytes, senseBytes } = this.adapter;
    return { kind: this.kind, version: 1, fields: { cdbBytes, senseBytes, transport: nested(this.transport.save()) } };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.transport.load(reader.state('transport'));
    this.adapter.writeConfig(24, 4, reader.u8('cdbBytes'));
    this.adapter.writeConfig(20, 4, reader.u8('senseBytes'));
  }
}

export const VIRTIO_SCSI_PCI: DeviceKind = {
  name: 'virtio-scsi-pci',
  description: 'a SCSI host adapter, by Virtio: gives the bus ID.0',
  properties: {
    num_queues: { type: 'uint16', description: 'request queues', default: 1 },
    ...VIRTIO_PCI_PROPERTIES,
  },
  create(sockets, properties, id) {
    const queues = Number(properties['num_queues']);
    if (queues < 1 || queues > MAX_QUEUES)
      throw new UserError(`-device virtio-scsi-pci: num_queues=${queues} is not between 1 and ${MAX_QUEUES}`);
    const bus = new ScsiBus(`${id ?? `scsi${sockets.scsiBuses.length}`}.0`);
    sockets.scsiBuses.push(bus);
    const adapter = new VirtioScsi({ bus, queues, queueSize: QUEUE_SIZE });
    const transport = plugVirtioPci(sockets, properties, adapter, {
      classCode: CLASS_STORAGE_SCSI,
      redo: (queue, element) => adapter.start(queue, element),
    });
    return new VirtioScsiPci(adapter, transport);
  },
};
