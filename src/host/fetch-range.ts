/** Parts of files over HTTP, by what Node and browsers have alike. */

interface RangeOfFile {
  readonly data: Uint8Array;
  /** Of the whole file, if the server tells. */
  readonly size?: number;
}

/** Bytes [from, from + bytes) of a URL; less at its end. */
export async function fetchRange(
  url: string,
  from: number,
  bytes: number,
  headers: Readonly<Record<string, string>> = {},
): Promise<RangeOfFile> {
  const range = `bytes=${from}-${from + bytes - 1}`;
  const response = await fetch(url, { headers: { ...headers, range } });
  if (response.status !== 206) await response.body?.cancel();
  if (!response.ok) throw failure('EIO', `'${url}': ${response.status} ${response.statusText}`);
  if (response.status !== 206) throw failure('ENOTSUP', `The server of '${url}' does not give parts of files`);
  const data = new Uint8Array(await response.arrayBuffer()).subarray(0, bytes);
  const told = /\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1];
  const size = told === undefined ? await sizeByHead(url, headers) : Number(told);
  return { data, ...(size !== undefined && { size }) };
}

/** Pages do not see `Content-Range` of other origins unless these allow it, but they see `Content-Length`. */
async function sizeByHead(url: string, headers: Readonly<Record<string, string>>): Promise<number | undefined> {
  const response = await fetch(url, { method: 'HEAD', headers: { ...headers } });
  const length = response.headers.get('content-length');
  return response.ok && length !== null && /^\d+$/.test(length) ? Number(length) : undefined;
}

function failure(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
