/** A PCI bus: functions in their slots, and interrupt pins swizzled onto the four PIRQ wires. */
import { InternalError, UserError } from '../../base/errors.ts';
import type { PortSpace } from '../../memory/port-space.ts';
import type { MemoryRegion } from '../../memory/region.ts';
import { SharedWire } from '../irq/irq-line.ts';
import type { PciDevice } from './pci-device.ts';

export interface PciBusOptions {
  readonly ports: PortSpace;
  /** The container that memory BARs appear in. */
  readonly memory: MemoryRegion;
  /** One of the four interrupt wires changed. */
  readonly onPirq: (pirq: number, level: boolean) => void;
  readonly sendMsi: (addressLow: number, addressHigh: number, data: number) => void;
}

const SLOTS = 32;
const FUNCTIONS = 8;
/** BARs win over the RAM below them, as the chipset decodes them. */
const BAR_PRIORITY = 1;

export class PciBus {
  private readonly functions: (PciDevice | undefined)[] = Array.from({ length: SLOTS * FUNCTIONS }, () => undefined);
  private readonly options: PciBusOptions;
  private readonly pirqs: readonly SharedWire[];

  constructor(options: PciBusOptions) {
    this.options = options;
    this.pirqs = [0, 1, 2, 3].map((pirq) => new SharedWire((level) => options.onPirq(pirq, level)));
  }

  /** Plugs a function in; without a slot, into the first one that is free. Returns the slot. */
  add(device: PciDevice, slot?: number, func: number = 0): number {
    const place = slot ?? this.freeSlot();
    const devfn = place * FUNCTIONS + func;
    if (place < 0 || place >= SLOTS) throw new UserError(`There is no free PCI slot for '${device.identity.name}'.`);
    const taken = this.functions[devfn];
    if (taken)
      throw new UserError(
        `PCI address ${place.toString(16)}.${func} for '${device.identity.name}' is taken by '${taken.identity.name}'.`,
      );
    this.functions[devfn] = device;
    const pin = (device.identity.interruptPin ?? 0) - 1;
    // INVARIANT: two bits index the four wires.
    const wire = pin < 0 ? undefined : this.pirqs[pirqOf(place, pin)]!.connect();
    device.connect({
      mapMemory: (region, address) => this.options.memory.add(region, address, BAR_PRIORITY),
      mapPorts: (name, first, bar) =>
        this.options.ports.register({ name, first, count: bar.sizeBytes, sizes: bar.sizes ?? [1, 2, 4] }, bar.handler),
      setIntx: (level) => {
        if (!wire)
          throw new InternalError('A PCI function without an interrupt pin raised INTx.', {
            name: device.identity.name,
          });
        wire.set(level);
      },
      sendMsi: (low, high, data) => this.options.sendMsi(low, high, data),
    });
    return place;
  }

  /** The function at a place, undefined where nothing is. */
  at(slot: number, func: number): PciDevice | undefined {
    return this.functions[slot * FUNCTIONS + func];
  }

  /** All functions with their places, by slot and function. */
  list(): { readonly slot: number; readonly func: number; readonly device: PciDevice }[] {
    return this.functions.flatMap((device, devfn) => (device ? [{ slot: devfn >> 3, func: devfn & 7, device }] : []));
  }

  reset(): void {
    for (const { device } of this.list()) device.reset();
  }

  private freeSlot(): number {
    for (let slot = 0; slot < SLOTS; slot++) {
      if (!this.functions[slot * FUNCTIONS]) return slot;
    }
    return -1;
  }
}

/** Which wire a slot's pin (0 = INTA#) is soldered to: one further with each slot, slot 1 straight. */
export function pirqOf(slot: number, pin: number): number {
  return (pin + slot + 3) & 3;
}
