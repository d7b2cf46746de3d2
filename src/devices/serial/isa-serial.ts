/** The PC's serial ports: a UART at an ISA address. */
import type { Disposable } from '../../base/events.ts';
import type { PortSpace } from '../../memory/port-space.ts';
import type { PropertySchema } from '../properties.ts';
import type { Uart16550 } from './uart16550.ts';

export interface IsaSerialProperties {
  readonly iobase: number;
  readonly irq: number;
}

export const ISA_SERIAL_PROPERTIES: PropertySchema<IsaSerialProperties> = {
  iobase: { type: 'uint16', description: 'first port', default: 0x3f8 },
  irq: { type: 'uint8', description: 'ISA interrupt', default: 4 },
};

/** Where COM1 to COM4 are. */
export const COM_PORTS: readonly { readonly iobase: number; readonly irq: number }[] = [
  { iobase: 0x3f8, irq: 4 },
  { iobase: 0x2f8, irq: 3 },
  { iobase: 0x3e8, irq: 4 },
  { iobase: 0x2e8, irq: 3 },
];

export function attachIsaSerial(ports: PortSpace, iobase: number, uart: Uart16550): Disposable {
  return ports.register({ name: 'isa-serial', first: iobase, count: 8 }, uart);
}
