/**
 * The door for pages and workers. The page must be cross-origin isolated (COOP `same-origin`, COEP `require-corp`), since guest
 * memory is shared memory.
 *
 *     import { Machine } from 'orrery';
 *     const machine = await Machine.create({ kernel, initrd, commandLine: 'console=ttyS0' });
 *     machine.start();
 */
import { browserHostServices } from './host/browser/services.ts';
import { UserError } from './base/errors.ts';
import type { MachineConfig } from './machine/config.ts';
import type { HostServices } from './machine/host-services.ts';
import { Machine as AnyMachine } from './machine/machine.ts';

export * from './index.ts';

/** A virtual PC that runs in this page or worker. */
export class Machine extends AnyMachine {
  /** See the base class; `host` is this page unless given. */
  static override create(config: MachineConfig, host: HostServices = browserHostServices): Promise<Machine> {
    if (!globalThis.crossOriginIsolated) {
      return Promise.reject(
        new UserError(
          'guest memory is shared memory: serve the page with the headers COOP same-origin and COEP require-corp',
        ),
      );
    }
    return AnyMachine.create(config, host);
  }
}
