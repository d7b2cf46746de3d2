/**
 * One instruction at a time, without a machine: what the conformance tests and the fuzzers drive a tier through.
 *
 * A testbench is one vCPU in flat 64-bit long mode at CPL 3 (SSE and x87 enabled: CR0.NE MP, CR4.OSFXSR OSXMMEXCPT, IOPL 0,
 * FS and GS base 0), whose page tables map the given ranges and nothing else. Its state is read and written straight in
 * `memory` at the offsets of layout.ts.
 */
export interface TestbenchRange {
  /** Page-aligned linear address below 2^31. */
  readonly linear: number;
  readonly bytes: number;
  readonly writable: boolean;
}

export interface TestbenchOptions {
  readonly tier: 'interp' | 'jit';
  /** User pages, all executable. */
  readonly ranges: readonly TestbenchRange[];
}

export interface Testbench {
  readonly memory: WebAssembly.Memory;
  /** Base address of the vCPU's state in `memory`. */
  readonly cpu: number;
  /** Address in `memory` of the byte at a mapped linear address; a range is contiguous there. */
  host(linear: number): number;
  /** Tells that code bytes were changed from outside: nothing decoded or translated before may run again. */
  codeChanged(): void;
  /**
   * Runs `count` instructions from CPU_RIP in the tier at hand (`jit`: translated, however cold). Stops early at an exception,
   * which is not delivered but left in CPU_EXC (-1 = none), CPU_EXC_ERROR and CPU_EXC_CR2. Afterwards CPU_RIP is exact (the
   * faulting instruction's after a fault) and registers and flags are in the state.
   */
  step(count: number): void;
}
