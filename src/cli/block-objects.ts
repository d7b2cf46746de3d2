/** `--object TYPE,id=ID,…` of the block tools: secrets, the keys of TLS connections, groups that are throttled together. */
import { UserError } from '../base/errors.ts';
import { ImageError } from '../block/block-error.ts';
import type { BlockHost, TlsOptions } from '../block/host.ts';
import { fs } from '../host/node/block/builtin.ts';
import { loadTlsCredentials, TLS_OBJECT_TYPES } from '../block/tls-credentials.ts';
import { parseOptionList } from './system/option-text.ts';

/** QEMU's bound for files of secrets. */
const MAX_SECRET_BYTES: number = 2 * 1024 ** 2;
const SECRET_PROPERTIES: readonly string[] = ['id', 'data', 'file', 'format', 'keyid', 'iv'];
const KEY_BYTES = 32;
const IV_BYTES = 16;

/** `limits` of a throttle group; each is also known with `x-` before it, and then stands by itself. */
const THROTTLE_LIMITS: readonly string[] = ['iops', 'bps'].flatMap((what) =>
  ['total', 'read', 'write'].flatMap((which) =>
    ['', '-max', '-max-length'].map((suffix) => `${what}-${which}${suffix}`),
  ),
);

type Properties = Readonly<Record<string, string>>;

interface BlockObject {
  readonly type: string;
  readonly properties: Properties;
}

/** What a BlockGraph asks for by id; made from a command line's `--object` options. */
export class BlockObjects {
  private readonly host: BlockHost;
  private readonly byId: Map<string, BlockObject> = new Map();

  /** @throws {UserError} for objects that cannot be. */
  constructor(host: BlockHost, texts: readonly string[]) {
    this.host = host;
    for (const text of texts) this.add(text);
  }

  /** Value of a secret. */
  readonly secret = async (id: string): Promise<Uint8Array> => {
    const found = this.find(id, ['secret']);
    if (found === undefined) throw new ImageError(`No secret with id '${id}'`, 'ENOENT');
    const { data, file, format = 'raw', keyid, iv } = found.properties;
    const stored = file === undefined ? new TextEncoder().encode(data) : await readSecret(file);
    if (stored.length > MAX_SECRET_BYTES) throw new ImageError(`secret '${id}' of ${stored.length} bytes is too long`);
    const bytes = format === 'base64' ? bytesOfBase64(new TextDecoder().decode(stored)) : stored;
    return keyid === undefined ? bytes : decrypt(bytes, await this.secret(keyid), iv);
  };

  readonly tlsCredentials = async (id: string, endpoint: 'client' | 'server'): Promise<TlsOptions> => {
    const found = this.find(id, TLS_OBJECT_TYPES);
    if (found === undefined) throw new ImageError(`No TLS credentials with id '${id}'`);
    return loadTlsCredentials(this.host, found.type, found.properties, endpoint);
  };

  /** Limits of a throttle group by name (`iops-total`, `bps-read-max` …); undefined: there is no such group. */
  readonly throttleGroup = (id: string): Readonly<Record<string, number>> | undefined => {
    const found = this.find(id, ['throttle-group']);
    return found === undefined ? undefined : limitsOf(found.properties);
  };

  private find(id: string, types: readonly string[]): BlockObject | undefined {
    const found = this.byId.get(id);
    return found !== undefined && types.includes(found.type) ? found : undefined;
  }

  private add(text: string): void {
    const { type, properties } = text.startsWith('{') ? jsonObject(text) : listObject(text);
    const { id } = properties;
    if (type !== 'secret' && type !== 'throttle-group' && !TLS_OBJECT_TYPES.includes(type)) {
      throw new UserError(`Parameter 'qom-type' does not accept value '${type}'`);
    }
    if (id === undefined) throw new UserError("Parameter 'id' is missing");
    if (!/^[A-Za-z][A-Za-z0-9._-]*$/.test(id)) throw new UserError("Parameter 'id' expects an identifier");
    if (this.byId.has(id)) {
      throw new UserError(`attempt to add duplicate property '${id}' to object (type 'container')`);
    }
    if (type === 'secret') checkSecret(properties);
    if (type === 'throttle-group') limitsOf(properties);
    this.byId.set(id, { type, properties });
  }
}

function listObject(text: string): BlockObject {
  const { name, properties } = parseOptionList('-object', text);
  const { 'qom-type': named, ...others } = properties;
  const type = name ?? named;
  if (type === undefined) throw new UserError("Parameter 'qom-type' is missing");
  return { type, properties: others };
}

/** `{"qom-type":"secret","id":"s","data":"x"}`; objects inside become dotted names. */
function jsonObject(text: string): BlockObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new UserError(`--object ${text}: this is no JSON`);
  }
  const flat: [string, string][] = [];
  const flatten = (prefix: string, inner: unknown): void => {
    if (typeof inner === 'object' && inner !== null) {
      for (const [name, each] of Object.entries(inner)) flatten(prefix === '' ? name : `${prefix}.${name}`, each);
    } else if (typeof inner === 'boolean') flat.push([prefix, inner ? 'on' : 'off']);
    else flat.push([prefix, String(inner)]);
  };
  flatten('', value);
  const { 'qom-type': type, ...properties } = Object.fromEntries(flat);
  if (type === undefined) throw new UserError("Parameter 'qom-type' is missing");
  return { type, properties };
}

function checkSecret(properties: Properties): void {
  for (const name of Object.keys(properties)) {
    if (!SECRET_PROPERTIES.includes(name)) throw new UserError(`Parameter '${name}' is unexpected`);
  }
  const { data, file, format = 'raw' } = properties;
  if (data === undefined && file === undefined) throw new UserError("Either 'file' or 'data' must be provided");
  if (data !== undefined && file !== undefined) throw new UserError("'file' and 'data' are mutually exclusive");
  if (format !== 'raw' && format !== 'base64')
    throw new UserError(`Parameter 'format' does not accept value '${format}'`);
}

function limitsOf(properties: Properties): Readonly<Record<string, number>> {
  const limits: Record<string, number> = {};
  for (const [name, text] of Object.entries(properties)) {
    if (name === 'id') continue;
    const limit = name.replace(/^(limits\.|x-)/, '');
    const known = limit !== name && (THROTTLE_LIMITS.includes(limit) || limit === 'iops-size');
    if (!known) throw new UserError(`Parameter '${name}' is unexpected`);
    if (!/^\d{1,15}$/.test(text)) throw new UserError(`Parameter '${name}' expects a number, not '${text}'`);
    limits[limit] = Number(text);
  }
  return limits;
}

async function readSecret(file: string): Promise<Uint8Array> {
  try {
    return await fs.promises.readFile(file);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new UserError(`Failed to open file “${file}”: ${code === 'ENOENT' ? 'No such file or directory' : message}`);
  }
}

function bytesOfBase64(text: string): Uint8Array {
  const clean = text.replace(/\s/g, '');
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(clean)) throw new ImageError('Base64 data is not valid');
  return Buffer.from(clean, 'base64');
}

/** A secret under another one: AES-256 in CBC mode, padded as PKCS #7 says. */
function decrypt(bytes: Uint8Array, key: Uint8Array, ivText: string | undefined): Uint8Array {
  if (key.length !== KEY_BYTES) throw new ImageError(`Key should be ${KEY_BYTES} bytes in length`);
  if (ivText === undefined) throw new ImageError('IV is required to decrypt secret');
  const iv = bytesOfBase64(ivText);
  if (iv.length !== IV_BYTES) throw new ImageError(`IV should be ${IV_BYTES} bytes in length not ${iv.length}`);
  const cipher = process.getBuiltinModule('node:crypto').createDecipheriv('aes-256-cbc', key, iv);
  try {
    return Buffer.concat([cipher.update(bytes), cipher.final()]);
  } catch {
    throw new ImageError('Incorrect padding found on decrypted data');
  }
}
