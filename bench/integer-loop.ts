/**
 * Guest instructions a second in a loop of integer code, in a VM without a machine: long mode, one gigabyte page that maps
 * physical memory one to one, and the bytes of the loop.
 */
import type { Vcpu, VcpuBus } from '../src/accel/contract.ts';
import { wasmAccelerator } from '../src/accel/wasm-vm.ts';

const RAM_BYTES = 1 << 20;
const PML4 = 0x1000;
const PDPT = 0x2000;
const CODE = 0x10000;
const DATA = 0x20000;
/** Present, writable, accessed, dirty; PS: a page of 1 GiB. */
const TABLE = 0x23n;
const GIGABYTE_PAGE = 0xe3n;

/**
 * Thirteen instructions, RBX pointing at data: sums, mixes, compares and branches on the low bits, reads and writes memory.
 * The loop has no end; the instruction budget stops it.
 */
const LOOP = Uint8Array.of(
  ...[0x48, 0x01, 0xc8], //                    again: add rax, rcx
  ...[0x48, 0x31, 0xc2], //                           xor rdx, rax
  ...[0x48, 0x89, 0xc6], //                           mov rsi, rax
  ...[0x81, 0xe6, 0xf8, 0x0f, 0x00, 0x00], //         and esi, 0xff8
  ...[0x48, 0x03, 0x14, 0x33], //                     add rdx, [rbx + rsi]
  ...[0x48, 0x89, 0x14, 0x33], //                     mov [rbx + rsi], rdx
  ...[0x48, 0xc1, 0xc0, 0x07], //                     rol rax, 7
  ...[0xa8, 0x01], //                                 test al, 1
  ...[0x74, 0x03], //                                 jz even
  ...[0x48, 0x29, 0xd0], //                           sub rax, rdx
  ...[0x48, 0xff, 0xc1], //                    even:  inc rcx
  ...[0x48, 0x83, 0xf9, 0x00], //                     cmp rcx, 0
  ...[0x75, 0xd5], //                                 jnz again
);

/** The loop touches no device. */
const NO_BUS: VcpuBus = {
  ioIn: () => 0,
  ioOut: () => undefined,
  mmioRead: () => 0,
  mmioWrite: () => undefined,
  readMsr: () => undefined,
  writeMsr: () => false,
  cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }),
  tsc: () => 0,
  random32: () => 0,
  acknowledgeInterrupt: () => -1,
};

/** Instructions before the clock starts, so that everything is generated and compiled, and while it runs. */
const AMOUNTS = {
  interp: { warmUp: 50_000_000, measured: 100_000_000 },
  jit: { warmUp: 500_000_000, measured: 1_000_000_000 },
} as const;
const SLICE = 5_000_000;

function execute(vcpu: Vcpu, instructions: number): void {
  const end = vcpu.instructionCount + instructions;
  while (vcpu.instructionCount < end) {
    const exit = vcpu.run(SLICE);
    if (exit.reason !== 'budget') throw new Error(`the loop ended: ${JSON.stringify(exit)}`);
  }
}

/** Million guest instructions a second of this process's CPU time, which a busy machine falsifies least. */
export async function integerLoop(tier: 'interp' | 'jit'): Promise<number> {
  const vm = wasmAccelerator({ tier }).createVm({ hostMemoryBytes: RAM_BYTES, vcpus: 1 });
  const ram = vm.allocate(RAM_BYTES);
  vm.setMemoryRegion({
    slot: 0,
    guestPhysical: 0,
    sizeBytes: RAM_BYTES,
    hostOffset: ram,
    readonly: false,
    logDirty: false,
  });
  const view = new DataView(vm.memory.buffer, ram, RAM_BYTES);
  view.setBigUint64(PML4, BigInt(PDPT) | TABLE, true);
  view.setBigUint64(PDPT, GIGABYTE_PAGE, true);
  new Uint8Array(vm.memory.buffer, ram + CODE, LOOP.length).set(LOOP);

  const vcpu = vm.createVcpu(NO_BUS);
  vcpu.setInitialState({ mode: 'long', rip: CODE, cr3: PML4, registers: { rax: 1, rbx: DATA, rcx: 1, rdx: 0 } });
  const { warmUp, measured } = AMOUNTS[tier];
  execute(vcpu, warmUp);
  // V8 compiles on other threads: let it install what it made.
  await new Promise((resolve) => setTimeout(resolve, 200));
  execute(vcpu, SLICE);

  const before = process.cpuUsage().user;
  const first = vcpu.instructionCount;
  execute(vcpu, measured);
  const microseconds = process.cpuUsage().user - before;
  vm.close();
  return (vcpu.instructionCount - first) / microseconds;
}
