import { expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { answerText } from '../../../src/mirror/answer-text.ts';

it('says of damage on the way what it was, and of anything else its errno', () => {
  expect(answerText(Errno.EBADMSG)).toBe('what was sent did not match its checksums three times in a row (EBADMSG)');
  expect(answerText(Errno.EPROTO)).toBe('a header did not match its checksum (EPROTO)');
  expect(answerText(Errno.ETIMEDOUT)).toBe('ETIMEDOUT');
});
