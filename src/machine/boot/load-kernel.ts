/**
 * The front of the boot protocols: what kind of kernel an image is, told by its content and never by its name, and what a machine
 * must hold when its first instruction runs.
 *
 * Probed in this order: Linux bzImage, ELF with a PVH entry point, multiboot. What looks like something else is named in the error.
 */
import { UserError } from '../../base/errors.ts';
import { type BootImage, type BootRequest, kernelError } from './boot-image.ts';
import { isElf, readElf } from './elf.ts';
import { isLinuxImage, prepareLinux } from './linux.ts';
import { findMultibootHeader, prepareMultiboot } from './multiboot.ts';
import { findPvhEntry, preparePvh } from './pvh.ts';

/** Images of kernels that this machine cannot run, by the bytes that give them away. */
const FOREIGN: readonly { readonly offset: number; readonly magic: readonly number[]; readonly what: string }[] = [
  { offset: 0x38, magic: [0x41, 0x52, 0x4d, 0x64], what: 'a Linux image for arm64, but this machine is x86-64' },
  { offset: 0x38, magic: [0x52, 0x53, 0x43, 0x05], what: 'a Linux image for RISC-V, but this machine is x86-64' },
  { offset: 0x24, magic: [0x18, 0x28, 0x6f, 0x01], what: 'a Linux image for 32-bit Arm, but this machine is x86-64' },
  { offset: 0, magic: [0x27, 0x05, 0x19, 0x56], what: 'a U-Boot image, which no x86 boot protocol takes' },
  { offset: 0, magic: [0x1f, 0x8b], what: 'compressed with gzip; give the kernel unpacked' },
  { offset: 0, magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a], what: 'compressed with xz; give the kernel unpacked' },
  { offset: 0, magic: [0x28, 0xb5, 0x2f, 0xfd], what: 'compressed with zstd; give the kernel unpacked' },
];

/** Everything about starting `request.kernel`; throws UserError for what is no kernel or does not fit. */
export function prepareKernel(request: BootRequest): BootImage {
  const { kernel } = request;
  if (kernel.length === 0) throw kernelError(request, 'the file is empty');
  if (request.initrd?.length === 0) throw new UserError(`-initrd ${request.initrdName ?? 'image'}: the file is empty`);
  if (isLinuxImage(kernel)) return prepareLinux(request);
  const multiboot = findMultibootHeader(kernel);
  if (isElf(kernel)) {
    const elf = readElf(request);
    const entry = findPvhEntry(elf);
    if (entry !== undefined) return preparePvh(request, elf, entry);
    if (multiboot === undefined) {
      throw kernelError(
        request,
        'an ELF file with neither a PVH entry point (XEN_ELFNOTE_PHYS32_ENTRY) nor a multiboot header',
      );
    }
  }
  if (multiboot !== undefined) return prepareMultiboot(request, multiboot);
  for (const { offset, magic, what } of FOREIGN) {
    if (magic.every((byte, i) => kernel[offset + i] === byte)) throw kernelError(request, what);
  }
  throw kernelError(request, 'not a kernel image (no bzImage, ELF or multiboot header)');
}
