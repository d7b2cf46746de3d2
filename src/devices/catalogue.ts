/**
 * The devices that can be added to a machine by name. One line a device; its schema and its making are in its own file.
 */
import type { Disposable } from '../base/events.ts';
import { UserError } from '../base/errors.ts';
import { DEBUGCON } from './debug/debugcon.ts';
import { ISA_DEBUG_EXIT } from './debug/isa-debug-exit.ts';
import { PC_TESTDEV } from './debug/pc-testdev.ts';
import { PCI_TESTDEV } from './debug/pci-testdev.ts';
import type { Device } from './device.ts';
import type { DeviceKind, DeviceProperties, DeviceSockets } from './device-kind.ts';
import { readProperties } from './properties.ts';
import { SCSI_CD, SCSI_HD } from './storage/scsi/scsi-kinds.ts';
import { VIRTIO_BLK_DEVICE, VIRTIO_BLK_PCI } from './virtio/virtio-blk-kinds.ts';
import { VIRTIO_SCSI_DEVICE, VIRTIO_SCSI_PCI } from './virtio/virtio-scsi-kinds.ts';

export const DEVICE_CATALOGUE: readonly DeviceKind[] = [
  DEBUGCON,
  ISA_DEBUG_EXIT,
  PC_TESTDEV,
  PCI_TESTDEV,
  VIRTIO_BLK_PCI,
  VIRTIO_BLK_DEVICE,
  VIRTIO_SCSI_PCI,
  VIRTIO_SCSI_DEVICE,
  SCSI_HD,
  SCSI_CD,
];

/** Makes a device from its name and its properties as text; throws a UserError for an unknown name or property. */
export function createDevice(
  sockets: DeviceSockets,
  driver: string,
  properties: Readonly<Record<string, string>>,
): Device & Partial<Disposable> {
  const kind = DEVICE_CATALOGUE.find(({ name }) => name === driver);
  if (!kind)
    throw new UserError(
      `-device ${driver}: there is no such device; there are ${DEVICE_CATALOGUE.map(({ name }) => name).join(', ')}.`,
    );
  const { id, driver: _, ...own } = properties;
  return kind.create(sockets, readProperties<DeviceProperties>(driver, kind.properties, own), id);
}
