/**
 * Orrery in Node: `import { Machine } from 'orrery'`.
 *
 *     const machine = await Machine.create({ kernel, initrd, commandLine: 'console=ttyS0' });
 *     machine.start();
 *     for await (const bytes of machine.serial[0].readable) process.stdout.write(bytes);
 *     const { reason } = await machine.exited;
 */
import { nodeHostServices } from './host/node/services.ts';
import type { MachineConfig } from './machine/config.ts';
import { Machine as PortableMachine } from './machine/machine.ts';

export * from './index.ts';
export { nodeHostServices } from './host/node/services.ts';
export { guestAssets } from './host/node/assets/assets.ts';
export type { AssetManifest, AssetOptions, GuestArchitecture, GuestAssets } from './host/node/assets/assets.ts';

/** A virtual PC in this process. */
export type Machine = PortableMachine;

export const Machine: {
  /**
   * Makes a machine with its kernel loaded, not yet running.
   * @throws {UserError} for a configuration that cannot be, in one sentence.
   */
  create(config: MachineConfig): Promise<Machine>;
} = {
  create: (config) => PortableMachine.create(config, nodeHostServices),
};
