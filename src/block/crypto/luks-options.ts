/** Creation options of LUKS by their names, alike for the luks format and (with "encrypt." before them) for qcow2. */
import { ImageError } from '../block-error.ts';
import type { OptionDeclaration } from '../driver.ts';
import type { LuksOptions } from './luks.ts';

export const LUKS_CREATE_OPTIONS: readonly OptionDeclaration[] = [
  { name: 'key-secret', type: 'string', help: 'ID of the secret that provides the keyslot passphrase' },
  { name: 'cipher-alg', type: 'string', help: 'Name of encryption cipher algorithm' },
  { name: 'cipher-mode', type: 'string', help: 'Name of encryption cipher mode' },
  { name: 'ivgen-alg', type: 'string', help: 'Name of IV generator algorithm' },
  { name: 'ivgen-hash-alg', type: 'string', help: 'Name of IV generator hash algorithm' },
  { name: 'hash-alg', type: 'string', help: 'Name of encryption hash algorithm' },
  { name: 'iter-time', type: 'number', help: 'Time to spend in PBKDF in milliseconds' },
];

const CIPHERS: Readonly<Record<string, LuksOptions['keyBits']>> = { 'aes-128': 128, 'aes-192': 192, 'aes-256': 256 };

export function luksOptions(options: Readonly<Record<string, string>>, prefix = ''): LuksOptions {
  const value = (name: string, otherwise: string): string => options[prefix + name] ?? otherwise;
  const word = <T extends string>(name: string, otherwise: T, words: readonly T[]): T => {
    const text = value(name, otherwise);
    const found = words.find((candidate) => candidate === text);
    if (found === undefined) throw new ImageError(`Parameter '${name}' does not accept value '${text}'`);
    return found;
  };
  const cipher = value('cipher-alg', 'aes-256');
  const keyBits = Object.hasOwn(CIPHERS, cipher) ? CIPHERS[cipher] : undefined;
  if (keyBits === undefined) throw new ImageError(`Parameter 'cipher-alg' does not accept value '${cipher}'`);
  const mode = word('cipher-mode', 'xts', ['xts', 'cbc', 'ecb']);
  if (mode === 'xts' && keyBits === 192) throw new ImageError('aes-192 has no xts mode', 'ENOTSUP');
  const iterTime = value('iter-time', '2000');
  const iterTimeMs = Number(iterTime);
  if (!Number.isInteger(iterTimeMs) || iterTimeMs < 1 || iterTimeMs > 600_000)
    throw new ImageError(`Invalid parameter '${prefix}iter-time=${iterTime}': it is from 1 to 600000 milliseconds`);
  const ivHash = options[`${prefix}ivgen-hash-alg`];
  return {
    keyBits,
    mode,
    iv: word('ivgen-alg', 'plain64', ['plain', 'plain64', 'essiv']),
    ...(ivHash === undefined ? {} : { ivHash }),
    hash: value('hash-alg', 'sha256'),
    iterTimeMs,
  };
}
