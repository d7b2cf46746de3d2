/** What the tool says on standard error, behind its name. */
import { calledAs } from '../called-as.ts';

/** Where the block layer names this tool as the way to do something else, its user's name for it stands. */
export function complain(message: string): void {
  const name = calledAs('img');
  if (message !== '') process.stderr.write(`${name}: ${message.replaceAll('orrery img ', `${name} `)}\n`);
}
