import { conformance } from './family.ts';

conformance('shift');
