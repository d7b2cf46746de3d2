/** Properties that all virtio devices on PCI have, named as in QEMU. */
import { UserError } from '../../base/errors.ts';
import type { DeviceProperties, DeviceSockets } from '../device-kind.ts';
import type { PropertyDeclaration } from '../properties.ts';
import { type PluggableModel, RING_PROPERTIES, ringOptions } from './virtio-kind.ts';
import { VirtioPci } from './virtio-pci.ts';

/** Vectors left to the device: one a queue and one for the configuration. */
const VECTORS_AUTO = 0xffffffff;

export const VIRTIO_PCI_PROPERTIES: Readonly<Record<string, PropertyDeclaration>> = {
  addr: { type: 'string', description: 'PCI slot, or slot.function, hexadecimal', default: '' },
  'disable-legacy': { type: 'bool', description: 'without the interface of before Virtio 1.0', default: false },
  'disable-modern': { type: 'bool', description: 'without the interface of Virtio 1.0', default: false },
  vectors: { type: 'uint32', description: 'MSI-X vectors (default: as many as needed)', default: VECTORS_AUTO },
  ...RING_PROPERTIES,
};

/** Puts a model on the machine's PCI bus. */
export function plugVirtioPci(
  sockets: DeviceSockets,
  properties: DeviceProperties,
  model: PluggableModel,
  classCode: number,
): VirtioPci {
  const legacy = properties['disable-legacy'] !== true;
  const modern = properties['disable-modern'] !== true;
  if (!legacy && !modern)
    throw new UserError(`-device ${model.name}-pci: disable-legacy and disable-modern leave nothing`);
  const vectors = Number(properties['vectors']);
  const device = new VirtioPci(model, {
    memory: sockets.space,
    log: sockets.log,
    classCode,
    redo: (queue, element) => model.start(queue, element),
    legacy,
    modern,
    vectors: vectors === VECTORS_AUTO ? model.queueCount + 1 : vectors,
    ...ringOptions(properties),
  });
  const { slot, func } = pciPlace(model.name, String(properties['addr']));
  sockets.pci.add(device.pci, slot, func);
  return device;
}

function pciPlace(name: string, text: string): { slot: number | undefined; func: number } {
  if (text === '') return { slot: undefined, func: 0 };
  const match = /^(?:0x)?([0-9a-f]{1,2})(?:\.([0-7]))?$/i.exec(text);
  const slot = Number.parseInt(match?.[1] ?? '', 16);
  if (!(slot < 32)) throw new UserError(`-device ${name}-pci: addr '${text}' is not a slot such as 4 or 1f.0`);
  return { slot, func: Number(match?.[2] ?? 0) };
}
