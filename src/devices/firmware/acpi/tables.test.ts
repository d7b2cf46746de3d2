import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { asciiText, viewOf } from '../../../base/bytes.ts';
import { type AcpiOptions, buildAcpiTables } from './tables.ts';

const OPTIONS: AcpiOptions = {
  cpuCount: 2,
  pciMemoryStart: 0xc0000000,
  pciMemoryEnd: 0xfebfffff,
  serialPorts: [{ iobase: 0x3f8, irq: 4 }],
  mouse: false,
  pmBase: 0x600,
};
const BASE = 0x7ff0000;

const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => total + byte, 0) & 0xff;

/** Follows a pointer to a table. */
function tableAt(tables: Uint8Array, address: number): { signature: string; bytes: Uint8Array } {
  const at = address - BASE;
  const size = viewOf(tables).getUint32(at + 4, true);
  return { signature: asciiText(tables.subarray(at, at + 4)), bytes: tables.subarray(at, at + size) };
}

function allTables(): Map<string, Uint8Array> {
  const { tables, rsdp } = buildAcpiTables(BASE, OPTIONS);
  const found = new Map<string, Uint8Array>();
  const xsdt = tableAt(tables, viewOf(rsdp).getUint32(24, true));
  found.set(xsdt.signature, xsdt.bytes);
  for (let at = 36; at < xsdt.bytes.length; at += 8) {
    const { signature, bytes } = tableAt(tables, viewOf(xsdt.bytes).getUint32(at, true));
    found.set(signature, bytes);
  }
  const fadt = found.get('FACP');
  if (!fadt) throw new Error('no FADT');
  found.set('DSDT', tableAt(tables, viewOf(fadt).getUint32(40, true)).bytes);
  found.set('FACS', tableAt(tables, viewOf(fadt).getUint32(36, true)).bytes);
  return found;
}

describe('ACPI tables', () => {
  it('are found from the root pointer and have right checksums', () => {
    const { rsdp } = buildAcpiTables(BASE, OPTIONS);
    expect(sum(rsdp.subarray(0, 20))).toBe(0);
    expect(sum(rsdp)).toBe(0);
    const found = allTables();
    expect([...found.keys()].sort()).toEqual(['APIC', 'DSDT', 'FACP', 'FACS', 'WAET', 'XSDT']);
    for (const [signature, bytes] of found)
      if (signature !== 'FACS') expect([signature, sum(bytes)]).toEqual([signature, 0]);
  });

  it('give the FADT of revision 3 with the registers where the chipset has them', () => {
    const fadt = allTables().get('FACP') ?? new Uint8Array(0);
    const view = viewOf(fadt);
    expect([fadt.length, fadt[8]]).toEqual([244, 3]);
    expect([56, 64, 76, 80].map((at) => view.getUint32(at, true))).toEqual([0x600, 0x604, 0x608, 0x60c]);
    expect([view.getUint16(46, true), view.getUint32(48, true)]).toEqual([9, 0xb2]);
  });

  it('list a processor, an I/O APIC and the interrupt overrides', () => {
    const madt = allTables().get('APIC') ?? new Uint8Array(0);
    const types: number[] = [];
    for (let at = 44; at < madt.length; at += madt[at + 1] ?? 1) types.push(madt[at] ?? -1);
    expect(types).toEqual([0, 0, 1, 2, 2, 2, 2, 2, 4]);
  });
});

const hasIasl = spawnSync('iasl', ['-v']).status === 0;

describe.runIf(hasIasl)('the ACPI compiler', () => {
  it('disassembles every table and compiles the DSDT again without complaint', () => {
    const folder = mkdtempSync(join(tmpdir(), 'orrery-acpi-'));
    try {
      for (const [signature, bytes] of allTables()) {
        const file = join(folder, `${signature}.aml`);
        writeFileSync(file, bytes);
        const result = spawnSync('iasl', ['-d', file], { encoding: 'utf8' });
        expect([signature, result.status]).toEqual([signature, 0]);
        expect(`${result.stdout}${result.stderr}`).not.toMatch(/error|invalid|warning/i);
      }
      const dsl = join(folder, 'DSDT.dsl');
      expect(readFileSync(dsl, 'utf8')).toContain('Device (PCI0)');
      const compiled = spawnSync('iasl', [dsl], { encoding: 'utf8' });
      expect(compiled.stdout).toContain('0 Errors, 0 Warnings');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
