import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { MachineConfig, MachineExit } from '../../machine/config.ts';
import type { CreateMachine } from './machine-door.ts';
import { parseSystemOptions } from './options.ts';
import { runSystem, serialTexts } from './session.ts';

const folder = mkdtempSync(join(tmpdir(), 'orrery-session-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const request = (line: string): ReturnType<typeof parseSystemOptions> =>
  parseSystemOptions(line === '' ? [] : line.split(' '));

const unused = (): never => {
  throw new Error('nobody asked for that');
};

/** A machine whose every port says which it is and that then ends as told. */
function talkative(exit: MachineExit, seen: MachineConfig[] = []): CreateMachine {
  return (config) => {
    seen.push(config);
    let end: (exit: MachineExit) => void;
    const exited = new Promise<MachineExit>((resolve) => {
      end = resolve;
    });
    const started = Promise.withResolvers<undefined>();
    const serial = Array.from({ length: config.serialPorts ?? 0 }, (_, index) => ({
      readable: new ReadableStream<Uint8Array>({
        async pull(controller) {
          await started.promise;
          controller.enqueue(new TextEncoder().encode(`port ${index}\n`));
          controller.close();
        },
      }),
      writable: new WritableStream<Uint8Array>(),
    }));
    return Promise.resolve({
      serial,
      exited,
      start() {
        started.resolve(undefined);
        end(exit);
      },
      pause() {},
      resume() {},
      reset() {},
      pressPowerButton() {},
      stop() {},
      onIoError() {},
      driveFacts: unused,
      ioErrorMessage: undefined,
      statistics: unused,
      profile: unused,
    });
  };
}

describe('a session of orrery system', () => {
  it.each([
    ['', ['mon:stdio']],
    ['-nographic', ['mon:stdio']],
    ['-nographic -nodefaults', ['mon:stdio']],
    ['-nodefaults', []],
    ['-display none', ['null']],
    ['-serial stdio -serial none -serial file:x -serial none', ['stdio', 'null', 'file:x']],
    ['-serial none', []],
  ])('gives %j these serial ports', (line, texts) => {
    expect(serialTexts(request(line))).toEqual(texts);
  });

  it('carries each port to its place and ends with the status of the machine', async () => {
    const first = join(folder, 'first');
    const second = join(folder, 'second');
    const line = `-display none -serial file:${first} -chardev file,id=b,path=${second} -serial chardev:b`;
    expect(await runSystem(request(line), talkative({ reason: 'debug-exit', status: 33 }))).toBe(33);
    expect(readFileSync(first, 'utf8')).toBe('port 0\n');
    expect(readFileSync(second, 'utf8')).toBe('port 1\n');
  });

  it('hands the machine what it is to be made of', async () => {
    const kernel = join(folder, 'kernel');
    writeFileSync(kernel, 'image');
    const seen: MachineConfig[] = [];
    await runSystem(
      request(
        `-display none -m 64 -cpu qemu64 -kernel ${kernel} -append quiet -no-reboot -device isa-debug-exit,iobase=0xf4`,
      ),
      talkative({ reason: 'poweroff', status: 0 }, seen),
    );
    expect(seen[0]).toMatchObject({
      memoryBytes: 64 * 1024 ** 2,
      cpu: 'qemu64',
      kernelName: kernel,
      commandLine: 'quiet',
      noReboot: true,
      serialPorts: 1,
      devices: [{ driver: 'isa-debug-exit', properties: { iobase: '0xf4' } }],
    });
    const source = seen[0]?.kernel;
    expect(new TextDecoder().decode(typeof source === 'function' ? await source() : source)).toBe('image');
  });

  it.each([
    ['-display none -kernel /nowhere/k', '-kernel: /nowhere/k cannot be read: ENOENT'],
    ['-display none -initrd x', '-initrd: an initial file system is for a kernel, and -kernel names none'],
    ['-display none -device isa-debugexit', "-device: no device 'isa-debugexit'; did you mean 'isa-debug-exit'?"],
    [
      '-display none -device isa-debug-exit,iobas=1',
      "-device isa-debug-exit: no property 'iobas'; did you mean 'iobase'?",
    ],
    ['-serial chardev:x', '-serial chardev:x: there is no -chardev with id=x'],
    ['-display none -S', '-S: there is no monitor to say cont to'],
    ['-display none -monitor vc', "-monitor: 'vc' is neither stdio nor none"],
    ['-display none -D /nowhere/log', '-D: /nowhere/log cannot be written: ENOENT'],
  ])('refuses %s in one sentence', async (line, message) => {
    await expect(runSystem(request(line), talkative({ reason: 'poweroff', status: 0 }))).rejects.toThrow(message);
  });
});
