/**
 * An empty ext4 file system with a journal (Linux, Documentation/filesystems/ext4): what has to be written to a disk that is all zeroes.
 * Blocks of 4 KiB, extents, one descriptor of 32 bytes a group; no checksums, no room to grow.
 */
import { alignUp } from '../base/bits.ts';
import { asciiBytes, viewOf } from '../base/bytes.ts';

export interface Ext4Options {
  readonly sizeBytes: number;
  /** 16 bytes that no other file system has. */
  readonly uuid: Uint8Array;
  /** Seconds since 1970. */
  readonly time: number;
}

export interface DiskWrite {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

const BLOCK = 4096;
const GROUP_BLOCKS = BLOCK * 8;
const MAX_BLOCKS = 2 ** 32 - GROUP_BLOCKS;
const DESCRIPTOR = 32;
const INODE = 256;
const BYTES_AN_INODE = 16384;
const FIRST_INODE = 11;
const ROOT = 2;
const JOURNAL = 8;
const LOST_AND_FOUND = FIRST_INODE;
const LOST_AND_FOUND_BLOCKS = 4;
/** A last group with less room than this is left out. */
const SMALLEST_GROUP = 1024;
export const MIN_EXT4_BYTES: number = 16 << 20;

const COMPAT = 0x04 | 0x08 | 0x20; // has_journal, ext_attr, dir_index
const INCOMPAT = 0x02 | 0x40; // filetype, extents
const RO_COMPAT = 0x01 | 0x02 | 0x20 | 0x40; // sparse_super, large_file, dir_nlink, extra_isize
const DIRECTORY = 0o040000;
const REGULAR = 0o100000;
const EXTENTS_FLAG = 0x80000;
const TYPE_DIRECTORY = 2;

/** Where the parts are, in blocks. */
interface Geometry {
  readonly blocks: number;
  readonly groups: number;
  readonly inodesPerGroup: number;
  readonly tableBlocks: number;
  readonly descriptorBlocks: number;
  readonly journalBlocks: number;
}

function geometryOf(sizeBytes: number): Geometry {
  let blocks = Math.min(Math.floor(sizeBytes / BLOCK), MAX_BLOCKS);
  const rest = blocks % GROUP_BLOCKS;
  if (blocks > GROUP_BLOCKS && rest > 0 && rest < SMALLEST_GROUP) blocks -= rest;
  const groups = Math.ceil(blocks / GROUP_BLOCKS);
  const inodesPerGroup = alignUp((Math.min(blocks, GROUP_BLOCKS) * BLOCK) / BYTES_AN_INODE, BLOCK / INODE);
  return {
    blocks,
    groups,
    inodesPerGroup,
    tableBlocks: (inodesPerGroup * INODE) / BLOCK,
    descriptorBlocks: Math.ceil((groups * DESCRIPTOR) / BLOCK),
    journalBlocks: blocks < GROUP_BLOCKS ? 1024 : blocks < 8 * GROUP_BLOCKS ? 4096 : 8192,
  };
}

/** Groups 0 and 1 and the powers of 3, 5 and 7 have a copy of superblock and descriptors (sparse_super). */
function hasCopy(group: number): boolean {
  if (group <= 1) return true;
  return [3, 5, 7].some((base) => {
    let power = base;
    while (power < group) power *= base;
    return power === group;
  });
}

/** Blocks at a group's start that are taken by the file system itself. */
function overhead(geometry: Geometry, group: number): number {
  return (hasCopy(group) ? 1 + geometry.descriptorBlocks : 0) + 2 + geometry.tableBlocks;
}

/** Where a group's block bitmap is; the inode bitmap and the inode table follow. */
function bitmapsAt(geometry: Geometry, group: number): number {
  return group * GROUP_BLOCKS + (hasCopy(group) ? 1 + geometry.descriptorBlocks : 0);
}

/** What is to be written, in any order. The size is MIN_EXT4_BYTES at least. */
export function* ext4Writes(options: Ext4Options): Generator<DiskWrite> {
  const geometry = geometryOf(options.sizeBytes);
  const { blocks, groups, inodesPerGroup, journalBlocks } = geometry;
  const rootBlock = overhead(geometry, 0);
  const lostBlock = rootBlock + 1;
  const journalBlock = lostBlock + LOST_AND_FOUND_BLOCKS;
  const groupBlocks = (group: number): number => Math.min(GROUP_BLOCKS, blocks - group * GROUP_BLOCKS);
  const used = (group: number): number => (group === 0 ? journalBlock + journalBlocks : overhead(geometry, group));

  const descriptors = new Uint8Array(geometry.descriptorBlocks * BLOCK);
  const view = viewOf(descriptors);
  let freeBlocks = 0;
  for (let group = 0; group < groups; group++) {
    const at = group * DESCRIPTOR;
    const bitmaps = bitmapsAt(geometry, group);
    const free = groupBlocks(group) - used(group);
    freeBlocks += free;
    [bitmaps, bitmaps + 1, bitmaps + 2].forEach((block, i) => view.setUint32(at + i * 4, block, true));
    view.setUint16(at + 12, free, true);
    view.setUint16(at + 14, inodesPerGroup - (group === 0 ? FIRST_INODE : 0), true);
    view.setUint16(at + 16, group === 0 ? 2 : 0, true); // directories
    yield {
      offset: bitmaps * BLOCK,
      bytes: bitmapPair(used(group), groupBlocks(group), group === 0 ? FIRST_INODE : 0, inodesPerGroup),
    };
  }

  const table = new Uint8Array(BLOCK);
  writeInode(table, ROOT, options.time, { mode: DIRECTORY | 0o755, links: 3, first: rootBlock, blocks: 1 });
  writeInode(table, JOURNAL, options.time, {
    mode: REGULAR | 0o600,
    links: 1,
    first: journalBlock,
    blocks: journalBlocks,
  });
  const lost = { mode: DIRECTORY | 0o700, links: 2, first: lostBlock, blocks: LOST_AND_FOUND_BLOCKS };
  writeInode(table, LOST_AND_FOUND, options.time, lost);
  yield { offset: (bitmapsAt(geometry, 0) + 2) * BLOCK, bytes: table };
  yield { offset: rootBlock * BLOCK, bytes: directory(['.', ROOT], ['..', ROOT], ['lost+found', LOST_AND_FOUND]) };
  yield { offset: lostBlock * BLOCK, bytes: directory(['.', LOST_AND_FOUND], ['..', ROOT]) };
  for (let i = 1; i < LOST_AND_FOUND_BLOCKS; i++) yield { offset: (lostBlock + i) * BLOCK, bytes: directory() };
  yield { offset: journalBlock * BLOCK, bytes: journalSuperblock(journalBlocks, options.uuid) };

  const journalInode = table.subarray((JOURNAL - 1) * INODE, JOURNAL * INODE);
  for (let group = groups - 1; group >= 0; group--) {
    if (!hasCopy(group)) continue;
    const start = group * GROUP_BLOCKS * BLOCK;
    yield { offset: start + BLOCK, bytes: descriptors };
    // The first superblock comes last: without it there is no file system.
    yield {
      offset: start + (group === 0 ? 1024 : 0),
      bytes: superblock(geometry, options, freeBlocks, group, journalInode),
    };
  }
}

function bitmapPair(usedBlocks: number, blocks: number, usedInodes: number, inodes: number): Uint8Array {
  const pair = new Uint8Array(2 * BLOCK);
  const mark = (base: number, from: number, to: number): void => {
    for (let i = from; i < to; i++) pair[base + (i >> 3)] = (pair[base + (i >> 3)] ?? 0) | (1 << (i & 7));
  };
  mark(0, 0, usedBlocks);
  mark(0, blocks, GROUP_BLOCKS); // beyond the end
  mark(BLOCK, 0, usedInodes);
  mark(BLOCK, inodes, GROUP_BLOCKS);
  return pair;
}

interface InodeFacts {
  readonly mode: number;
  readonly links: number;
  /** Its blocks lie in one piece. */
  readonly first: number;
  readonly blocks: number;
}

function writeInode(table: Uint8Array, number: number, time: number, { mode, links, first, blocks }: InodeFacts): void {
  const view = viewOf(table.subarray((number - 1) * INODE, number * INODE));
  view.setUint16(0, mode, true);
  view.setUint32(4, blocks * BLOCK, true);
  for (const at of [8, 12, 16, 144]) view.setUint32(at, time, true); // access, change, modification, creation
  view.setUint16(26, links, true);
  view.setUint32(28, (blocks * BLOCK) / 512, true);
  view.setUint32(32, EXTENTS_FLAG, true);
  // One extent in the inode itself: header, then logical block, length, physical block.
  [0xf30a, 1, 4, 0].forEach((value, i) => view.setUint16(40 + i * 2, value, true));
  view.setUint16(56, blocks, true);
  view.setUint32(60, first, true);
  view.setUint16(128, 32, true); // size of the fields behind the first 128 bytes
}

/** A block of entries; the last one reaches to its end. */
function directory(...entries: readonly (readonly [string, number])[]): Uint8Array {
  const block = new Uint8Array(BLOCK);
  const view = viewOf(block);
  let at = 0;
  entries.forEach(([name, inode], i) => {
    const bytes = i === entries.length - 1 ? BLOCK - at : alignUp(8 + name.length, 4);
    view.setUint32(at, inode, true);
    view.setUint16(at + 4, bytes, true);
    block.set([name.length, TYPE_DIRECTORY], at + 6);
    block.set(asciiBytes(name), at + 8);
    at += bytes;
  });
  if (entries.length === 0) view.setUint16(4, BLOCK, true);
  return block;
}

/** JBD2's, big endian: nothing to recover. */
function journalSuperblock(blocks: number, uuid: Uint8Array): Uint8Array {
  const block = new Uint8Array(BLOCK);
  const view = viewOf(block);
  // magic, type, sequence; block size, length, first block, first sequence expected, where the log starts: empty
  [0xc03b3998, 4, 0, BLOCK, blocks, 1, 1, 0].forEach((value, i) => view.setUint32(i * 4, value));
  block.set(uuid, 48);
  view.setUint32(64, 1); // users
  return block;
}

function superblock(
  { blocks, groups, inodesPerGroup }: Geometry,
  { uuid, time }: Ext4Options,
  freeBlocks: number,
  group: number,
  journalInode: Uint8Array,
): Uint8Array {
  const bytes = new Uint8Array(1024);
  const view = viewOf(bytes);
  const u32 = (at: number, ...values: number[]): void =>
    values.forEach((value, i) => view.setUint32(at + i * 4, value, true));
  const u16 = (at: number, ...values: number[]): void =>
    values.forEach((value, i) => view.setUint16(at + i * 2, value, true));
  u32(0, groups * inodesPerGroup, blocks, Math.floor(blocks / 100), freeBlocks, groups * inodesPerGroup - FIRST_INODE);
  u32(24, 2, 2, GROUP_BLOCKS, GROUP_BLOCKS, inodesPerGroup); // blocks and clusters of 1024 << 2 bytes
  u32(48, time);
  u16(54, 0xffff, 0xef53, 1, 1); // no count of mounts, magic, clean, errors: go on
  u32(64, time);
  u32(76, 1); // revision
  u32(84, FIRST_INODE);
  u16(88, INODE, group);
  u32(92, COMPAT, INCOMPAT, RO_COMPAT);
  bytes.set(uuid, 104);
  u32(224, JOURNAL);
  bytes.set(uuid, 236); // seed of directory hashes
  bytes.set([1, 1], 252); // half MD4; the journal's inode is kept below
  u32(256, 0x0c, 0, time); // user attributes and ACLs
  bytes.set(journalInode.subarray(40, 100), 268);
  bytes.set(journalInode.subarray(4, 8), 268 + 16 * 4);
  u16(348, 32, 32);
  u32(352, 1); // signed hashes
  return bytes;
}
