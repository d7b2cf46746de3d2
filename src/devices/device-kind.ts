/** What a device that is added by name tells of itself, and what it is plugged into. */
import type { Disposable } from '../base/events.ts';
import type { CharBackend } from '../chardev/chardev.ts';
import type { AddressSpace } from '../memory/address-space.ts';
import type { PortSpace } from '../memory/port-space.ts';
import type { Device, DeviceContext } from './device.ts';
import type { IrqLine } from './irq/irq-line.ts';
import type { PciBus } from './pci/pci-bus.ts';
import type { PropertyDeclaration } from './properties.ts';
import type { Drive, DriveOptions } from './storage/drive.ts';
import type { ScsiBus } from './storage/scsi/scsi-bus.ts';

/** Provided by a board. */
export interface DeviceSockets extends DeviceContext {
  readonly ports: PortSpace;
  readonly space: AddressSpace;
  readonly pci: PciBus;
  /** Host memory for a device's own RAM or ROM; returns its offset. */
  allocate(sizeBytes: number): number;
  /** A new connection to an interrupt of the machine by its global number. */
  gsi(number: number): IrqLine;
  /** A backend by the ID the user gave it. */
  chardev(id: string): CharBackend;
  /** SCSI buses, in the order of their adapters; an adapter adds its own. */
  readonly scsiBuses: ScsiBus[];
  /** A drive by the ID the user gave it ('': one without a medium); it belongs to the device from then on. */
  drive(device: string, id: string, overrides: Partial<DriveOptions>): Drive;
  /** Where the next virtio device with registers in memory goes. Throws UserError when the board has no place left. */
  virtioMmio(device: string): { readonly address: number; readonly irq: IrqLine };
  /** The guest asked for the end of the machine with this exit status. */
  debugExit(status: number): void;
}

export type DeviceProperties = Readonly<Record<string, number | boolean | string>>;

/** A kind of device as the catalogue knows it. */
export interface DeviceKind {
  readonly name: string;
  readonly description: string;
  readonly properties: Readonly<Record<string, PropertyDeclaration>>;
  /** Makes one and plugs it in; `id` is the user's name for it. */
  create(sockets: DeviceSockets, properties: DeviceProperties, id?: string): Device & Partial<Disposable>;
}
