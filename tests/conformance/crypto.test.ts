import { conformance } from './family.ts';

conformance('crypto');
