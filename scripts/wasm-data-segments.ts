/**
 * Where the active data segments of a WebAssembly module land in memory. Reads just enough of the binary format (core
 * specification 5.5: sections, and 5.5.14: the data section) for modules that a compiler here has just written.
 */
export interface DataSegment {
  readonly address: number;
  readonly bytes: number;
}

const DATA_SECTION = 11;
const I32_CONST = 0x41;
const END = 0x0b;

export function dataSegments(module: Uint8Array): DataSegment[] {
  let at = 8; // magic and version
  const unsigned = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = module[at++] ?? 0;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < module.length) {
    const id = module[at++];
    const size = unsigned();
    if (id !== DATA_SECTION) {
      at += size;
      continue;
    }
    const segments: DataSegment[] = [];
    for (let count = unsigned(); count > 0; count--) {
      if (unsigned() !== 0 || module[at++] !== I32_CONST)
        throw new Error('a data segment is not active in memory 0 at a constant');
      const address = unsigned(); // signed LEB128, but memory below 2 GiB reads the same
      if (module[at++] !== END) throw new Error('a data segment has a computed address');
      const bytes = unsigned();
      at += bytes;
      segments.push({ address, bytes });
    }
    return segments;
  }
  return [];
}
