/** Names that rules of `blkdebug` may use: events of formats, kinds of requests, kinds of faults, error numbers. */
import type { Errno } from '../../block-error.ts';

/** As in QEMU's BlkdebugEvent. */
export const EVENTS: ReadonlySet<string> = new Set([
  'l1_update', 'l1_grow_alloc_table', 'l1_grow_write_table', 'l1_grow_activate_table', 'l2_load', 'l2_update',
  'l2_update_compressed', 'l2_alloc_cow_read', 'l2_alloc_write', 'read_aio', 'read_backing_aio', 'read_compressed',
  'write_aio', 'write_compressed', 'vmstate_load', 'vmstate_save', 'cow_read', 'cow_write', 'reftable_load',
  'reftable_grow', 'reftable_update', 'refblock_load', 'refblock_update', 'refblock_update_part', 'refblock_alloc',
  'refblock_alloc_hookup', 'refblock_alloc_write', 'refblock_alloc_write_blocks', 'refblock_alloc_write_table',
  'refblock_alloc_switch_table', 'cluster_alloc', 'cluster_alloc_bytes', 'cluster_free', 'flush_to_os', 'flush_to_disk',
  'pwritev_rmw_head', 'pwritev_rmw_after_head', 'pwritev_rmw_tail', 'pwritev_rmw_after_tail', 'pwritev', 'pwritev_zero',
  'pwritev_done', 'empty_image_prepare', 'l1_shrink_write_table', 'l1_shrink_free_l2_clusters', 'cor_write',
  'cluster_alloc_space', 'none',
]); // prettier-ignore

export const IO_TYPES = ['read', 'write', 'write-zeroes', 'discard', 'flush', 'block-status'] as const;
export type IoType = (typeof IO_TYPES)[number];

/**
 * What happens to a request: it fails before anything is done; only its first half is written, and it fails; every other sector is
 * written, and it fails; it is late.
 */
export const FAULTS = ['error', 'short-write', 'torn-write', 'delay'] as const;
export type Fault = (typeof FAULTS)[number];

/** Linux's numbers. */
const ERRNO_NUMBERS: Readonly<Record<number, Errno>> = {
  1: 'EPERM', 2: 'ENOENT', 5: 'EIO', 11: 'EAGAIN', 12: 'ENOMEM', 13: 'EACCES', 16: 'EBUSY', 17: 'EEXIST', 22: 'EINVAL', 27: 'EFBIG',
  28: 'ENOSPC', 30: 'EROFS', 75: 'EOVERFLOW', 95: 'ENOTSUP', 104: 'ECONNRESET', 108: 'ESHUTDOWN', 110: 'ETIMEDOUT',
  111: 'ECONNREFUSED', 125: 'ECANCELED',
}; // prettier-ignore

/** EIO for numbers that no node has a word for. */
export function errnoOfNumber(number: number): Errno {
  return ERRNO_NUMBERS[number] ?? 'EIO';
}
