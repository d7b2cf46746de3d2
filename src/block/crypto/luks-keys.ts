/** Passphrases of a LUKS volume that is open, added and taken away: `img amend`. */
import { ImageError } from '../block-error.ts';
import type { OptionDeclaration } from '../driver.ts';
import type { BlockHost } from '../host.ts';
import { eraseSlot, fillSlot, keyInSlot, type LuksHeader, masterKey, type ReadHeader, readLuksHeader, type WriteHeader } from './luks.ts'; // prettier-ignore

export const LUKS_AMEND_OPTIONS: readonly OptionDeclaration[] = [
  { name: 'iter-time', type: 'number', help: 'Time to spend in PBKDF in milliseconds' },
  { name: 'keyslot', type: 'number', help: 'Select a single keyslot to modify explicitly' },
  { name: 'new-secret', type: 'string', help: 'New secret to set in the matching keyslots. Empty string to erase' },
  { name: 'old-secret', type: 'string', help: 'Select all keyslots that match this password' },
  { name: 'state', type: 'string', help: 'Select new state of affected keyslots (active/inactive)' },
];

const ITER_TIME_MS = 2000;
const LOST = 'which will erase all the data in the image irreversibly - refusing operation';

export interface LuksKeysParts {
  readonly header: LuksHeader;
  readonly read: ReadHeader;
  readonly host: BlockHost;
  readonly secret: (id: string) => Promise<Uint8Array>;
  /** The secret that it was opened with. */
  readonly openedWith: string | undefined;
}

/** In the names of LUKS_AMEND_OPTIONS. */
export type KeyOptions = Readonly<Record<string, string | undefined>>;

export class LuksKeys {
  private readonly parts: LuksKeysParts;
  private current: LuksHeader;

  constructor(parts: LuksKeysParts) {
    this.parts = parts;
    this.current = parts.header;
  }

  /** As it is now. */
  get header(): LuksHeader {
    return this.current;
  }

  /** `force`: even when nothing opens the volume afterwards. */
  async amend(options: KeyOptions, force: boolean, write: WriteHeader): Promise<void> {
    const { state } = options;
    if (state === undefined) throw new ImageError("Parameter 'state' is missing");
    if (state !== 'active' && state !== 'inactive')
      throw new ImageError(`Parameter 'state' does not accept value '${state}'`);
    await (state === 'active' ? this.activate(options, force, write) : this.erase(options, force, write));
    this.current = await readLuksHeader(this.parts.read);
  }

  private async activate(options: KeyOptions, force: boolean, write: WriteHeader): Promise<void> {
    const { host, read, secret, openedWith } = this.parts;
    const { 'new-secret': fresh, 'old-secret': old, 'iter-time': time } = options;
    if (fresh === undefined) throw new ImageError("'new-secret' is required to activate a keyslot");
    if (old !== undefined) throw new ImageError("'old-secret' must not be given when activating keyslots");
    const given = this.slotOf(options);
    if (given !== undefined && this.current.slots[given]?.active === true && !force)
      throw new ImageError(`Refusing to overwrite active keyslot ${given} - please erase it first`);
    const index = given ?? this.current.slots.findIndex(({ active }) => !active);
    if (index < 0) throw new ImageError("Can't add a keyslot - all keyslots are in use");
    const passphrase = await secret(fresh);
    const key =
      openedWith === undefined ? undefined : await masterKey(this.current, read, await secret(openedWith), host);
    if (key === undefined) throw new ImageError('Failed to retrieve the master key');
    const iterTimeMs = time === undefined ? ITER_TIME_MS : Number(time);
    await fillSlot(this.current, index, { key, passphrase, iterTimeMs }, write, host);
  }

  private async erase(options: KeyOptions, force: boolean, write: WriteHeader): Promise<void> {
    const { host, read, secret } = this.parts;
    const { 'new-secret': fresh, 'old-secret': old, 'iter-time': time } = options;
    if (fresh !== undefined) throw new ImageError("'new-secret' must not be given when erasing keyslots");
    if (time !== undefined) throw new ImageError("'iter-time' must not be given when erasing keyslots");
    const passphrase = old === undefined ? undefined : await secret(old);
    const { slots } = this.current;
    const active = slots.filter((slot) => slot.active).length;
    const opens = async (index: number): Promise<boolean> => {
      const slot = slots[index];
      if (slot === undefined || passphrase === undefined) return false;
      return (await keyInSlot(this.current, slot, read, passphrase, host)) !== undefined;
    };
    const given = this.slotOf(options);
    if (given !== undefined) {
      if (slots[given]?.active !== true && !force)
        throw new ImageError(`Given keyslot ${given} is already erased (inactive) `);
      if (passphrase !== undefined && !(await opens(given)))
        throw new ImageError(`Given keyslot ${given} doesn't contain the given old password for erase operation`);
      if (active === 1 && !force) throw new ImageError(`Attempt to erase the only active keyslot ${given} ${LOST}`);
      return eraseSlot(this.current, given, write, host);
    }
    if (passphrase === undefined)
      throw new ImageError(
        'To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given',
      );
    const matching: number[] = [];
    for (const index of slots.keys()) if (await opens(index)) matching.push(index);
    if (matching.length === 0) throw new ImageError('No keyslots match given (old) password for erase operation');
    if (matching.length === active && !force)
      throw new ImageError(
        'All the active keyslots match the (old) password that was given and erasing them will erase all the data in the image ' +
          'irreversibly - refusing operation',
      );
    for (const index of matching) await eraseSlot(this.current, index, write, host);
  }

  private slotOf({ keyslot }: KeyOptions): number | undefined {
    if (keyslot === undefined) return undefined;
    const last = this.current.slots.length - 1;
    if (Number(keyslot) > last)
      throw new ImageError(`Invalid keyslot ${keyslot} specified, must be between 0 and ${last}`);
    return Number(keyslot);
  }
}
