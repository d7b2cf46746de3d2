/** One vCPU and 4 MiB of RAM with nothing but the microcode, for tests of paging, exceptions, segments and strings. */
import * as L from '../../src/cpu/layout.ts';
import { microcodeModule } from '../../src/cpu/microcode-binary.ts';

const CPU = L.FIRST_VCPU;
const CODE_PAGE_MAP = CPU + L.CPU_STRIDE;
const BLOCK_HASH = CODE_PAGE_MAP + 0x10000;
export const RAM = 0xb00000;
export const RAM_BYTES = 0x400000;

/** Descriptor words of a segment: base, limit in units, attributes as in the vCPU state. */
export function descriptor(base: number, limit: number, attr: number): bigint {
  const low = (BigInt(base & 0xffff) << 16n) | BigInt(limit & 0xffff);
  const high =
    BigInt((base >>> 16) & 0xff) |
    (BigInt(attr & 0xf0ff) << 8n) |
    BigInt(limit & 0xf0000) |
    (BigInt(base >>> 24) << 24n);
  return low | (high << 32n);
}

/** Descriptor of an interrupt, trap, call or task gate outside IA-32e mode. */
export function gate(selector: number, offset: number, type: number, dpl = 0, parameters = 0): bigint {
  const low = (BigInt(selector) << 16n) | BigInt(offset & 0xffff);
  const high = (BigInt(offset >>> 16) << 16n) | BigInt(((0x80 | (dpl << 5) | type) << 8) | parameters);
  return low | (high << 32n);
}

export class MicrocodeBench {
  readonly cpu = CPU;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  private readonly exports: Record<string, (...args: (number | bigint)[]) => number | bigint>;
  readonly mmio: string[] = [];
  readonly ports: string[] = [];
  readonly codeWrites: number[] = [];
  readonly mmu: string[] = [];
  codeWrittenAnswer = 0;
  portValue = 0;
  mmioValue = 0n;

  constructor() {
    const memory = new WebAssembly.Memory({ initial: 0xf0, maximum: 0x100, shared: true });
    this.view = new DataView(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    const { view } = this;
    const instance = new WebAssembly.Instance(microcodeModule(), {
      env: { memory, table: new WebAssembly.Table({ element: 'anyfunc', initial: 16 }), abort: () => undefined },
      host: {
        mmioRead: (_cpu: number, low: number, _high: number, bytes: number) => {
          this.mmio.push(`r${bytes}@${(low >>> 0).toString(16)}`);
          view.setBigUint64(CPU + L.CPU_HOST_DATA, this.mmioValue, true);
        },
        mmioWrite: (_cpu: number, low: number, _high: number, bytes: number) => {
          this.mmio.push(
            `w${bytes}@${(low >>> 0).toString(16)}=${view.getBigUint64(CPU + L.CPU_HOST_DATA, true).toString(16)}`,
          );
        },
        ioIn: (_cpu: number, port: number, bytes: number) => {
          this.ports.push(`r${bytes}@${port.toString(16)}`);
          return this.portValue++;
        },
        ioOut: (_cpu: number, port: number, bytes: number, value: number) => {
          this.ports.push(`w${bytes}@${port.toString(16)}=${value.toString(16)}`);
        },
        codeWritten: (_cpu: number, low: number) => {
          this.codeWrites.push(low);
          return this.codeWrittenAnswer;
        },
        hostMsr: () => 1,
        hostCpuid: () => undefined,
        hostTsc: () => view.setBigUint64(CPU + L.CPU_SCRATCH, 1000n, true),
        hostRandom: () => undefined,
        tprWritten: () => undefined,
        mmuEvent: (_cpu: number, what: number, va: bigint, pa: bigint, rights: number) => {
          this.mmu.push(`${what} ${BigInt.asUintN(64, va).toString(16)} ${pa.toString(16)} ${rights}`);
        },
      },
    });
    // INVARIANT: the microcode exports functions.
    this.exports = instance.exports as unknown as Record<string, (...args: (number | bigint)[]) => number | bigint>;
    view.setUint32(L.MACHINE_CODE_PAGE_MAP, CODE_PAGE_MAP, true);
    view.setUint32(L.MACHINE_CODE_PAGE_COUNT, 0x10000, true);
    view.setUint32(L.MACHINE_BLOCK_HASH, BLOCK_HASH, true);
    view.setBigUint64(L.MACHINE_A20_MASK, 0xffffffffffffffffn, true);
    view.setUint32(L.MACHINE_SLOT_COUNT, 1, true);
    view.setBigUint64(L.MACHINE_SLOTS + L.SLOT_PAGES, BigInt(RAM_BYTES >> 12), true);
    view.setUint32(L.MACHINE_SLOTS + L.SLOT_HOST, RAM, true);
    this.call('resetCpu', 0, 0x600);
  }

  /** Calls a microcode function with the vCPU first. */
  call(name: string, ...args: (number | bigint)[]): number {
    const target = this.exports[name];
    if (target === undefined) throw new Error(`no microcode function ${name}`);
    return Number(target(CPU, ...args));
  }

  get64(offset: number): bigint {
    return this.view.getBigUint64(CPU + offset, true);
  }
  set64(offset: number, value: bigint | number): void {
    this.view.setBigUint64(CPU + offset, BigInt(value), true);
  }
  get32(offset: number): number {
    return this.view.getUint32(CPU + offset, true);
  }
  set32(offset: number, value: number): void {
    this.view.setUint32(CPU + offset, value, true);
  }
  gpr(n: number): bigint {
    return this.get64(n * 8);
  }
  setGpr(n: number, value: bigint | number): void {
    this.set64(n * 8, value);
  }
  get rip(): bigint {
    return this.get64(L.CPU_RIP);
  }
  set rip(value: bigint | number) {
    this.set64(L.CPU_RIP, value);
  }
  selector(segment: number): number {
    return this.view.getUint16(CPU + L.CPU_SEG + segment * L.SEG_SIZE + L.SEG_SELECTOR, true);
  }
  setSegment(segment: number, selector: number, base: number, limit: number, attr: number): void {
    const at = L.CPU_SEG + segment * L.SEG_SIZE;
    this.set64(at + L.SEG_BASE, base);
    this.set32(at + L.SEG_LIMIT, limit);
    this.set32(at + L.SEG_ATTR, attr);
    this.view.setUint16(CPU + at + L.SEG_SELECTOR, selector, true);
  }

  // ---- guest physical memory ----

  phys64(address: number): bigint {
    return this.view.getBigUint64(RAM + address, true);
  }
  setPhys64(address: number, value: bigint | number): void {
    this.view.setBigUint64(RAM + address, BigInt.asUintN(64, BigInt(value)), true);
  }
  phys32(address: number): number {
    return this.view.getUint32(RAM + address, true);
  }
  setPhys32(address: number, value: number): void {
    this.view.setUint32(RAM + address, value, true);
  }
  phys16(address: number): number {
    return this.view.getUint16(RAM + address, true);
  }
  setPhys16(address: number, value: number): void {
    this.view.setUint16(RAM + address, value, true);
  }
  setCodePage(ppn: number, value: number): void {
    this.bytes[CODE_PAGE_MAP + ppn] = value;
    if (value !== 0) this.call('tlbCodePage', ppn);
  }

  // ---- what went wrong ----

  /** The pending exception as text, `-` for none; clears it. */
  exception(): string {
    const vector = this.view.getInt32(CPU + L.CPU_EXC, true);
    if (vector < 0) return '-';
    this.view.setInt32(CPU + L.CPU_EXC, -1, true);
    const error = this.get32(L.CPU_EXC_ERROR).toString(16);
    return vector === L.EXC_PF
      ? `#${vector}(${error}) ${this.get64(L.CPU_EXC_CR2).toString(16)}`
      : `#${vector}(${error})`;
  }

  /** Flat protected mode at CPL 0 with a GDT at 0x1000 and an IDT at 0x2000, no paging. Selectors: see GDT. */
  protectedMode(): void {
    for (const [index, value] of Object.entries(GDT)) this.setPhys64(0x1000 + Number(index), value);
    this.set64(L.CPU_GDTR_BASE, 0x1000);
    this.set32(L.CPU_GDTR_LIMIT, 0xff);
    this.set64(L.CPU_IDTR_BASE, 0x2000);
    this.set32(L.CPU_IDTR_LIMIT, 0x7ff);
    this.set64(L.CPU_CR0, 0x31);
    this.setSegment(L.CS, 0x08, 0, 0xffffffff, 0xc09b);
    for (const s of [L.SS, L.DS, L.ES, L.FS, L.GS]) this.setSegment(s, 0x10, 0, 0xffffffff, 0xc093);
    this.call('setFlags', 2);
    this.call('updateMode');
  }

  /** 64-bit mode at CPL 0, the first 2 MiB mapped one to one with page tables at 0x10000; GDT and IDT as above. */
  longMode(): void {
    this.protectedMode();
    this.setPhys64(0x10000, 0x11007);
    this.setPhys64(0x11000, 0x12007);
    this.setPhys64(0x12000, 0x13007);
    for (let i = 0; i < 512; i++) this.setPhys64(0x13000 + i * 8, BigInt(i * 0x1000 + 7));
    this.set64(L.CPU_CR3, 0x10000);
    this.set64(L.CPU_CR4, 0x620);
    this.set64(L.CPU_EFER, 0xd01);
    this.set64(L.CPU_CR0, 0x80010033n);
    this.setSegment(L.CS, 0x28, 0, 0xffffffff, 0xa09b);
    this.call('flushTlb', 0);
    this.call('updateMode');
  }

  /** Puts the running program at CPL 3, with the flat segments of the mode. */
  userMode(long: boolean): void {
    if (long) this.setSegment(L.CS, 0x33, 0, 0xffffffff, 0xa0fb);
    else this.setSegment(L.CS, 0x1b, 0, 0xffffffff, 0xc0fb);
    for (const s of [L.SS, L.DS, L.ES]) this.setSegment(s, 0x23, 0, 0xffffffff, 0xc0f3);
    this.call('updateMode');
  }
}

/** By selector: flat code and data of rings 0 and 3, 64-bit code of rings 0 and 3. */
const GDT: Readonly<Record<number, bigint>> = {
  0x08: descriptor(0, 0xfffff, 0xc09b),
  0x10: descriptor(0, 0xfffff, 0xc093),
  0x18: descriptor(0, 0xfffff, 0xc0fb),
  0x20: descriptor(0, 0xfffff, 0xc0f3),
  0x28: descriptor(0, 0xfffff, 0xa09b),
  0x30: descriptor(0, 0xfffff, 0xa0fb),
};
