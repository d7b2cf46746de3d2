/**
 * The ACPI tables as files for a firmware that places them itself (QEMU's fw_cfg interface, as SeaBIOS and OVMF read it): the tables
 * with offsets where pointers go, the root pointer, and a script of 128-byte commands that says which bytes are pointers and sums.
 */
import { ByteBuilder, asciiText, viewOf } from '../../../base/bytes.ts';
import { type AcpiOptions, buildAcpiTables } from './tables.ts';

export interface FirmwareFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

const TABLES_FILE = 'etc/acpi/tables';
const RSDP_FILE = 'etc/acpi/rsdp';
const LOADER_FILE = 'etc/table-loader';

const COMMAND_ALLOCATE = 1;
const COMMAND_ADD_POINTER = 2;
const COMMAND_ADD_CHECKSUM = 3;
const ZONE_HIGH = 1;
const ZONE_F_SEGMENT = 2; // where operating systems search for the root pointer
const COMMAND_BYTES = 128;
const FILE_NAME_BYTES = 56;

const HEADER_BYTES = 36;
const LENGTH = 4;
const CHECKSUM = 9;
const FADT_FACS = 36;
const FADT_DSDT = 40;
const FADT_X_DSDT = 140;
const RSDP_CHECKSUM = 8;
const RSDP_V1_BYTES = 20;
const RSDP_RSDT = 16;
const RSDP_XSDT = 24;
const RSDP_EXTENDED_CHECKSUM = 32;

/** Commands in the order in which firmware carries them out. */
class LoaderScript {
  private readonly script = new ByteBuilder();

  allocate(file: string, alignment: number, zone: number): void {
    this.command(COMMAND_ALLOCATE, [file], (script) => script.u32(alignment).u8(zone));
  }

  /** The `sizeBytes` at `offset` of `file` are an offset into `target` and become an address. */
  pointer(file: string, offset: number, sizeBytes: number, target: string): void {
    this.command(COMMAND_ADD_POINTER, [file, target], (script) => script.u32(offset).u8(sizeBytes));
  }

  /** The byte at `offset` makes the sum of the bytes from `start` zero; it is zero before. */
  checksum(file: string, offset: number, start: number, sizeBytes: number): void {
    this.command(COMMAND_ADD_CHECKSUM, [file], (script) => script.u32(offset).u32(start).u32(sizeBytes));
  }

  build(): Uint8Array {
    return this.script.build();
  }

  private command(number: number, files: readonly string[], operands: (script: ByteBuilder) => unknown): void {
    this.script.u32(number);
    for (const file of files) this.script.text(file, FILE_NAME_BYTES);
    operands(this.script);
    this.script.alignTo(COMMAND_BYTES);
  }
}

/** All files, to be offered through fw_cfg. */
export function acpiFirmwareFiles(options: AcpiOptions): FirmwareFile[] {
  // Built for address 0, every pointer is an offset.
  const { tables, rsdp } = buildAcpiTables(0, options);
  const script = new LoaderScript();
  script.allocate(RSDP_FILE, 16, ZONE_F_SEGMENT);
  script.allocate(TABLES_FILE, 64, ZONE_HIGH);

  const view = viewOf(tables);
  const addPointer = (offset: number, sizeBytes: number): void =>
    script.pointer(TABLES_FILE, offset, sizeBytes, TABLES_FILE);
  const rsdt = viewOf(rsdp).getUint32(RSDP_RSDT, true);
  const xsdt = viewOf(rsdp).getUint32(RSDP_XSDT, true);
  const listed = listTables(view, rsdt);
  const summed = [...listed, rsdt, xsdt];
  for (const table of listed) {
    if (asciiText(tables.subarray(table, table + 4)) !== 'FACP') continue;
    addPointer(table + FADT_FACS, 4);
    addPointer(table + FADT_DSDT, 4);
    addPointer(table + FADT_X_DSDT, 8);
    summed.push(view.getUint32(table + FADT_DSDT, true));
  }
  listed.forEach((_, i) => {
    addPointer(rsdt + HEADER_BYTES + i * 4, 4);
    addPointer(xsdt + HEADER_BYTES + i * 8, 8);
  });
  for (const table of summed) {
    tables[table + CHECKSUM] = 0;
    script.checksum(TABLES_FILE, table + CHECKSUM, table, view.getUint32(table + LENGTH, true));
  }

  script.pointer(RSDP_FILE, RSDP_RSDT, 4, TABLES_FILE);
  script.pointer(RSDP_FILE, RSDP_XSDT, 8, TABLES_FILE);
  rsdp[RSDP_CHECKSUM] = 0;
  rsdp[RSDP_EXTENDED_CHECKSUM] = 0;
  script.checksum(RSDP_FILE, RSDP_CHECKSUM, 0, RSDP_V1_BYTES);
  script.checksum(RSDP_FILE, RSDP_EXTENDED_CHECKSUM, 0, rsdp.length);
  return [
    { name: TABLES_FILE, bytes: tables },
    { name: RSDP_FILE, bytes: rsdp },
    { name: LOADER_FILE, bytes: script.build() },
  ];
}

/** Where the tables are that an RSDT lists. */
function listTables(view: DataView, rsdt: number): number[] {
  const count = (view.getUint32(rsdt + LENGTH, true) - HEADER_BYTES) / 4;
  return Array.from({ length: count }, (_, i) => view.getUint32(rsdt + HEADER_BYTES + i * 4, true));
}
