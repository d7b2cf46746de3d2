import { describe, expect, it } from 'vitest';
import { type CpuModel, CPU_MODELS } from '../cpu/x86/cpu-models.ts';
import { Cpuid } from '../cpu/x86/cpuid.ts';
import { ABSENT_FETCH_HOLD, ABSENT_INVPCID } from '../cpu/layout.ts';
import { absentFeatures } from './absent-features.ts';

const CONTEXT = { apicId: 0, vcpus: 1, osxsave: false, ospke: false, xcr0: 1, tscKhz: 1000000 };

function without(...features: string[]): ReturnType<typeof absentFeatures> {
  // INVARIANT: the list begins with the model that has everything.
  const max: CpuModel = CPU_MODELS[0]!;
  const cpuid = new Cpuid({ ...max, features: new Set([...max.features].filter((f) => !features.includes(f))) });
  return absentFeatures((leaf, subleaf) => cpuid.query(leaf, subleaf, CONTEXT));
}

describe('absent features', () => {
  it('are none of the model that has everything, nor of a CPUID that says nothing', () => {
    expect(without()).toEqual({ cr4: 0, instructions: ABSENT_FETCH_HOLD });
    expect(absentFeatures(() => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }))).toEqual({ cr4: 0, instructions: 0 });
  });

  it('are the bits of CR4 and the instructions that a feature brings', () => {
    expect(without('pcid', 'smap', 'umip')).toEqual({ cr4: 0x220800, instructions: ABSENT_FETCH_HOLD });
    expect(without('invpcid')).toEqual({ cr4: 0, instructions: ABSENT_INVPCID | ABSENT_FETCH_HOLD });
  });
});
