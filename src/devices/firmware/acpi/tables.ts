/**
 * ACPI tables (ACPI 6.4, chapter 5) of the PC: RSDP, RSDT, XSDT, FADT revision 3, FACS, MADT, DSDT and WAET. They are
 * laid out at a given address with all pointers filled in.
 */
import { asciiBytes, ByteBuilder } from '../../../base/bytes.ts';
import { IOAPIC_DEFAULT_BASE } from '../../irq/ioapic.ts';
import { APIC_DEFAULT_BASE } from '../../irq/lapic-registers.ts';
import { GPE0_STATUS, PM1_CONTROL, PM1_STATUS, PM_TIMER } from '../../power/acpi-pm.ts';
import { ACPI_DISABLE, ACPI_ENABLE, SMI_COMMAND_PORT } from '../../power/piix4-pm.ts';
import { type DsdtOptions, dsdtTerms } from './dsdt.ts';

export interface AcpiOptions extends DsdtOptions {
  /** Port address of the ACPI fixed hardware. */
  readonly pmBase: number;
}

export interface AcpiTables {
  /** All tables but the RSDP, to be placed at the address that they were built for. */
  readonly tables: Uint8Array;
  readonly rsdp: Uint8Array;
}

export const SCI_IRQ = 9;
const CENTURY_REGISTER = 0x32;
const OEM_ID = 'ORRERY';
const OEM_TABLE_ID = 'ORRERYPC';
const HEADER_SIZE = 36;
const CHECKSUM_OFFSET = 9;
const FACS_ALIGNMENT = 64;

// FADT flags
const FADT_WBINVD = 1 << 0;
const FADT_PROC_C1 = 1 << 2;
const FADT_SLP_BUTTON = 1 << 5; // no fixed sleep button
const FADT_RTC_S4 = 1 << 7;
const FADT_RESET_REG = 1 << 10;
const FADT_USE_PLATFORM_CLOCK = 1 << 15;
// IA-PC boot architecture flags
const BOOT_LEGACY_DEVICES = 1 << 0;
const BOOT_8042 = 1 << 1;
const RESET_PORT = 0xcf9;
const RESET_VALUE = 0x06;

const MADT_PCAT_COMPAT = 1; // the machine also has 8259s
const OVERRIDE_LEVEL_HIGH = 0x000d;
/** ISA interrupts that PCI and the SCI drive as levels. */
const LEVEL_IRQS = [5, 9, 10, 11] as const;

/** Lays the tables out from guest physical `address`, which must be a multiple of 64. */
export function buildAcpiTables(address: number, options: AcpiOptions): AcpiTables {
  const image = new ByteBuilder();
  const place = (table: Uint8Array, alignment: number = 16): number => {
    image.alignTo(alignment);
    const at = address + image.length;
    image.raw(table);
    return at;
  };
  const facs = place(buildFacs(), FACS_ALIGNMENT);
  const dsdt = place(withHeader('DSDT', 2, concat(dsdtTerms(options))));
  const entries = [
    place(withHeader('FACP', 3, fadtBody(options, facs, dsdt))),
    place(withHeader('APIC', 3, madtBody(options.cpuCount))),
    place(withHeader('WAET', 1, new ByteBuilder().u32(0x2).build())), // the PM timer reads right the first time
  ];
  const rsdt = place(
    withHeader('RSDT', 1, entries.reduce((list, entry) => list.u32(entry), new ByteBuilder()).build()),
  );
  const xsdt = place(
    withHeader('XSDT', 1, entries.reduce((list, entry) => list.u64(entry), new ByteBuilder()).build()),
  );
  return { tables: image.build(), rsdp: buildRsdp(rsdt, xsdt) };
}

/** The byte that makes the sum of all bytes 0. */
export function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

function withHeader(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const table = new ByteBuilder()
    .text(signature, 4)
    .u32(HEADER_SIZE + body.length)
    .u8(revision)
    .u8(0)
    .text(OEM_ID, 6)
    .text(OEM_TABLE_ID, 8)
    .u32(1)
    .text('ORRY', 4)
    .u32(1)
    .raw(body)
    .build();
  table[CHECKSUM_OFFSET] = checksum(table);
  return table;
}

function buildRsdp(rsdt: number, xsdt: number): Uint8Array {
  const rsdp = new ByteBuilder()
    .text('RSD PTR ', 8)
    .u8(0)
    .text(OEM_ID, 6)
    .u8(2)
    .u32(rsdt)
    .u32(36)
    .u64(xsdt)
    .u8(0)
    .zeros(3)
    .build();
  rsdp[8] = checksum(rsdp.subarray(0, 20));
  rsdp[32] = checksum(rsdp);
  return rsdp;
}

function buildFacs(): Uint8Array {
  return new ByteBuilder().raw(asciiBytes('FACS')).u32(64).zeros(56).build();
}

const ADDRESS_SPACE_IO = 1;

function genericAddress(builder: ByteBuilder, port: number, bits: number): ByteBuilder {
  return builder
    .u8(port === 0 ? 0 : ADDRESS_SPACE_IO)
    .u8(port === 0 ? 0 : bits)
    .u8(0)
    .u8(0)
    .u64(port);
}

function fadtBody({ pmBase }: AcpiOptions, facs: number, dsdt: number): Uint8Array {
  const fadt = new ByteBuilder()
    .u32(facs)
    .u32(dsdt)
    .u8(1) // interrupt model of ACPI 1.0: dual PIC
    .u8(1) // preferred profile: desktop
    .u16(SCI_IRQ)
    .u32(SMI_COMMAND_PORT)
    .u8(ACPI_ENABLE)
    .u8(ACPI_DISABLE)
    .u8(0) // S4BIOS_REQ
    .u8(0) // PSTATE_CNT
    .u32(pmBase + PM1_STATUS)
    .u32(0)
    .u32(pmBase + PM1_CONTROL)
    .u32(0)
    .u32(0) // PM2
    .u32(pmBase + PM_TIMER)
    .u32(pmBase + GPE0_STATUS)
    .u32(0) // GPE1
    .u8(4) // PM1 event length
    .u8(2) // PM1 control length
    .u8(0)
    .u8(4) // PM timer length
    .u8(4) // GPE0 length
    .u8(0)
    .u8(0)
    .u8(0) // CST_CNT
    .u16(0x0fff) // C2 latency: not supported
    .u16(0x0fff) // C3 latency: not supported
    .u16(0) // flush size and stride: WBINVD works
    .u16(0)
    .u8(0) // duty offset and width
    .u8(0)
    .u8(0) // day and month alarm
    .u8(0)
    .u8(CENTURY_REGISTER)
    .u16(BOOT_LEGACY_DEVICES | BOOT_8042)
    .u8(0)
    .u32(FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_RTC_S4 | FADT_RESET_REG | FADT_USE_PLATFORM_CLOCK);
  genericAddress(fadt, RESET_PORT, 8).u8(RESET_VALUE).zeros(3);
  fadt.u64(0).u64(dsdt); // the FACS is given by its 32-bit field: only one of the two may be set
  genericAddress(fadt, pmBase + PM1_STATUS, 32);
  genericAddress(fadt, 0, 0);
  genericAddress(fadt, pmBase + PM1_CONTROL, 16);
  genericAddress(fadt, 0, 0);
  genericAddress(fadt, 0, 0);
  genericAddress(fadt, pmBase + PM_TIMER, 32);
  genericAddress(fadt, pmBase + GPE0_STATUS, 32);
  genericAddress(fadt, 0, 0);
  return fadt.build();
}

function madtBody(cpuCount: number): Uint8Array {
  const madt = new ByteBuilder().u32(APIC_DEFAULT_BASE).u32(MADT_PCAT_COMPAT);
  for (let cpu = 0; cpu < cpuCount; cpu++) madt.u8(0).u8(8).u8(cpu).u8(cpu).u32(1);
  madt.u8(1).u8(12).u8(0).u8(0).u32(IOAPIC_DEFAULT_BASE).u32(0);
  const override = (irq: number, gsi: number, flags: number): void =>
    void madt.u8(2).u8(10).u8(0).u8(irq).u32(gsi).u16(flags);
  override(0, 2, 0); // the timer is on pin 2
  for (const irq of LEVEL_IRQS) override(irq, irq, OVERRIDE_LEVEL_HIGH);
  madt.u8(4).u8(6).u8(0xff).u16(0).u8(1); // LINT1 of all processors is NMI
  return madt.build();
}

function concat(terms: readonly Uint8Array[]): Uint8Array {
  return terms.reduce((all, term) => all.raw(term), new ByteBuilder()).build();
}
