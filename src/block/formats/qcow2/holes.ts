/** Whether the image's file has less storage than clusters in use: then its metadata was preallocated, and data may lie in holes. */
import type { Qcow2Image } from './image.ts';

export async function hasUnusedClusters(image: Qcow2Image): Promise<boolean> {
  const { file, clusterSize, refcounts } = image;
  const storage = await file.allocatedBytes?.();
  if (storage === undefined) return false;
  const stored = Math.floor(storage / clusterSize);
  // As much as file systems' own granularity and a few holes in tables make.
  const most = Math.max(Math.floor((stored * 10) / 9), stored + 2);
  const clusters = Math.ceil(file.size / clusterSize);
  let used = 0;
  for (let cluster = 0; cluster < clusters; cluster++) {
    if ((refcounts.peek(cluster) ?? 0) === 0) cluster = await refcounts.nextUsed(cluster, clusters);
    if (cluster < clusters && ++used > most) return true;
  }
  return false;
}
