import { conformance } from './family.ts';

conformance('control');
