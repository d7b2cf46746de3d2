import { conformance } from './family.ts';

conformance('x87');
