/**
 * What microcode asks of the machine around it: imports of the WebAssembly module "host", in JavaScript.
 *
 * Values travel through the vCPU state so that no BigInt is made: MMIO through CPU_HOST_DATA (u64, zero-extended),
 * the others through CPU_SCRATCH. None of these functions may throw.
 */

/** Reads a device register of `bytes` (1, 2, 4, 8) into CPU_HOST_DATA. */
@external("host", "mmioRead")
export declare function mmioRead(cpu: u32, gpaLow: u32, gpaHigh: u32, bytes: u32): void;

/** Writes CPU_HOST_DATA to a device register, or to RAM that is read only (ROM, flash). */
@external("host", "mmioWrite")
export declare function mmioWrite(cpu: u32, gpaLow: u32, gpaHigh: u32, bytes: u32): void;

/** Reads an I/O port. */
@external("host", "ioIn")
export declare function ioIn(cpu: u32, port: u32, bytes: u32): u32;

@external("host", "ioOut")
export declare function ioOut(cpu: u32, port: u32, bytes: u32, value: u32): void;

/**
 * A store of `bytes` is about to change a page with decoded code. Returns nonzero when the running block was
 * dropped: then the store must not happen and the instruction is to be executed again on its own.
 */
@external("host", "codeWritten")
export declare function codeWritten(cpu: u32, gpaLow: u32, gpaHigh: u32, bytes: u32): i32;

/** RDMSR or WRMSR of a register kept outside: value in CPU_SCRATCH (u64). Nonzero = no such register (#GP). */
@external("host", "hostMsr")
export declare function hostMsr(cpu: u32, msr: u32, write: i32): i32;

/** CPUID: EAX and ECX at CPU_SCRATCH, +4; answers EAX EBX ECX EDX at CPU_SCRATCH, +4, +8, +12. */
@external("host", "hostCpuid")
export declare function hostCpuid(cpu: u32): void;

/** Puts the TSC's source, before CPU_TSC_OFFSET, at CPU_SCRATCH (u64). */
@external("host", "hostTsc")
export declare function hostTsc(cpu: u32): void;

/** Puts 64 random bits at CPU_SCRATCH. */
@external("host", "hostRandom")
export declare function hostRandom(cpu: u32): void;

/** CPU_CR8, the task priority, was changed by MOV CR8. */
@external("host", "tprWritten")
export declare function tprWritten(cpu: u32): void;

/** What the TLB did (MMU_*), while CPU_WATCH has WATCH_MMU. Must leave the vCPU's state alone. */
@external("host", "mmuEvent")
export declare function mmuEvent(cpu: u32, what: u32, va: u64, pa: u64, rights: u32): void;
