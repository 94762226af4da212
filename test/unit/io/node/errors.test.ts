import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { errnoOf, toIoError, withIoErrors } from '../../../../src/io/node/errors.ts';
import { Errno, IoError } from '../../../../src/io/types.ts';
import { expectIoError } from '../engine-rig.ts';

function errorWith(fields: object): Error {
  return Object.assign(new Error('it failed'), fields);
}

it.each([
  ['libuv’s negative number', { errno: -28, code: 'ENOSPC' }, Errno.ENOSPC],
  ['the system’s positive number', { errno: 11, code: 'EAGAIN' }, Errno.EAGAIN],
  ['a code alone', { code: 'ECONNREFUSED' }, Errno.ECONNREFUSED],
  ['a name that is not known', { errno: -3008, code: 'ENOTFOUND' }, Errno.EHOSTUNREACH],
  ['a name server that is busy', { errno: -3001, code: 'EAI_AGAIN' }, Errno.EHOSTUNREACH],
  ['a stream that was destroyed', { code: 'ERR_STREAM_DESTROYED' }, Errno.EPIPE],
  ['a number of libuv’s own', { errno: -4095, code: 'EOF' }, Errno.EIO],
])('reads %s', (_what, fields, errno) => {
  expect(errnoOf(errorWith(fields))).toBe(errno);
});

it('leaves bugs alone', async () => {
  const bug = new TypeError('undefined is not a function');
  expect(errnoOf(bug)).toBeUndefined();
  expect(errnoOf(errorWith({ code: 'ERR_INVALID_ARG_TYPE' }))).toBeUndefined();
  expect(errnoOf('text')).toBeUndefined();
  expect(toIoError(bug, 'x')).toBe(bug);
  await expect(withIoErrors('x', () => Promise.reject(bug))).rejects.toBe(bug);
});

it('keeps an IoError as it is, and names the path of others', async () => {
  const e = new IoError(Errno.EFBIG, 'too long');
  expect(toIoError(e, 'x')).toBe(e);
  await expectIoError(
    withIoErrors('/no/such', () => readFile('/no/such')),
    Errno.ENOENT,
  );
  await expect(withIoErrors('/no/such', () => readFile('/no/such'))).rejects.toThrow(/^\/no\/such: /);
});
