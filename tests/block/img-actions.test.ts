/** `orrery img measure`, `dd`, `bitmap`, `bench` and `amend` beside the distribution’s tool. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { Both } from './support/img-both.ts';
import { qemuImg, toolsMissing } from './support/qemu-tools.ts';

const both = new Both();
afterAll(() => both.remove());

const { skipIf } = describe;

skipIf(toolsMissing !== undefined)('what images need, parts and marks of them', () => {
  beforeAll(() => {
    const place = (name: string): string => join(both.start, name);
    const data = new Uint8Array(1_000_000).fill(7, 0, 300_000).fill(9, 700_000, 812_345);
    writeFileSync(place('raw'), data);
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', place('raw'), place('q'));
    qemuImg('create', '-q', '-f', 'qcow2', '-b', 'q', '-F', 'qcow2', place('over'), '2M');
    qemuImg('create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', place('old'), '1M');
    qemuImg('snapshot', '-c', 'one', place('over'));
    qemuImg('bitmap', '--add', place('q'), 'b');
    qemuImg('bitmap', '--add', '-g', '4k', place('q'), 'c');
    both.reset();
  });

  test.each([
    'measure', 'measure --size x', 'measure --size -1', 'measure --size 1 @/q', 'measure @/q @/over', 'measure --size 2T -O qcow2',
    'measure -O qcow2 --size 1T -o cluster_size=512', 'measure -O qcow2 --size 100G -o refcount_bits=64,extended_l2=on',
    'measure -O none --size 1', 'measure -O vmdk --size 1', 'measure -O luks --size 1G', 'measure -f raw --size 1',
    'measure -O qcow2 -o none=1 --size 1G', 'measure -O qcow2 -o help @/q', 'measure -f raw -O qcow2 @/raw',
    'measure -O qcow2 -o cluster_size=4k @/q', 'measure -O qcow2 -o preallocation=full --output=json @/over',
    'measure -O qcow2 -o backing_file=q,backing_fmt=qcow2 @/over', 'measure -l one -O qcow2 @/over', 'measure -l none @/over',
    'bench', 'bench -c x @/q', 'bench -d 1 -c 010 @/q', 'bench -c 0 @/q', 'bench --pattern 500 @/q', 'bench --flush-interval 2 @/q',
    'bench -w --flush-interval 2 @/q', 'bench -w -c 200 -d 8 --flush-interval 16 --pattern 0x41 @/old',
    'bench -w -c 20 -d 2 --flush-interval 4 --no-drain @/over', 'bench -s 512 -S 1024 -c 10 -o 4k -U @/q', 'bench -S 3G @/q',
    'bench -s x @/q', 'bench -o 5M -c 4 @/q', 'bench -s 2M -c 1 @/q', 'bench -i x @/q', 'bench -n @/q', 'bench -t x @/q', 'bench -q -c 5 @/q',
    'dd', 'dd if=@/q', 'dd if=@/q of=@/x bs=0', 'dd if=@/q of=@/x count=x', 'dd if=@/q of=@/x other=1', 'dd -q if=@/q of=@/x',
    'dd -O none if=@/q of=@/x', 'dd -O bochs if=@/q of=@/x', 'dd if=@/none of=@/x', 'dd if= of=@/x', 'dd if=@/q of=@/none/x',
    'bitmap @/q b', 'bitmap --add @/q', 'bitmap --add @/q b', 'bitmap --remove @/q x', 'bitmap --merge x @/q b', 'bitmap --add @/old x',
    'bitmap --add -f raw @/raw x', 'bitmap --clear -f raw @/raw x', 'bitmap -g 5 --add @/q x', 'bitmap -g x --add @/q x',
    'bitmap -g 8k --remove @/q b', 'bitmap -F qcow2 --merge b @/q c', 'bitmap -b @/q --add @/over x', 'bitmap --add  @/q',
    `bitmap --add @/q ${'a'.repeat(1030)}`, 'bitmap -b @/q --add --merge b @/over x',
    'amend @/q', 'amend -o help @/q', 'amend -f vdi -o help', 'amend -o size=1M -f raw @/raw', 'amend -o compat=0.9 @/q',
    'amend -o refcount_bits=5 @/q', 'amend -o cluster_size=1k @/q', 'amend -o none=1 @/q', 'amend -o backing_file=x @/q',
    'amend -o compat=0.10,refcount_bits=8 @/old', 'amend -t x -o size=2M @/q',
  ])('%s', (words) => both.say(words)); // prettier-ignore

  test.each([
    ['raw', 'dd if=@/raw of=@/x'],
    ['raw', 'dd -f raw if=@/raw of=@/x bs=4k count=30 skip=2'],
    ['raw', 'dd if=@/raw of=@/x bs=1M skip=3'],
    ['raw', 'dd if=@/q of=@/x bs=3000 count=7'],
    ['vmdk', 'dd -O vmdk if=@/over of=@/x'],
  ])('%s: %s', async (format, words) => {
    both.reset();
    await both.say(words);
    both.alike('x', format);
  });

  test.each([
    ['q', '--remove @/q b'], ['q', '--disable --merge b @/q c'], ['q', '--add --disable --merge b -g 512 @/q d'],
    ['q', '--remove --add @/q b'], ['over', '--add --clear -g 0 @/over b'],
  ] as const)('%s: bitmap %s', async (name, words) => {
    both.reset();
    await both.say(`bitmap ${words}`);
    await both.say(`info --output=json @/${name}`);
    both.alike(name, 'qcow2');
  }); // prettier-ignore

  test.each([
    ['old', 'compat=1.1,lazy_refcounts=on,refcount_bits=1'],
    ['q', 'size=3M'],
    ['over', 'refcount_bits=64,backing_file=q,backing_fmt=qcow2'],
  ])('%s: amend -o %s', async (name, options) => {
    both.reset();
    await both.say(`amend -o ${options} @/${name}`);
    await both.say(`info --output=json @/${name}`);
    both.alike(name, 'qcow2');
  });
});
