/**
 * Which registers the blocks of a region touch and change, and what follows: what must be in locals where the region is entered, and
 * what must be written back where it is left.
 *
 * A block that can come after a change, without leaving the region in between, writes that register back when it leaves; so it
 * must hold it whichever way control came, and every entry that leads there loads it. Blocks that only one way leads to, from another
 * block, share their exit with that one (a scope), and write back what any of the scope may have changed. Registers are general ones (key 0 to 15),
 * halves of vector registers (VECTOR_KEYS + register * 2 + half) and the parts of the flags (FLAG_KEYS + number).
 */

/** Key of the first vector register's low half. */
export const VECTOR_KEYS = 16;
export const FLAG_KEYS = 48;

/** A set of keys below 64. */
export class KeySet {
  private low = 0;
  private high = 0;

  has(key: number): boolean {
    return ((key < 32 ? this.low : this.high) & (1 << (key & 31))) !== 0;
  }

  add(key: number): void {
    if (key < 32) this.low |= 1 << key;
    else this.high |= 1 << (key & 31);
  }

  /** Adds what `other` has and `but` has not. Whether that made it larger. */
  addAll(other: KeySet, but: KeySet = NOTHING): boolean {
    const { low, high } = this;
    this.low |= other.low & ~but.low;
    this.high |= other.high & ~but.high;
    return low !== this.low || high !== this.high;
  }
}

const NOTHING = new KeySet();

interface Edge {
  readonly to: number;
  /** What gets a value on this way, behind everything that leaves the block. */
  readonly handed: KeySet;
}

interface Use {
  readonly touched: KeySet;
  readonly changed: KeySet;
  readonly next: Edge[];
  /** The block whose exit it leaves by. */
  scope: number | undefined;
  /** Changed here or before. */
  readonly dirty: KeySet;
  /** Touched, or written back, here or later. */
  readonly needed: KeySet;
}

export class RegisterUse {
  private readonly blocks = new Map<number, Use>();
  private solved = false;

  private at(block: number): Use {
    let use = this.blocks.get(block);
    if (use === undefined) {
      const sets = { touched: new KeySet(), changed: new KeySet(), dirty: new KeySet(), needed: new KeySet() };
      use = { ...sets, next: [], scope: undefined };
      this.blocks.set(block, use);
    }
    return use;
  }

  touch(block: number, key: number): void {
    this.at(block).touched.add(key);
  }

  change(block: number, key: number): void {
    this.at(block).changed.add(key);
  }

  /** Control may go from one to the other with the registers in locals; `handed` get their value on this way. */
  edge(from: number, to: number, handed: KeySet): void {
    this.at(from).next.push({ to, handed });
    this.at(to);
  }

  /** `block` leaves by the exit of `scope`, which dominates it. */
  share(block: number, scope: number): void {
    this.at(block).scope = scope;
  }

  /** What the block must write back when it leaves the region. Only when all blocks are emitted, as `needed`. */
  dirty(block: number): KeySet {
    this.solve();
    const use = this.at(block);
    return use.scope === undefined ? use.dirty : this.at(use.scope).dirty;
  }

  /** What must be in locals where the block begins. */
  needed(block: number): KeySet {
    this.solve();
    return this.at(block).needed;
  }

  private solve(): void {
    if (this.solved) return;
    this.solved = true;
    const all = [...this.blocks.values()];
    for (const { dirty, changed } of all) dirty.addAll(changed);
    for (let grown = true; grown;) {
      grown = false;
      for (const { dirty, next } of all) {
        for (const { to, handed } of next) {
          const target = this.at(to).dirty;
          if (target.addAll(dirty)) grown = true;
          if (target.addAll(handed)) grown = true;
        }
      }
    }
    for (const { dirty, scope } of all) if (scope !== undefined) this.at(scope).dirty.addAll(dirty);
    for (const { needed, touched, dirty, scope } of all) {
      needed.addAll(touched);
      needed.addAll(scope === undefined ? dirty : this.at(scope).dirty);
    }
    for (let grown = true; grown;) {
      grown = false;
      for (const { needed, next } of all.toReversed()) {
        for (const { to, handed } of next) if (needed.addAll(this.at(to).needed, handed)) grown = true;
      }
    }
  }
}
