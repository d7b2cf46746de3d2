/**
 * pci-testdev (its published specification, 1b36:0005): BAR 0 in memory and BAR 1 in port space, each a header page of
 * tests. Selecting a test writes its number at offset 0; the test then tells where and how wide to write, and counts.
 *
 * Of the specification's tests there is "no-eventfd" here; eventfd and data match belong to KVM hosts.
 */
import { MemoryRegion } from '../../memory/region.ts';
import { asciiBytes, viewOf } from '../../base/bytes.ts';
import { nested, type SavedState, StateReader } from '../../state/state.ts';
import type { DeviceKind } from '../device-kind.ts';
import type { Device } from '../device.ts';
import { PciDevice } from '../pci/pci-device.ts';

const MEMORY_SIZE = 4096;
const PORTS_SIZE = 256;

// Header layout
const TEST = 0; // u8: test number, written to select
const WIDTH = 1; // u8: how wide to write
const OFFSET = 4; // u32: where to write
const DATA = 8; // u32: what to write
const COUNT = 12; // u32: how often it was written
const NAME = 16;
/** Where the data register is in each BAR: the middle, away from the header. */
const DATA_OFFSET_DIVISOR = 2;

class TestBar {
  private readonly header: Uint8Array = new Uint8Array(128);
  private readonly view: DataView = viewOf(this.header);
  private readonly sizeBytes: number;
  private readonly testName: string;

  constructor(sizeBytes: number, testName: string) {
    this.sizeBytes = sizeBytes;
    this.testName = testName;
    this.reset();
  }

  reset(): void {
    this.header.fill(0);
  }

  read(offset: number, size: number): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + (this.header[offset + i] ?? 0);
    return value;
  }

  write(offset: number, size: number, value: number): void {
    if (offset === TEST && size === 1) {
      this.select(value);
      return;
    }
    const active = this.view.getUint8(WIDTH) !== 0;
    if (active && offset === this.view.getUint32(OFFSET, true) && size === this.view.getUint8(WIDTH))
      this.view.setUint32(COUNT, this.view.getUint32(COUNT, true) + 1, true);
  }

  save(): Uint8Array {
    return this.header.slice();
  }

  load(header: Uint8Array): void {
    this.header.set(header);
  }

  private select(test: number): void {
    this.header.fill(0);
    this.view.setUint8(TEST, test);
    if (test !== 0) return; // a width of 0 tells that there is no such test
    this.view.setUint8(WIDTH, 1);
    this.view.setUint32(OFFSET, this.sizeBytes / DATA_OFFSET_DIVISOR, true);
    this.view.setUint32(DATA, 0xfa, true);
    this.header.set(asciiBytes(this.testName), NAME);
  }
}

export class PciTestdev implements Device {
  readonly kind: string = 'pci-testdev';
  readonly pci: PciDevice;
  private readonly memory: TestBar = new TestBar(MEMORY_SIZE, 'mmio-no-eventfd');
  private readonly ports: TestBar = new TestBar(PORTS_SIZE, 'portio-no-eventfd');

  constructor() {
    this.pci = new PciDevice({
      name: 'pci-testdev',
      vendorId: 0x1b36,
      deviceId: 0x0005,
      classCode: 0x00ff00,
      subsystemVendorId: 0x1af4,
      subsystemId: 0x1100,
    });
    this.pci.addBar(0, { kind: 'memory', region: MemoryRegion.mmio('pci-testdev-mmio', MEMORY_SIZE, this.memory) });
    this.pci.addBar(1, { kind: 'io', sizeBytes: PORTS_SIZE, handler: this.ports });
  }

  reset(): void {
    this.pci.reset();
    this.memory.reset();
    this.ports.reset();
  }

  save(): SavedState {
    return {
      kind: this.kind,
      version: 1,
      fields: { pci: nested(this.pci.save()), memory: this.memory.save(), ports: this.ports.save() },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.memory.load(reader.bytes('memory', 128));
    this.ports.load(reader.bytes('ports', 128));
    this.pci.load(reader.state('pci'));
  }
}

export const PCI_TESTDEV: DeviceKind = {
  name: 'pci-testdev',
  description: 'a PCI function that counts writes, for test suites',
  properties: {},
  create({ pci }) {
    const device = new PciTestdev();
    pci.add(device.pci);
    return device;
  },
};
