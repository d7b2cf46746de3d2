import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { elfImage, linuxImage, multibootHeader, pvhNotes } from '../../../tests/support/kernels/images.ts';
import { asciiBytes, asciiText, concatBytes, viewOf } from '../../base/bytes.ts';
import { UserError } from '../../base/errors.ts';
import { type BootImage, type BootOptions, COMMAND_LINE_ADDRESS, INFO_ADDRESS } from './boot-image.ts';
import { prepareKernel } from './load-kernel.ts';
import { memoryMap } from './memory-map.ts';

const MIB = 0x100000;
const INITRD = { name: 'initrd.gz', bytes: new Uint8Array(5000).fill(7) };

interface Request extends Partial<Omit<BootOptions, 'kernel'>> {
  readonly memoryMib?: number;
}

function prepare(bytes: Uint8Array, request: Request = {}): BootImage {
  const memoryBytes = (request.memoryMib ?? 64) * MIB;
  const ramEnd = memoryBytes - 0x10000;
  return prepareKernel({
    kernel: { name: 'vmlinuz', bytes },
    commandLine: 'console=ttyS0',
    memoryMap: memoryMap(memoryBytes, ramEnd),
    ramEnd,
    rsdp: 0xf5a00,
    ...request,
  });
}

function failure(bytes: Uint8Array, request: Request = {}): string {
  try {
    prepare(bytes, request);
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
  return 'no error';
}

/** Guest memory after all writes: what lies at an address. */
function memoryOf(image: BootImage): (address: number, sizeBytes: number) => DataView {
  return (address, sizeBytes) => {
    const bytes = new Uint8Array(sizeBytes).fill(0xee); // what the guest left there before a reset
    for (const write of image.writes) {
      const from = Math.max(address, write.guestPhysical);
      const to = Math.min(address + sizeBytes, write.guestPhysical + write.bytes.length);
      if (to > from)
        bytes.set(write.bytes.subarray(from - write.guestPhysical, to - write.guestPhysical), from - address);
    }
    return viewOf(bytes);
  };
}

function textAt(image: BootImage, address: number): string {
  return asciiText(new Uint8Array(memoryOf(image)(address, 256).buffer));
}

describe('Linux bzImage', () => {
  it('is entered at its 64-bit entry point with identity-mapped memory and boot_params in rsi', () => {
    const image = prepare(linuxImage(), { initrd: INITRD });
    const memory = memoryOf(image);
    expect(image.protocol).toBe('linux64');
    expect(image.state).toMatchObject({
      mode: 'long',
      rip: 0x1000200,
      registers: { rsi: INFO_ADDRESS },
      codeSelector: 0x10,
    });
    expect(textAt(image, 0x1000000)).toBe('code');
    const params = memory(INFO_ADDRESS, 4096);
    expect(params.getUint16(0x1fe, true)).toBe(0xaa55);
    expect(params.getUint32(0x202, true)).toBe(0x53726448);
    expect(params.getUint8(0x210)).toBe(0xff);
    expect(params.getUint8(0x270), 'what lies behind the setup header').toBe(0);
    expect(params.getUint32(0x228, true)).toBe(COMMAND_LINE_ADDRESS);
    expect(textAt(image, COMMAND_LINE_ADDRESS)).toBe('console=ttyS0');
    expect(params.getUint32(0x070, true)).toBe(0xf5a00);
    const initrd = params.getUint32(0x218, true);
    expect([initrd % 4096, params.getUint32(0x21c, true)]).toEqual([0, 5000]);
    expect(initrd).toBe(64 * MIB - 0x10000 - 8192);
    expect(memory(initrd, 1).getUint8(0)).toBe(7);
  });

  it('gets the memory map and page tables for 4 GiB', () => {
    const image = prepare(linuxImage());
    const memory = memoryOf(image);
    const params = memory(INFO_ADDRESS, 4096);
    const entries = Array.from({ length: params.getUint8(0x1e8) }, (_, i) => {
      const at = 0x2d0 + i * 20;
      return [params.getUint32(at, true), params.getUint32(at + 8, true), params.getUint32(at + 16, true)];
    });
    expect(entries).toEqual([
      [0, 0x9fc00, 1],
      [0x9fc00, 0x400, 2],
      [0xf0000, 0x10000, 2],
      [MIB, 63 * MIB - 0x10000, 1],
      [64 * MIB - 0x10000, 0x10000, 3],
      [0xfffc0000, 0x40000, 2],
    ]);
    const table = (at: number, index: number): number => memory(at, 4096).getUint32(index * 8, true);
    for (const address of [0, 0x1000000, 0xffe00000]) {
      const pointers = table(image.state.cr3 ?? 0, 0);
      const directory = table(pointers & ~0xfff, Math.floor(address / 2 ** 30));
      expect([pointers & 0xfff, directory & 0xfff]).toEqual([3, 3]);
      const entry = table(directory & ~0xfff, Math.floor(address / 2 ** 21) % 512);
      expect(entry).toBe(address + 0x83);
    }
    expect(memory(image.state.gdt?.base ?? 0, 32).getUint32(0x14, true)).toBe(0x00af9b00);
  });

  it('without a 64-bit entry point is entered in protected mode', () => {
    const image = prepare(linuxImage({ xloadFlags: 0, initrdMax: 0x37ffffff }), { initrd: INITRD, memoryMib: 2048 });
    expect(image.protocol).toBe('linux32');
    expect(image.state).toMatchObject({ mode: 'protected', rip: 0x1000000, dataSelector: 0x18 });
    expect(image.state.registers).toEqual({ esi: INFO_ADDRESS, ebp: 0, edi: 0, ebx: 0 });
    const params = memoryOf(image)(INFO_ADDRESS, 4096);
    expect(params.getUint32(0x218, true), 'below what the kernel reaches').toBe(0x37ffe000);
  });

  it('that is not relocatable is loaded at 1 MiB', () => {
    expect(prepare(linuxImage({ relocatable: false })).state.rip).toBe(MIB + 0x200);
  });

  it('tells of a text screen only where there is one', () => {
    const columns = (request: Request): number =>
      memoryOf(prepare(linuxImage(), request))(INFO_ADDRESS, 16).getUint8(7);
    expect([columns({}), columns({ vgaText: true })]).toEqual([0, 80]);
  });

  it('that is damaged or does not fit is refused in one sentence', () => {
    const image = linuxImage();
    expect(failure(image.subarray(0, 0x230))).toBe('-kernel vmlinuz: the file is cut off within the setup header.');
    expect(failure(image.subarray(0, 3000))).toBe('-kernel vmlinuz: the file is cut off: it has 3000 bytes of 5120.');
    expect(failure(linuxImage({ version: 0x201 }))).toBe(
      '-kernel vmlinuz: its boot protocol is 2.1, but at least 2.2 is needed.',
    );
    expect(failure(linuxImage({ loadFlags: 0 }))).toBe('-kernel vmlinuz: a zImage, but only bzImages can be started.');
    expect(failure(linuxImage({ alignment: 3 }))).toMatch(/^-kernel vmlinuz: .*no power of two\.$/);
    expect(failure(image, { memoryMib: 16 })).toBe(
      '-m 16 MiB: too small for kernel vmlinuz, which needs memory up to 17 MiB.',
    );
    expect(failure(linuxImage({ initBytes: 0x2000000 }), { memoryMib: 32 })).toBe(
      '-m 32 MiB: too small for kernel vmlinuz, which needs memory up to 48 MiB.',
    );
    expect(failure(image, { commandLine: 'x'.repeat(2048) })).toBe(
      '-append: the command line has 2048 bytes, but vmlinuz takes at most 2047.',
    );
    expect(failure(image, { commandLine: 'a\0b' })).toBe('-append: the command line contains a NUL character.');
    const large = { name: 'big.cpio', bytes: new Uint8Array(50 * MIB) };
    expect(failure(image, { initrd: large })).toBe(
      '-initrd big.cpio: 50 MiB do not fit into the 44992 KiB between the kernel and the end of memory.',
    );
    expect(failure(image, { initrd: { name: 'none', bytes: new Uint8Array(0) } })).toBe(
      '-initrd none: the file is empty.',
    );
  });
});

describe('ELF kernels', () => {
  const code = asciiBytes('elf code');
  const segments = [{ virtual: 0x81000000, physical: 0x1000000, content: code, memoryBytes: 0x3000 }];

  it.each([32, 64] as const)('of %i bits with a PVH note get hvm_start_info in ebx', (bits) => {
    const image = prepare(elfImage({ bits, entry: 0x81000000, segments, notes: pvhNotes(0x1000004) }), {
      initrd: INITRD,
    });
    const memory = memoryOf(image);
    expect(image.protocol).toBe('pvh');
    expect(image.state).toMatchObject({ mode: 'protected', rip: 0x1000004, registers: { ebx: INFO_ADDRESS } });
    expect(textAt(image, 0x1000000), 'with zeros behind it').toBe('elf code');
    expect(memory(0x1002ffc, 4).getUint32(0), 'the end of its zeros').toBe(0);
    const info = memory(INFO_ADDRESS, 512);
    const u32 = (at: number): number => info.getUint32(at, true);
    expect([u32(0), u32(4), u32(8), u32(12)]).toEqual([0x336ec578, 1, 0, 1]);
    expect([u32(24), u32(32), u32(48)]).toEqual([COMMAND_LINE_ADDRESS, 0xf5a00, 6]);
    const modules = memory(u32(16), 32);
    expect([modules.getUint32(0, true), modules.getUint32(8, true)]).toEqual([64 * MIB - 0x10000 - 8192, 5000]);
    const highMemory = memory(u32(40) + 3 * 24, 24);
    expect([highMemory.getUint32(0, true), highMemory.getUint32(16, true)]).toEqual([MIB, 1]);
  });

  it('without a note are entered in 64-bit mode at the physical address of the entry point', () => {
    const image = prepare(elfImage({ bits: 64, entry: 0x81000002, segments }));
    expect(image.protocol).toBe('elf64');
    expect(image.state).toMatchObject({ mode: 'long', rip: 0x1000002, registers: { rsi: INFO_ADDRESS } });
    expect(memoryOf(image)(INFO_ADDRESS, 4096).getUint32(0x202, true)).toBe(0x53726448);
  });

  it('that are damaged, foreign or misplaced are refused', () => {
    const make = (fields: object): Uint8Array => elfImage({ bits: 64, entry: 0x1000000, segments, ...fields });
    expect(failure(make({ machine: 183 }))).toBe('-kernel vmlinuz: an ELF file for arm64, but this machine is x86-64.');
    expect(failure(make({}).subarray(0, 0x402))).toBe(
      '-kernel vmlinuz: a damaged ELF file: it is cut off at 1026 bytes.',
    );
    expect(failure(make({}).subarray(0, 20))).toBe('-kernel vmlinuz: a damaged ELF file: it is cut off at 20 bytes.');
    expect(failure(make({ bits: 32 }))).toMatch(/neither a PVH entry point .* nor a multiboot header\.$/);
    expect(failure(make({ segments: [{ physical: 0x2000, content: code }], entry: 0x2000 }))).toBe(
      '-kernel vmlinuz: it wants to be loaded at 0x2000, below 1 MiB.',
    );
    expect(prepare(make({ segments: [{ physical: 0x4000, content: code }], entry: 0x4000 })).state.rip).toBe(0x4000);
    expect(failure(make({ segments: [{ physical: 2 ** 40, content: code }], entry: 2 ** 40 }))).toMatch(
      /^-m 64 MiB: too small/,
    );
    expect(failure(make({ entry: 5 }))).toBe('-kernel vmlinuz: its entry point 0x5 lies outside what is loaded.');
    expect(failure(make({ notes: pvhNotes(0x77) }))).toBe(
      '-kernel vmlinuz: its PVH entry point 0x77 lies outside what is loaded.',
    );
    expect(failure(make({ segments: [] }))).toBe('-kernel vmlinuz: an ELF file with nothing to load.');
  });
});

describe('multiboot kernels', () => {
  const load = 0x200000;
  /** A header at 16, code behind it, loaded whole at `load`. */
  const flat = (loadEnd: number, bssEnd: number, entry: number = load + 48): Uint8Array =>
    concatBytes([
      new Uint8Array(16),
      multibootHeader(0x10003, [load + 16, load, loadEnd, bssEnd, entry]),
      asciiBytes('boot'),
    ]);

  it('are loaded by the addresses in their header and get the information in ebx', () => {
    const image = prepare(flat(0, load + 0x2000), { initrd: INITRD, commandLine: 'a b' });
    const memory = memoryOf(image);
    expect(image.protocol).toBe('multiboot');
    expect(image.state).toMatchObject({ mode: 'protected', rip: load + 48 });
    expect(image.state.registers).toEqual({ eax: 0x2badb002, ebx: INFO_ADDRESS });
    expect(textAt(image, load + 48)).toBe('boot');
    expect(memory(load + 0x1ffc, 4).getUint32(0)).toBe(0);
    const info = memory(INFO_ADDRESS, 512);
    const u32 = (at: number): number => info.getUint32(at, true);
    expect(u32(0)).toBe(0x24d);
    expect([u32(4), u32(8)]).toEqual([639, (63 * MIB - 0x10000) / 1024]);
    expect(textAt(image, u32(16))).toBe('vmlinuz a b');
    expect(u32(20)).toBe(1);
    const module = memory(u32(24), 16);
    const [start, end, name] = [0, 4, 8].map((at) => module.getUint32(at, true));
    expect([start, end]).toEqual([load + 0x2000, load + 0x2000 + 5000]);
    expect(textAt(image, name ?? 0)).toBe('initrd.gz');
    expect(memory(load + 0x2000, 1).getUint8(0)).toBe(7);
    const map = memory(u32(48), u32(44));
    expect(u32(44)).toBe(6 * 24);
    expect([0, 4, 12, 20].map((at) => map.getUint32(3 * 24 + at, true))).toEqual([20, MIB, 63 * MIB - 0x10000, 1]);
    expect(textAt(image, u32(64))).toBe('orrery');
  });

  it('are loaded as ELF files where their header has no addresses', () => {
    const content = concatBytes([multibootHeader(0), asciiBytes('boot')]);
    for (const bits of [32, 64] as const) {
      const image = prepare(elfImage({ bits, entry: load + 12, segments: [{ physical: load, content }] }));
      expect([image.protocol, image.state.mode, image.state.rip]).toEqual(['multiboot', 'protected', load + 12]);
    }
  });

  it('whose header contradicts itself or asks too much are refused', () => {
    expect(failure(multibootHeader(0x8))).toMatch(/asks for unknown features \(flags 0x8\)\.$/);
    expect(failure(multibootHeader(0))).toMatch(/no load addresses and it is no ELF file\.$/);
    expect(failure(flat(load + 4096, 0))).toBe('-kernel vmlinuz: the file is cut off: 52 bytes of 4096.');
    expect(failure(flat(load - 1, 0))).toMatch(/contradicts itself about how much is loaded\.$/);
    expect(failure(flat(0, 0, 0x100))).toBe('-kernel vmlinuz: its entry point 0x100 lies outside what is loaded.');
    expect(failure(flat(0, 65 * MIB))).toMatch(/^-m 64 MiB: too small for kernel vmlinuz/);
    expect(failure(multibootHeader(0x10000, [load, load]))).toMatch(/cut off within the multiboot header\.$/);
    const misplaced = multibootHeader(0x10000, [load + 64, load, 0, 0, load]);
    expect(failure(misplaced)).toMatch(/contradicts itself about where it is loaded\.$/);
  });
});

describe('files that are no kernels', () => {
  const file = (offset: number, text: string): Uint8Array =>
    concatBytes([new Uint8Array(offset), asciiBytes(text), new Uint8Array(64)]);

  it('are refused with what they are', () => {
    expect(failure(new Uint8Array(0))).toBe('-kernel vmlinuz: the file is empty.');
    expect(failure(file(0, 'hello'))).toBe(
      '-kernel vmlinuz: not a kernel image (no bzImage, ELF or multiboot header).',
    );
    expect(failure(file(0x38, 'ARM\x64'))).toBe(
      '-kernel vmlinuz: a Linux image for arm64, but this machine is x86-64.',
    );
    expect(failure(file(0, '\x1f\x8b'))).toBe('-kernel vmlinuz: a file compressed with gzip; decompress it first.');
    expect(failure(file(0, 'QFI\xfb'))).toBe('-kernel vmlinuz: a qcow2 disk image; give it as a drive.');
    expect(failure(Uint8Array.of(0x7f))).toMatch(/not a kernel image/);
  });
});

describe('hostile images', () => {
  const images = [
    linuxImage(),
    elfImage({
      bits: 64,
      entry: 0x1000000,
      segments: [{ physical: 0x1000000, content: asciiBytes('code'), memoryBytes: 8192 }],
      notes: pvhNotes(0x1000000),
    }),
    elfImage({ bits: 32, entry: 0x100000, segments: [{ physical: 0x100000, content: multibootHeader(0) }] }),
    concatBytes([multibootHeader(0x10000, [0x100000, 0x100000, 0, 0, 0x100020]), new Uint8Array(64)]),
  ];

  it('are prepared or refused, never half read', () => {
    const change = fc.tuple(fc.nat(0x480), fc.integer({ min: 0, max: 0xff }));
    fc.assert(
      fc.property(
        fc.constantFrom(...images),
        fc.array(change, { maxLength: 6 }),
        fc.option(fc.nat(0x1400), { nil: undefined }),
        (image, changes, cut) => {
          const changed = image.slice(0, cut);
          for (const [at, value] of changes) if (at < changed.length) changed[at] = value;
          try {
            for (const { guestPhysical, bytes } of prepare(changed, { initrd: INITRD }).writes) {
              expect(Number.isInteger(guestPhysical) && guestPhysical >= 0).toBe(true);
              expect(guestPhysical + bytes.length).toBeLessThanOrEqual(64 * MIB);
            }
          } catch (error) {
            if (!(error instanceof UserError)) throw error;
          }
        },
      ),
      { numRuns: 3000 },
    );
  });
});
