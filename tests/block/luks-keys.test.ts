/** Passphrases of encrypted images that are added and taken away by `orrery img amend`, judged by the distribution's tool. */
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Both } from './support/img-both.ts';
import { qemuImg, toolsMissing } from './support/qemu-tools.ts';

const both = new Both();
afterAll(() => both.remove());

const SECRETS = ['s', 't', 'u'].flatMap((id) => ['--object', `secret,id=${id},data=word-${id}`]).join(' ');
const OPEN = '--image-opts driver=qcow2,file.filename=@/enc,encrypt.key-secret=s';
const OPEN_LUKS = '--image-opts driver=luks,file.filename=@/luks,key-secret=s';

const { skipIf } = describe;

skipIf(toolsMissing !== undefined)('passphrases', () => {
  beforeAll(async () => {
    const quick = 'iter-time=1,hash-alg=sha1';
    const place = both.start;
    await both.ours(
      `create -q -f qcow2 ${SECRETS} -o encrypt.format=luks,encrypt.key-secret=s,${quick.replaceAll(/(^|,)/g, '$1encrypt.')} ${join(place, 'enc')} 1M`,
    );
    await both.ours(`create -q -f luks ${SECRETS} -o key-secret=s,${quick} ${join(place, 'luks')} 1M`);
    await both.ours(`create -q -f qcow2 ${join(place, 'clear')} 1M`);
  });
  beforeEach(() => both.reset());

  const opens = (secret: string): boolean => {
    const object = `secret,id=x,data=word-${secret}`;
    const enc = `driver=qcow2,file.filename=${join(both.own, 'enc')},encrypt.key-secret=x`;
    return qemuImg('map', '--object', object, '--image-opts', enc).status === 0;
  };

  test('one is added, and another one taken away', async () => {
    const added = await both.ours(`amend ${SECRETS} ${OPEN} -o encrypt.state=active,encrypt.new-secret=t,encrypt.iter-time=1`);
    expect(added).toEqual({ status: 0, out: '', err: '' });
    expect(['s', 't', 'u'].map(opens)).toEqual([true, true, false]);
    const erased = await both.ours(`amend ${SECRETS} ${OPEN} -o encrypt.state=inactive,encrypt.old-secret=s`);
    expect(erased).toEqual({ status: 0, out: '', err: '' });
    expect(['s', 't', 'u'].map(opens)).toEqual([false, true, false]);
  }); // prettier-ignore

  test.each([
    'state=active', 'new-secret=t', 'state=none', 'state=active,new-secret=t,old-secret=s', 'state=active,new-secret=t,keyslot=0',
    'state=active,new-secret=t,keyslot=9', 'state=inactive', 'state=inactive,new-secret=t', 'state=inactive,old-secret=u',
    'state=inactive,keyslot=5', 'state=inactive,iter-time=10', 'state=inactive,old-secret=s', 'state=inactive,keyslot=0',
    'state=inactive,keyslot=0,old-secret=u', 'state=active,new-secret=none', 'state=inactive,keyslot=x', 'cipher-alg=aes-128',
  ])('%s is refused in the same words', async (options) => {
    const luks = options.includes('keyslot=0');
    if (luks) await both.say(`amend ${SECRETS} ${OPEN_LUKS} -o ${options}`);
    else await both.say(`amend ${SECRETS} ${OPEN} -o ${options.replaceAll(/(^|,)/g, '$1encrypt.')}`);
  }); // prettier-ignore

  test('a passphrase that is not there may be taken away by force', async () => {
    await both.say(`amend --force ${SECRETS} ${OPEN_LUKS} -o state=inactive,keyslot=5`);
  });

  test.each(['-o encrypt.state=inactive @/clear', '-o data_file=x @/clear', '-o data_file_raw=on @/clear', '-f luks -o help'])(
    'amend %s',
    (words) => both.say(`amend ${words}`),
  ); // prettier-ignore
});
