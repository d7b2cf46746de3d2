/** Everything the microcode offers, one line a room. Compiled by AssemblyScript to microcode.wasm. */
export * from "./system";
export { flagsFromLazy } from "./lazy-flags";
export * from "./dispatch";
export * from "./fpu";
export * from "./sse";
export { div128, idiv128, imulOverflow } from "./divide";
export { pdep, pext, randomBits } from "./bit-fields";
export { crc32 } from "./crc32";
