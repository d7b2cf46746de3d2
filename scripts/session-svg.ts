/**
 * Boots the default guest, types a few commands at its prompt, and writes what its console showed to docs/images/session.svg, the picture
 * of the README.
 *
 * `node scripts/session-svg.ts`
 */
import { readFile, writeFile } from 'node:fs/promises';
import { guestAssets } from '../src/host/node/assets/assets.ts';
import { Machine } from '../src/node.ts';

const COMMANDS = ['uname -srm', "grep 'model name' /proc/cpuinfo", 'free -m', 'echo "6 * 7" | bc', 'exit'];
const PROMPT = 'root@orrery:/root# ';
const FONT_SIZE = 13;
const LINE_HEIGHT = 17;
const MARGIN = 14;
const COLUMNS = 100;

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function picture(lines: readonly string[]): string {
  const width = COLUMNS * FONT_SIZE * 0.6 + 2 * MARGIN;
  const height = lines.length * LINE_HEIGHT + 2 * MARGIN;
  const rows = lines.map((line, i) => {
    const y = MARGIN + (i + 0.8) * LINE_HEIGHT;
    const color = line.startsWith('$ ') || line.startsWith(PROMPT) ? '#a3be8c' : '#d8dee9';
    return `<text x="${MARGIN}" y="${y.toFixed(1)}" fill="${color}" xml:space="preserve">${escaped(line)}</text>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width.toFixed(0)} ${height}" role="img">`,
    '<title>A Linux guest booted by Orrery, seen in a terminal</title>',
    `<rect width="100%" height="100%" rx="8" fill="#101418"/>`,
    `<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="${FONT_SIZE}">`,
    ...rows,
    '</g></svg>\n',
  ].join('\n');
}

const assets = await guestAssets();
const [kernel, initrd] = await Promise.all([readFile(assets.kernel), readFile(assets.initrd)]);
const machine = await Machine.create({ kernel, initrd, commandLine: 'console=ttyS0 quiet' });
let text = '';
const waiting = [...COMMANDS];
machine.serial[0]?.onOutput((bytes) => {
  text += new TextDecoder().decode(bytes);
  // The prompt ends in a query of the cursor's position, which a terminal would answer.
  if (text.endsWith('# \u001b[6n')) {
    const command = waiting.shift();
    if (command !== undefined) machine.serial[0]?.push(new TextEncoder().encode(`\u001b[1;20R${command}\r`));
  }
});
machine.start();
await machine.exited;
// oxlint-disable-next-line no-control-regex -- terminal sequences are what is taken out
const shown = text.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, '').replaceAll('\r', '');
const lines = ['$ npx orrery run', ...shown.split('\n').map((line) => line.slice(0, COLUMNS))];
while (lines.at(-1)?.trim() === '') lines.pop();
await writeFile('docs/images/session.svg', picture(lines.filter((line, i) => line !== '' || lines[i - 1] !== '')));
