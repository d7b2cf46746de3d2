/** The compiled microcode: built from src/cpu/microcode by scripts/build-microcode.ts into src/cpu/generated. */
import { microcodeBase64 } from './generated/microcode.ts';

let compiled: WebAssembly.Module | undefined;

/** The module, compiled once a process (immutable, so machines may share it). */
export function microcodeModule(): WebAssembly.Module {
  if (compiled === undefined) {
    const binary = atob(microcodeBase64);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    compiled = new WebAssembly.Module(bytes);
  }
  return compiled;
}
