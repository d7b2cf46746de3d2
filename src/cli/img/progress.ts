/** `-p`: the share that is done, on one line that is written over. */
import { flushOutput, print } from './output.ts';

export class Progress {
  private readonly enabled: boolean;
  /** Less than this is not told, percent. */
  private readonly step: number;
  private last = -1;

  constructor(enabled: boolean, step = 1) {
    this.enabled = enabled;
    this.step = step;
    this.show(0);
  }

  /** `share` of 1. */
  show(share: number): void {
    if (!this.enabled) return;
    const percent = Number.isFinite(share) ? Math.min(1, share) * 100 : 100;
    const worthIt = this.last < 0 || percent - this.last > this.step || (percent === 100 && this.last < 100);
    if (worthIt) this.write(percent);
  }

  private write(percent: number): void {
    this.last = percent;
    print(`    (${percent.toFixed(2)}/100%)\r`);
    flushOutput();
  }

  /** `done`: it ended well, which is told once more. */
  end(done: boolean): void {
    if (!this.enabled) return;
    if (done) this.write(100);
    print('\n');
    flushOutput();
  }
}
