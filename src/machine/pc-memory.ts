/** Guest physical memory of the PC: low RAM, the hole for video, RAM or ROM below 1 MiB by the host bridge's segments, the rest. */
import { UserError } from '../base/errors.ts';
import type { AddressSpace } from '../memory/address-space.ts';
import { VIRTIO_MMIO_BYTES } from '../devices/virtio/virtio-mmio.ts';
import { MemoryRegion } from '../memory/region.ts';

export const LOW_RAM_END = 0xa0000;
export const EXTENDED_RAM_START = 0x100000;
/** From here up to the I/O APIC is the window for PCI memory. */
export const PCI_MEMORY_START = 0xc0000000;
export const PCI_MEMORY_END = 0xfebfffff;
/** Virtio devices with registers in memory lie above the local APIC, each with an interrupt that nothing else has. */
export const VIRTIO_MMIO_PLACES: readonly { readonly address: number; readonly gsi: number }[] = Array.from(
  { length: 8 },
  (_, i) => ({ address: 0xfef00000 + i * VIRTIO_MMIO_BYTES, gsi: 16 + i }),
);
const MIN_RAM = 0x100000;
/** RAM ends where the PCI window begins. */
export const MAX_RAM: number = PCI_MEMORY_START;
const PAGE = 4096;
/** How much of a BIOS also shows below 1 MiB. */
const ISA_BIOS_MAX = 0x20000;
const BIOS_PRIORITY = 1;

/** Refuses a size that the PC cannot have. */
export function checkRamSize(sizeBytes: number): void {
  const shown = `${Math.round((sizeBytes / 0x100000) * 100) / 100} MiB`;
  if (!Number.isFinite(sizeBytes) || sizeBytes < MIN_RAM)
    throw new UserError(`-m: ${shown} is too little memory; a pc machine has at least 1 MiB.`);
  if (sizeBytes > MAX_RAM)
    throw new UserError(`-m: ${shown} is too much memory; a pc machine has at most ${MAX_RAM / 0x100000} MiB.`);
  if (sizeBytes % PAGE !== 0) throw new UserError(`-m: ${sizeBytes} bytes are not a multiple of 4096.`);
}

/** Maps RAM; returns its region, of which the host bridge shows the segments from 0xC0000 to 1 MiB. */
export function mapRam(space: AddressSpace, sizeBytes: number, hostOffset: number): MemoryRegion {
  const ram = MemoryRegion.ram('pc.ram', sizeBytes, hostOffset);
  space.root.add(MemoryRegion.alias('ram-low', ram, 0, LOW_RAM_END), 0);
  if (sizeBytes > EXTENDED_RAM_START)
    space.root.add(
      MemoryRegion.alias('ram-extended', ram, EXTENDED_RAM_START, sizeBytes - EXTENDED_RAM_START),
      EXTENDED_RAM_START,
    );
  return ram;
}

/** Maps a BIOS image so that it ends at 4 GiB, with its last part below 1 MiB too. The bytes are already at `hostOffset`. */
export function mapBios(space: AddressSpace, sizeBytes: number, hostOffset: number): void {
  const rom = MemoryRegion.rom('pc.bios', sizeBytes, hostOffset);
  space.root.add(rom, 0x1_0000_0000 - sizeBytes, BIOS_PRIORITY);
  const isaSize = Math.min(sizeBytes, ISA_BIOS_MAX);
  space.root.add(
    MemoryRegion.alias('isa-bios', rom, sizeBytes - isaSize, isaSize),
    EXTENDED_RAM_START - isaSize,
    BIOS_PRIORITY,
  );
}
