/** `orrery nbd`: serves a disk image over NBD, or lists what a server has; qemu-nbd's options. */
import { UserError } from '../base/errors.ts';
import { listNbd } from '../block/nbd/client/connect.ts';
import { nodeBlockHost } from '../host/node/block/host.ts';
import { BlockObjects } from './block-objects.ts';
import type { Command } from './command.ts';
import { inBackground, runInBackground } from './nbd/daemon.ts';
import { describeExports } from './nbd/list.ts';
import { type NbdRequest, parseNbdArguments } from './nbd/request.ts';
import { serveImages } from './nbd/serve.ts';
import { versionLine } from './version.ts';

const USAGE = `usage: orrery nbd [options] FILE
       orrery nbd [options] -x NAME -x NAME… FILE FILE…
       orrery nbd --list [options]

Serves a disk image to NBD clients, by default to one client after which it ends; or lists the exports of a server.
Several images are served by one server when each has its -x, in the same order; the other options are for all.

Connection:
  -p, --port PORT           TCP port (default 10809)
  -b, --bind HOST           address to listen at, or of the server to list (default 0.0.0.0)
  -k, --socket PATH         Unix-domain socket instead
  -e, --shared NUM          clients at once (default 1, 0 for any number)
  -t, --persistent          go on after the last client
  -x, --export-name NAME    name of the export (default: the empty name); one for each FILE
  -D, --description TEXT    text that a list of exports shows; one for each FILE, or none
  -L, --list                list the exports of the server at the address above
      --object TYPE,id=ID,… tls-creds-x509, tls-creds-psk, secret, throttle-group
      --tls-creds ID        TLS only, with the keys of this object
      --tls-hostname NAME   with --list: name that the server's certificate must have
      --fork                serve in the background, return when it does
      --pid-file PATH       write the server's process number there
  -v, --verbose             tell where it serves, when clients go, and why some are refused

Image:
  -f, --format FORMAT       its format; without, it is told by its content
      --image-opts          FILE is a list of options: driver=qcow2,file.filename=…
  -r, --read-only           refuse writes
  -s, --snapshot            writes go to a temporary image, which is gone afterwards
  -l, --load-snapshot NAME  export an internal snapshot, read-only
  -o, --offset BYTES        where in the image the export begins
  -A, --allocation-depth    tell how deep in the backing chain data is
  -B, --bitmap NAME         tell a persistent dirty bitmap
  -n, --nocache             same as --cache=none
      --cache MODE          none, writeback (default), writethrough, directsync, unsafe
      --discard MODE        ignore (default), unmap
      --detect-zeroes MODE  off (default), on, unmap
      --aio MODE            taken for compatibility; there is one way here
`;

async function listServer(request: NbdRequest): Promise<number> {
  const objects = new BlockObjects(nodeBlockHost, request.objects);
  const { address, tlsCreds } = request;
  const hostname = request.tlsHostname ?? (address.type === 'inet' ? address.host : undefined);
  const tls =
    tlsCreds === undefined
      ? undefined
      : { ...(await objects.tlsCredentials(tlsCreds, 'client')), ...(hostname !== undefined && { hostname }) };
  const exports = await listNbd(nodeBlockHost, address, tls).catch((error: unknown) => {
    // What the system says of the connection is the user's to read.
    throw (error as { code?: unknown }).code === undefined ? error : new UserError((error as Error).message);
  });
  process.stdout.write(describeExports(exports));
  return 0;
}

export const nbdCommand: Command = {
  async run(args) {
    const request = parseNbdArguments(args);
    switch (request.action) {
      case 'help':
        process.stdout.write(USAGE);
        return 0;
      case 'version':
        process.stdout.write(`${versionLine()}\n`);
        return 0;
      case 'list':
        return listServer(request);
      case 'serve':
        return request.fork && !inBackground() ? runInBackground(args) : serveImages(request);
    }
  },
};
