/** What goes wrong with a request or an image, with the errno that a guest, an NBD client or an exit code is told. */
import { UserError } from '../base/errors.ts';

export type Errno =
  | 'EPERM' | 'ENOENT' | 'EIO' | 'EAGAIN' | 'ENOMEM' | 'EACCES' | 'EBUSY' | 'EEXIST' | 'EINVAL' | 'EFBIG' | 'ENOSPC' | 'EROFS'
  | 'ENOTSUP' | 'EOVERFLOW' | 'ESHUTDOWN' | 'ETIMEDOUT' | 'ECONNREFUSED' | 'ECONNRESET' | 'ECANCELED'; // prettier-ignore

/** A request that failed. */
export class BlockError extends Error {
  override readonly name: string = 'BlockError';
  readonly code: Errno;

  constructor(code: Errno, message: string = ERRNO_TEXT[code]) {
    super(message);
    this.code = code;
  }
}

/** An image that cannot be opened or must not be used: one sentence that names field and value. */
export class ImageError extends UserError {
  override readonly name: string = 'ImageError';
  readonly code: Errno;

  constructor(message: string, code: Errno = 'EINVAL') {
    super(message);
    this.code = code;
  }
}

/** strerror(3) as the GNU C library words it, which tools print. */
export const ERRNO_TEXT: Readonly<Record<Errno, string>> = {
  EPERM: 'Operation not permitted',
  ENOENT: 'No such file or directory',
  EIO: 'Input/output error',
  EAGAIN: 'Resource temporarily unavailable',
  ENOMEM: 'Cannot allocate memory',
  EACCES: 'Permission denied',
  EBUSY: 'Device or resource busy',
  EEXIST: 'File exists',
  EINVAL: 'Invalid argument',
  EFBIG: 'File too large',
  ENOSPC: 'No space left on device',
  EROFS: 'Read-only file system',
  ENOTSUP: 'Operation not supported',
  EOVERFLOW: 'Value too large for defined data type',
  ESHUTDOWN: 'Cannot send after transport endpoint shutdown',
  ETIMEDOUT: 'Connection timed out',
  ECONNREFUSED: 'Connection refused',
  ECONNRESET: 'Connection reset by peer',
  ECANCELED: 'Operation canceled',
};

/** The errno of anything caught: a platform's error carries one too; EIO for what has none. */
export function errnoOf(error: unknown): Errno {
  const code = (error as { code?: unknown } | null)?.code;
  if (code === 'EOPNOTSUPP' || code === 'ENOSYS') return 'ENOTSUP';
  if (code === 'EDQUOT') return 'ENOSPC';
  return typeof code === 'string' && Object.hasOwn(ERRNO_TEXT, code) ? (code as Errno) : 'EIO';
}
