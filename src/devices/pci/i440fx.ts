/**
 * The 82441FX host bridge (Intel 290549): what an operating system and a BIOS use of it, the PAM registers that switch
 * 0xC0000–0xFFFFF between RAM and the bus. SMRAM control is kept but opens nothing: there is no system management mode.
 */
import type { AddressSpace } from '../../memory/address-space.ts';
import { MemoryRegion } from '../../memory/region.ts';
import { nested, type SavedState, StateReader } from '../../state/state.ts';
import type { Device } from '../device.ts';
import { PciDevice } from './pci-device.ts';

const PAM0 = 0x59;
const PAM_COUNT = 7;
const SMRAM = 0x72;
const PAM_READ = 1; // reads go to RAM
const PAM_WRITE = 2;

/** What the two enable bits of a segment select. */
interface Segment {
  readonly register: number;
  readonly shift: number;
  /** Shown for read+write and for read only; neither means the bus below shows through. */
  readonly ram: MemoryRegion;
  readonly rom: MemoryRegion;
}

export class I440fx implements Device {
  readonly kind: string = 'i440fx';
  readonly pci: PciDevice;
  private readonly segments: readonly Segment[];
  private readonly space: AddressSpace;

  /**
   * @param ram low memory, of which the segments show parts
   * @param space where they are shown, above the bus
   */
  constructor(space: AddressSpace, ram: MemoryRegion) {
    this.space = space;
    this.pci = new PciDevice({
      name: 'i440FX',
      vendorId: 0x8086,
      deviceId: 0x1237,
      revision: 2,
      classCode: 0x060000,
      subsystemVendorId: 0x1af4,
      subsystemId: 0x1100,
    });
    this.pci.allowCommandBits(0x02);
    for (let i = 0; i < PAM_COUNT; i++) this.pci.define(PAM0 + i, 1, 0, i === 0 ? 0x30 : 0x33);
    this.pci.define(SMRAM, 1, 0x02, 0x78);
    this.pci.onConfigWrite = (): void => this.update();

    const segments: Segment[] = [this.segment(ram, 0xf0000, 0x10000, PAM0, 4)];
    for (let i = 0; i < 12; i++)
      segments.push(this.segment(ram, 0xc0000 + i * 0x4000, 0x4000, PAM0 + 1 + (i >> 1), i & 1 ? 4 : 0));
    this.segments = segments;
    this.update();
  }

  reset(): void {
    this.pci.reset();
    this.update();
  }

  /** Lets the whole range read and write RAM, as a BIOS leaves it for an operating system that it loaded there. */
  openAllSegments(): void {
    this.pci.setConfig(PAM0, 1, 0x30);
    for (let i = 1; i < PAM_COUNT; i++) this.pci.setConfig(PAM0 + i, 1, 0x33);
    this.update();
  }

  save(): SavedState {
    return { kind: this.kind, version: 1, fields: { pci: nested(this.pci.save()) } };
  }

  load(state: SavedState): void {
    this.pci.load(new StateReader(state, this.kind, 1).state('pci'));
    this.update();
  }

  private segment(ram: MemoryRegion, start: number, sizeBytes: number, register: number, shift: number): Segment {
    const make = (name: string, readonly: boolean): MemoryRegion => {
      const alias = MemoryRegion.alias(name, ram, start, sizeBytes, readonly);
      alias.setEnabled(false);
      // Above the RAM and the bus's ROMs.
      this.space.root.add(alias, start, 3);
      return alias;
    };
    return { register, shift, ram: make('pam-ram', false), rom: make('pam-rom', true) };
  }

  private update(): void {
    this.space.transaction(() => {
      for (const { register, shift, ram, rom } of this.segments) {
        const bits = (this.pci.readConfig(register, 1) >> shift) & 3;
        ram.setEnabled(bits === (PAM_READ | PAM_WRITE));
        rom.setEnabled(bits === PAM_READ);
      }
    });
  }
}
