import { conformance } from './family.ts';

conformance('integer');
