/** Synthesised kernel images: as small as their formats allow, with every field that a loader looks at. */
import { ByteBuilder, asciiBytes, viewOf } from '../../../src/base/bytes.ts';

export interface LinuxImageFields {
  readonly version?: number;
  readonly loadFlags?: number;
  readonly xloadFlags?: number;
  readonly relocatable?: boolean;
  readonly preferredAddress?: number;
  readonly initBytes?: number;
  readonly initrdMax?: number;
  readonly commandLineBytes?: number;
  readonly alignment?: number;
}

/** A bzImage: one boot sector, one setup sector, then 4 KiB of code whose first bytes are "code". */
export function linuxImage(fields: LinuxImageFields = {}): Uint8Array {
  const image = new Uint8Array(1024 + 4096);
  const view = viewOf(image);
  image[0x1f1] = 1;
  view.setUint32(0x1f4, 4096 / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint16(0x200, 0x6aeb, true); // jmp behind the header, which ends at 0x26c
  image.set(asciiBytes('HdrS'), 0x202);
  view.setUint16(0x206, fields.version ?? 0x20f, true);
  image[0x211] = fields.loadFlags ?? 1;
  view.setUint32(0x214, 0x100000, true);
  view.setUint32(0x22c, fields.initrdMax ?? 0x7fffffff, true);
  view.setUint32(0x230, fields.alignment ?? 0x200000, true);
  image[0x234] = (fields.relocatable ?? true) ? 1 : 0;
  view.setUint16(0x236, fields.xloadFlags ?? 0x3, true);
  view.setUint32(0x238, fields.commandLineBytes ?? 2047, true);
  view.setUint32(0x258, fields.preferredAddress ?? 0x1000000, true);
  view.setUint32(0x260, fields.initBytes ?? 0x400000, true);
  image[0x270] = 0x99; // behind the header: must not be handed over
  image.set(asciiBytes('code'), 1024);
  return image;
}

export interface ElfFields {
  readonly bits: 32 | 64;
  readonly machine?: number;
  readonly entry: number;
  readonly segments: readonly {
    readonly virtual?: number;
    readonly physical: number;
    readonly content: Uint8Array;
    readonly memoryBytes?: number;
  }[];
  readonly notes?: Uint8Array;
}

const FIRST_CONTENT = 0x400;

/** An ELF executable with the given segments, one after another from 0x400 in the file. */
export function elfImage({ bits, machine, entry, segments, notes }: ElfFields): Uint8Array {
  const is64 = bits === 64;
  const parts = [
    ...segments.map(({ virtual, physical, content, memoryBytes }) => ({
      type: 1,
      virtual: virtual ?? physical,
      physical,
      content,
      memoryBytes: memoryBytes ?? content.length,
    })),
    ...(notes ? [{ type: 4, virtual: 0, physical: 0, content: notes, memoryBytes: notes.length }] : []),
  ];
  const elf = new ByteBuilder().raw([0x7f, 0x45, 0x4c, 0x46, is64 ? 2 : 1, 1, 1]).zeros(9);
  elf
    .u16(2)
    .u16(machine ?? (is64 ? 62 : 3))
    .u32(1);
  const word = (value: number): ByteBuilder => (is64 ? elf.u64(value) : elf.u32(value));
  word(entry);
  word(is64 ? 64 : 52);
  word(0);
  elf
    .u32(0)
    .u16(is64 ? 64 : 52)
    .u16(is64 ? 56 : 32)
    .u16(parts.length)
    .u16(0)
    .u16(0)
    .u16(0);
  let offset = FIRST_CONTENT;
  for (const { type, virtual, physical, content, memoryBytes } of parts) {
    elf.u32(type);
    if (is64) elf.u32(7);
    for (const value of [offset, virtual, physical, content.length, memoryBytes]) word(value);
    if (is64) elf.u64(4);
    else elf.u32(7).u32(4);
    offset += content.length;
  }
  elf.zeros(FIRST_CONTENT - elf.length);
  for (const { content } of parts) elf.raw(content);
  return elf.build();
}

/** XEN_ELFNOTE_PHYS32_ENTRY, behind a note that is none of a loader's business. */
export function pvhNotes(entry: number): Uint8Array {
  const note = (owner: string, type: number, content: number): Uint8Array =>
    new ByteBuilder()
      .u32(owner.length + 1)
      .u32(4)
      .u32(type)
      .text(owner)
      .u8(0)
      .alignTo(4)
      .u32(content)
      .build();
  return new ByteBuilder()
    .raw(note('Linux', 18, 0xbad))
    .raw(note('Xen', 18, entry))
    .build();
}

/** The multiboot header, 12 bytes or with addresses 32. */
export function multibootHeader(flags: number, addresses: readonly number[] = []): Uint8Array {
  const header = new ByteBuilder()
    .u32(0x1badb002)
    .u32(flags)
    .u32(-(0x1badb002 + flags) >>> 0);
  for (const address of addresses) header.u32(address);
  return header.build();
}
