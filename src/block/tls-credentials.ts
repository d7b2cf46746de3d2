/**
 * The objects `tls-creds-x509` and `tls-creds-psk`: a folder with keys under fixed names, for one end of connections. Their options
 * and the names of the files are QEMU's, so that folders made for one work with the other.
 */
import { ERRNO_TEXT, ImageError, errnoOf } from './block-error.ts';
import type { BlockHost, TlsOptions } from './host.ts';

export const TLS_OBJECT_TYPES: readonly string[] = ['tls-creds-x509', 'tls-creds-psk'];

const PROPERTIES: Readonly<Record<string, readonly string[]>> = {
  'tls-creds-x509': ['id', 'dir', 'endpoint', 'verify-peer'],
  'tls-creds-psk': ['id', 'dir', 'endpoint', 'verify-peer', 'username'],
};

/** Keys files of this size are nobody's keys. */
const MAX_KEY_FILE_BYTES: number = 4 * 1024 ** 2;

/** @throws {ImageError} for properties that are wrong and files that are missing. */
export async function loadTlsCredentials(
  host: BlockHost,
  type: string,
  properties: Readonly<Record<string, string>>,
  endpoint: 'client' | 'server',
): Promise<TlsOptions> {
  const known = PROPERTIES[type];
  if (known === undefined) throw new ImageError(`Parameter 'qom-type' does not accept value '${type}'`);
  for (const name of Object.keys(properties)) {
    if (!known.includes(name)) throw new ImageError(`Parameter '${name}' is unexpected`);
  }
  const { id = '', dir, endpoint: own = 'client', 'verify-peer': verify = 'on', username = 'qemu' } = properties;
  if (dir === undefined) throw new ImageError("Missing 'dir' property value");
  if (own !== 'client' && own !== 'server') throw new ImageError(`Parameter 'endpoint' does not accept value '${own}'`);
  if (!/^(on|off|yes|no|true|false)$/.test(verify))
    throw new ImageError(`Parameter 'verify-peer' expects 'on' or 'off'`);
  if (own !== endpoint)
    throw new ImageError(`Expected TLS credentials for a ${endpoint} endpoint, and '${id}' is for a ${own}`);
  const verifyPeer = verify === 'on' || verify === 'yes' || verify === 'true';
  const read = (name: string): Promise<Uint8Array> => readKeyFile(host, `${dir}/${name}`);
  const server = endpoint === 'server';
  if (type === 'tls-creds-psk')
    return { server, verifyPeer, psk: pskOf(await read('keys.psk'), server, username, dir) };
  const has = async (name: string): Promise<boolean> => (await host.exists?.(`${dir}/${name}`)) ?? false;
  const withOwn = server || (await has('client-cert.pem'));
  return {
    server,
    verifyPeer,
    caPem: await read('ca-cert.pem'),
    ...((await has('ca-crl.pem')) && { crlPem: await read('ca-crl.pem') }),
    ...(withOwn && { certificatePem: await read(`${endpoint}-cert.pem`), keyPem: await read(`${endpoint}-key.pem`) }),
  };
}

async function readKeyFile(host: BlockHost, path: string): Promise<Uint8Array> {
  if (host.readFile === undefined) throw new ImageError(`this platform has no files for TLS credentials`, 'ENOTSUP');
  const bytes = await host.readFile(path).catch((error: unknown) => {
    const errno = errnoOf(error);
    throw new ImageError(`Unable to access credentials ${path}: ${ERRNO_TEXT[errno]}`, errno);
  });
  if (bytes.length > MAX_KEY_FILE_BYTES)
    throw new ImageError(`credentials ${path} of ${bytes.length} bytes are too long`);
  return bytes;
}

/** Lines of `user:key` with the key in hexadecimal digits. */
function pskOf(file: Uint8Array, server: boolean, username: string, dir: string): NonNullable<TlsOptions['psk']> {
  const keys = new Map<string, Uint8Array>();
  for (const line of new TextDecoder().decode(file).split('\n')) {
    const match = /^([^:#]+):((?:[0-9a-fA-F]{2})+)\s*$/.exec(line);
    if (match !== null) keys.set(match[1] ?? '', bytesOfHex(match[2] ?? ''));
  }
  if (server) return (identity) => keys.get(identity);
  const key = keys.get(username);
  if (key === undefined) throw new ImageError(`No key for username '${username}' in ${dir}/keys.psk`);
  return { identity: username, key };
}

function bytesOfHex(text: string): Uint8Array {
  return Uint8Array.from({ length: text.length / 2 }, (_, at) => Number.parseInt(text.slice(2 * at, 2 * at + 2), 16));
}
