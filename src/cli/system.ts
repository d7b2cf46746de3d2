/** `orrery system`: a machine from a command line in QEMU's words. */
import type { Command } from './command.ts';
import { listingText } from './system/listing.ts';
import { createMachine } from './system/machine-door.ts';
import { parseSystemOptions } from './system/options.ts';
import { runSystem } from './system/session.ts';

export const systemCommand: Command = {
  async run(args) {
    const request = parseSystemOptions(args);
    if (request.listing === undefined) return runSystem(request, createMachine);
    process.stdout.write(listingText(request.listing));
    return 0;
  },
};
