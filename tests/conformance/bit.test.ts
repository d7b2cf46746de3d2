import { conformance } from './family.ts';

conformance('bit');
