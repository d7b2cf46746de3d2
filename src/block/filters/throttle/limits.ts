/** Limits of a throttle group, as `-object throttle-group` and `-drive throttling.*` name them. */
import { ImageError } from '../../block-error.ts';

export const BUCKETS = ['bps-total', 'bps-read', 'bps-write', 'iops-total', 'iops-read', 'iops-write'] as const;
export type BucketName = (typeof BUCKETS)[number];

export interface BucketLimits {
  /** Units a second in the long run; 0: no limit. */
  readonly average: number;
  /** Units a second while a burst lasts; 0: no bursts beyond a tenth of a second's worth. */
  readonly burst: number;
  /** How long a burst at that rate may last. */
  readonly burstSeconds: number;
}

export interface ThrottleLimits {
  readonly buckets: Readonly<Record<BucketName, BucketLimits>>;
  /** Larger requests count as several operations; 0: each counts as one. */
  readonly iopsSize: number;
}

/** A year: limits that would make somebody wait longer are typing errors. */
const MAX_RATE = 1e15;

/** From `bps-total`, `bps-total-max`, `bps-total-max-length` and so on, and `iops-size`. */
export function throttleLimits(given: Readonly<Record<string, number>>): ThrottleLimits {
  const bucket = (name: BucketName): BucketLimits => {
    const [average, burst, length] = [given[name] ?? 0, given[`${name}-max`] ?? 0, given[`${name}-max-length`] ?? 1];
    if (average > MAX_RATE || burst > MAX_RATE)
      throw new ImageError(`bps/iops/max values must be within [0, ${MAX_RATE}]`);
    if (length === 0) throw new ImageError('the burst length cannot be 0');
    if (length > 1 && burst === 0) throw new ImageError('burst length set without burst rate');
    if (burst > 0 && average === 0) throw new ImageError('bps_max/iops_max require corresponding bps/iops values');
    if (burst > 0 && burst < average) throw new ImageError('bps_max/iops_max cannot be lower than bps/iops');
    return { average, burst, burstSeconds: length };
  };
  const buckets = {
    'bps-total': bucket('bps-total'),
    'bps-read': bucket('bps-read'),
    'bps-write': bucket('bps-write'),
    'iops-total': bucket('iops-total'),
    'iops-read': bucket('iops-read'),
    'iops-write': bucket('iops-write'),
  };
  for (const what of ['bps', 'iops'] as const) {
    const both = buckets[`${what}-total`].average > 0 && (buckets[`${what}-read`].average > 0 || buckets[`${what}-write`].average > 0); // prettier-ignore
    if (both) throw new ImageError('bps/iops/max total values and read/write values cannot be used at the same time');
  }
  const iopsSize = given['iops-size'] ?? 0;
  const hasIops = BUCKETS.some((name) => name.startsWith('iops') && buckets[name].average > 0);
  if (iopsSize > 0 && !hasIops) throw new ImageError('iops size requires an iops value to be set');
  return { buckets, iopsSize };
}
