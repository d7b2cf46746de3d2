import { conformance } from './family.ts';

conformance('stack');
