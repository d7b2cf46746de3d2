/**
 * Everything that must hold before a change is in: types, walls, lint, format, then the tests (units, conformance, guests).
 * `npm test`; `npm test -- units` or `npm test -- src/block` runs only the tests whose path or project name matches.
 *
 * The last line is always 'N passed, N failed', counting each check and each test once.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const bin = (name: string): string => join(root, 'node_modules', '.bin', name);

interface Check {
  readonly name: string;
  readonly command: readonly string[];
}

/** The static checks in the order in which they find mistakes fastest. */
const CHECKS: readonly Check[] = [
  { name: 'types of the host-independent rooms', command: [bin('tsc'), '-p', 'tsconfig.core.json'] },
  { name: 'types of the Node side and the tests', command: [bin('tsc'), '-p', 'tsconfig.json'] },
  ...(existsSync(join(root, 'src/browser.ts'))
    ? [{ name: 'types of the browser side', command: [bin('tsc'), '-p', 'tsconfig.browser.json'] }]
    : []),
  { name: 'walls between the rooms', command: [process.execPath, 'scripts/check-walls.ts'] },
  { name: 'lint', command: [bin('oxlint'), '--type-aware', '--quiet'] },
  { name: 'format', command: [bin('prettier'), '--check', '--log-level', 'warn', '.'] },
];

const PROJECTS: readonly string[] = ['units', 'conformance', 'guests'];

interface Totals {
  passed: number;
  failed: number;
}

function run(command: readonly string[]): boolean {
  const [program = '', ...args] = command;
  return spawnSync(program, args, { cwd: root, stdio: 'inherit' }).status === 0;
}

function runChecks(totals: Totals): void {
  for (const check of CHECKS) {
    const start = performance.now();
    const ok = run(check.command);
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    console.log(`${ok ? 'ok    ' : 'FAILED'} ${check.name} (${seconds} s)`);
    if (ok) totals.passed++;
    else totals.failed++;
  }
}

/** Vitest's own report goes to the terminal; its figures come from the JSON report beside it. */
function runTests(filters: readonly string[], totals: Totals): void {
  const folder = mkdtempSync(join(tmpdir(), 'orrery-test-'));
  const report = join(folder, 'report.json');
  const projects = filters.filter((filter) => PROJECTS.includes(filter));
  const paths = filters.filter((filter) => !PROJECTS.includes(filter));
  const ok = run([
    bin('vitest'),
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
    ...projects.flatMap((project) => ['--project', project]),
    ...paths,
  ]);
  try {
    const figures = JSON.parse(readFileSync(report, 'utf8')) as {
      numPassedTests: number;
      numFailedTests: number;
      testResults: readonly { status: string; assertionResults: readonly unknown[] }[];
    };
    totals.passed += figures.numPassedTests;
    // A file that does not even load has no tests to count, and is one failure.
    const broken = figures.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0);
    const failed = figures.numFailedTests + broken.length;
    totals.failed += failed === 0 && !ok ? 1 : failed;
  } catch {
    console.error('vitest left no report');
    totals.failed++;
  }
  rmSync(folder, { recursive: true, force: true });
}

const filters = process.argv.slice(2);
const totals: Totals = { passed: 0, failed: 0 };
if (filters.length === 0) runChecks(totals);
runTests(filters, totals);
const { passed, failed } = totals;
console.log(`\n      Tests  ${failed === 0 ? '' : `${failed} failed | `}${passed} passed (${passed + failed})\n`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
