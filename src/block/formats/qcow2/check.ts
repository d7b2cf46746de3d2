/**
 * `img check`: counts all references to host clusters, compares with the refcounts, and repairs them: leaks, wrong counts and flags, or,
 * when the refcount structure itself is damaged, a new one. Sentences are worded as the peer's.
 */
import { ImageError } from '../../block-error.ts';
import type { CheckResult } from '../../node.ts';
import type { Qcow2Image } from './image.ts';
import {
  ENTRY_COMPRESSED, ENTRY_COPIED, INCOMPATIBLE_CORRUPT, INCOMPATIBLE_DIRTY, readU64, viewOf,
} from './layout.ts'; // prettier-ignore
import { readTable } from './metadata-file.ts';
import { References, writeStructure } from './rebuild.ts';
import type { Snapshots } from './snapshots.ts';
import { entryClusters, entryOffset, fixCopiedFlags } from './walk.ts';

/** Sentences kept: a hostile image could have one for each of its clusters. */
const MESSAGES_MAX = 100_000;
interface Tally {
  corruptions: number;
  leaks: number;
  checkErrors: number;
  corruptionsFixed: number;
  leaksFixed: number;
  allocatedClusters: number;
  fragmentedClusters: number;
  compressedClusters: number;
  highest: number;
  rebuild: boolean;
}

/** What else an image refers to, besides what the header says. */
export interface Extras {
  readonly snapshots: Snapshots;
  /** Clusters of bitmaps: directory, tables, data. */
  readonly bitmapRanges: readonly { readonly offset: number; readonly bytes: number }[];
}

type Repair = 'none' | 'leaks' | 'all';

export class Check {
  private readonly image: Qcow2Image;
  private readonly repair: Repair;
  private readonly extras: Extras;
  private readonly messages: string[] = [];
  private references = new References();
  /** Those of them that the refcount structure itself is. */
  private structure = new References();
  private readonly tally: Tally = {
    corruptions: 0, leaks: 0, checkErrors: 0, corruptionsFixed: 0, leaksFixed: 0, allocatedClusters: 0, fragmentedClusters: 0,
    compressedClusters: 0, highest: 0, rebuild: false,
  }; // prettier-ignore

  constructor(image: Qcow2Image, repair: Repair, extras: Extras) {
    this.image = image;
    this.repair = repair;
    this.extras = extras;
  }

  /** The caller holds the gate and has settled the image. */
  async run(): Promise<CheckResult> {
    const { image, tally } = this;
    const { snapshots } = this.extras;
    const faults = await snapshots.inspect(this.repair === 'all', (sentence) => this.say(sentence));
    await this.countAll();
    await this.compare('none');
    if (tally.rebuild && this.repair === 'all') await this.rebuild();
    else if (this.repair !== 'none') {
      if (tally.rebuild) {
        this.say('ERROR need to rebuild refcount structures');
        tally.checkErrors++;
      } else if (tally.leaks > 0 || tally.corruptions > this.walked) {
        tally.corruptions = this.walked;
        tally.leaks = 0;
        await this.compare(this.repair);
        await image.flush();
      }
    }
    await this.checkFlags();
    tally.corruptionsFixed += faults.fixed;
    if (faults.left > 0 && this.repair === 'all' && tally.checkErrors === 0) {
      await snapshots.rewrite();
      tally.corruptionsFixed += faults.left;
    } else tally.corruptions += faults.left;
    if (this.repair !== 'none') {
      await image.flush();
      if (tally.checkErrors === 0 && tally.corruptions === 0) await this.markConsistent();
    }
    return {
      corruptions: tally.corruptions,
      leaks: tally.leaks,
      checkErrors: tally.checkErrors,
      corruptionsFixed: tally.corruptionsFixed,
      leaksFixed: tally.leaksFixed,
      imageEndOffset: (tally.highest + 1) * image.clusterSize,
      totalClusters: Math.ceil(image.header.size / image.clusterSize),
      allocatedClusters: tally.allocatedClusters,
      fragmentedClusters: tally.fragmentedClusters,
      compressedClusters: tally.compressedClusters,
      messages: this.messages,
    };
  }

  private say(sentence: string): void {
    if (this.messages.length < MESSAGES_MAX) this.messages.push(sentence);
  }

  /** Corruptions that were found before refcounts were compared. */
  private walked = 0;

  /** Clusters that it counted: none when they are not in the file. */
  private refer(offset: number, bytes: number, weight = 1): number {
    if (bytes <= 0) return 0;
    const { clusterSize, file } = this.image;
    if (offset + bytes - file.size >= clusterSize) {
      this.say(
        `ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x${offset.toString(16)} size 0x${bytes.toString(16)}`,
      );
      this.tally.corruptions++;
      return 0;
    }
    const first = Math.floor(offset / clusterSize);
    const last = Math.floor((offset + bytes - 1) / clusterSize);
    for (let cluster = first; cluster <= last; cluster++) {
      const count = this.references.add(cluster, weight);
      if (count > this.image.refcounts.limit && count - weight <= this.image.refcounts.limit) this.overflow(cluster);
    }
    return last - first + 1;
  }

  /** More references than a refcount of this width can say: nothing to be mended in place. */
  private overflow(cluster: number): void {
    this.say(
      `ERROR: overflow cluster offset=0x${(cluster * this.image.clusterSize).toString(16)}\n` +
        'Amend the image to wider refcounts (refcount_bits), or convert it to get a clean copy',
    );
    this.tally.corruptions++;
  }

  /** All references but those of the refcount structure, without comparing (the caller holds the gate and has settled the image). */
  async count(): Promise<References> {
    await this.countAll();
    if (this.tally.corruptions > 0) throw new ImageError('The image is corrupt; it has to be repaired first', 'EIO');
    this.references.remove(this.structure);
    return this.references;
  }

  private async countAll(): Promise<void> {
    const { image, tally } = this;
    const { header, clusterSize } = image;
    this.references = new References();
    this.structure = new References();
    [tally.allocatedClusters, tally.fragmentedClusters, tally.compressedClusters] = [0, 0, 0];
    this.refer(0, clusterSize);
    // Each L2 table is walked once, for as many L1 entries as refer to it.
    const tables = new Map<number, number>();
    this.countL1(image.tables.l1, header.l1Offset, tables);
    const active = new Set(tables.keys());
    const { snapshots, bitmapRanges } = this.extras;
    for (const snapshot of snapshots.records)
      this.countL1(await readTable(image.file, snapshot.l1Offset, snapshot.l1Entries * 8), snapshot.l1Offset, tables);
    for (const [offset, weight] of tables) await this.countL2(offset, weight, active.has(offset));
    this.refer(snapshots.tableRange.offset, snapshots.tableRange.bytes);
    if (header.crypto !== undefined) this.refer(header.crypto.offset, header.crypto.bytes);
    for (const range of bitmapRanges) this.refer(range.offset, range.bytes);
    const counted = this.refer(header.refcountTableOffset, header.refcountTableClusters * clusterSize);
    for (let at = 0; at < counted; at++) this.structure.add(header.refcountTableOffset / clusterSize + at, 1);
    this.countBlocks();
    this.walked = tally.corruptions;
  }

  private countL1(l1: Uint8Array, l1Offset: number, tables: Map<number, number>): void {
    this.refer(l1Offset, l1.length);
    const view = viewOf(l1);
    for (let at = 0; at < l1.length; at += 8) {
      const offset = entryOffset(view, at);
      if (offset === 0) continue;
      this.refer(offset, this.image.clusterSize);
      if (offset % this.image.clusterSize !== 0) {
        this.say(`ERROR l2_offset=${offset.toString(16)}: Table is not cluster aligned; L1 entry corrupted`);
        this.tally.corruptions++;
        continue;
      }
      tables.set(offset, (tables.get(offset) ?? 0) + 1);
    }
  }

  private async countL2(l2Offset: number, weight: number, active: boolean): Promise<void> {
    const { image, tally } = this;
    const view = viewOf(await readTable(image.file, l2Offset, image.clusterSize));
    let next = 0;
    for (let at = 0; at < image.clusterSize; at += image.tables.entryBytes) {
      const high = view.getUint32(at);
      const { offset, clusters } = entryClusters(image, view, at);
      if (high & ENTRY_COMPRESSED) {
        if (high & ENTRY_COPIED) {
          this.say(`ERROR: coffset=0x${offset.toString(16)}: copied flag must never be set for compressed clusters`);
          tally.corruptions++;
        }
        if (active) {
          tally.compressedClusters++;
          tally.allocatedClusters++;
          tally.fragmentedClusters++;
        }
        const { host, compressedBytes } = image.tables.decodeCompressed(high, view.getUint32(at + 4));
        this.refer(host, compressedBytes, weight);
        continue;
      }
      const data = image.hasDataFile ? entryOffset(view, at) : offset;
      if (data === 0 && (!image.hasDataFile || !(high & ENTRY_COPIED))) continue;
      if (data % image.clusterSize !== 0) {
        this.say(`ERROR offset=${data.toString(16)}: Data cluster is not properly aligned; L2 entry corrupted.`);
        tally.corruptions++;
        // Whatever it is, it may be somebody's data: repairing leaks must not give it away.
        if (!image.hasDataFile) this.refer(data, image.clusterSize, weight);
        continue;
      }
      if (active) {
        tally.allocatedClusters++;
        if (next !== 0 && data !== next) tally.fragmentedClusters++;
        next = data + image.clusterSize;
      }
      if (clusters > 0) this.refer(offset, image.clusterSize, weight);
    }
  }

  private countBlocks(): void {
    const { image, tally } = this;
    const { table } = image.refcounts;
    const view = viewOf(table);
    for (let index = 0; index * 8 < table.length; index++) {
      const offset = readU64(view, index * 8);
      if (offset === 0) continue;
      if (offset % image.clusterSize !== 0) {
        this.say(`ERROR refcount block ${index} is not cluster aligned; refcount table entry corrupted`);
      } else if (offset >= image.file.size) {
        this.say(`ERROR refcount block ${index} is outside image`);
      } else {
        const cluster = offset / image.clusterSize;
        this.structure.add(cluster, 1);
        const count = this.references.add(cluster, 1);
        if (count === 1) continue;
        this.say(`ERROR refcount block ${index} refcount=${count}`);
      }
      tally.corruptions++;
      tally.rebuild = true;
    }
  }

  /** Block by block of refcounts, where there is one or something is referred to. */
  private async compare(repair: Repair): Promise<void> {
    const { image, tally } = this;
    const { perBlock } = image.refcounts;
    const end = Math.max(Math.ceil(image.file.size / image.clusterSize), this.references.end);
    for (const block of this.blocksOfInterest()) {
      const last = Math.min(end, (block + 1) * perBlock);
      for (let cluster = block * perBlock; cluster < last; cluster++) {
        const gap = this.references.gapAt(cluster);
        if (gap > 0 && image.refcounts.areFree(cluster, gap)) {
          cluster += gap - 1;
          continue;
        }
        const counted = Math.min(this.references.get(cluster), image.refcounts.limit);
        let stored: number;
        try {
          stored = image.refcounts.peek(cluster) ?? (await image.refcounts.get(cluster));
        } catch {
          this.say(`Can't get refcount for cluster ${cluster}: Input/output error`);
          tally.checkErrors++;
          tally.rebuild = true;
          break;
        }
        if (counted > 0 || stored > 0) tally.highest = Math.max(tally.highest, cluster);
        if (counted === stored) continue;
        if (stored === 0) tally.rebuild = true;
        const low = stored < counted;
        const fix = low ? repair === 'all' && stored > 0 : repair !== 'none';
        this.say(
          `${fix ? 'Repairing' : low ? 'ERROR' : 'Leaked'} cluster ${cluster} refcount=${stored} reference=${counted}`,
        );
        if (fix) {
          await image.refcounts.change(cluster, 1, counted - stored);
          tally[low ? 'corruptionsFixed' : 'leaksFixed']++;
        } else {
          tally[low ? 'corruptions' : 'leaks']++;
        }
      }
    }
  }

  private blocksOfInterest(): number[] {
    const { refcounts } = this.image;
    const blocks = this.references.blocks(refcounts.perBlock);
    for (let index = 0; index * 8 < refcounts.table.length; index++)
      if (refcounts.blockOffset(index) !== 0) blocks.add(index);
    return [...blocks].sort((a, b) => a - b);
  }

  private async rebuild(): Promise<void> {
    const { image, tally } = this;
    this.say('Rebuilding refcount structure');
    const before = { ...tally };
    this.references.remove(this.structure);
    const freed = this.structure.clusters.filter((cluster) => this.references.get(cluster) === 0);
    await writeStructure(image, this.references, image.header.refcountOrder);
    tally.corruptions = 0;
    tally.leaks = 0;
    tally.rebuild = false;
    await this.countAll();
    await this.compare('none');
    // The old structure is free now, which repairs nothing that was wrong before.
    for (const cluster of freed) this.say(`Repairing cluster ${cluster} refcount=1 reference=0`);
    if (tally.rebuild) this.say('ERROR rebuilt refcount structure is still broken');
    tally.corruptionsFixed = before.corruptionsFixed + Math.max(0, before.corruptions - tally.corruptions);
    tally.leaksFixed = before.leaksFixed + Math.max(0, before.leaks - tally.leaks);
    await image.flush();
  }

  private async checkFlags(): Promise<void> {
    const { tally } = this;
    // After leaks were repaired and nothing else was wrong the counts are right, and the flags follow from them.
    const isSound = tally.checkErrors === 0 && tally.corruptions === 0 && tally.leaks === 0;
    const fix = this.repair === 'all' || (this.repair === 'leaks' && isSound);
    const how = fix ? 'Repairing' : 'ERROR';
    await fixCopiedFlags(this.image, (kind, index, entry, refcount) => {
      const hex = entry.toString(16);
      if (kind === 'L1')
        this.say(`${how} OFLAG_COPIED L2 cluster: l1_index=${index} l1_entry=${hex} refcount=${refcount}`);
      else this.say(`${how} OFLAG_COPIED data cluster: l2_entry=${hex} refcount=${refcount}`);
      tally[fix ? 'corruptionsFixed' : 'corruptions']++;
      return fix;
    });
  }

  private async markConsistent(): Promise<void> {
    const { image } = this;
    const bits = INCOMPATIBLE_CORRUPT | INCOMPATIBLE_DIRTY;
    await image.settle();
    if (!(image.header.incompatible & bits)) return;
    image.header.incompatible &= ~bits;
    await image.writeHeader();
  }
}
