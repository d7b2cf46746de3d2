/**
 * Memory for the tables by which a region finds its own entries: a byte for each address from the first entry's to the last's, the
 * entry's number + 1 or 0. An indirect jump or return within the region then costs one load.
 */

export interface DispatchMap {
  /** Where the byte of address `from` is. */
  readonly at: number;
  readonly from: number;
  readonly bytes: number;
}

export class DispatchMaps {
  private readonly memory: Uint8Array;
  /** Free pieces [start, end), by start. */
  private free: [number, number][];

  constructor(memory: Uint8Array, start: number, bytes: number) {
    this.memory = memory;
    this.free = bytes > 0 ? [[start, start + bytes]] : [];
  }

  /** A map for entries at `addresses`, numbered in their order; undefined when they are too many or there is no room. */
  make(addresses: readonly number[]): DispatchMap | undefined {
    if (addresses.length > 255) return undefined;
    const from = Math.min(...addresses);
    const bytes = Math.max(...addresses) - from + 1;
    const piece = this.free.find(([start, end]) => end - start >= bytes);
    if (piece === undefined) return undefined;
    const at = piece[0];
    piece[0] += bytes;
    if (piece[0] === piece[1]) this.free = this.free.filter((other) => other !== piece);
    this.memory.fill(0, at, at + bytes);
    addresses.forEach((address, number) => {
      this.memory[at + address - from] = number + 1;
    });
    return { at, from, bytes };
  }

  release({ at, bytes }: DispatchMap): void {
    const pieces = [...this.free, [at, at + bytes] as [number, number]].toSorted(([a], [b]) => a - b);
    this.free = [];
    for (const piece of pieces) {
      const last = this.free.at(-1);
      if (last !== undefined && last[1] === piece[0]) last[1] = piece[1];
      else this.free.push(piece);
    }
  }
}
