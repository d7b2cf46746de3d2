/**
 * The block layer as a library: images, the graph that they are made of, NBD servers. The doors (src/node.ts, src/browser.ts) bind
 * `openImage`, `createImage` and `serveNbd` to their host.
 */
export { BlockError, type Errno, ImageError } from './block-error.ts';
export {
  type CopyImageOptions, createImage, DiskImage, type ImageExtent, type NewImageOptions, openImage,
  type OpenImageOptions,
} from './image.ts'; // prettier-ignore
export { benchImage, type BenchOptions } from './jobs/bench.ts';
export { type BitmapAction, changeBitmap } from './jobs/bitmap-actions.ts';
export { commitImage, type CommitOptions } from './jobs/commit.ts';
export { CompareError, compareImages, type CompareOptions, type Comparison } from './jobs/compare.ts';
export { copyImage, type CopyOptions } from './jobs/copy.ts';
export { type ImageFacts, imageFacts } from './jobs/image-facts.ts';
export { type Abortable, finish, type JobProgress } from './jobs/job.ts';
export { type MapEntry, mapImage } from './jobs/map.ts';
export { rebaseImage, type RebaseOptions } from './jobs/rebase.ts';
export { readStream, type ReadStreamOptions, writeStream, type WriteStreamOptions } from './image-streams.ts';
export { BlockGraph, type CreateImageOptions, type GraphOptions, type OpenFlags } from './graph.ts';
export type { BlockDriver, NodeOptions } from './driver.ts';
export { DRIVERS } from './drivers.ts';
export type { BlockHost, HostAddress, TlsOptions } from './host.ts';
export {
  BlockNode, type BitmapStore, type BlockStatus, type CheckResult, type Child, type DirtyBitmap, type JsonValue,
  type RequestLimits, type SnapshotInfo, type SnapshotStore, type TruncateOptions, type WriteFlags, type ZeroFlags,
} from './node.ts'; // prettier-ignore
export type { IoVector } from './io-vector.ts';
export { listNbd } from './nbd/client/connect.ts';
export type { NbdExportOptions } from './nbd/server/export.ts';
export { NbdServer, type NbdServerOptions, serveNbd } from './nbd/server/server.ts';
export { loadTlsCredentials } from './tls-credentials.ts';
