/**
 * What a BIOS leaves behind for an operating system, done directly: routed interrupts, assigned BARs, ACPI tables, a
 * memory map, the local APIC in virtual wire mode. Then the kernel goes to memory by its boot protocol.
 */
import { alignDown, alignUp } from '../base/bits.ts';
import { UserError } from '../base/errors.ts';
import { acpiFirmwareFiles } from '../devices/firmware/acpi/table-loader.ts';
import { type AcpiOptions, buildAcpiTables } from '../devices/firmware/acpi/tables.ts';
import { FW_CFG_CPU_COUNT, FW_CFG_MAX_CPUS, FW_CFG_RAM_SIZE } from '../devices/firmware/fw-cfg.ts';
import { buildSmbios, type SmbiosOptions } from '../devices/firmware/smbios.ts';
import { pirqOf } from '../devices/pci/pci-bus.ts';
import {
  COMMAND_IO,
  COMMAND_MASTER,
  COMMAND_MEMORY,
  PCI_BAR0,
  PCI_COMMAND,
  PCI_INTERRUPT_LINE,
} from '../devices/pci/pci-registers.ts';
import { COM_PORTS } from '../devices/serial/isa-serial.ts';
import { biosVectors, MASTER_VECTOR, SLAVE_VECTOR } from './boot/bios-vectors.ts';
import type { BootFile, BootImage } from './boot/boot-image.ts';
import { prepareKernel } from './boot/load-kernel.ts';
import { memoryMap } from './boot/memory-map.ts';
import type { FwCfg } from '../devices/firmware/fw-cfg.ts';
import type { I440fx } from '../devices/pci/i440fx.ts';
import type { PciBus } from '../devices/pci/pci-bus.ts';
import type { Piix3 } from '../devices/pci/piix3.ts';
import type { Piix4Pm } from '../devices/power/piix4-pm.ts';
import type { Mc146818 } from '../devices/timer/mc146818.ts';
import type { AddressSpace } from '../memory/address-space.ts';
import type { PortSpace } from '../memory/port-space.ts';
import type { PcInterrupts } from './pc-interrupts.ts';
import { EXTENDED_RAM_START, PCI_MEMORY_END, PCI_MEMORY_START, VIRTIO_MMIO_PLACES } from './pc-memory.ts';

export interface KernelBoot {
  readonly kernel: BootFile;
  readonly initrd?: BootFile;
  readonly commandLine?: string;
}

/** What a firmware finds on the board. */
export interface FirmwareBoard {
  readonly memoryBytes: number;
  readonly space: AddressSpace;
  readonly ports: PortSpace;
  readonly interrupts: PcInterrupts;
  readonly pci: PciBus;
  readonly hostBridge: I440fx;
  readonly isaBridge: Piix3;
  readonly pm: Piix4Pm;
  readonly rtc: Mc146818;
  readonly fwCfg: FwCfg;
  readonly virtioMmioCount: number;
  hasSerialPort(index: number): boolean;
}

const PM_BASE = 0x600;
const PIRQ_ROUTES = [10, 10, 11, 11] as const;
/** ELCR bits of the interrupts that PCI and the SCI use. */
const LEVEL_IRQS_HIGH = (1 << (9 - 8)) | (1 << (10 - 8)) | (1 << (11 - 8));
const RSDP_ADDRESS = 0xf5a00;
const SMBIOS_ENTRY = 0xf5b00;
const SMBIOS_STRUCTURES = 0xf5b20;
const ACPI_ROOM = 0x10000;
const PCI_IO_START = 0xc000;

const LAPIC_SVR = 0xf0;
const LAPIC_LINT0 = 0x350;
const LAPIC_LINT1 = 0x360;

/** Does all of it; the image's writes have been made when this returns. */
export function startAsFirmware(pc: FirmwareBoard, boot: KernelBoot): BootImage {
  initialiseChipset(pc);
  initialiseInterrupts(pc);
  assignPciResources(pc);
  const acpiStart = placeAcpiTables(pc);
  placeSmbios(pc);
  const image = prepareKernel({
    kernel: boot.kernel,
    ...(boot.initrd ? { initrd: boot.initrd } : {}),
    commandLine: boot.commandLine ?? '',
    memoryMap: memoryMap(pc.memoryBytes, acpiStart),
    ramEnd: acpiStart,
    rsdp: RSDP_ADDRESS,
  });
  for (const { guestPhysical, bytes } of image.writes) pc.space.writeBytes(guestPhysical, bytes);
  return image;
}

/** Memory sizes and the like where a BIOS keeps them in CMOS, and for whoever asks the firmware interface. */
export function writeCmosMemory(pc: FirmwareBoard): void {
  const { rtc, memoryBytes, fwCfg } = pc;
  const word = (index: number, value: number): void => {
    rtc.setMemory(index, value & 0xff);
    rtc.setMemory(index + 1, (value >> 8) & 0xff);
  };
  const extendedKib = Math.min(0xffff, Math.max(0, memoryBytes - EXTENDED_RAM_START) / 1024);
  word(0x15, 640);
  word(0x17, extendedKib);
  word(0x30, extendedKib);
  word(0x34, Math.max(0, memoryBytes - 0x1000000) / 0x10000);
  rtc.setMemory(0x14, 0x06); // equipment: coprocessor, PS/2 mouse port
  rtc.setMemory(0x5f, pc.interrupts.lapics.length - 1);
  fwCfg.addNumber(FW_CFG_RAM_SIZE, memoryBytes, 8);
  fwCfg.addNumber(FW_CFG_CPU_COUNT, pc.interrupts.lapics.length, 2);
  fwCfg.addNumber(FW_CFG_MAX_CPUS, pc.interrupts.lapics.length, 2);
}

function initialiseChipset(pc: FirmwareBoard): void {
  pc.hostBridge.openAllSegments();
  PIRQ_ROUTES.forEach((irq, pirq) => pc.isaBridge.route(pirq, irq));
  pc.ports.write(0x4d1, 1, LEVEL_IRQS_HIGH);
  pc.pm.enable(PM_BASE);
  const [bootProcessor] = pc.interrupts.lapics;
  bootProcessor?.write(LAPIC_SVR, 4, 0x1ff);
  bootProcessor?.write(LAPIC_LINT0, 4, 0x700); // ExtINT
  bootProcessor?.write(LAPIC_LINT1, 4, 0x400); // NMI
}

/** The interrupt controllers at the vectors of a PC, the timer ticking 18.2 times a second, all other lines masked. */
function initialiseInterrupts(pc: FirmwareBoard): void {
  const { ports } = pc;
  const start = (command: number, vector: number, cascade: number, mask: number): void => {
    ports.write(command, 1, 0x11); // ICW1: edge triggered, cascaded, ICW4 follows
    for (const value of [vector, cascade, 0x01, mask]) ports.write(command + 1, 1, value);
  };
  start(0x20, MASTER_VECTOR, 0x04, 0xfa); // IRQ 0 and the cascade stay open
  start(0xa0, SLAVE_VECTOR, 0x02, 0xff);
  ports.write(0x43, 1, 0x36); // counter 0, mode 3
  for (const half of [0, 0]) ports.write(0x40, 1, half);
  for (const { guestPhysical, bytes } of biosVectors()) pc.space.writeBytes(guestPhysical, bytes);
}

/** Gives every BAR an address, the largest first, and turns decoding on. */
function assignPciResources(pc: FirmwareBoard): void {
  let nextPort = PCI_IO_START;
  let nextAddress = PCI_MEMORY_START;
  const functions = pc.pci.list();
  const bars = functions.flatMap(({ device }) => device.barList().map((bar) => ({ ...bar, device })));
  bars.sort((a, b) => b.sizeBytes - a.sizeBytes);
  for (const { device, index, bar, sizeBytes } of bars) {
    const isIo = bar.kind === 'io';
    const address = alignUp(isIo ? nextPort : nextAddress, sizeBytes);
    if (address + sizeBytes > (isIo ? 0x10000 : PCI_MEMORY_END))
      throw new UserError(
        `-device ${device.identity.name}: there is no room left for its BAR ${index} of ${sizeBytes} bytes.`,
      );
    if (isIo) nextPort = address + sizeBytes;
    else nextAddress = address + sizeBytes;
    device.writeConfig(PCI_BAR0 + index * 4, 4, address);
  }
  for (const { slot, device } of functions) {
    const pin = device.identity.interruptPin ?? 0;
    // INVARIANT: pirqOf gives 0 to 3.
    if (pin > 0 && device !== pc.pm.pci)
      device.writeConfig(PCI_INTERRUPT_LINE, 1, PIRQ_ROUTES[pirqOf(slot, pin - 1) as 0 | 1 | 2 | 3]);
    const kinds = device.barList().map(({ bar }) => (bar.kind === 'io' ? COMMAND_IO : COMMAND_MEMORY));
    if (kinds.length > 0)
      device.writeConfig(
        PCI_COMMAND,
        2,
        kinds.reduce((bits, bit) => bits | bit, device.command | COMMAND_MASTER),
      );
  }
}

/** Offers ACPI and SMBIOS tables to a BIOS, which places them itself. */
export function offerFirmwareTables(pc: FirmwareBoard): void {
  for (const { name, bytes } of acpiFirmwareFiles(acpiOptions(pc))) pc.fwCfg.addFile(name, bytes);
  const { entryPoint, structures } = buildSmbios(0, smbiosOptions(pc));
  pc.fwCfg.addFile('etc/smbios/smbios-anchor', entryPoint);
  pc.fwCfg.addFile('etc/smbios/smbios-tables', structures);
}

/** Puts the SMBIOS tables where operating systems search. */
function placeSmbios(pc: FirmwareBoard): void {
  const { entryPoint, structures } = buildSmbios(SMBIOS_STRUCTURES, smbiosOptions(pc));
  pc.space.writeBytes(SMBIOS_ENTRY, entryPoint);
  pc.space.writeBytes(SMBIOS_STRUCTURES, structures);
}

function smbiosOptions(pc: FirmwareBoard): SmbiosOptions {
  return {
    cpuCount: pc.interrupts.lapics.length,
    memoryBytes: pc.memoryBytes,
    product: 'Standard PC (i440FX + PIIX)',
    version: '1.0',
  };
}

function acpiOptions(pc: FirmwareBoard): AcpiOptions {
  return {
    cpuCount: pc.interrupts.lapics.length,
    pciMemoryStart: PCI_MEMORY_START,
    pciMemoryEnd: PCI_MEMORY_END,
    serialPorts: COM_PORTS.filter((_, i) => pc.hasSerialPort(i)),
    mouse: false,
    virtioMmio: VIRTIO_MMIO_PLACES.slice(0, pc.virtioMmioCount),
    pmBase: PM_BASE,
  };
}

/** Puts the tables at the top of RAM and the root pointer where operating systems search; returns where they begin. */
function placeAcpiTables(pc: FirmwareBoard): number {
  const start = alignDown(pc.memoryBytes - ACPI_ROOM, 0x1000);
  const { tables, rsdp } = buildAcpiTables(start, acpiOptions(pc));
  pc.space.writeBytes(start, tables);
  pc.space.writeBytes(RSDP_ADDRESS, rsdp);
  return start;
}
