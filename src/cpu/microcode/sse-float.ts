/**
 * Exact SSE arithmetic: any rounding mode, FTZ, DAZ, and every MXCSR flag, for what wasm's own floats cannot do.
 *
 * API (all exported through microcode/index.ts; `cpu` first). Vectors are addresses in wasm memory, `count` lanes from
 * their beginning; a lane's result is written only when no unmasked exception came up in any lane, so dst may be a or b.
 * These return i32: 0 = done (dst written, MXCSR flags ORed), 1 = #XM (#UD without CR4.OSXMMEXCPT) pending in CPU_EXC,
 * dst untouched, MXCSR flags set as the CPU sets them. Memory operands: put the loaded value into CPU_SCRATCH first.
 *   sseF64Packed(cpu, op, dst, a, b, count)     op = SSE_ADD.. below; SSE_SQRT uses b; dst[i] = a[i] op b[i]
 *   sseF32Packed(cpu, op, dst, a, b, count)
 *   sseF64Compare(cpu, predicate 0..31, dst, a, b, count)      lanes of all ones or zeros
 *   sseF32Compare(cpu, predicate 0..31, dst, a, b, count)
 *   sseF64Round(cpu, imm, dst, a, count)        ROUNDPD/ROUNDSD with the instruction's immediate
 *   sseF32Round(cpu, imm, dst, a, count)
 *   sseCvtF64ToF32(cpu, dst, a, count)          count results, densely packed; the caller zeroes upper lanes
 *   sseCvtF32ToF64(cpu, dst, a, count)
 *   sseCvtF64ToI32(cpu, dst, a, count, truncate)     truncate 1 = CVTT*, 0 = MXCSR.RC
 *   sseCvtF32ToI32(cpu, dst, a, count, truncate)
 *   sseCvtF64ToI64(cpu, dst, a, count, truncate)     sseCvtF32ToI64(cpu, dst, a, count, truncate)
 *   sseCvtI32ToF32(cpu, dst, a, count)          sseCvtI64ToF32(cpu, dst, a, count)       sseCvtI64ToF64(cpu, dst, a, count)
 * (CVTDQ2PD and CVTSI2SD from 32 bits are exact: no function needed.)
 *   sseComiF64(cpu, a: u64, b: u64, ordered): i32    RFLAGS bits ZF|PF|CF (0x45), or -1 = exception pending.
 *   sseComiF32(cpu, a: u32, b: u32, ordered): i32    ordered 1 = COMIS* (IE on QNaN), 0 = UCOMIS*
 * By value, for scalars: the result, and afterwards sseFault(cpu) is nonzero when an exception is pending (result then 0):
 *   sseF64Op(cpu, op, a: u64, b: u64): u64      sseF32Op(cpu, op, a: u32, b: u32): u32
 * Source: Intel SDM volume 1, chapters 4.8.4, 4.9, 11.5 and appendix E; 10.2.3 (MXCSR).
 */
