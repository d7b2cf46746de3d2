import { describe, expect, it } from 'vitest';
import {
  AF,
  CF,
  CODE_BASE,
  DATA_BASE,
  DATA_SIZE,
  DATA_WRITABLE,
  FX_FSW,
  FX_FTW,
  FX_MXCSR,
  FX_ST,
  FX_XMM,
  OF,
  PF,
  RAX,
  RBX,
  RCX,
  RDI,
  RDX,
  RSI,
  RSP,
  SF,
  ZF,
} from './machine-state.ts';
import { ARITHMETIC_FLAGS, createOutcome, createState } from './machine-state.ts';
import type { MachineState, Outcome } from './machine-state.ts';
import { hasNativeOracle, nativeOracle } from './native.ts';

function run(code: number[], prepare: (state: MachineState) => void = () => {}, step = false): Outcome {
  const state = createState();
  prepare(state);
  const out = createOutcome();
  nativeOracle()?.run(Uint8Array.from(code), state, out, step);
  return out;
}

describe.runIf(hasNativeOracle)('native oracle', () => {
  it('runs ADD RAX, RCX with the flags of the SDM', () => {
    const out = run([0x48, 0x01, 0xc8], (s) => {
      s.gpr[RAX] = 0x7fffffffffffffffn;
      s.gpr[RCX] = 1n;
    });
    expect(out.state.gpr[RAX]).toBe(0x8000000000000000n);
    expect(out.state.rflags & ARITHMETIC_FLAGS).toBe(SF | OF | AF | PF);
    expect(out.exception).toBeNull();
    expect(out.rip).toBe(CODE_BASE + 3);
  });

  it('passes all sixteen registers through', () => {
    const out = run([0x90], (s) => s.gpr.set(Array.from({ length: 16 }, (_, i) => 0x1111111111111111n * BigInt(i))));
    expect([...out.state.gpr]).toEqual(Array.from({ length: 16 }, (_, i) => 0x1111111111111111n * BigInt(i)));
  });

  it('loads and stores flags, including DF', () => {
    const out = run([0xf5], (s) => (s.rflags = 0x202 | CF | ZF | 0x400));
    expect(out.state.rflags & (ARITHMETIC_FLAGS | 0x400)).toBe(ZF | 0x400);
  });

  it('runs a repeated string instruction to its end', () => {
    const out = run([0xf3, 0xa4], (s) => {
      s.gpr[RSI] = BigInt(DATA_BASE);
      s.gpr[RDI] = BigInt(DATA_BASE + 64);
      s.gpr[RCX] = 5n;
      s.data.set([1, 2, 3, 4, 5, 6]);
    });
    expect([...out.state.data.subarray(64, 71)]).toEqual([1, 2, 3, 4, 5, 0, 0]);
    expect(out.state.gpr[RCX]).toBe(0n);
  });

  it('pushes at the guest stack', () => {
    const out = run([0x53], (s) => {
      s.gpr[RSP] = BigInt(DATA_BASE + 256);
      s.gpr[RBX] = 0x1122334455667788n;
    });
    expect(out.state.gpr[RSP]).toBe(BigInt(DATA_BASE + 248));
    expect(new DataView(out.state.data.buffer).getBigUint64(248, true)).toBe(0x1122334455667788n);
  });

  it('steps a branch and tells where it leads', () => {
    const out = run([0xe2, 0x10], (s) => (s.gpr[RCX] = 2n), true);
    expect(out.rip).toBe(CODE_BASE + 2 + 0x10);
    expect(out.state.gpr[RCX]).toBe(1n);
    expect(out.exception).toBeNull();
    expect(out.state.rflags & 0x100).toBe(0);
  });

  it('steps a call and shows the return address', () => {
    const out = run([0xe8, 0, 1, 0, 0], undefined, true);
    expect(out.rip).toBe(CODE_BASE + 5 + 256);
    expect(new DataView(out.state.data.buffer).getBigUint64(DATA_WRITABLE / 2 - 8, true)).toBe(BigInt(CODE_BASE + 5));
  });

  it('reports #DE of a division by zero with nothing changed', () => {
    const out = run([0x48, 0xf7, 0xf1], (s) => (s.gpr[RAX] = 7n));
    expect(out.exception).toEqual({ vector: 0, errorCode: 0, cr2: 0n });
    expect(out.rip).toBe(CODE_BASE);
    expect(out.state.gpr[RAX]).toBe(7n);
  });

  it('reports #UD', () => {
    expect(run([0x0f, 0x0b]).exception?.vector).toBe(6);
  });

  it('reports #BP behind INT3', () => {
    const out = run([0xcc]);
    expect(out.exception?.vector).toBe(3);
    expect(out.rip).toBe(CODE_BASE + 1);
  });

  it('reports #PF with error code and address', () => {
    const write = run([0x89, 0x01], (s) => (s.gpr[RCX] = BigInt(DATA_BASE + DATA_SIZE + 8)));
    expect(write.exception).toEqual({ vector: 14, errorCode: 6, cr2: BigInt(DATA_BASE + DATA_SIZE + 8) });
    const read = run([0x8b, 0x01], (s) => (s.gpr[RCX] = BigInt(DATA_BASE - 4)));
    expect(read.exception).toEqual({ vector: 14, errorCode: 4, cr2: BigInt(DATA_BASE - 4) });
    const readOnly = run([0x89, 0x01], (s) => (s.gpr[RCX] = BigInt(DATA_BASE + DATA_WRITABLE)));
    expect(readOnly.exception).toEqual({ vector: 14, errorCode: 7, cr2: BigInt(DATA_BASE + DATA_WRITABLE) });
  });

  it('reports #GP of a non-canonical address, #SS through RSP, #GP of a misaligned MOVAPS', () => {
    expect(run([0x8b, 0x01], (s) => (s.gpr[RCX] = 1n << 60n)).exception).toEqual({ vector: 13, errorCode: 0, cr2: 0n });
    expect(run([0x8b, 0x04, 0x24], (s) => (s.gpr[RSP] = 1n << 60n)).exception).toEqual({
      vector: 12,
      errorCode: 0,
      cr2: 0n,
    });
    expect(run([0x0f, 0x28, 0x01], (s) => (s.gpr[RCX] = BigInt(DATA_BASE + 4))).exception?.vector).toBe(13);
  });

  it('carries x87 state both ways', () => {
    const out = run([0xd9, 0xe8]); // fld1
    expect([...out.state.fx.subarray(FX_ST, FX_ST + 10)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f]);
    expect(out.state.fx[FX_FTW]).toBe(0x80);
    expect(out.state.fx[FX_FSW + 1]).toBe(0x38);
  });

  it('carries XMM and MXCSR both ways, #XM for an unmasked exception', () => {
    const divide = (mxcsr: number): Outcome =>
      run([0xf3, 0x0f, 0x5e, 0xc1], (s) => {
        const fx = new DataView(s.fx.buffer);
        fx.setFloat32(FX_XMM, 1, true);
        fx.setFloat32(FX_XMM + 16, 3, true);
        fx.setUint32(FX_MXCSR, mxcsr, true);
      });
    const masked = new DataView(divide(0x1f80).state.fx.buffer);
    expect(masked.getFloat32(FX_XMM, true)).toBe(Math.fround(1 / 3));
    expect(masked.getUint32(FX_MXCSR, true)).toBe(0x1fa0);
    expect(divide(0x0f80).exception?.vector).toBe(19);
  });

  it('leaves the host able to run after ten thousand faults', () => {
    const state = createState();
    const out = createOutcome();
    const code = Uint8Array.of(0xf7, 0xf1);
    for (let i = 0; i < 10_000; i++) nativeOracle()?.run(code, state, out);
    expect(out.exception?.vector).toBe(0);
    expect(out.state.gpr[RDX]).toBe(0n);
  });

  it("leaves V8's own trap handler at work", async () => {
    run([0x0f, 0x0b]);
    const header = [
      0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x06, 0x01, 0x60, 0x01, 0x7f, 0x01, 0x7f, 0x03, 0x02, 0x01,
      0x00,
    ];
    const memoryAndExport = [0x05, 0x03, 0x01, 0x00, 0x01, 0x07, 0x05, 0x01, 0x01, 0x66, 0x00, 0x00];
    const load = [0x0a, 0x09, 0x01, 0x07, 0x00, 0x20, 0x00, 0x28, 0x02, 0x00, 0x0b];
    const { instance } = await WebAssembly.instantiate(Uint8Array.from([...header, ...memoryAndExport, ...load]));
    const f = instance.exports['f'] as (address: number) => number; // INVARIANT: exported by the bytes above
    expect(f(0)).toBe(0);
    expect(() => f(-8)).toThrow('out of bounds');
  });
});
