import { conformance } from './family.ts';

conformance('sse');
