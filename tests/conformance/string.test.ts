import { conformance } from './family.ts';

conformance('string');
