import { beforeAll, describe, expect, it } from 'vitest';
import {
  CPU_FCS, CPU_FCW, CPU_FDP, CPU_FDS, CPU_FIP, CPU_FOP, CPU_FPR, CPU_FPU_IMAGE, CPU_FSW, CPU_FTAG, CPU_FTOP, FIRST_VCPU,
} from '../../src/cpu/layout.ts'; // prettier-ignore
import { compileMicrocode, type FpuMicrocode } from '../support/fpu.ts';

const IMAGE = FIRST_VCPU + CPU_FPU_IMAGE;
const REAL = 0;
const PROTECTED = 1;

let fpu: FpuMicrocode;
let m: DataView;
beforeAll(() => {
  fpu = compileMicrocode('src/cpu/microcode/fpu/index.ts');
  m = fpu.memory;
}, 60_000);

/** A valid number, a zero, an infinity and five empty registers; TOP = 5. */
function prepare(): void {
  fpu.call('fpuInit');
  fpu.call('fpuLoadF64', 0x7ff0000000000000n);
  fpu.call('fpuLoadF64', 0n);
  fpu.call('fpuLoadF64', 0x4004000000000000n); // 2.5
  m.setUint16(FIRST_VCPU + CPU_FCW, 0x0340, true);
  m.setUint16(FIRST_VCPU + CPU_FCS, 0x1234, true);
  m.setUint16(FIRST_VCPU + CPU_FDS, 0x5678, true);
  m.setUint16(FIRST_VCPU + CPU_FOP, 0x5a5, true);
  m.setBigUint64(FIRST_VCPU + CPU_FIP, 0xabcden, true);
  m.setBigUint64(FIRST_VCPU + CPU_FDP, 0x98765n, true);
}

const words = (count: number): number[] => Array.from({ length: count }, (_, i) => m.getUint16(IMAGE + 2 * i, true));

describe('environment images (SDM volume 1, figures 8-9 to 8-12)', () => {
  // R5 holds 2.5, R6 zero, R7 infinity: tags from R7 down.
  const tags = 0b10_01_00_11_11_11_11_11;

  it('32-bit protected mode', () => {
    prepare();
    expect(fpu.call('fpuEnv', 32, PROTECTED)).toBe(28);
    expect(words(14)).toEqual([
      0x340,
      0xffff,
      0x2800,
      0xffff,
      tags,
      0xffff,
      0xbcde,
      0xa,
      0x1234,
      0x5a5,
      0x8765,
      9,
      0x5678,
      0xffff,
    ]);
  });

  it('32-bit real-address mode: linear pointers', () => {
    prepare();
    fpu.call('fpuEnv', 32, REAL);
    const ip = 0xabcde + 0x12340;
    const dp = 0x98765 + 0x56780;
    expect(m.getUint32(IMAGE + 12, true) & 0xffff).toBe(ip & 0xffff);
    expect(m.getUint32(IMAGE + 16, true)).toBe(((ip >> 16) << 12) | 0x5a5);
    expect(m.getUint32(IMAGE + 20, true) & 0xffff).toBe(dp & 0xffff);
    expect(m.getUint32(IMAGE + 24, true)).toBe((dp >> 16) << 12);
  });

  it('16-bit protected mode', () => {
    prepare();
    expect(fpu.call('fpuEnv', 16, PROTECTED)).toBe(14);
    expect(words(7)).toEqual([0x340, 0x2800, tags, 0xbcde, 0x1234, 0x8765, 0x5678]);
  });

  it('16-bit real-address mode', () => {
    prepare();
    fpu.call('fpuEnv', 16, REAL);
    const ip = 0xabcde + 0x12340;
    const dp = 0x98765 + 0x56780;
    expect(words(7)).toEqual([
      0x340,
      0x2800,
      tags,
      ip & 0xffff,
      ((ip >> 4) & 0xf000) | 0x5a5,
      dp & 0xffff,
      (dp >> 4) & 0xf000,
    ]);
  });

  it('masks all exceptions once the image is stored', () => {
    prepare();
    fpu.call('fpuEnvStored');
    expect(m.getUint16(FIRST_VCPU + CPU_FCW, true)).toBe(0x37f);
  });

  it('shows a pending exception that the loaded masks make one', () => {
    prepare();
    fpu.call('fpuEnv', 32, PROTECTED);
    m.setUint16(IMAGE + 4, 0x2801, true); // IE
    m.setUint16(IMAGE, 0x37e, true); // unmasked
    fpu.call('fpuLoadEnv', 32, PROTECTED);
    expect(m.getUint16(FIRST_VCPU + CPU_FSW, true)).toBe(0x8081);
  });
});

describe.each([
  [16, PROTECTED],
  [32, PROTECTED],
  [16, REAL],
  [32, REAL],
])('FNSAVE and FRSTOR, %i bits, protected %i', (bits, mode) => {
  it('bring back registers, tags and words', () => {
    prepare();
    const before = fpu.bytes.slice(FIRST_VCPU + CPU_FPR, FIRST_VCPU + CPU_FPR + 128);
    const length = fpu.call('fpuSave', bits, mode);
    expect(length).toBe(bits === 32 ? 108 : 94);
    fpu.call('fpuInit');
    for (let i = 0; i < 3; i++) fpu.call('fpuLoadConstant', 3);
    fpu.call('fpuRestore', bits, mode);
    const after = fpu.bytes.slice(FIRST_VCPU + CPU_FPR, FIRST_VCPU + CPU_FPR + 128);
    expect(after).toEqual(before);
    expect(m.getUint8(FIRST_VCPU + CPU_FTAG)).toBe(0xe0);
    expect(m.getUint32(FIRST_VCPU + CPU_FTOP, true)).toBe(5);
    expect(m.getUint16(FIRST_VCPU + CPU_FCW, true)).toBe(0x340);
  });
});
