/**
 * The power management function of the 82371AB (PIIX4, Intel 290562): puts the ACPI fixed hardware where PMBASE says,
 * and the APM control port at 0xB2 through which an operating system asks the firmware to hand over to ACPI.
 *
 * Left out: the SMBus controller (its base register is kept), device monitors, resume logic.
 */
import { type Disposable, DisposableStore } from '../../base/events.ts';
import type { PortSpace } from '../../memory/port-space.ts';
import { nested, type SavedState, StateReader } from '../../state/state.ts';
import type { Device } from '../device.ts';
import { PciDevice } from '../pci/pci-device.ts';
import { ACPI_PM_SIZE, AcpiPm, type AcpiPmOptions } from './acpi-pm.ts';

const PMBASE = 0x40;
const PMREGMISC = 0x80;
const PMREGMISC_PMIOSE = 0x01; // PMBASE is decoded
const DEVACTB_APMC_EN = 0x02000000;
const SMBBASE = 0x90;
export const SMI_COMMAND_PORT = 0xb2;
export const ACPI_ENABLE = 0xf1;
export const ACPI_DISABLE = 0xf0;

export class Piix4Pm implements Device {
  readonly kind: string = 'piix4-pm';
  readonly pci: PciDevice;
  readonly acpi: AcpiPm;
  private apmControl: number = 0;
  private apmStatus: number = 0;
  private readonly ports: PortSpace;
  private mapping: Disposable | undefined;
  private mappedBase: number = 0;

  constructor(options: AcpiPmOptions & { readonly ports: PortSpace }) {
    this.ports = options.ports;
    this.acpi = new AcpiPm(options);
    this.pci = new PciDevice({
      name: 'PIIX4_PM',
      vendorId: 0x8086,
      deviceId: 0x7113,
      revision: 3,
      classCode: 0x068000,
      subsystemVendorId: 0x1af4,
      subsystemId: 0x1100,
      interruptPin: 1,
    });
    this.pci.allowCommandBits(0x01);
    this.pci.define(0x06, 2, 0x0280);
    this.pci.define(0x3c, 1, 9, 0xff);
    this.pci.define(PMBASE, 4, 0x01, 0xffc0);
    // Device activity B: SMIs of the APM port count as set up, so that no firmware waits for system management mode.
    this.pci.define(0x58, 4, DEVACTB_APMC_EN, 0xffffffff);
    this.pci.define(PMREGMISC, 1, 0, 0x0f);
    this.pci.define(SMBBASE, 4, 0x01, 0xfff0);
    this.pci.define(0xd2, 1, 0, 0xff);
    this.pci.onConfigWrite = (): void => this.updateMapping();
  }

  attach(): Disposable {
    const registrations = new DisposableStore();
    registrations.add(
      this.ports.register(
        { name: 'apm', first: SMI_COMMAND_PORT, count: 2 },
        {
          read: (offset) => (offset === 0 ? this.apmControl : this.apmStatus),
          write: (offset, _size, value) => (offset === 0 ? this.command(value) : void (this.apmStatus = value)),
        },
      ),
    );
    registrations.add({ dispose: () => this.mapping?.dispose() });
    return registrations;
  }

  /** Decodes the registers at `base`, as firmware does. */
  enable(base: number): void {
    this.pci.setConfig(PMBASE, 4, base | 1);
    this.pci.setConfig(PMREGMISC, 1, PMREGMISC_PMIOSE);
    this.updateMapping();
  }

  reset(): void {
    this.pci.reset();
    this.acpi.reset();
    this.apmControl = 0;
    this.apmStatus = 0;
    this.updateMapping();
  }

  save(): SavedState {
    const { apmControl, apmStatus } = this;
    return {
      kind: this.kind,
      version: 1,
      fields: { pci: nested(this.pci.save()), acpi: nested(this.acpi.save()), apmControl, apmStatus },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.apmControl = reader.u8('apmControl');
    this.apmStatus = reader.u8('apmStatus');
    this.pci.load(reader.state('pci'));
    this.acpi.load(reader.state('acpi'));
    this.updateMapping();
  }

  private command(value: number): void {
    this.apmControl = value;
    if (value === ACPI_ENABLE) this.acpi.setAcpiEnabled(true);
    else if (value === ACPI_DISABLE) this.acpi.setAcpiEnabled(false);
  }

  private updateMapping(): void {
    const decoded = (this.pci.readConfig(PMREGMISC, 1) & PMREGMISC_PMIOSE) !== 0;
    const base = decoded ? this.pci.readConfig(PMBASE, 4) & 0xffc0 : 0;
    if (base === this.mappedBase) return;
    this.mapping?.dispose();
    this.mapping = undefined;
    this.mappedBase = base;
    // GUEST: base has 10 bits at 64-byte steps; the block ends at 0x10000 at the latest.
    if (base !== 0)
      this.mapping = this.ports.register(
        { name: 'acpi-pm', first: base, count: ACPI_PM_SIZE, sizes: [1, 2, 4] },
        this.acpi,
      );
  }
}
