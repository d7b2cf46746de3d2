/** A row of the table of options. */
import type { SystemRequest } from './request.ts';

export interface SystemOption {
  readonly name: string;
  /** What the usage shows for the value; without it the option stands alone. */
  readonly value?: string;
  readonly help: string;
  apply(request: SystemRequest, value: string): void;
}
