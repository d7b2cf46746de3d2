/** `orrery nbd FILE…`: serves images until it is told to stop, or the last client has gone. */
import { UserError } from '../../base/errors.ts';
import { ERRNO_TEXT, errnoOf } from '../../block/block-error.ts';
import { BlockGraph } from '../../block/graph.ts';
import type { HostAddress } from '../../block/host.ts';
import { describeAddress } from '../../block/nbd/client/connect.ts';
import type { NbdExportOptions } from '../../block/nbd/server/export.ts';
import { NbdServer } from '../../block/nbd/server/server.ts';
import { nodeBlockHost, serverBlockHost } from '../../host/node/block/host.ts';
import { BlockObjects } from '../block-objects.ts';
import { handedSocket, tellServing, writePidFile } from './daemon.ts';
import { openImage } from './open-image.ts';
import type { NbdRequest, ServedImage } from './request.ts';
import { programName } from '../called-as.ts';

export async function serveImages(request: NbdRequest): Promise<number> {
  const objects = new BlockObjects(nodeBlockHost, request.objects);
  const { tlsCreds } = request;
  const tls =
    tlsCreds === undefined
      ? undefined
      : await objects.tlsCredentials(tlsCreds, 'server').catch((error: unknown) => {
          throw new UserError(`Failed to get TLS creds: ${error instanceof Error ? error.message : String(error)}`);
        });
  const graph = new BlockGraph(serverBlockHost, {
    warn: (sentence) => process.stderr.write(`${programName()}: warning: ${sentence}\n`),
    secret: objects.secret,
    tlsCredentials: objects.tlsCredentials,
    throttleGroup: objects.throttleGroup,
  });
  const say = (sentence: string): void => {
    if (request.verbose) process.stdout.write(`${sentence}\n`);
  };
  const stopped = Promise.withResolvers<void>();
  const server = new NbdServer({
    host: nodeBlockHost,
    ...(tls !== undefined && { tls }),
    maxClients: request.shared,
    onClientGone: (left) => {
      say(`a client has gone, ${left} left`);
      if (left === 0 && !request.persistent) stopped.resolve();
    },
    onClientRefused: (error) => say(`a client was refused: ${error instanceof Error ? error.message : String(error)}`),
  });
  try {
    for (const image of request.images) server.add(await exportOf(graph, image, request));
    await listen(server, request);
    if (request.pidFile !== undefined) writePidFile(request.pidFile);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stopped.resolve());
    for (const { name, size } of server.exports) {
      say(`export '${name}' of ${size} bytes at ${describeAddress(request.address)}`);
    }
    tellServing();
    await stopped.promise;
  } finally {
    try {
      await server.close().catch(tellLoss);
    } finally {
      await graph.closeAll().catch(tellLoss);
    }
  }
  return 0;
}

/** An image that cannot be written to its end is nothing that this program did wrong. */
function tellLoss(error: unknown): never {
  const { code } = error as { code?: unknown };
  if (code === undefined || error instanceof UserError) throw error;
  throw new UserError(`What clients wrote could not all be stored: ${ERRNO_TEXT[errnoOf(error)]}`);
}

async function exportOf(graph: BlockGraph, image: ServedImage, request: NbdRequest): Promise<NbdExportOptions> {
  return {
    name: image.exportName,
    description: image.description,
    node: await openImage(graph, image.file, request),
    offset: request.offset,
    readOnly: request.readOnly,
    multiConn: request.shared !== 1,
    writethrough: request.cache === 'writethrough' || request.cache === 'directsync',
    discard: request.discard,
    detectZeroes: request.detectZeroes,
    allocationDepth: request.allocationDepth,
    bitmaps: request.bitmaps,
  };
}

async function listen(server: NbdServer, { address, addressGiven }: NbdRequest): Promise<void> {
  const fd = handedSocket();
  if (fd !== undefined && addressGiven !== undefined) {
    throw new UserError(`${addressGiven} can't be set when using socket activation`);
  }
  const place: HostAddress = fd === undefined ? address : { type: 'fd', fd };
  try {
    await server.listen(place);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason = code === 'EADDRINUSE' ? 'Address already in use' : code ? ERRNO_TEXT[errnoOf(error)] : message;
    if (place.type === 'unix') throw new UserError(`Failed to bind socket to ${place.path}: ${reason}`);
    if (place.type === 'inet')
      throw new UserError(`Failed to find an available port for ${place.host}:${place.port}: ${reason}`);
    throw new UserError(`Failed to use socket activation: ${reason}`);
  }
}
