/** What a command of `orrery` is. Its name, and one line about it, stand in main.ts, which loads it when it is wanted. */
export interface Command {
  /** Returns the exit status; throws UserError for what the user did wrong. */
  run(args: readonly string[]): Promise<number>;
}
