/**
 * PCI configuration mechanism #1 (PCI 3.0, 3.2.2.3.2): the address register at 0xCF8 and the data window at 0xCFC.
 *
 * The lowest two bits of the address register select bytes too, as in QEMU; the bridge's data sheet calls them reserved.
 */
import { type Disposable, DisposableStore } from '../../base/events.ts';
import { allOnes } from '../../base/bits.ts';
import type { PortSpace } from '../../memory/port-space.ts';
import { type SavedState, StateReader } from '../../state/state.ts';
import { defineEvents, type TracePoints, type Tracer } from '../../trace/trace.ts';
import type { Device } from '../device.ts';
import type { PciBus } from './pci-bus.ts';

const EVENTS = defineEvents({
  pci_config_read: ['slot', 'function', 'offset', 'size', 'value'],
  pci_config_write: ['slot', 'function', 'offset', 'size', 'value'],
});

const ENABLE = 0x80000000;

export class PciConfigMechanism implements Device {
  readonly kind: string = 'pci-config-mechanism';
  private address: number = 0;
  private readonly bus: PciBus;
  private readonly trace: TracePoints<typeof EVENTS>;

  constructor(tracer: Tracer, bus: PciBus) {
    this.bus = bus;
    this.trace = tracer.attach(EVENTS);
  }

  attach(ports: PortSpace): Disposable {
    const registrations = new DisposableStore();
    registrations.add(
      ports.register(
        { name: 'pci-config-address', first: 0xcf8, count: 4, sizes: [4] },
        { read: () => this.address, write: (_offset, _size, value) => void (this.address = value >>> 0) },
      ),
    );
    registrations.add(
      ports.register(
        { name: 'pci-config-data', first: 0xcfc, count: 4, sizes: [1, 2, 4] },
        {
          read: (offset, size) => this.read(offset, size),
          write: (offset, size, value) => this.write(offset, size, value),
        },
      ),
    );
    return registrations;
  }

  reset(): void {
    this.address = 0;
  }

  save(): SavedState {
    return { kind: this.kind, version: 1, fields: { address: this.address } };
  }

  load(state: SavedState): void {
    this.address = new StateReader(state, this.kind, 1).u32('address');
  }

  private read(port: number, size: number): number {
    const { slot, func, offset } = this.target(port);
    const value = this.selected()?.readConfig(offset, size) ?? allOnes(size);
    if (this.trace.pci_config_read.on) this.trace.pci_config_read.emit(slot, func, offset, size, value);
    return value;
  }

  private write(port: number, size: number, value: number): void {
    const { slot, func, offset } = this.target(port);
    if (this.trace.pci_config_write.on) this.trace.pci_config_write.emit(slot, func, offset, size, value);
    this.selected()?.writeConfig(offset, size, value);
  }

  private target(port: number): { slot: number; func: number; offset: number } {
    return { slot: (this.address >>> 11) & 0x1f, func: (this.address >>> 8) & 7, offset: (this.address & 0xff) | port };
  }

  private selected(): ReturnType<PciBus['at']> {
    // Only bus 0 exists: a cycle for another one is answered by nobody.
    if ((this.address & ENABLE) === 0 || ((this.address >>> 16) & 0xff) !== 0) return undefined;
    return this.bus.at((this.address >>> 11) & 0x1f, (this.address >>> 8) & 7);
  }
}
