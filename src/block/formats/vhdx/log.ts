/** The log of a VHDX image (section 2.3): entries of 4 KiB sectors that change metadata, replayed after a crash. */
import { asciiBytes, asciiText, viewOf } from '../../../base/bytes.ts';
import { ImageError } from '../../block-error.ts';
import type { BlockNode } from '../../node.ts';
import { readExactly, setU64, u64 } from '../mapped/node-bytes.ts';
import { isSealed, MIB, sealed } from './structures.ts';
import type { Header } from './structures.ts';

export const LOG_SECTOR_BYTES = 4096;
const ENTRY_HEADER_BYTES = 64;
const DESCRIPTOR_BYTES = 32;
/** Longest log looked at: entries are summed up while the image opens. */
const MAX_LOG_BYTES: number = 64 * MIB;
/** Entries that overlap could claim the log's bytes again and again; no writer leaves more than it once over. */
const MAX_SUMMED_LOGS = 4;
/** Zeroes that one replay may ask for in total; the format's own metadata needs no more. */
const MAX_ZERO_BYTES: number = 1024 * MIB;

interface Entry {
  readonly position: number;
  readonly bytes: number;
  readonly tail: number;
  readonly sequence: number;
  readonly content: Uint8Array;
}

/** Whether the image was not closed: its log may have to be replayed. */
export function logInUse(header: Header): boolean {
  return header.logGuid.some((byte) => byte !== 0);
}

export function checkLog(header: Header, fileBytes: number): void {
  const { logOffset, logBytes } = header;
  if (logBytes === 0 || logBytes % MIB !== 0 || logBytes > MAX_LOG_BYTES || logOffset < MIB || logOffset % MIB !== 0)
    throw new ImageError(`VHDX log at ${logOffset} of ${logBytes} bytes is not whole MiB, ${MAX_LOG_BYTES} at most`);
  if (logOffset + logBytes > fileBytes)
    throw new ImageError(`VHDX log at ${logOffset} lies beyond the end of the image`);
}

/** Entries to be replayed, in order. */
export async function activeEntries(file: BlockNode, header: Header): Promise<readonly Entry[]> {
  const entries = new Map<number, Entry>();
  let summed = 0;
  for (let position = 0; position < header.logBytes; position += LOG_SECTOR_BYTES) {
    const start = await readExactly(file, header.logOffset + position, ENTRY_HEADER_BYTES, 'VHDX log');
    if (asciiText(start.subarray(0, 4)) !== 'loge') continue;
    if (!header.logGuid.every((byte, i) => start[32 + i] === byte)) continue;
    const view = viewOf(start);
    const [bytes, tail] = [view.getUint32(8, true), view.getUint32(12, true)];
    if (bytes < LOG_SECTOR_BYTES || bytes % LOG_SECTOR_BYTES !== 0 || bytes > header.logBytes) continue;
    if (tail % LOG_SECTOR_BYTES !== 0 || tail >= header.logBytes) continue;
    summed += bytes;
    if (summed > MAX_SUMMED_LOGS * header.logBytes) throw new ImageError('VHDX log has entries that overlap');
    const content = await readRing(file, header, position, bytes);
    if (isSealed(content, 'loge'))
      entries.set(position, { position, bytes, tail, sequence: u64(view, 16, true), content });
  }
  // The newest entry whose tail leads to it over entries without a gap.
  const heads = [...entries.values()].sort((a, b) => b.sequence - a.sequence);
  for (const head of heads) {
    const chain: Entry[] = [];
    for (let position = head.tail; chain.length <= entries.size;) {
      const entry = entries.get(position);
      if (entry === undefined || entry.sequence !== (chain.at(-1)?.sequence ?? entry.sequence - 1) + 1) break;
      chain.push(entry);
      if (entry === head) return chain;
      position = (position + entry.bytes) % header.logBytes;
    }
  }
  return [];
}

/** Does what the entries say. The caller flushes and clears the log's GUID afterwards. */
export async function replay(file: BlockNode, entries: readonly Entry[]): Promise<void> {
  let zeroes = 0;
  for (const { content, sequence } of entries) {
    const view = viewOf(content);
    const count = view.getUint32(24, true);
    const [flushedBytes, lastBytes] = [u64(view, 48, true), u64(view, 56, true)];
    if (flushedBytes > file.size)
      throw new ImageError(
        `VHDX image has ${file.size} bytes, but its log says that ${flushedBytes} were there: it was truncated`,
      );
    let data = Math.ceil((ENTRY_HEADER_BYTES + count * DESCRIPTOR_BYTES) / LOG_SECTOR_BYTES) * LOG_SECTOR_BYTES;
    // GUEST: the entry's length bounds its descriptors and data.
    if (data > content.length)
      throw new ImageError(`VHDX log entry of ${content.length} bytes claims ${count} descriptors`);
    for (let i = 0; i < count; i++) {
      const at = ENTRY_HEADER_BYTES + i * DESCRIPTOR_BYTES;
      const signature = asciiText(content.subarray(at, at + 4));
      const offset = u64(view, at + 16, true);
      if (u64(view, at + 24, true) !== sequence || offset % LOG_SECTOR_BYTES !== 0 || !Number.isSafeInteger(offset))
        throw new ImageError(`VHDX log entry ${sequence} has a bad descriptor for offset ${offset}`);
      if (signature === 'zero') {
        const bytes = u64(view, at + 8, true);
        zeroes += bytes;
        if (bytes % LOG_SECTOR_BYTES !== 0 || zeroes > MAX_ZERO_BYTES)
          throw new ImageError(`VHDX log wants ${bytes} zero bytes written`);
        await file.writeZeroes(offset, Math.max(0, Math.min(bytes, file.size - offset)));
      } else if (signature === 'desc') {
        if (data + LOG_SECTOR_BYTES > content.length)
          throw new ImageError(`VHDX log entry ${sequence} lacks the data of a descriptor`);
        // GUEST: what is logged is metadata, which lies in the file or in what the entry says it becomes.
        if (offset + LOG_SECTOR_BYTES > Math.max(lastBytes, file.size))
          throw new ImageError(`VHDX log writes at ${offset}, beyond the image`);
        const sector = content.slice(data, data + LOG_SECTOR_BYTES);
        const whole =
          viewOf(sector).getUint32(4, true) * 2 ** 32 + viewOf(sector).getUint32(LOG_SECTOR_BYTES - 4, true);
        if (asciiText(sector.subarray(0, 4)) !== 'data' || whole !== sequence)
          throw new ImageError(`VHDX log entry ${sequence} has bad data`);
        sector.set(content.subarray(at + 8, at + 16), 0);
        sector.set(content.subarray(at + 4, at + 8), LOG_SECTOR_BYTES - 4);
        await file.write(offset, [sector]);
        data += LOG_SECTOR_BYTES;
      } else throw new ImageError(`VHDX log descriptor '${signature}' is not known`);
    }
  }
}

/** One entry that is a sequence of its own: everything logged before it is done. `sectors` are of 4 KiB. */
export function buildEntry(
  sectors: readonly { readonly offset: number; readonly bytes: Uint8Array }[],
  how: { readonly position: number; readonly sequence: number; readonly guid: Uint8Array; readonly fileBytes: number },
): Uint8Array {
  const data =
    Math.ceil((ENTRY_HEADER_BYTES + sectors.length * DESCRIPTOR_BYTES) / LOG_SECTOR_BYTES) * LOG_SECTOR_BYTES;
  const entry = new Uint8Array(data + sectors.length * LOG_SECTOR_BYTES);
  const view = viewOf(entry);
  entry.set(asciiBytes('loge'));
  view.setUint32(8, entry.length, true);
  view.setUint32(12, how.position, true);
  setU64(view, 16, how.sequence, true);
  view.setUint32(24, sectors.length, true);
  entry.set(how.guid, 32);
  setU64(view, 48, how.fileBytes, true);
  setU64(view, 56, how.fileBytes, true);
  for (const [i, { offset, bytes }] of sectors.entries()) {
    const at = ENTRY_HEADER_BYTES + i * DESCRIPTOR_BYTES;
    entry.set(asciiBytes('desc'), at);
    entry.set(bytes.subarray(LOG_SECTOR_BYTES - 4), at + 4);
    entry.set(bytes.subarray(0, 8), at + 8);
    setU64(view, at + 16, offset, true);
    setU64(view, at + 24, how.sequence, true);
    const start = data + i * LOG_SECTOR_BYTES;
    entry.set(bytes, start);
    entry.set(asciiBytes('data'), start);
    view.setUint32(start + 4, Math.floor(how.sequence / 2 ** 32), true);
    view.setUint32(start + LOG_SECTOR_BYTES - 4, how.sequence >>> 0, true);
  }
  return sealed(entry);
}

async function readRing(
  file: BlockNode,
  { logOffset, logBytes }: Header,
  position: number,
  bytes: number,
): Promise<Uint8Array> {
  const content = new Uint8Array(bytes);
  const first = Math.min(bytes, logBytes - position);
  await file.read(logOffset + position, [content.subarray(0, first)]);
  if (first < bytes) await file.read(logOffset, [content.subarray(first)]);
  return content;
}
