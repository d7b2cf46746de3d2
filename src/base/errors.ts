/**
 * The three kinds of wrong. What a user did wrong is a UserError: one sentence naming the option and the value.
 * What is wrong with Orrery itself is an InternalError, which carries state for a report. What a guest does wrong is
 * neither: it is handled as hardware would and logged (see log.ts, category guest_errors).
 */

/** A mistake of the person or program that configured the machine. The message is one sentence for them. */
export class UserError extends Error {
  override readonly name: string = 'UserError';
}

/** A defect in Orrery. `state` holds whatever helps to find it; it must be plain data. */
export class InternalError extends Error {
  override readonly name: string = 'InternalError';
  readonly state: Readonly<Record<string, unknown>>;

  constructor(message: string, state: Readonly<Record<string, unknown>> = {}) {
    super(message);
    this.state = state;
  }
}

/** The text to show for anything caught: a user's mistake without decoration, all else with its kind. */
export function describeError(error: unknown): string {
  if (error instanceof UserError) return error.message;
  if (error instanceof Error) return `${error.name}: ${error.message}`;
  return String(error);
}
