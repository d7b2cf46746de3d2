/**
 * SMBIOS 2.8 tables (DMTF DSP0134): what the machine calls itself, for dmidecode and whoever looks for a hypervisor
 * there. BIOS, system, enclosure, processors, memory; the 32-bit entry point.
 */
import { asciiBytes, ByteBuilder, concatBytes } from '../../base/bytes.ts';
import { checksum } from './acpi/tables.ts';

export interface SmbiosOptions {
  readonly cpuCount: number;
  readonly memoryBytes: number;
  /** What "System Information" says. */
  readonly product: string;
  readonly version: string;
}

export interface SmbiosTables {
  /** The anchor, to be placed at a multiple of 16 from 0xF0000 on. */
  readonly entryPoint: Uint8Array;
  /** To be placed at the address given. */
  readonly structures: Uint8Array;
}

const MANUFACTURER = 'Orrery';
const MAJOR = 2;
const MINOR = 8;
const ENTRY_POINT_SIZE = 31;
const INTERMEDIATE_OFFSET = 16;
const MEMORY_ARRAY_HANDLE = 0x1000;
const NOT_PROVIDED = 0xfffe;
const UNKNOWN = 0xffff;
const MIB = 0x100000;
/** BIOS characteristics: not supported; extension byte 2: targeted content distribution, virtual machine. */
const CHARACTERISTICS_UNSUPPORTED = 0x08;
const EXTENSION_VIRTUAL_MACHINE = 0x14;

/** Builds the tables for structures that lie at guest physical `address`. */
export function buildSmbios(address: number, options: SmbiosOptions): SmbiosTables {
  const list = structures(options);
  const bytes = concatBytes(list);
  const entryPoint = new ByteBuilder()
    .text('_SM_')
    .u8(0)
    .u8(ENTRY_POINT_SIZE)
    .u8(MAJOR)
    .u8(MINOR)
    .u16(Math.max(...list.map((structure) => structure.length)))
    .u8(0)
    .zeros(5)
    .text('_DMI_')
    .u8(0)
    .u16(bytes.length)
    .u32(address)
    .u16(list.length)
    .u8((MAJOR << 4) | MINOR)
    .build();
  entryPoint[INTERMEDIATE_OFFSET + 5] = checksum(entryPoint.subarray(INTERMEDIATE_OFFSET));
  entryPoint[4] = checksum(entryPoint);
  return { entryPoint, structures: bytes };
}

function structures(options: SmbiosOptions): Uint8Array[] {
  const memoryKib = options.memoryBytes / 1024;
  const list = [biosInformation(options), systemInformation(options), enclosure(options)];
  for (let cpu = 0; cpu < options.cpuCount; cpu++) list.push(processor(cpu));
  list.push(
    // Physical memory array: in the machine, system memory, no error correction, one device.
    structure(16, MEMORY_ARRAY_HANDLE, new ByteBuilder().u8(1).u8(3).u8(3).u32(memoryKib).u16(NOT_PROVIDED).u16(1)),
    memoryDevice(options.memoryBytes),
    structure(
      19,
      0x1300,
      new ByteBuilder()
        .u32(0)
        .u32(memoryKib - 1)
        .u16(MEMORY_ARRAY_HANDLE)
        .u8(1),
    ),
    structure(32, 0x2000, new ByteBuilder().zeros(6).u8(0)), // boot: no errors
    structure(127, 0x7f00, new ByteBuilder()),
  );
  return list;
}

/** Header, fields, strings (numbered from 1 in the fields) and the two NULs. */
function structure(type: number, handle: number, fields: ByteBuilder, strings: readonly string[] = []): Uint8Array {
  const builder = new ByteBuilder()
    .u8(type)
    .u8(4 + fields.length)
    .u16(handle)
    .raw(fields.build());
  for (const text of strings) builder.raw(asciiBytes(text)).u8(0);
  return builder.zeros(strings.length === 0 ? 2 : 1).build();
}

function biosInformation({ version }: SmbiosOptions): Uint8Array {
  const fields = new ByteBuilder().u8(1).u8(2).u16(0xe800).u8(3).u8(0).u32(CHARACTERISTICS_UNSUPPORTED).u32(0);
  fields.u8(0).u8(EXTENSION_VIRTUAL_MACHINE).u8(0).u8(0).u8(0xff).u8(0xff);
  return structure(0, 0, fields, [MANUFACTURER, version, '01/01/2026']);
}

function systemInformation({ product, version }: SmbiosOptions): Uint8Array {
  // No serial number, no UUID (all zero: not set), woken by the power switch.
  const fields = new ByteBuilder().u8(1).u8(2).u8(3).u8(0).zeros(16).u8(6).u8(0).u8(0);
  return structure(1, 0x100, fields, [MANUFACTURER, product, version]);
}

function enclosure({ version }: SmbiosOptions): Uint8Array {
  const safe = 3;
  const fields = new ByteBuilder()
    .u8(1)
    .u8(1)
    .u8(2)
    .u8(0)
    .u8(0)
    .u8(safe)
    .u8(safe)
    .u8(safe)
    .u8(2)
    .u32(0)
    .u8(0)
    .u8(0)
    .u8(0)
    .u8(0);
  return structure(3, 0x300, fields, [MANUFACTURER, version]);
}

function processor(index: number): Uint8Array {
  const fields = new ByteBuilder().u8(1).u8(3).u8(1).u8(2).zeros(8).u8(0).u8(0).u16(0).u16(2000).u16(2000);
  fields.u8(0x41).u8(1); // populated and enabled; upgrade: other
  fields.u16(UNKNOWN).u16(UNKNOWN).u16(UNKNOWN).u8(0).u8(0).u8(0).u8(1).u8(1).u8(1).u16(0x02).u16(1);
  return structure(4, 0x400 + index, fields, [`CPU ${index}`, MANUFACTURER]);
}

function memoryDevice(sizeBytes: number): Uint8Array {
  const fields = new ByteBuilder()
    .u16(MEMORY_ARRAY_HANDLE)
    .u16(NOT_PROVIDED)
    .u16(UNKNOWN)
    .u16(UNKNOWN)
    .u16(Math.floor(sizeBytes / MIB));
  // DIMM, in no set; RAM, other details.
  fields.u8(9).u8(0).u8(1).u8(0).u8(7).u16(0x02).u16(0).u8(2).u8(0).u8(0).u8(0);
  return structure(17, 0x1100, fields, ['DIMM 0', MANUFACTURER]);
}
