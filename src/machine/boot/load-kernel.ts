/** Finds out what kind of kernel a file is and prepares its start. */
import { viewOf } from "../../base/bytes.ts";
import { UserError } from "../../base/errors.ts";
import type { BootImage, BootOptions } from "./boot-image.ts";
import { isElf } from "./elf.ts";
import { bootElf } from "./elf-kernel.ts";
import { bootLinux, isBzImage } from "./linux.ts";
import { bootMultiboot, findMultibootHeader } from "./multiboot.ts";

/** Files that are taken for kernels by mistake: what they begin with, where, and what they are. */
const FOREIGN: readonly { readonly offset: number; readonly magic: string; readonly what: string }[] = [
  { offset: 0x38, magic: "ARM\x64", what: "an AArch64 kernel" },
  { offset: 0x38, magic: "RSC\x05", what: "a RISC-V kernel" },
  { offset: 0x24, magic: "\x18\x28\x6f\x01", what: "an ARM kernel" },
  { offset: 0, magic: "\x1f\x8b", what: "compressed with gzip; decompress it first" },
  { offset: 0, magic: "\xfd7zXZ", what: "compressed with xz; decompress it first" },
  { offset: 0, magic: "\x28\xb5\x2f\xfd", what: "compressed with zstd; decompress it first" },
  { offset: 0, magic: "QFI\xfb", what: "a qcow2 disk image; give it as a drive" },
  { offset: 0x8001, magic: "CD001", what: "a CD image; give it as a drive" },
];

/** Everything to do before the first instruction of a kernel; throws a UserError for what is not one. */
export function prepareKernel(options: BootOptions): BootImage {
  const { bytes, name } = options.kernel;
  if (bytes.length === 0) throw new UserError(`-kernel ${name}: the file is empty.`);
  if (isBzImage(bytes)) return bootLinux(options);
  const multiboot = findMultibootHeader(bytes);
  if (multiboot >= 0) return bootMultiboot(options, multiboot);
  if (isElf(bytes)) return bootElf(options);
  const foreign = FOREIGN.find(({ offset, magic }) => startsWith(bytes, offset, magic));
  if (foreign) throw new UserError(`-kernel ${name}: the file is ${foreign.what}.`);
  if (bytes.length < 0x268 && bytes.length >= 2 && viewOf(bytes).getUint16(0, true) === 0x5a4d) throw new UserError(`-kernel ${name}: the file is truncated.`);
  throw new UserError(`-kernel ${name}: the file is not a kernel (no bzImage, ELF or multiboot header).`);
}

function startsWith(bytes: Uint8Array, offset: number, magic: string): boolean {
  if (offset + magic.length > bytes.length) return false;
  for (let i = 0; i < magic.length; i++) if (bytes[offset + i] !== magic.charCodeAt(i)) return false;
  return true;
}
