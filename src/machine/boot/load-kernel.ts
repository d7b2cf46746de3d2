/**
 * The front of the boot protocols: what kind of kernel an image is, told by its content and never by its name, and what a machine
 * must hold when its first instruction runs.
 *
 * Probed in this order: Linux bzImage, ELF with a PVH entry point, multiboot, 64-bit ELF taken for an uncompressed Linux. What looks like something else is named in the error.
 */
import { asciiBytes } from '../../base/bytes.ts';
import { UserError } from '../../base/errors.ts';
import { type BootImage, type BootOptions, kernelError } from './boot-image.ts';
import { isElf, readElf } from './elf.ts';
import { isLinuxImage, prepareLinux, prepareLinuxElf } from './linux.ts';
import { findMultibootHeader, prepareMultiboot } from './multiboot.ts';
import { findPvhEntry, preparePvh } from './pvh.ts';

/** Files that are taken for kernels by mistake, by the bytes that give them away. */
const FOREIGN: readonly { readonly offset: number; readonly magic: string; readonly what: string }[] = [
  { offset: 0x38, magic: 'ARM\x64', what: 'a Linux image for arm64, but this machine is x86-64' },
  { offset: 0x38, magic: 'RSC\x05', what: 'a Linux image for RISC-V, but this machine is x86-64' },
  { offset: 0x24, magic: '\x18\x28\x6f\x01', what: 'a Linux image for 32-bit Arm, but this machine is x86-64' },
  { offset: 0, magic: '\x27\x05\x19\x56', what: 'a U-Boot image, which no x86 boot protocol takes' },
  { offset: 0, magic: '\x1f\x8b', what: 'a file compressed with gzip; decompress it first' },
  { offset: 0, magic: '\xfd7zXZ', what: 'a file compressed with xz; decompress it first' },
  { offset: 0, magic: '\x28\xb5\x2f\xfd', what: 'a file compressed with zstd; decompress it first' },
  { offset: 0, magic: 'QFI\xfb', what: 'a qcow2 disk image; give it as a drive' },
  { offset: 0x8001, magic: 'CD001', what: 'a CD image; give it as a drive' },
];

/** Everything about starting `options.kernel`; throws UserError for what is no kernel or does not fit. */
export function prepareKernel(options: BootOptions): BootImage {
  const { kernel, initrd } = options;
  if (kernel.bytes.length === 0) throw kernelError(options, 'the file is empty');
  if (initrd?.bytes.length === 0) throw new UserError(`-initrd ${initrd.name}: the file is empty.`);
  if (isLinuxImage(kernel.bytes)) return prepareLinux(options);
  const multiboot = findMultibootHeader(kernel.bytes);
  if (isElf(kernel.bytes)) {
    const elf = readElf(options);
    const entry = findPvhEntry(elf);
    if (entry !== undefined) return preparePvh(options, elf, entry);
    if (multiboot === undefined && elf.is64) return prepareLinuxElf(options, elf);
    if (multiboot === undefined) {
      throw kernelError(
        options,
        'a 32-bit ELF file with neither a PVH entry point (XEN_ELFNOTE_PHYS32_ENTRY) nor a multiboot header',
      );
    }
  }
  if (multiboot !== undefined) return prepareMultiboot(options, multiboot);
  const foreign = FOREIGN.find(({ offset, magic }) => startsWith(kernel.bytes, offset, magic));
  if (foreign) throw kernelError(options, foreign.what);
  throw kernelError(options, 'not a kernel image (no bzImage, ELF or multiboot header)');
}

function startsWith(bytes: Uint8Array, offset: number, magic: string): boolean {
  return asciiBytes(magic).every((byte, i) => bytes[offset + i] === byte);
}
