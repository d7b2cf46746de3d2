/** Tables as text and as Markdown. A row of one cell is a heading; the first `leftColumns` are aligned left, the others right. */

export function markdownTable(rows: readonly (readonly string[])[], leftColumns = 1): string[] {
  const [head = []] = rows;
  const line = (row: readonly string[]): string => `| ${head.map((_, i) => row[i] ?? '').join(' | ')} |`;
  const rule = `|${head.map((_, i) => (i < leftColumns ? ' --- |' : ' ---: |')).join('')}`;
  return [line(head), rule, ...rows.slice(1).map(line)];
}

export function textTable(rows: readonly (readonly string[])[], leftColumns = 1): string[] {
  const widths = (rows[0] ?? []).map((_, i) =>
    Math.max(...rows.filter((row) => row.length > 1).map((row) => (row[i] ?? '').length)),
  );
  return rows.map((row) => {
    if (row.length === 1) return row[0] ?? '';
    const cells = row.map((text, i) => (i < leftColumns ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0)));
    return cells.join('  ').trimEnd();
  });
}
