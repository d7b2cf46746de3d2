/**
 * What a boot protocol takes and gives: a kernel with its companions in, memory contents and a processor state out. No file here
 * touches a machine, so that a board can apply the result again at each reset.
 *
 * The loader's own structures lie in low memory, below what a kernel may be loaded to (1 MiB, or LOW_KERNEL_START up).
 */
import type { InitialState } from '../../accel/contract.ts';
import { alignDown, alignUp } from '../../base/bits.ts';
import { ByteBuilder } from '../../base/bytes.ts';
import { UserError } from '../../base/errors.ts';
import {
  CONVENTIONAL_END,
  HIGH_MEMORY_START,
  type MemoryRange,
  describeSize,
  mappedMemoryBytes,
} from './memory-map.ts';

/** A file with the name its user knows it by, for messages. */
export interface BootFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface BootOptions {
  readonly kernel: BootFile;
  readonly initrd?: BootFile;
  readonly commandLine: string;
  /** From `memoryMap`. */
  readonly memoryMap: readonly MemoryRange[];
  /** End of the RAM that may be used, below the ACPI tables. */
  readonly ramEnd: number;
  /** Where the ACPI root pointer is, 0 when there is none. */
  readonly rsdp: number;
  /** Whether a VGA in text mode 3 (80 × 25) is what the kernel finds. */
  readonly vgaText?: boolean;
}

/** Bytes that go to guest physical memory before the first instruction. */
export interface MemoryWrite {
  readonly guestPhysical: number;
  readonly bytes: Uint8Array;
}

export type BootProtocol = 'linux64' | 'linux32' | 'pvh' | 'elf64' | 'multiboot';

export interface BootImage {
  readonly protocol: BootProtocol;
  readonly writes: readonly MemoryWrite[];
  readonly state: InitialState;
  /** Address of the structure that the protocol hands over: boot_params, hvm_start_info or the multiboot information. */
  readonly info: number;
}

/** Low memory as the loader uses it. */
export const GDT_ADDRESS = 0x1000;
export const INFO_ADDRESS = 0x2000;
/** From here to the command line a kernel may be loaded. */
const LOW_KERNEL_START = 0x3000;
export const COMMAND_LINE_ADDRESS = 0x20000;
/** Room for the command line, its NUL included. */
export const COMMAND_LINE_SIZE = 0x10000;
export const PAGE_TABLE_ADDRESS = 0x30000; // PML4, PDPT, four page directories

const BDA_EBDA_SEGMENT = 0x40e;
const BDA_BASE_MEMORY_KIB = 0x413;
const PAGE = 4096;
const ZEROS: Uint8Array = new Uint8Array(0x10_0000);
const encoder = new TextEncoder();

/** "-kernel NAME: what is wrong with it" */
export function kernelError(options: BootOptions, problem: string): UserError {
  return new UserError(`-kernel ${options.kernel.name}: ${problem}.`);
}

/** What a BIOS leaves in its data area and kernels read: where the extended area starts, and how much lies below it. */
export function biosDataArea(): MemoryWrite[] {
  return [
    { guestPhysical: BDA_EBDA_SEGMENT, bytes: new ByteBuilder().u16(CONVENTIONAL_END >> 4).build() },
    { guestPhysical: BDA_BASE_MEMORY_KIB, bytes: new ByteBuilder().u16(CONVENTIONAL_END >> 10).build() },
  ];
}

/** The command line with its NUL, to go to COMMAND_LINE_ADDRESS. */
export function commandLineBytes(
  options: BootOptions,
  text: string,
  maxBytes: number = COMMAND_LINE_SIZE - 1,
): Uint8Array {
  const bytes = encoder.encode(`${text}\0`);
  const length = bytes.length - 1;
  const limit = Math.min(maxBytes, COMMAND_LINE_SIZE - 1);
  if (length > limit) {
    throw new UserError(
      `-append: the command line has ${length} bytes, but ${options.kernel.name} takes at most ${limit}.`,
    );
  }
  if (bytes.indexOf(0) !== length) throw new UserError('-append: the command line contains a NUL character.');
  return bytes;
}

/** Zeros over a range, as writes that share one block. */
export function zeroWrites(start: number, sizeBytes: number): MemoryWrite[] {
  const writes: MemoryWrite[] = [];
  for (let done = 0; done < sizeBytes; done += ZEROS.length) {
    writes.push({ guestPhysical: start + done, bytes: ZEROS.subarray(0, Math.min(ZEROS.length, sizeBytes - done)) });
  }
  return writes;
}

/** Checks that a part of the kernel goes to RAM from 1 MiB up, or to the free part of low memory (small real-mode programs). */
export function checkKernelRange(options: BootOptions, start: number, sizeBytes: number): void {
  const low = start >= LOW_KERNEL_START && start + sizeBytes <= COMMAND_LINE_ADDRESS;
  if (start < HIGH_MEMORY_START && !low) {
    throw kernelError(options, `it wants to be loaded at 0x${start.toString(16)}, below 1 MiB`);
  }
  if (start + sizeBytes > options.ramEnd) throw memoryTooSmall(options, start + sizeBytes);
}

/** "-m 16 MiB: too small …", for something that needs memory up to `end`. */
export function memoryTooSmall(options: BootOptions, end: number): UserError {
  const memoryBytes = mappedMemoryBytes(options.memoryMap);
  const needed = alignUp(end, 0x10_0000);
  return new UserError(
    `-m ${describeSize(memoryBytes)}: too small for kernel ${options.kernel.name}, which needs memory up to ${describeSize(needed)}.`,
  );
}

/**
 * The initrd as high as it fits below `limit` (exclusive) and the end of RAM, on a page boundary.
 * @param above the first address that the kernel leaves free
 */
export function placeInitrd(
  options: BootOptions,
  { name, bytes }: BootFile,
  above: number,
  limit: number,
): MemoryWrite {
  const end = Math.min(options.ramEnd, limit);
  const guestPhysical = alignDown(end - bytes.length, PAGE);
  if (guestPhysical < above) {
    const room = Math.max(0, end - alignUp(above, PAGE));
    throw new UserError(
      `-initrd ${name}: ${describeSize(bytes.length)} do not fit into the ${describeSize(room)} between the kernel and the end of memory.`,
    );
  }
  return { guestPhysical, bytes };
}
