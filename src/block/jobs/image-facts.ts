/** What there is to know of an image file, in the names of QEMU's ImageInfo. */
import type { BlockGraph } from '../graph.ts';
import type { BlockNode, JsonValue, SnapshotInfo } from '../node.ts';

export interface ImageFacts {
  readonly filename: string;
  readonly format: string;
  readonly virtualSize: number;
  /** Storage that it takes; undefined: nobody knows. */
  readonly actualSize?: number;
  readonly clusterSize?: number;
  readonly encrypted?: boolean;
  /** Undefined for formats that do not say. */
  readonly dirty?: boolean;
  readonly backing?: { readonly file: string; readonly format?: string; readonly path?: string };
  readonly snapshots: readonly SnapshotInfo[];
  readonly specific?: { readonly type: string; readonly data: Readonly<Record<string, JsonValue>> };
}

export async function imageFacts(graph: BlockGraph, node: BlockNode): Promise<ImageFacts> {
  const info = node.imageInfo?.();
  const { clusterSize, encrypted } = info ?? {};
  const actualSize = await allocatedBytes(node);
  const { backingReference } = node;
  const specific = node.specificInfo?.();
  return {
    filename: node.filename,
    format: node.driver,
    virtualSize: node.size,
    ...(actualSize !== undefined && { actualSize }),
    ...(clusterSize !== undefined && { clusterSize }),
    ...(encrypted !== undefined && { encrypted }),
    ...(info !== undefined && { dirty: info.dirty ?? false }),
    ...(backingReference !== undefined && {
      backing: { ...backingReference, ...pathOf(graph, node.filename, backingReference.file) },
    }),
    snapshots: node.snapshots?.list() ?? [],
    ...(specific !== undefined && { specific }),
  };
}

function pathOf(graph: BlockGraph, image: string, name: string): { readonly path?: string } {
  try {
    return { path: graph.filenames.backingFilename(image, name) };
  } catch {
    return {};
  }
}

/** Storage of a node and of what holds its data and tables, backing images not counted. */
export async function allocatedBytes(node: BlockNode): Promise<number | undefined> {
  if (node.allocatedBytes !== undefined) return node.allocatedBytes();
  const below = node.children.filter(({ role }) => role !== 'backing');
  if (below.length === 0) return undefined;
  let bytes = 0;
  for (const child of below) {
    const more = await allocatedBytes(child.node);
    if (more === undefined) return undefined;
    bytes += more;
  }
  return bytes;
}
