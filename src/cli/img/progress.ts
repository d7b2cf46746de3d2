/** `-p`: the share that is done, on one line that is written over. */

/** Output is not repeated for less than this, percent. */
const STEP = 0.5;

export class Progress {
  private readonly enabled: boolean;
  private last = -1;

  constructor(enabled: boolean) {
    this.enabled = enabled;
    this.show(0);
  }

  /** `share` of 1. */
  show(share: number): void {
    if (!this.enabled) return;
    const percent = Math.min(1, share) * 100;
    const worthIt = this.last < 0 || percent - this.last >= STEP || (percent === 100 && this.last < 100);
    if (!worthIt) return;
    this.last = percent;
    process.stdout.write(`    (${percent.toFixed(2)}/100%)\r`);
  }

  /** `done`: it ended well. */
  end(done: boolean): void {
    if (!this.enabled) return;
    if (done) process.stdout.write('    (100.00/100%)\r');
    process.stdout.write('\n');
  }
}
