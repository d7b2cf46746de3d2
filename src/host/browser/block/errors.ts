/** What a browser's storage throws, with the errno that the block layer goes by. */

const CODES: Readonly<Record<string, readonly [code: string, text: string]>> = {
  NotFoundError: ['ENOENT', 'No such file or directory'],
  TypeMismatchError: ['EISDIR', 'Is a directory'],
  NoModificationAllowedError: ['EAGAIN', 'the file is open elsewhere'],
  InvalidModificationError: ['EAGAIN', 'the file is open elsewhere'],
  NotAllowedError: ['EACCES', 'Permission denied'],
  SecurityError: ['EACCES', 'Permission denied'],
  NotReadableError: ['EIO', 'the file has changed since it was given'],
  QuotaExceededError: ['ENOSPC', 'No space left in this origin’s storage'],
};

/** The result of `work`, or an error with a `code`. */
export async function withCodes<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw withCode(error);
  }
}

export function withCode(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  if ('code' in error && typeof error.code === 'string') return error;
  const [code, text] = CODES[error.name] ?? ['EIO', error.message];
  return Object.assign(new Error(text), { code });
}

export function errnoError(code: string, text: string): Error {
  return Object.assign(new Error(text), { code });
}
