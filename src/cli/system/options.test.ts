import { describe, expect, it } from 'vitest';
import { UserError } from '../../base/errors.ts';
import { withGlobals } from './board-options.ts';
import { parseSystemOptions } from './options.ts';

const parse = (line: string): ReturnType<typeof parseSystemOptions> =>
  parseSystemOptions(line === '' ? [] : line.split(' '));

describe('the command line of orrery system', () => {
  it('needs nothing', () => {
    expect(parse('')).toMatchObject({ machine: 'pc', accel: 'jit', vcpus: 1, serials: [], noReboot: false });
  });

  it('reads the options of a kernel boot', () => {
    expect(parse('-m 256M -smp 2 -kernel k -initrd i -append quiet -nographic -no-reboot')).toMatchObject({
      memoryBytes: 256 * 1024 ** 2,
      vcpus: 2,
      kernel: 'k',
      initrd: 'i',
      append: 'quiet',
      nographic: true,
      noReboot: true,
    });
  });

  it('reads what test harnesses give', () => {
    const request = parse(
      '--no-reboot -nodefaults -device pc-testdev -device isa-debug-exit,iobase=0xf4,iosize=4 -display none -serial stdio -device pci-testdev -machine accel=kvm:tcg -kernel t.flat -smp 1 -cpu max,+x2apic',
    );
    expect(request.devices).toEqual([
      { driver: 'pc-testdev', properties: {} },
      { driver: 'isa-debug-exit', properties: { iobase: '0xf4', iosize: '4' } },
      { driver: 'pci-testdev', properties: {} },
    ]);
    expect(request).toMatchObject({
      accel: 'jit',
      display: 'none',
      serials: ['stdio'],
      nodefaults: true,
      cpu: 'max,+x2apic',
    });
  });

  it('takes defaults for drivers, in both spellings', () => {
    const { globals, devices } = parse(
      '-global kvm-pit.lost_tick_policy=discard -global driver=isa-debug-exit,property=iobase,value=0xf4 -device isa-debug-exit -device isa-debug-exit,iobase=0xf8',
    );
    expect(globals[0]).toEqual({ driver: 'kvm-pit', property: 'lost_tick_policy', value: 'discard' });
    expect(withGlobals(devices, globals).map(({ properties }) => properties)).toEqual([
      { iobase: '0xf4' },
      { iobase: '0xf8' },
    ]);
  });

  it('warns of properties of the board that change nothing', () => {
    expect(parse('-machine accel=tcg,kernel_irqchip=split,usb=off,pit=on').warnings).toEqual([]);
    expect(parse('-machine pit=off -overcommit cpu-pm=on').warnings).toEqual([
      '-machine pit=off changes nothing: this board always has that part',
    ]);
  });

  it('takes processors as a topology', () => {
    expect(parse('-smp sockets=1,cores=2,threads=2').vcpus).toBe(4);
    expect(parse('-smp 2,sockets=2').vcpus).toBe(2);
  });

  it.each([
    ['-device help', { of: 'device' }],
    ['-device ?', { of: 'device' }],
    ['-device e1000,help', { of: 'device-properties', name: 'e1000' }],
    ['-cpu help', { of: 'cpu' }],
    ['-machine help', { of: 'machine' }],
    ['-accel help', { of: 'accel' }],
    ['-d help', { of: 'log' }],
    ['-version', { of: 'version' }],
    ['--help', { of: 'usage' }],
  ])('lists for %s', (line, listing) => {
    expect(parse(line).listing).toEqual(listing);
  });

  it('logs and traces', () => {
    expect(parse('-d int,trace:pic_* -trace enable=pit_* -D log.txt')).toMatchObject({
      logCategories: ['int', 'trace'],
      trace: ['pic_*', 'pit_*'],
      logFile: 'log.txt',
    });
  });

  it('knows what looks at the guest', () => {
    const line =
      '-d jit -stats -profile a.svg --profile b.speedscope.json -profile-rate 250 -symbols vmlinux -symbols prog';
    expect(parse(line)).toMatchObject({
      logCategories: ['jit'],
      observe: { stats: true, profiles: ['a.svg', 'b.speedscope.json'], rateHz: 250, symbols: ['vmlinux', 'prog'] },
    });
    expect(() => parse('-profile a.png')).toThrow('-profile a.png: the name ends in none of .svg');
    expect(() => parse('-profile-rate 0')).toThrow("-profile-rate: '0' is not a number of samples a second");
  });

  it('takes a bare argument for the first disk', () => {
    const [bare, named] = parse('a.img -hdb b.img').storage.drives;
    expect(bare).toMatchObject({ text: '-hda a.img', file: 'a.img', index: 0 });
    expect(named).toMatchObject({ file: 'b.img', index: 1 });
  });

  it('keeps time by instructions and starts at a date', () => {
    expect(parse('-icount shift=3 -rtc base=2026-01-31T12:00:00')).toMatchObject({
      nsPerInstruction: 8,
      startTimeMs: Date.UTC(2026, 0, 31, 12),
    });
  });

  it.each([
    ['-kernal x', "-kernal: no such option; did you mean '-kernel'?"],
    ['-kernel', '-kernel: FILE is missing'],
    ['-machine q36', "-machine: no machine 'q36'; there is pc"],
    ['-machine acel=jit', "-machine: no property 'acel'; did you mean 'accel'?"],
    ['-accel jit,verify=maybe', '-accel jit,verify=maybe: verify is on or off'],
    ['-accel xen', "-accel: no accelerator 'xen'; there are jit, interp"],
    ['-smp 0', "-smp: '0' is not a number from 1 to 255"],
    ['-m lots', "-m: 'lots' is not a size such as 512M or 2G"],
    ['-d itn', "-d: no log category 'itn'; did you mean 'int'?"],
    ['-d sums', "-d: no log category 'sums'; -d help lists them"],
    ['-fda disk.img', "-fda: no such option; did you mean '-hda'?"],
    ['-chardev stdio', '-chardev stdio: id= is missing'],
    ['-chardev fiel,id=a', "-chardev: no backend 'fiel'; did you mean 'file'?"],
    ['-vga std', "-vga: 'std' is not available; -vga none is"],
  ])('refuses %s in one sentence', (line, message) => {
    expect(() => parse(line)).toThrow(new UserError(message));
  });
});
