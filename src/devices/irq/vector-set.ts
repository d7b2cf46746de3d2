/** 256 bits, one a vector, with a fast highest: the APIC's ISR, TMR and IRR. */

export class VectorSet {
  readonly words: Uint32Array = new Uint32Array(8);

  has(vector: number): boolean {
    return ((this.word(vector >> 5) >>> (vector & 31)) & 1) !== 0;
  }

  add(vector: number): void {
    this.words[vector >> 5] = this.word(vector >> 5) | (1 << (vector & 31));
  }

  remove(vector: number): void {
    this.words[vector >> 5] = this.word(vector >> 5) & ~(1 << (vector & 31));
  }

  clear(): void {
    this.words.fill(0);
  }

  /** The highest vector, -1 when empty. */
  highest(): number {
    for (let i = 7; i >= 0; i--) {
      const word = this.word(i);
      if (word !== 0) return i * 32 + 31 - Math.clz32(word);
    }
    return -1;
  }

  /** Word 0 to 7, as the registers show it. */
  word(index: number): number {
    // INVARIANT: callers pass the top three bits of a vector, or 0 to 7.
    return this.words[index]!;
  }
}
