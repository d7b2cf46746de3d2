import { describe, expect, it } from 'vitest';
import { UserError } from '../base/errors.ts';
import type { MachineConfig } from './config.ts';
import type { HostServices } from './host-services.ts';
import { Machine } from './machine.ts';

/** None of these machines gets as far as asking its host. */
const host = {} as HostServices;

async function refusal(config: MachineConfig): Promise<unknown> {
  return Machine.create(config, host).then(
    () => 'made',
    (error: unknown) => error,
  );
}

describe('a machine that cannot be', () => {
  it.each<[MachineConfig, string]>([
    [{ memoryBytes: 4 * 1024 ** 3 }, '-m: 4096 MiB is too much memory; a pc machine has at most 3072 MiB.'],
    [{ memoryBytes: 4096 }, '-m: 0 MiB is too little memory; a pc machine has at least 1 MiB.'],
    [{ serialPorts: -1 }, '-serial: there are 0 to 4 serial ports, not -1'],
    [
      { kernel: 'vmlinuz' as never },
      'kernel: the image is wanted as bytes (a Uint8Array) or a function that gives them, not as string',
    ],
    [{ kernel: () => Promise.resolve(new Uint8Array(3)) }, '-kernel kernel: not a kernel image'],
    [{ smp: 2 }, '-smp 2: one vCPU is all there is yet'],
    [{ memoryBytes: 1 << 20, trace: ['pit_st_irq'] }, '-trace pit_st_irq: no event of this machine has that name'],
    [{ memoryBytes: 1 << 20, cpu: 'qemu46' }, "-cpu qemu46: there is no such model; did you mean 'qemu64'?"],
  ])('is refused in one sentence: %j', async (config, message) => {
    const error = await refusal({ ...config, startTimeMs: 0 });
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).message.startsWith(message)).toBe(true);
  });
});
