/** The data of handshake options, and which meta contexts a query means. */
import { CONTEXT_DIRTY_BITMAP, MAX_STRING_BYTES } from '../constants.ts';
import { textOf, u16, u32 } from '../bytes.ts';
import type { NbdExport } from './export.ts';

/** NBD_OPT_INFO and NBD_OPT_GO. Undefined: the lengths do not fit together. */
export function parseExportRequest(
  data: Uint8Array,
): { readonly name: string; readonly infos: Set<number> } | undefined {
  if (data.length < 6) return undefined;
  const nameBytes = u32(data, 0);
  if (nameBytes > data.length - 6 || nameBytes > MAX_STRING_BYTES) return undefined;
  const count = u16(data, 4 + nameBytes);
  if (data.length !== 6 + nameBytes + 2 * count) return undefined;
  const infos = new Set<number>();
  for (let index = 0; index < count; index++) infos.add(u16(data, 6 + nameBytes + 2 * index));
  return { name: textOf(data.subarray(4, 4 + nameBytes)), infos };
}

/** NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
export function parseMetaContextRequest(
  data: Uint8Array,
): { readonly name: string; readonly queries: readonly string[] } | undefined {
  let at = 0;
  const text = (): string | undefined => {
    if (at + 4 > data.length) return undefined;
    const bytes = u32(data, at);
    // GUEST: a length out of the option's data, bounded by what is left of it.
    if (bytes > data.length - at - 4 || bytes > MAX_STRING_BYTES) return undefined;
    at += 4 + bytes;
    return textOf(data.subarray(at - bytes, at));
  };
  const name = text();
  if (name === undefined || at + 4 > data.length) return undefined;
  const count = u32(data, at);
  at += 4;
  if (count > (data.length - at) / 4) return undefined;
  const queries: string[] = [];
  for (let index = 0; index < count; index++) {
    const query = text();
    if (query === undefined) return undefined;
    queries.push(query);
  }
  return at === data.length ? { name, queries } : undefined;
}

/** Places in `target.contexts`, each once. A list takes a namespace ("base:") for all in it, and no query at all for everything. */
export function matchingContexts(target: NbdExport, queries: readonly string[], listing: boolean): readonly number[] {
  const everything = listing && queries.length === 0;
  const asked = new Set(queries);
  const namespaces = listing ? ['base:', 'qemu:', CONTEXT_DIRTY_BITMAP].filter((name) => asked.has(name)) : [];
  return target.contexts.flatMap(({ name }, id) =>
    everything || asked.has(name) || namespaces.some((start) => name.startsWith(start)) ? [id] : [],
  );
}
