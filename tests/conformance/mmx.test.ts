import { conformance } from './family.ts';

conformance('mmx');
