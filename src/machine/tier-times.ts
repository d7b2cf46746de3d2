/**
 * How long each tier ran, from slices of which only the whole time is known and how many instructions each tier executed: the
 * nanoseconds an instruction that fit all slices best (least squares), by which the time measured is then shared out.
 *
 * An estimate: instructions differ in what they cost, and time in devices and page walks counts for the tier that asked.
 */
export class TierTimes {
  private ii = 0;
  private ij = 0;
  private jj = 0;
  private it = 0;
  private jt = 0;
  private interpreted = 0;
  private translated = 0;
  private totalNs = 0;

  /** A slice took `ns`, in which so many instructions were executed by either tier. */
  add(ns: number, interpreted: number, translated: number): void {
    this.totalNs += ns;
    this.interpreted += interpreted;
    this.translated += translated;
    this.ii += interpreted * interpreted;
    this.ij += interpreted * translated;
    this.jj += translated * translated;
    this.it += interpreted * ns;
    this.jt += translated * ns;
  }

  /** Nanoseconds of each tier; together the time of all slices. */
  estimate(): { readonly interpNs: number; readonly jitNs: number } {
    const { ii, ij, jj, it, jt, totalNs, interpreted, translated } = this;
    if (translated === 0) return { interpNs: totalNs, jitNs: 0 };
    if (interpreted === 0) return { interpNs: 0, jitNs: totalNs };
    const determinant = ii * jj - ij * ij;
    // Slices that are all mixed alike say nothing about the difference: instructions then count the same.
    const apart = determinant > 1e-9 * ii * jj;
    const perInterpreted = apart ? Math.max(0, (it * jj - jt * ij) / determinant) : 1;
    const perTranslated = apart ? Math.max(0, (jt * ii - it * ij) / determinant) : 1;
    const interp = perInterpreted * interpreted;
    const jit = perTranslated * translated;
    const share = interp + jit > 0 ? interp / (interp + jit) : interpreted / (interpreted + translated);
    return { interpNs: totalNs * share, jitNs: totalNs * (1 - share) };
  }
}
