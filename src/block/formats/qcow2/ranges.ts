/**
 * Requests under way, by the clusters they touch. Writes in place share; whatever changes the mapping (allocation, zeroing, discard,
 * compressed writes) has its clusters to itself, so that no cluster is allocated twice or freed under a write. And the gate: what
 * changes the whole image (snapshots, resizing, checking) waits until all requests are done, and lets no new ones in.
 */

export interface Claim {
  readonly from: number;
  readonly to: number;
  readonly exclusive: boolean;
  done: Promise<void> | undefined;
  wake: (() => void) | undefined;
}

export class Ranges {
  private readonly claims: Claim[] = [];
  private gate: Promise<void> | undefined;
  private active = 0;
  private drained: (() => void) | undefined;

  /** Undefined when someone must be waited for: then use `claim`. */
  tryClaim(from: number, to: number, exclusive: boolean): Claim | undefined {
    if (this.gate !== undefined) return undefined;
    for (const other of this.claims)
      if ((exclusive || other.exclusive) && other.from < to && from < other.to) return undefined;
    const claim: Claim = { from, to, exclusive, done: undefined, wake: undefined };
    this.claims.push(claim);
    return claim;
  }

  /** Until something that is in the way of such a claim is done; then try again. */
  async waitFor(from: number, to: number, exclusive: boolean): Promise<void> {
    if (this.gate !== undefined) return this.gate;
    const other = this.claims.find((held) => (exclusive || held.exclusive) && held.from < to && from < held.to);
    if (other === undefined) return;
    other.done ??= new Promise((resolve) => (other.wake = resolve));
    await other.done;
  }

  async claim(from: number, to: number, exclusive: boolean): Promise<Claim> {
    for (;;) {
      const claim = this.tryClaim(from, to, exclusive);
      if (claim !== undefined) return claim;
      await this.waitFor(from, to, exclusive);
    }
  }

  release(claim: Claim): void {
    const at = this.claims.indexOf(claim);
    const last = this.claims.pop();
    // INVARIANT: a claim is released once, so it is in the list and the list was not empty.
    if (last !== claim && last !== undefined) this.claims[at] = last;
    claim.wake?.();
    this.settle();
  }

  /** Reads only keep the gate from closing. */
  enter(): boolean {
    if (this.gate !== undefined) return false;
    this.active++;
    return true;
  }

  leave(): void {
    this.active--;
    this.settle();
  }

  async opened(): Promise<void> {
    while (this.gate !== undefined) await this.gate;
  }

  private settle(): void {
    if (this.active === 0 && this.claims.length === 0) this.drained?.();
  }

  /** Runs `work` alone. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    await this.opened();
    let open: () => void = () => {};
    this.gate = new Promise((resolve) => (open = resolve));
    try {
      if (this.active > 0 || this.claims.length > 0) {
        await new Promise<void>((resolve) => (this.drained = resolve));
        this.drained = undefined;
      }
      return await work();
    } finally {
      this.gate = undefined;
      open();
    }
  }
}
