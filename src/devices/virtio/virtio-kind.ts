/** What kinds of virtio devices have in common: a model, the transport that it is behind, and properties of both. */
import type { SavedState, StateFields } from '../../state/state.ts';
import { nested, StateReader } from '../../state/state.ts';
import type { Device } from '../device.ts';
import type { DeviceProperties, DeviceSockets } from '../device-kind.ts';
import type { PropertyDeclaration } from '../properties.ts';
import { VirtioMmio } from './virtio-mmio.ts';
import type { VirtioModel } from './virtio-core.ts';
import type { QueueElement } from './virtqueue.ts';

/** A model as a device: begins requests again after loading, and has fields of its own to save. */
export interface PluggableModel extends VirtioModel {
  start(queue: number, element: QueueElement): void;
  saveFields(): StateFields;
  loadFields(reader: StateReader): void;
}

/** Properties of the rings, named as in QEMU. */
export const RING_PROPERTIES: Readonly<Record<string, PropertyDeclaration>> = {
  packed: { type: 'bool', description: 'offer packed rings', default: false },
  event_idx: { type: 'bool', description: 'offer event indices', default: true },
  indirect_desc: { type: 'bool', description: 'offer indirect descriptors', default: true },
};

export function ringOptions(properties: DeviceProperties): { packed: boolean; eventIndex: boolean; indirect: boolean } {
  return {
    packed: properties['packed'] === true,
    eventIndex: properties['event_idx'] === true,
    indirect: properties['indirect_desc'] === true,
  };
}

/** A model behind its transport. */
export class VirtioDevice implements Device {
  readonly kind: string;
  private readonly model: PluggableModel;
  private readonly transport: Device;

  constructor(kind: string, model: PluggableModel, transport: Device) {
    this.kind = kind;
    this.model = model;
    this.transport = transport;
  }

  reset(): void {
    this.transport.reset();
  }

  save(): SavedState {
    const fields = { ...this.model.saveFields(), transport: nested(this.transport.save()) };
    return { kind: this.kind, version: 1, fields };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.transport.load(reader.state('transport'));
    this.model.loadFields(reader);
  }
}

/** Puts a model behind registers in memory, at the next place that the board has for one. */
export function plugVirtioMmio(
  kind: string,
  sockets: DeviceSockets,
  properties: DeviceProperties,
  model: PluggableModel,
): VirtioMmio {
  const place = sockets.virtioMmio(kind);
  const transport = new VirtioMmio(model, {
    memory: sockets.space,
    log: sockets.log,
    irq: place.irq,
    redo: (queue, element) => model.start(queue, element),
    ...ringOptions(properties),
  });
  sockets.space.root.add(transport.region, place.address);
  return transport;
}
