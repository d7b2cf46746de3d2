/**
 * A process that boots a 32-bit guest under v86, for the benchmark to watch as it watches the others:
 *
 *     node bench/v86-process.ts MEMORY_BYTES KERNEL INITRD COMMAND_LINE
 *
 * The guest's console goes to standard output. The BIOSes are those of the distribution's package seabios. The machine has neither
 * ACPI nor an APIC, which v86 switches off unless asked, so the guest cannot power itself off: it is killed.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { V86 } from 'v86';
import { BIOS, VGA_BIOS } from './peers.ts';

const [memoryBytes = '', kernel = '', initrd = '', commandLine = ''] = process.argv.slice(2);

async function image(path: string): Promise<{ buffer: ArrayBuffer }> {
  const bytes = await readFile(path);
  return { buffer: new Uint8Array(bytes).buffer };
}

const machine = new V86({
  wasm_path: fileURLToPath(new URL('v86.wasm', import.meta.resolve('v86'))),
  memory_size: Number(memoryBytes),
  bios: await image(BIOS),
  vga_bios: await image(VGA_BIOS),
  bzimage: await image(kernel),
  initrd: await image(initrd),
  cmdline: commandLine,
  disable_speaker: true,
  autostart: true,
});
machine.add_listener('serial0-output-byte', (byte: number) => process.stdout.write(Uint8Array.of(byte)));
