import { expect, it } from 'vitest';
import { BlockPool, Outbox } from '../../../../src/io/portable/outbox.ts';
import { writeBlockStatus, writeData, writeError, writeSuccess } from '../../../../src/io/portable/reply-frames.ts';
import { Errno } from '../../../../src/io/types.ts';
import { SIMPLE, STRUCTURED } from '../engine-rig.ts';
import { HandSocket } from './rig.ts';

const asked = { cookieHi: 0x01020304, cookieLo: 0x05060708, offset: 0x1122334455 };

function hexOf(write: (o: Outbox) => void): string {
  const socket = new HandSocket();
  const outbox = new Outbox(
    socket,
    new BlockPool(),
    () => undefined,
    () => undefined,
  );
  write(outbox);
  outbox.flush();
  return Buffer.from(socket.takeAll()).toString('hex');
}

// Written out by hand from the NBD specification.
it.each([
  [
    'simple success',
    (o: Outbox) => {
      writeSuccess(o, SIMPLE, asked);
    },
    '67446698' + '00000000' + '0102030405060708',
  ],
  [
    'simple error',
    (o: Outbox) => {
      writeError(o, SIMPLE, asked, Errno.ENOSPC);
    },
    '67446698' + '0000001c' + '0102030405060708',
  ],
  [
    'simple data',
    (o: Outbox) => {
      writeData(o, SIMPLE, asked, new Uint8Array([0xaa, 0xbb]));
    },
    '67446698' + '00000000' + '0102030405060708' + 'aabb',
  ],
  [
    'chunk of success',
    (o: Outbox) => {
      writeSuccess(o, STRUCTURED, asked);
    },
    '668e33ef' + '0001' + '0000' + '0102030405060708' + '00000000',
  ],
  [
    'chunk of error',
    (o: Outbox) => {
      writeError(o, STRUCTURED, asked, Errno.EROFS);
    },
    '668e33ef' + '0001' + '8001' + '0102030405060708' + '00000006' + '00000001' + '0000',
  ],
  [
    'chunk of data',
    (o: Outbox) => {
      writeData(o, STRUCTURED, asked, new Uint8Array([0xaa]));
    },
    '668e33ef' + '0001' + '0001' + '0102030405060708' + '00000009' + '0000001122334455' + 'aa',
  ],
  [
    'two chunks of block status',
    (o: Outbox) => {
      writeBlockStatus(o, STRUCTURED, asked, [new Uint8Array([1]), new Uint8Array([2])]);
    },
    '668e33ef' + '0000' + '0005' + '0102030405060708' + '00000001' + '01' + '668e33ef' + '0001' + '0005' + '0102030405060708' + '00000001' + '02',
  ],
])('%s', (_what, write, hex) => {
  expect(hexOf(write)).toBe(hex);
});
