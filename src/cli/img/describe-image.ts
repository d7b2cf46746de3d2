/** Facts of an image for people and, in QEMU's names, for programs. */
import type { ImageFacts } from '../../block/jobs/image-facts.ts';
import type { JsonValue, SnapshotInfo } from '../../block/node.ts';
import { knownMembers, membersOf } from './json.ts';
import { sizeText } from './sizes.ts';

export function factsAsJson(facts: ImageFacts): Record<string, JsonValue> {
  const { backing } = facts;
  const snapshots = facts.snapshots.map(
    ({ id, name, vmStateBytes, dateSeconds, dateNs, vmClockNs, icount }): JsonValue => ({
      id,
      name,
      'vm-state-size': vmStateBytes,
      'date-sec': dateSeconds,
      'date-nsec': dateNs,
      'vm-clock-sec': Number(vmClockNs / NS),
      'vm-clock-nsec': Number(vmClockNs % NS),
      ...(icount !== undefined && { icount: Number(icount) }),
    }),
  );
  const members: Record<string, JsonValue | undefined> = {
    filename: facts.filename,
    format: facts.format,
    'dirty-flag': facts.dirty,
    'actual-size': facts.actualSize,
    'virtual-size': facts.virtualSize,
    'cluster-size': facts.clusterSize,
    encrypted: facts.encrypted,
    'backing-filename': backing?.file,
    'full-backing-filename': backing?.path,
    'backing-filename-format': backing?.format,
    snapshots: snapshots.length === 0 ? undefined : snapshots,
    'format-specific':
      facts.specific === undefined ? undefined : { type: facts.specific.type, data: facts.specific.data },
  };
  return knownMembers(members);
}

export function describeFacts(facts: ImageFacts): string {
  const { backing, specific, snapshots, actualSize } = facts;
  const lines = [
    `image: ${facts.filename}`,
    `file format: ${facts.format}`,
    `virtual size: ${sizeText(facts.virtualSize)} (${facts.virtualSize} bytes)`,
    `disk size: ${actualSize === undefined ? 'unavailable' : sizeText(actualSize)}`,
  ];
  if (facts.encrypted === true) lines.push('encrypted: yes');
  if (facts.clusterSize !== undefined) lines.push(`cluster_size: ${facts.clusterSize}`);
  if (facts.dirty === true) lines.push('cleanly shut down: no');
  if (backing !== undefined) {
    const { file, path, format } = backing;
    const where =
      path === undefined ? ' (cannot determine actual path)' : path === file ? '' : ` (actual path: ${path})`;
    lines.push(`backing file: ${file}${where}`);
    if (format !== undefined) lines.push(`backing file format: ${format}`);
  }
  if (snapshots.length > 0) lines.push(describeSnapshots(snapshots));
  if (specific !== undefined && Object.keys(specific.data).length > 0) {
    lines.push(...describeSpecific(specific.data));
  }
  return `${lines.join('\n')}\n`;
}

/** What only images of its format have. */
export function describeSpecific(data: Readonly<Record<string, JsonValue>>): string[] {
  const lines = ['Format specific information:'];
  describeMembers(data, 1, lines);
  return lines;
}

function describeMembers(object: Readonly<Record<string, JsonValue>>, depth: number, lines: string[]): void {
  for (const [name, value] of membersOf(object)) describeValue(name.replaceAll('-', ' '), value, depth, lines);
}

function describeValue(label: string, value: JsonValue, depth: number, lines: string[]): void {
  const indent = '    '.repeat(depth);
  if (typeof value !== 'object' || value === null) {
    lines.push(`${indent}${label}: ${String(value)}`);
    return;
  }
  lines.push(`${indent}${label}:`);
  if (Array.isArray(value)) {
    // INVARIANT: a list of JSON values.
    for (const [index, item] of (value as readonly JsonValue[]).entries())
      describeValue(`[${index}]`, item, depth + 1, lines);
    // INVARIANT: not a list, so an object.
  } else describeMembers(value as Readonly<Record<string, JsonValue>>, depth + 1, lines);
}

const NS = 1_000_000_000n;

/** The table that `snapshot -l` shows too, without a newline at its end. */
export function describeSnapshots(snapshots: readonly SnapshotInfo[]): string {
  const head = `${'ID'.padEnd(10)}${'TAG'.padEnd(17)}${'VM SIZE'.padStart(8)}${'DATE'.padStart(20)}${'VM CLOCK'.padStart(13)}${'ICOUNT'.padStart(11)}`;
  const rows = snapshots.map(({ id, name, vmStateBytes, dateSeconds, vmClockNs, icount }) =>
    [
      `${id.padEnd(9)} ${name.padEnd(16)} `,
      sizeText(vmStateBytes).padStart(8),
      localTime(dateSeconds).padStart(20),
      clockText(vmClockNs).padStart(13),
      (icount === undefined ? '' : String(icount)).padStart(11),
    ].join(''),
  );
  return ['Snapshot list:', head, ...rows].join('\n');
}

const two = (value: number): string => String(value).padStart(2, '0');

function localTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

function clockText(ns: bigint): string {
  const ms = Number(ns / 1_000_000n);
  const seconds = Math.floor(ms / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map(two);
  return `${parts.join(':')}.${String(ms % 1000).padStart(3, '0')}`;
}
