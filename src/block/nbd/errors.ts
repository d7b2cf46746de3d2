/** Errors on the wire: the numbers that Linux has for these errno, of which the protocol names eight. */
import type { Errno } from '../block-error.ts';

const CODES: readonly (readonly [Errno, number])[] = [
  ['EPERM', 1],
  ['EIO', 5],
  ['ENOMEM', 12],
  ['EINVAL', 22],
  ['ENOSPC', 28],
  ['EOVERFLOW', 75],
  ['ENOTSUP', 95],
  ['ESHUTDOWN', 108],
];

/** What a client is told: the nearest that the protocol has. */
export function nbdError(error: Errno): number {
  switch (error) {
    case 'EROFS':
    case 'EACCES':
      return 1;
    case 'EFBIG':
      return 28;
    default:
      return CODES.find(([name]) => name === error)?.[1] ?? 5;
  }
}

/** What a server meant; EINVAL for numbers that the protocol does not have. */
export function errnoOfNbd(code: number): Errno {
  return CODES.find(([, number]) => number === code)?.[0] ?? 'EINVAL';
}
