import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { asciiText, viewOf } from '../../../base/bytes.ts';
import { acpiFirmwareFiles } from './table-loader.ts';
import { type AcpiOptions, buildAcpiTables } from './tables.ts';

const OPTIONS: AcpiOptions = {
  cpuCount: 3,
  pciMemoryStart: 0xc0000000,
  pciMemoryEnd: 0xfebfffff,
  serialPorts: [
    { iobase: 0x3f8, irq: 4 },
    { iobase: 0x2f8, irq: 3 },
  ],
  mouse: true,
  virtioMmio: [{ address: 0xfef00000, gsi: 16 }],
  pmBase: 0x600,
};
const ADDRESS = 0x1fff0000;

const NOTHING: Uint8Array = new Uint8Array(0);

const sum = (bytes: Uint8Array): number => bytes.reduce((all, byte) => all + byte, 0) & 0xff;

/** Tables by signature, found as an operating system does: from the root pointer on. */
function findTables(rsdp: Uint8Array, image: Uint8Array, address: number, extended: boolean): Map<string, Uint8Array> {
  const found = new Map<string, Uint8Array>();
  const tableAt = (at: number): Uint8Array => {
    const offset = at - address;
    const table = image.subarray(offset, offset + viewOf(image).getUint32(offset + 4, true));
    found.set(asciiText(table.subarray(0, 4)), table);
    return table;
  };
  const root = viewOf(rsdp);
  const list = tableAt(extended ? Number(root.getBigUint64(24, true)) : root.getUint32(16, true));
  const size = extended ? 8 : 4;
  for (let at = 36; at < list.length; at += size) tableAt(viewOf(list).getUint32(at, true));
  const fadt = viewOf(found.get('FACP') ?? new Uint8Array(244));
  tableAt(fadt.getUint32(36, true));
  tableAt(extended ? Number(fadt.getBigUint64(140, true)) : fadt.getUint32(40, true));
  return found;
}

/** Runs the ACPI compiler; what it said, or undefined where it is not installed. */
function iasl(...args: string[]): { status: number | null; said: string } | undefined {
  const { error, status, stdout, stderr } = spawnSync('iasl', args, { encoding: 'utf8' });
  return error ? undefined : { status, said: stdout + stderr };
}

describe('ACPI tables', () => {
  const { tables, rsdp } = buildAcpiTables(ADDRESS, OPTIONS);

  it.each([false, true])('are found from the root pointer, each with a right sum (64-bit: %s)', (extended) => {
    expect(asciiText(rsdp.subarray(0, 8))).toBe('RSD PTR ');
    expect([sum(rsdp.subarray(0, 20)), sum(rsdp), rsdp.length]).toEqual([0, 0, 36]);
    const found = findTables(rsdp, tables, ADDRESS, extended);
    expect([...found.keys()]).toEqual([extended ? 'XSDT' : 'RSDT', 'FACP', 'APIC', 'WAET', 'FACS', 'DSDT']);
    for (const [signature, table] of found) if (signature !== 'FACS') expect(sum(table), signature).toBe(0);
  });

  it('say where the fixed hardware is', () => {
    const fadt = viewOf(findTables(rsdp, tables, ADDRESS, true).get('FACP') ?? NOTHING);
    expect([fadt.byteLength, fadt.getUint8(8)], 'length and revision').toEqual([244, 3]);
    expect([46, 48, 56, 64, 76, 80].map((at) => fadt.getUint16(at, true))).toEqual([
      9, 0xb2, 0x600, 0x604, 0x608, 0x60c,
    ]);
    expect([fadt.getUint8(52), fadt.getUint8(53)]).toEqual([0xf1, 0xf0]);
    expect([fadt.getUint8(116), fadt.getUint32(120, true), fadt.getUint8(128)]).toEqual([1, 0xcf9, 6]);
    expect(fadt.getUint32(36, true) % 64).toBe(0);
  });

  it('list every processor, the I/O APIC and how ISA interrupts reach it', () => {
    const madt = findTables(rsdp, tables, ADDRESS, true).get('APIC') ?? NOTHING;
    const entries: number[][] = [];
    for (let at = 44; at < madt.length; at += madt[at + 1] || madt.length)
      entries.push([...madt.subarray(at, at + (madt[at + 1] ?? 0))]);
    expect(entries).toEqual([
      ...[0, 1, 2].map((cpu) => [0, 8, cpu, cpu, 1, 0, 0, 0]),
      [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
      [2, 10, 0, 0, 2, 0, 0, 0, 0, 0],
      ...[5, 9, 10, 11].map((irq) => [2, 10, 0, irq, irq, 0, 0, 0, 0x0d, 0]),
      [4, 6, 0xff, 0, 0, 1],
    ]);
  });

  it.runIf(iasl('-v'))('disassemble and compile again without errors or warnings', () => {
    const folder = mkdtempSync(join(tmpdir(), 'acpi-'));
    try {
      for (const [signature, table] of findTables(rsdp, tables, ADDRESS, true)) {
        const file = join(folder, signature);
        writeFileSync(`${file}.dat`, table);
        const result = iasl('-d', `${file}.dat`);
        expect([signature, result?.status]).toEqual([signature, 0]);
        expect(result?.said, signature).not.toMatch(/error|invalid|warning/i);
        expect(readFileSync(`${file}.dsl`, 'utf8'), signature).not.toMatch(/incorrect|invalid|unknown/i);
      }
      expect(iasl(join(folder, 'DSDT.dsl'))?.said).toContain('0 Errors, 0 Warnings');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('name the devices that the machine has and no others', () => {
    const dsdt = findTables(rsdp, tables, ADDRESS, true).get('DSDT') ?? NOTHING;
    const names = (options: AcpiOptions): string =>
      asciiText(buildAcpiTables(0, options).tables.filter((byte) => byte > 0x1f));
    expect(asciiText(dsdt.filter((byte) => byte > 0x1f))).toMatch(/COM1.*COM2/);
    expect(names({ ...OPTIONS, serialPorts: [], mouse: false })).not.toMatch(/COM1|MOU_/);
    expect(names(OPTIONS)).toMatch(/MOU_/);
    expect(names({ ...OPTIONS, cpuCount: 255 })).toMatch(/C0FE/);
  });
});

describe('ACPI tables for a firmware to place', () => {
  /** Carries the script out as firmware does. */
  function place(tablesAt: number): { tables: Uint8Array; rsdp: Uint8Array } {
    const files = new Map(acpiFirmwareFiles(OPTIONS).map(({ name, bytes }) => [name, bytes]));
    const script = files.get('etc/table-loader') ?? NOTHING;
    const addresses: Record<string, number> = { 'etc/acpi/tables': tablesAt, 'etc/acpi/rsdp': 0xf5a00 };
    const allocated = new Set<string>();
    expect(script.length % 128).toBe(0);
    for (let at = 0; at < script.length; at += 128) {
      const view = viewOf(script.subarray(at, at + 128));
      const nameAt = (offset: number): string => asciiText(script.subarray(at + offset, at + offset + 56));
      const name = nameAt(4);
      const file = files.get(name) ?? NOTHING;
      const command = view.getUint32(0, true);
      if (command === 1) {
        allocated.add(name);
        expect((addresses[name] ?? 1) % view.getUint32(60, true)).toBe(0);
        continue;
      }
      expect(allocated).toContain(name);
      if (command === 2) {
        const offset = view.getUint32(116, true);
        const target = addresses[nameAt(60)] ?? 0;
        viewOf(file).setUint32(offset, viewOf(file).getUint32(offset, true) + target, true);
        expect([4, 8]).toContain(view.getUint8(120));
      } else {
        expect(command).toBe(3);
        const [offset = 0, start = 0, size = 0] = [60, 64, 68].map((field) => view.getUint32(field, true));
        expect(file[offset]).toBe(0);
        file[offset] = -sum(file.subarray(start, start + size)) & 0xff;
      }
    }
    return { tables: files.get('etc/acpi/tables') ?? NOTHING, rsdp: files.get('etc/acpi/rsdp') ?? NOTHING };
  }

  it('come out as if they had been built for the address', () => {
    expect(place(0x7fe0000)).toEqual(buildAcpiTables(0x7fe0000, OPTIONS));
  });
});
