/**
 * The host CPU as oracle: runs one instruction natively from a given machine state (x86-64 Linux hosts only).
 *
 * A small trampoline, written as bytes below, parks the host's registers, loads the guest's (FXRSTOR64, then IRETQ for
 * RFLAGS, RSP and RIP at once), lets the instruction run and falls into the exit path that stores everything again. Faults
 * arrive as signals: a handler, also bytes, notes vector, error code and address and sends control to the exit path. FS and
 * GS bases stay the host's. Signals that are not ours go to whoever handled them before (V8 has a SIGSEGV handler).
 *
 * Kernel ABI: x86-64 psABI and the kernel's struct sigcontext_64 (asm/sigcontext.h).
 */
import { readFileSync } from 'node:fs';
import koffi from 'koffi';
import type { LibraryHandle } from 'koffi';
import {
  CODE_BASE,
  CODE_BYTES,
  CODE_PAGE,
  codeOffset,
  DATA_BASE,
  DATA_SIZE,
  DATA_WRITABLE,
  FX_BYTES,
  FX_MXCSR,
  FX_MXCSR_MASK,
  FX_YMM,
  LIMIT_16,
  RF,
  TF,
} from './machine-state.ts';
import type { CodeSize, MachineState, Oracle, Outcome } from './machine-state.ts';

/** Whether the host runs AVX, AVX2, FMA and F16C: all of them or, for this purpose, none. */
export const hostHasAvx: boolean =
  process.platform === 'linux' &&
  process.arch === 'x64' &&
  ['avx', 'avx2', 'fma', 'f16c'].every((feature) => hostFlags().has(feature));

function hostFlags(): ReadonlySet<string> {
  const line = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1'));
  return new Set((line?.[1] ?? '').split(' '));
}

const CONTROL = 0x62000000; // exchange area, read and write
const CONTROL_SIZE = 0x20000;
const TRAMPOLINE = 0x63000000; // read and execute
const TRAMPOLINE_SIZE = 0x1000;

// Offsets in the exchange area.
const IN_GPR = 0x000;
const IN_FRAME = 0x080; // what IRETQ pops: RIP CS RFLAGS RSP SS
const OUT_GPR = 0x100;
const OUT_RFLAGS = 0x180;
const HOST_RSP = 0x188;
const HOST_MXCSR = 0x190;
const HOST_FCW = 0x198;
const ACTIVE = 0x1a0;
const SIG_NUMBER = 0x1a8;
const SIG_RIP = 0x1b0;
const SIG_ERROR = 0x1b8;
const SIG_TRAP = 0x1c0;
const SIG_CR2 = 0x1c8;
const DEFAULT_ACTION = 0x1d0; // kernel struct sigaction, all zero: SIG_DFL
const IN_DS = 0x1e8; // selector for DS and ES
const HOST_SS = 0x1ea;
const READY = 0x1f0; // i32: MAGIC once the first thread has set everything up; i32 after it: 1 while a thread runs a test
const OLD_HANDLERS = 0x200; // one pointer a signal
const IN_FX = 0x400;
const OUT_FX = 0x600;
const IN_YMM = 0x800; // upper halves of YMM0..15
const OUT_YMM = 0x900;
const SCRATCH_STACK_TOP = 0x1000;
const SIGNAL_STACK = 0x10000;
const SIGNAL_STACK_SIZE = 0x10000;

const SIGILL = 4;
const SIGTRAP = 5;
const SIGBUS = 7;
const SIGFPE = 8;
const SIGSEGV = 11;

// Offsets in ucontext_t: 40 bytes of header, then gregs.
const UC_RIP = 168;
const UC_EFLAGS = 176;
const UC_CS = 184;
const UC_SS = 190;
const UC_ERROR = 192;
const UC_TRAP = 200;
const UC_CR2 = 216;

const MAGIC = 0x4f525259;
const READY_WAIT_MS = 5000;

const PROT_READ = 1;
const PROT_WRITE = 2;
const PROT_EXEC = 4;
const MAP_PRIVATE_ANONYMOUS_FIXED_NOREPLACE = 0x2 | 0x20 | 0x100000;

const USER_CS = 0x33; // of the kernel's GDT: 64-bit code
const USER_CS_32 = 0x23; // flat 32-bit code
const USER_SS = 0x2b;
const LDT_CODE_16 = 0x07; // entries of our own
const LDT_DATA_16 = 0x0f;

function dword(value: number): number[] {
  return [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255];
}

/** ModRM and SIB for [disp32] without base, then the address. */
function absolute(reg: number, address: number): number[] {
  return [((reg & 7) << 3) | 4, 0x25, ...dword(address)];
}

const storeRegister = (reg: number, address: number): number[] => [
  reg > 7 ? 0x4c : 0x48,
  0x89,
  ...absolute(reg, address),
];
const loadRegister = (reg: number, address: number): number[] => [
  reg > 7 ? 0x4c : 0x48,
  0x8b,
  ...absolute(reg, address),
];
const storeDword = (address: number, value: number): number[] => [0xc7, ...absolute(0, address), ...dword(value)];
const RSP_REG = 4;

/** VINSERTF128 (0x18) or VEXTRACTF128 (0x19) between the upper halves of the ymm registers and memory. */
function upperHalves(opcode: 0x18 | 0x19, address: number): number[] {
  if (!hostHasAvx) return [];
  return Array.from({ length: 16 }, (_, reg) => {
    const register = opcode === 0x18 ? reg : 0; // the first source, in vvvv
    const inverted = reg > 7 ? 0x63 : 0xe3;
    return [0xc4, inverted, ((~register & 15) << 3) | 0x05, opcode, ...absolute(reg, address + reg * 16), 1];
  }).flat();
}

function entryCode(): number[] {
  const code: number[] = [];
  code.push(0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57); // push rbx rbp r12..r15
  code.push(...storeRegister(RSP_REG, CONTROL + HOST_RSP));
  code.push(0x0f, 0xae, ...absolute(3, CONTROL + HOST_MXCSR)); // stmxcsr
  code.push(0xd9, ...absolute(7, CONTROL + HOST_FCW)); // fnstcw
  code.push(...storeDword(CONTROL + ACTIVE, 1));
  code.push(0x48, 0x0f, 0xae, ...absolute(1, CONTROL + IN_FX)); // fxrstor64
  code.push(...upperHalves(0x18, CONTROL + IN_YMM));
  code.push(0x48, 0xc7, 0xc4, ...dword(CONTROL + IN_FRAME)); // mov rsp, frame
  code.push(0x8e, ...absolute(3, CONTROL + IN_DS), 0x8e, ...absolute(0, CONTROL + IN_DS)); // mov ds, es
  for (let reg = 0; reg < 16; reg++) if (reg !== RSP_REG) code.push(...loadRegister(reg, CONTROL + IN_GPR + reg * 8));
  code.push(0x48, 0xcf); // iretq
  return code;
}

function exitCode(): number[] {
  const code: number[] = [];
  for (let reg = 0; reg < 16; reg++) code.push(...storeRegister(reg, CONTROL + OUT_GPR + reg * 8));
  code.push(0x8e, ...absolute(2, CONTROL + HOST_SS)); // mov ss
  code.push(0x48, 0xc7, 0xc4, ...dword(CONTROL + SCRATCH_STACK_TOP)); // mov rsp, scratch
  code.push(0x9c, 0x8f, ...absolute(0, CONTROL + OUT_RFLAGS)); // pushfq; pop [OUT_RFLAGS]
  code.push(0x68, ...dword(0x202), 0x9d); // push 0x202; popfq
  code.push(0x48, 0x0f, 0xae, ...absolute(0, CONTROL + OUT_FX)); // fxsave64
  code.push(...upperHalves(0x19, CONTROL + OUT_YMM));
  if (hostHasAvx) code.push(0xc5, 0xf8, 0x77); // vzeroupper
  code.push(0xdb, 0xe3, 0xd9, ...absolute(5, CONTROL + HOST_FCW)); // fninit; fldcw
  code.push(0x0f, 0xae, ...absolute(2, CONTROL + HOST_MXCSR)); // ldmxcsr
  code.push(...storeDword(CONTROL + ACTIVE, 0));
  code.push(...loadRegister(RSP_REG, CONTROL + HOST_RSP));
  code.push(0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3); // pop r15..r12 rbp rbx; ret
  return code;
}

/** A signal handler (rdi = number, rdx = ucontext): ours when it runs on our signal stack while a test is under way. */
function handlerCode(exit: number): number[] {
  const fromContext = (offset: number, to: number): number[] => [
    ...[0x48, 0x8b, 0x82, ...dword(offset)], // mov rax, [rdx + offset]
    ...storeRegister(0, CONTROL + to),
  ];
  const ours = [
    ...[0x89, ...absolute(7, CONTROL + SIG_NUMBER)], // mov [SIG_NUMBER], edi
    ...fromContext(UC_RIP, SIG_RIP),
    ...fromContext(UC_ERROR, SIG_ERROR),
    ...fromContext(UC_TRAP, SIG_TRAP),
    ...fromContext(UC_CR2, SIG_CR2),
    ...[0x48, 0x81, 0xa2, ...dword(UC_EFLAGS), ...dword(~(TF | RF | 0x40000))], // and qword [rdx + efl], ~(TF RF AC)
    ...[0x48, 0xc7, 0x82, ...dword(UC_RIP), ...dword(exit)], // mov qword [rdx + rip], exit
    ...[0x66, 0xc7, 0x82, ...dword(UC_CS), USER_CS, 0], // mov word [rdx + cs], 64-bit code
    ...[0x66, 0xc7, 0x82, ...dword(UC_SS), USER_SS, 0], // mov word [rdx + ss], flat data
    0xc3,
  ];
  const chain = [
    ...[0x48, 0x8b, 0x04, 0xfd, ...dword(CONTROL + OLD_HANDLERS)], // mov rax, [OLD_HANDLERS + rdi * 8]
    ...[0x48, 0x83, 0xf8, 0x01], // cmp rax, 1 (SIG_IGN)
    ...[0x76, 0x02, 0xff, 0xe0], // ja: jmp rax
    ...[0x74, 0x17], // je: ret at the end
    ...[0xb8, ...dword(13)], // rt_sigaction(number, SIG_DFL, 0, 8): the fault repeats and ends the process
    ...[0xbe, ...dword(CONTROL + DEFAULT_ACTION)],
    ...[0x31, 0xd2],
    ...[0x41, 0xba, ...dword(8)],
    ...[0x0f, 0x05],
    ...[0x90, 0x90, 0x90], // je lands behind these
    0xc3,
  ];
  const test = [
    ...[0x48, 0x89, 0xe0], // mov rax, rsp
    ...[0x48, 0x2d, ...dword(CONTROL + SIGNAL_STACK)], // sub rax, signal stack
    ...[0x48, 0x3d, ...dword(SIGNAL_STACK_SIZE)], // cmp rax, size
    ...[0x0f, 0x83, ...dword(8 + 6 + ours.length)], // jae chain: over the next two instructions and `ours`
    ...[0x83, ...absolute(7, CONTROL + ACTIVE), 0x00], // cmp dword [ACTIVE], 0
    ...[0x0f, 0x84, ...dword(ours.length)], // je chain
  ];
  return [...test, ...ours, ...chain];
}

/** A jump from code of a width at `at` to 64-bit code at `target`: near, or far with a selector. */
function jump(codeSize: CodeSize, at: number, target: number): number[] {
  if (codeSize === 64) return [0xe9, ...dword(target - (at + 5))];
  return [...(codeSize === 16 ? [0x66] : []), 0xea, ...dword(target), USER_CS, 0];
}

/** 16-bit segments over the code page and the data area, in this process's local descriptor table. */
function makeLdt(libc: LibraryHandle): void {
  const syscall = libc.func('long syscall(long number, int function, const uint8_t *descriptor, unsigned long bytes)');
  const SYS_MODIFY_LDT = 154;
  for (const [index, base, contents] of [
    [0, CODE_PAGE, 2],
    [1, DATA_BASE, 0],
  ] as const) {
    const descriptor = new Uint32Array([index, base, LIMIT_16, (contents << 1) | (1 << 6)]); // 16-bit, usable
    if (syscall(SYS_MODIFY_LDT, 1, new Uint8Array(descriptor.buffer), 16) !== 0) throw new Error('modify_ldt failed');
  }
}

/** Maps pages at an address; false when something is there already. */
function mapFixed(libc: LibraryHandle, address: number, length: number, protection: number): boolean {
  const mmap = libc.func('void *mmap(uintptr_t addr, size_t length, int prot, int flags, int fd, intptr_t offset)');
  const got = koffi.address(mmap(address, length, protection, MAP_PRIVATE_ANONYMOUS_FIXED_NOREPLACE, -1, 0));
  return got === BigInt(address);
}

function view(address: number, length: number): ArrayBuffer {
  return koffi.view(BigInt(address), length);
}

/** Installs the handler for one signal and keeps what was there before in OLD_HANDLERS. */
function installHandler(libc: LibraryHandle, signal: number, handler: number, control: DataView): void {
  const sigaction = libc.func('int sigaction(int signum, const uint8_t *act, _Out_ uint8_t *old)');
  const action = new Uint8Array(152); // handler, 128 bytes of mask, flags, restorer
  const fields = new DataView(action.buffer);
  fields.setBigUint64(0, BigInt(handler), true);
  const SA_SIGINFO_ONSTACK = 0x4 | 0x08000000;
  fields.setInt32(136, SA_SIGINFO_ONSTACK, true);
  const old = new Uint8Array(152);
  if (sigaction(signal, action, old) !== 0) throw new Error(`sigaction(${signal}) failed`);
  control.setBigUint64(OLD_HANDLERS + signal * 8, new DataView(old.buffer).getBigUint64(0, true), true);
}

class NativeOracle implements Oracle {
  readonly name = 'native';
  readonly #call: () => void;
  readonly #control: DataView;
  readonly #inGpr: BigUint64Array;
  readonly #outGpr: BigUint64Array;
  readonly #inFx: Uint8Array;
  readonly #inFxFields: DataView;
  readonly #outFx: Uint8Array;
  readonly #inYmm: Uint8Array;
  readonly #outYmm: Uint8Array;
  readonly #data: Uint8Array;
  readonly #readOnly: Uint8Array;
  readonly #code: Uint8Array;
  readonly #exit: number;
  readonly #locks: Int32Array;
  readonly #mprotect: (address: number, length: number, protection: number) => number;

  constructor() {
    const libc = koffi.load('libc.so.6');
    this.#mprotect = libc.func('int mprotect(uintptr_t addr, size_t length, int prot)');
    const entry = entryCode();
    this.#exit = TRAMPOLINE + entry.length;
    const isFirst = mapFixed(libc, CONTROL, CONTROL_SIZE, PROT_READ | PROT_WRITE);
    this.#control = new DataView(view(CONTROL, CONTROL_SIZE));
    this.#locks = new Int32Array(this.#control.buffer, READY, 2);
    if (isFirst) this.#setUp(libc, entry);
    else this.#awaitSetUp();

    this.#inGpr = new BigUint64Array(this.#control.buffer, IN_GPR, 16);
    this.#outGpr = new BigUint64Array(this.#control.buffer, OUT_GPR, 16);
    this.#inFx = new Uint8Array(this.#control.buffer, IN_FX, FX_BYTES);
    this.#inFxFields = new DataView(this.#control.buffer, IN_FX, FX_BYTES);
    this.#outFx = new Uint8Array(this.#control.buffer, OUT_FX, FX_BYTES);
    this.#inYmm = new Uint8Array(this.#control.buffer, IN_YMM, 256);
    this.#outYmm = new Uint8Array(this.#control.buffer, OUT_YMM, 256);
    this.#data = new Uint8Array(view(DATA_BASE, DATA_WRITABLE));
    this.#readOnly = new Uint8Array(view(DATA_BASE + DATA_WRITABLE, DATA_SIZE - DATA_WRITABLE));
    this.#code = new Uint8Array(view(CODE_PAGE, CODE_BYTES));

    const sigaltstack = libc.func('int sigaltstack(const uint8_t *ss, void *old)');
    const stack = new DataView(new ArrayBuffer(24));
    stack.setBigUint64(0, BigInt(CONTROL + SIGNAL_STACK), true);
    stack.setBigUint64(16, BigInt(SIGNAL_STACK_SIZE), true);
    if (sigaltstack(new Uint8Array(stack.buffer), null) !== 0) throw new Error('sigaltstack failed');
    const prototype = koffi.proto('void()');
    const address = BigInt(TRAMPOLINE);
    this.#call = (): void => koffi.call(address, prototype);
  }

  /** Once a process: pages, trampoline, handlers. */
  #setUp(libc: LibraryHandle, entry: readonly number[]): void {
    for (const [address, length, protection] of [
      [TRAMPOLINE, TRAMPOLINE_SIZE, PROT_READ | PROT_WRITE],
      [CODE_PAGE, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC],
      [DATA_BASE, DATA_SIZE, PROT_READ | PROT_WRITE],
    ] as const)
      if (!mapFixed(libc, address, length, protection))
        throw new Error(`0x${address.toString(16)} is in use: no native oracle`);
    const exit = exitCode();
    const handler = this.#exit + exit.length;
    new Uint8Array(view(TRAMPOLINE, TRAMPOLINE_SIZE)).set([...entry, ...exit, ...handlerCode(this.#exit)]);
    this.#mprotect(TRAMPOLINE, TRAMPOLINE_SIZE, PROT_READ | PROT_EXEC);
    // Present from now on, so that faults there are protection faults.
    new Uint8Array(view(DATA_BASE, DATA_SIZE)).fill(0);
    this.#mprotect(DATA_BASE + DATA_WRITABLE, DATA_SIZE - DATA_WRITABLE, PROT_READ);
    makeLdt(libc);
    for (const signal of [SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV])
      installHandler(libc, signal, handler, this.#control);
    Atomics.store(this.#locks, 0, MAGIC);
  }

  /** Another thread of this process was first. */
  #awaitSetUp(): void {
    for (const start = performance.now(); performance.now() - start < READY_WAIT_MS;)
      if (Atomics.load(this.#locks, 0) === MAGIC) return;
    throw new Error(`0x${CONTROL.toString(16)} is in use: no native oracle`);
  }

  run(code: Uint8Array, state: MachineState, out: Outcome, step: boolean = false): void {
    // Threads share the pages: one at a time. A run takes microseconds, so spinning is fine.
    while (Atomics.compareExchange(this.#locks, 1, 0, 1) !== 0);
    try {
      this.#runLocked(code, state, out, step);
    } finally {
      Atomics.store(this.#locks, 1, 0);
    }
  }

  #runLocked(code: Uint8Array, state: MachineState, out: Outcome, step: boolean): void {
    const control = this.#control;
    const start = CODE_BASE - CODE_PAGE;
    const { codeSize } = state;
    const end = codeOffset(codeSize) + code.length;
    this.#code.set(code, start);
    // Code that fills its pages must not fall through.
    const way = jump(codeSize, CODE_BASE + code.length, this.#exit);
    if (start + code.length + way.length <= CODE_BYTES) this.#code.set(way, start + code.length);
    this.#data.set(state.data.subarray(0, DATA_WRITABLE));
    this.#setReadOnly(state.data.subarray(DATA_WRITABLE));
    this.#inGpr.set(state.gpr);
    this.#inFx.set(state.fx.subarray(0, FX_BYTES));
    this.#inYmm.set(state.fx.subarray(FX_YMM));
    if (!hostHasAvx) this.#outYmm.set(this.#inYmm);
    const mxcsr = this.#inFxFields.getUint32(FX_MXCSR, true) & 0xffff;
    this.#inFxFields.setUint32(FX_MXCSR, mxcsr, true);
    const [cs, ss] = codeSize === 16 ? [LDT_CODE_16, LDT_DATA_16] : [codeSize === 32 ? USER_CS_32 : USER_CS, USER_SS];
    control.setUint16(IN_DS, ss, true);
    control.setUint16(HOST_SS, USER_SS, true);
    control.setBigUint64(IN_FRAME, BigInt(codeOffset(codeSize)), true);
    control.setBigUint64(IN_FRAME + 8, BigInt(cs), true);
    control.setBigUint64(IN_FRAME + 16, BigInt(state.rflags | 0x202 | (step ? TF : 0)), true);
    control.setBigUint64(IN_FRAME + 24, state.gpr[4] ?? 0n, true);
    control.setBigUint64(IN_FRAME + 32, BigInt(ss), true);
    control.setUint32(SIG_NUMBER, 0, true);

    this.#call();

    out.state.gpr.set(this.#outGpr);
    out.state.rflags = Number(control.getBigUint64(OUT_RFLAGS, true)) & 0xffffffff;
    out.state.fx.set(this.#outFx);
    out.state.fx.set(this.#outYmm, FX_YMM);
    new DataView(out.state.fx.buffer, out.state.fx.byteOffset).setUint32(FX_MXCSR_MASK, 0xffff, true);
    out.state.data.set(this.#data);
    out.state.data.set(state.data.subarray(DATA_WRITABLE), DATA_WRITABLE);
    out.state.codeSize = codeSize;
    out.rip = end;
    out.exception = null;
    if (control.getUint32(SIG_NUMBER, true) !== 0) this.#takeSignal(out, step);
  }

  #takeSignal(out: Outcome, step: boolean): void {
    const control = this.#control;
    out.rip = Number(control.getBigInt64(SIG_RIP, true));
    const vector = Number(control.getBigUint64(SIG_TRAP, true));
    if (out.rip >= TRAMPOLINE && out.rip < TRAMPOLINE + TRAMPOLINE_SIZE && !(out.rip === this.#exit && vector === 1))
      throw new Error(`trampoline faulted: vector ${vector} at 0x${out.rip.toString(16)}`);
    if (vector === 1 && step) return;
    const isPageFault = vector === 14;
    const hasError = isPageFault || (vector >= 10 && vector <= 13) || vector === 17;
    out.exception = {
      vector,
      errorCode: hasError ? Number(control.getBigUint64(SIG_ERROR, true)) : 0,
      cr2: isPageFault ? control.getBigUint64(SIG_CR2, true) : 0n,
    };
  }

  /** The read-only page changes rarely; only then is its protection lifted. */
  #setReadOnly(bytes: Uint8Array): void {
    if (Buffer.compare(bytes, this.#readOnly) === 0) return;
    this.#mprotect(DATA_BASE + DATA_WRITABLE, DATA_SIZE - DATA_WRITABLE, PROT_READ | PROT_WRITE);
    this.#readOnly.set(bytes);
    this.#mprotect(DATA_BASE + DATA_WRITABLE, DATA_SIZE - DATA_WRITABLE, PROT_READ);
  }
}

let oracle: Oracle | undefined;

export const hasNativeOracle: boolean = process.platform === 'linux' && process.arch === 'x64';

/** The thread's native oracle; all share pages at fixed addresses. Undefined on other hosts. */
export function nativeOracle(): Oracle | undefined {
  if (hasNativeOracle) oracle ??= new NativeOracle();
  return oracle;
}
