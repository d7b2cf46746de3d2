/** Headless Chromium, and a server of files with the headers that shared memory needs. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { extname, join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';

export const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
  existsSync(path),
);

const TYPES: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM ?? '',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** Serves the files of a folder and some from memory, whole or in ranges; tells `asked` of each range. */
export async function serve(
  folder: string,
  files: Readonly<Record<string, Uint8Array | string>>,
  asked: (path: string, range: string) => void = () => {},
): Promise<Server> {
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname.slice(1) || 'index.html';
    const headers = {
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Cross-Origin-Embedder-Policy': 'require-corp',
      'Content-Type': TYPES[extname(path)] ?? 'application/octet-stream',
    };
    const content = files[path];
    (content === undefined ? readFile(join(folder, path)) : Promise.resolve(Buffer.from(content))).then(
      (bytes) => {
        const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
        if (range === null) {
          response.writeHead(200, headers).end(bytes);
          return;
        }
        asked(path, range[0]);
        const [from, to] = [Number(range[1]), Math.min(Number(range[2]), bytes.length - 1)];
        const told = { ...headers, 'Content-Range': `bytes ${from}-${to}/${bytes.length}` };
        response.writeHead(206, told).end(bytes.subarray(from, to + 1));
      },
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}
