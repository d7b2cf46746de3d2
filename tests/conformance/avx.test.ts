import { conformance } from './family.ts';

conformance('avx');
