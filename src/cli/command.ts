/** What a command of `orrery` is. */
export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Returns the exit status; throws UserError for what the user did wrong. */
  run(args: readonly string[]): Promise<number>;
}
