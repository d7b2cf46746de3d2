import { conformance } from './family.ts';

conformance('system');
