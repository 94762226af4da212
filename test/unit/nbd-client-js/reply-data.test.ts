import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { gatherRead, translateStatus } from '../../../src/nbd-client-js/reply-data.ts';
import { Request } from '../../../src/nbd-client-js/request-pool.ts';
import { ClientWorld, pattern } from '../../support/client-world.ts';

function request(length: number): Request {
  const r = new Request();
  r.length = length;
  r.doneBytes = length;
  return r;
}

describe('the data of a read', () => {
  it('in one piece is handed on, not copied', () => {
    const w = new ClientWorld();
    const r = request(512);
    const h = w.handle(pattern(512));
    gatherRead(w.engine, r, 0, 512, 512, h);
    expect(r.data).toBe(h);
  });

  it('in pieces is put together, in whatever order they come', () => {
    const w = new ClientWorld();
    const r = request(1024);
    const bytes = pattern(1024);
    gatherRead(w.engine, r, 512, 512, 512, w.handle(bytes.subarray(512)));
    gatherRead(w.engine, r, 0, 512, 512, w.handle(bytes.subarray(0, 512)));
    expect(w.engine.view(r.data)).toEqual(bytes);
    expect(w.engine.usage().handles).toBe(1);
  });

  it('that is short or missing is an error, and given back', () => {
    const w = new ClientWorld();
    for (const h of [0, w.handle(pattern(512))]) {
      const r = request(512);
      gatherRead(w.engine, r, 0, 512, h === 0 ? 512 : 511, h);
      expect(r).toMatchObject({ errno: Errno.EIO, data: 0 });
    }
    expect(w.engine.usage().handles).toBe(0);
  });
});

describe('the answer to block status', () => {
  it('tells how far it went', () => {
    const r = request(4096);
    translateStatus(r, { kind: 'block-status', contexts: [{ id: 3, extents: [{ length: 512, flags: 0 }] }] }, 3);
    expect(r).toMatchObject({ errno: 0, doneBytes: 512, value: { kind: 'extents' } });
  });

  it('is an error when there is none', () => {
    for (const id of [3, undefined]) {
      const r = request(4096);
      translateStatus(r, undefined, id);
      expect(r.errno).toBe(Errno.EIO);
    }
  });
});
