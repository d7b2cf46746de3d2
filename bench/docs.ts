/** Puts what was measured into docs/performance.md, between its markers, and the plot beside it. */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const PAGE = fileURLToPath(new URL('../docs/performance.md', import.meta.url));
const PLOT = fileURLToPath(new URL('../docs/performance.svg', import.meta.url));

/** `text` with `content` between `<!-- NAME: begin -->` and `<!-- NAME: end -->`. */
export function replaceBetween(text: string, name: string, content: string): string {
  const [begin, end] = [`<!-- ${name}: begin -->`, `<!-- ${name}: end -->`];
  const from = text.indexOf(begin);
  const to = text.indexOf(end, from);
  if (from < 0 || to < 0) throw new Error(`there is no place for ${name}`);
  return `${text.slice(0, from + begin.length)}\n\n${content}\n\n${text.slice(to)}`;
}

/** Parts that were not measured stay as they are. */
export async function updateDocs(sections: ReadonlyMap<string, string>, plot: string | undefined): Promise<void> {
  let page = await readFile(PAGE, 'utf8');
  for (const [name, content] of sections) page = replaceBetween(page, name, content);
  await writeFile(PAGE, page);
  if (plot !== undefined) await writeFile(PLOT, plot);
}
