/**
 * The 82371SB (PIIX3) PCI-to-ISA bridge (Intel 290550): PIRQ routing to ISA interrupts, and the reset control register
 * at 0xCF9. The IDE function and the ISA devices inside the chip are models of their own.
 */
import type { Disposable } from '../../base/events.ts';
import type { PortSpace } from '../../memory/port-space.ts';
import { nested, type SavedState, StateReader } from '../../state/state.ts';
import type { Device } from '../device.ts';
import { PciDevice } from './pci-device.ts';

const PIRQRC = 0x60; // A to D
const PIRQRC_DISABLED = 0x80;
const RCR_SOFT_OR_HARD = 0x02;
const RCR_RESET_CPU = 0x04;

export interface Piix3Options {
  /** An ISA interrupt that PIRQ wires are routed to changed. */
  readonly onIrq: (irq: number, level: boolean) => void;
  readonly onReset: () => void;
}

export class Piix3 implements Device {
  readonly kind: string = 'piix3';
  readonly pci: PciDevice;
  private resetControl: number = 0;
  private readonly options: Piix3Options;
  private readonly pirqLevels: boolean[] = [false, false, false, false];
  private readonly irqLevels: boolean[] = Array.from({ length: 16 }, () => false);

  constructor(options: Piix3Options) {
    this.options = options;
    this.pci = new PciDevice({
      name: 'PIIX3',
      vendorId: 0x8086,
      deviceId: 0x7000,
      classCode: 0x060100,
      subsystemVendorId: 0x1af4,
      subsystemId: 0x1100,
      multiFunction: true,
    });
    this.pci.define(0x04, 2, 0x0007); // I/O, memory and master are always on
    this.pci.define(0x06, 2, 0x0200); // medium DEVSEL timing
    for (let i = 0; i < 4; i++) this.pci.define(PIRQRC + i, 1, PIRQRC_DISABLED, 0x8f);
    this.pci.define(0x4c, 1, 0x4d, 0xff); // ISA recovery timers
    this.pci.define(0x4e, 2, 0x0003, 0xffff); // X-bus chip select
    this.pci.define(0x69, 1, 0x02, 0xfe); // top of memory
    this.pci.define(0x80, 2, 0, 0xffff);
    this.pci.onConfigWrite = (offset): void => {
      if (offset < PIRQRC + 4) this.update();
    };
  }

  /** The reset control register, one byte in the middle of the configuration address register. */
  attach(ports: PortSpace): Disposable {
    return ports.register(
      { name: 'reset-control', first: 0xcf9, count: 1 },
      {
        read: () => this.resetControl,
        write: (_offset, _size, value) => {
          this.resetControl = value & RCR_SOFT_OR_HARD;
          if (value & RCR_RESET_CPU) this.options.onReset();
        },
      },
    );
  }

  reset(): void {
    this.pci.reset();
    this.resetControl = 0;
    this.update();
  }

  /** @param pirq 0 = PIRQA# */
  setPirq(pirq: number, level: boolean): void {
    this.pirqLevels[pirq] = level;
    this.update();
  }

  /** Routes a wire, as firmware does. */
  route(pirq: number, irq: number): void {
    this.pci.setConfig(PIRQRC + pirq, 1, irq);
    this.update();
  }

  save(): SavedState {
    return {
      kind: this.kind,
      version: 1,
      fields: { pci: nested(this.pci.save()), resetControl: this.resetControl, pirqs: [...this.pirqLevels] },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.resetControl = reader.u8('resetControl');
    this.pci.load(reader.state('pci'));
    this.update();
  }

  private update(): void {
    const levels = Array.from({ length: 16 }, () => false);
    this.pirqLevels.forEach((level, pirq) => {
      const route = this.pci.readConfig(PIRQRC + pirq, 1);
      if (level && !(route & PIRQRC_DISABLED)) levels[route & 0xf] = true;
    });
    levels.forEach((level, irq) => {
      if (level === this.irqLevels[irq]) return;
      this.irqLevels[irq] = level;
      this.options.onIrq(irq, level);
    });
  }
}
