import { describe, expect, it } from 'vitest';
import { featuredMsrs } from './featured-msrs.ts';

const BOARD = { readMsr: () => ({ low: 1, high: 0 }), writeMsr: () => true };

describe('MSRs that depend on features', () => {
  it('are all there when the features are', () => {
    const msrs = featuredMsrs(BOARD, { has: () => true });
    expect([0x6e0, 0x4b564d00, 0x1b].map((msr) => msrs.readMsr(msr)?.low)).toEqual([1, 1, 1]);
    expect(msrs.writeMsr(0x1b, 0xfee00d00, 0)).toBe(true);
  });

  it('are missing when the features are, and x2APIC mode cannot be entered', () => {
    const msrs = featuredMsrs(BOARD, { has: () => false });
    expect([0x6e0, 0x4b564d00, 0x4b564d01, 0x1b].map((msr) => msrs.readMsr(msr)?.low)).toEqual([
      undefined,
      undefined,
      undefined,
      1,
    ]);
    expect([0x6e0, 0x4b564d00].map((msr) => msrs.writeMsr(msr, 0, 0))).toEqual([false, false]);
    expect(msrs.writeMsr(0x1b, 0xfee00d00, 0)).toBe(false);
    expect(msrs.writeMsr(0x1b, 0xfee00900, 0)).toBe(true);
  });
});
