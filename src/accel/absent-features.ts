/**
 * What CPUID denies and a guest could use all the same: bits of CR4 and instructions that depend on a feature; and behaviour that
 * depends on who made the processor.
 */
import type { CpuidResult } from '../cpu/x86/cpuid.ts';
import { FEATURES } from '../cpu/x86/feature-places.ts';
import { ABSENT_FETCH_HOLD, ABSENT_INVPCID } from '../cpu/layout.ts';

/** Bits of CR4 by the feature that brings them (Intel SDM volume 3, 2.5). */
const CR4_BITS: Readonly<Record<string, number>> = {
  tsc: 1 << 2,
  de: 1 << 3,
  pse: 1 << 4,
  pae: 1 << 5,
  mce: 1 << 6,
  pge: 1 << 7,
  fxsr: 1 << 9,
  sse: 1 << 10,
  umip: 1 << 11,
  fsgsbase: 1 << 16,
  pcid: 1 << 17,
  xsave: 1 << 18,
  smep: 1 << 20,
  smap: 1 << 21,
  pku: 1 << 22,
};
/** "Auth", the beginning of AMD's vendor text. */
const VENDOR_AMD_EBX = 0x68747541;
const INSTRUCTIONS: Readonly<Record<string, number>> = { invpcid: ABSENT_INVPCID };

export interface AbsentFeatures {
  readonly cr4: number;
  /** ABSENT_* */
  readonly instructions: number;
}

/** Asks a processor's CPUID. One that knows no feature at all, as a test's, denies nothing. */
export function absentFeatures(cpuid: (leaf: number, subleaf: number) => CpuidResult): AbsentFeatures {
  if (cpuid(0, 0).eax === 0) return { cr4: 0, instructions: 0 };
  const missing = (bits: Readonly<Record<string, number>>): number =>
    Object.entries(bits).reduce((sum, [feature, bit]) => {
      const place = FEATURES[feature];
      if (place === undefined) return sum;
      const [leaf, register, index] = place;
      return ((cpuid(leaf, 0)[register] >>> index) & 1) === 0 ? sum | bit : sum;
    }, 0);
  const amd = cpuid(0, 0).ebx === VENDOR_AMD_EBX ? ABSENT_FETCH_HOLD : 0;
  return { cr4: missing(CR4_BITS), instructions: missing(INSTRUCTIONS) | amd };
}
