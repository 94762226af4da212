/** What a target's answer says to people. */
import { Errno, errnoName } from '../io/types.ts';

const ON_THE_WAY: ReadonlyMap<number, string> = new Map([
  [Errno.EBADMSG, 'what was sent did not match its checksums three times in a row'],
  [Errno.EPROTO, 'a header did not match its checksum'],
]);

export function answerText(errno: number): string {
  const text = ON_THE_WAY.get(errno);
  return text === undefined ? errnoName(errno) : `${text} (${errnoName(errno)})`;
}
