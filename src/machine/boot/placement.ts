/** Finding room for what a kernel is started with, and the sentences for when there is none. */
import { alignDown, alignUp } from '../../base/bits.ts';
import { asciiBytes, concatBytes } from '../../base/bytes.ts';
import { UserError } from '../../base/errors.ts';
import { type BootFile, COMMAND_LINE_ADDRESS, COMMAND_LINE_LIMIT, type MemoryWrite } from './boot-image.ts';

export function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 0x100000)} MiB`;
}

/** The command line with its NUL, at its place. */
export function placeCommandLine(text: string, limitBytes: number = COMMAND_LINE_LIMIT): MemoryWrite {
  const limit = Math.min(limitBytes, COMMAND_LINE_LIMIT - 1);
  if (text.length > limit)
    throw new UserError(
      `-append: the command line has ${text.length} characters and the kernel takes at most ${limit}.`,
    );
  return { guestPhysical: COMMAND_LINE_ADDRESS, bytes: concatBytes([asciiBytes(text), Uint8Array.of(0)]) };
}

/** Refuses a kernel that does not fit. */
export function checkKernelFits(kernel: BootFile, end: number, ramEnd: number): void {
  if (end <= ramEnd) return;
  throw new UserError(
    `-kernel ${kernel.name}: the kernel needs memory up to ${mebibytes(end)}, and -m leaves ${Math.floor(ramEnd / 0x100000)} MiB usable.`,
  );
}

/** Puts the initial RAM disk as high as the kernel can reach and memory goes, above the kernel's own `kernelEnd`. */
export function placeInitrd(initrd: BootFile, kernelEnd: number, addressMax: number, ramEnd: number): MemoryWrite {
  const top = Math.min(ramEnd, addressMax + 1);
  const address = alignDown(top - initrd.bytes.length, 4096);
  if (address < alignUp(kernelEnd, 4096)) {
    throw new UserError(
      `-initrd ${initrd.name}: ${mebibytes(initrd.bytes.length)} do not fit between the kernel's end at ${mebibytes(kernelEnd)} and ${mebibytes(top)}; give the machine more memory with -m.`,
    );
  }
  return { guestPhysical: address, bytes: initrd.bytes };
}
