/**
 * Decimal adjustments, which 64-bit code does not have: all AL, CF and AF with 16 values of AH, in a flat 32-bit program.
 * The digests are of what an AMD EPYC computed with the same loop, the flags that the SDM defines only.
 */
import { describe, expect, it } from 'vitest';
import type { VcpuBus } from '../../src/accel/contract.ts';
import { WasmVm } from '../../src/accel/wasm-vm.ts';
import { TIERS } from '../support/oracle/tiers.ts';

const PROGRAM_AT = 0x1000;
const RESULTS_AT = 0x10000;
const CASES = 0x4000;
const RAM_BYTES = 0x100000;

/** For case EBX: AL = bits 0..7, CF = bit 8, AF = bit 9, AH = bits 10..13 twice; stores AX and FLAGS after `code`. */
function program(code: readonly number[]): number[] {
  return [
    ...[0xbc, 0x00, 0x80, 0x00, 0x00], // mov esp, 0x8000
    ...[0xbf, 0x00, 0x00, 0x01, 0x00], // mov edi, RESULTS_AT
    ...[0x31, 0xdb], // xor ebx, ebx
    ...[0x89, 0xd8, 0xc1, 0xe8, 0x08, 0x89, 0xc2], // again: mov eax, ebx; shr eax, 8; mov edx, eax
    ...[0x83, 0xe0, 0x01, 0xd1, 0xea, 0x83, 0xe2, 0x01], // and eax, 1; shr edx, 1; and edx, 1
    ...[0xc1, 0xe2, 0x04, 0x09, 0xd0, 0x83, 0xc8, 0x02, 0x50], // shl edx, 4; or eax, edx; or eax, 2; push eax
    ...[0x89, 0xd8, 0xc1, 0xe8, 0x0a, 0x6b, 0xc0, 0x11], // mov eax, ebx; shr eax, 10; imul eax, eax, 0x11
    ...[0xc1, 0xe0, 0x08, 0x88, 0xd8, 0x9d], // shl eax, 8; mov al, bl; popf
    ...code,
    ...[0x9c, 0x59, 0x66, 0x89, 0x07, 0x66, 0x89, 0x4f, 0x02], // pushf; pop ecx; mov [edi], ax; mov [edi + 2], cx
    ...[0x83, 0xc7, 0x04, 0x43, 0x81, 0xfb, 0x00, 0x40, 0x00, 0x00], // add edi, 4; inc ebx; cmp ebx, CASES
    ...[0x72, 0x100 - 59 - code.length], // jb again
    0xf4, // hlt
  ];
}

const BUS: VcpuBus = {
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

/** FNV-1a over the words AX, FLAGS & mask of all cases. */
function digest(results: DataView, mask: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < CASES * 4; i += 4) {
    hash = Math.imul(hash ^ results.getUint16(i, true), 0x01000193);
    hash = Math.imul(hash ^ (results.getUint16(i + 2, true) & mask), 0x01000193);
  }
  return hash >>> 0;
}

const CF_AF = 0x11;
const SF_ZF_PF = 0xc4;

describe.each(TIERS)('decimal adjustment, %s', (tier) => {
  it.each([
    ['DAA', [0x27], CF_AF | SF_ZF_PF, 0xa23eebc5],
    ['DAS', [0x2f], CF_AF | SF_ZF_PF, 0x9d30a085],
    ['AAA', [0x37], CF_AF, 0xca199dc5],
    ['AAS', [0x3f], CF_AF, 0x9e1dfdc5],
    ['AAM', [0xd4, 0x0a], SF_ZF_PF, 0x1f9f4bc5],
    ['AAD', [0xd5, 0x0a], SF_ZF_PF, 0x0796c9c5],
  ] as const)('%s', (_name, code, mask, expected) => {
    const vm = new WasmVm({ hostMemoryBytes: RAM_BYTES, vcpus: 1 }, { tier, hotAfter: 10 });
    const hostOffset = vm.allocate(RAM_BYTES);
    vm.setMemoryRegion({
      slot: 0,
      guestPhysical: 0,
      sizeBytes: RAM_BYTES,
      hostOffset,
      readonly: false,
      logDirty: false,
    });
    const vcpu = vm.createVcpu(BUS);
    new Uint8Array(vm.memory.buffer, hostOffset).set(program(code), PROGRAM_AT);
    vcpu.setInitialState({ mode: 'protected', rip: PROGRAM_AT });

    expect(vcpu.run(2_000_000).reason).toBe('halted');

    expect(digest(new DataView(vm.memory.buffer, hostOffset + RESULTS_AT), mask)).toBe(expected);
  });
});
