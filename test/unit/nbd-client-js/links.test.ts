import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Link, Links, Piece, PiecePool, TOGETHER_BYTES } from '../../../src/nbd-client-js/links.ts';
import { Request } from '../../../src/nbd-client-js/request-pool.ts';
import { NBD_CMD_FLAG_FUA, NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from '../../../src/nbd/wire/constants.ts';

function piece(index: number, payloadBytes: number): Piece {
  const p = new Piece(index);
  p.payloadBytes = payloadBytes;
  return p;
}

describe('the links of a client', () => {
  it('give the least busy one with room', () => {
    const links = new Links({ requestsMax: 2, bytesMax: 1000 });
    const [a, b] = [links.add(1), links.add(2)];
    a.add(piece(0, 600), 0);
    expect(links.pick(100)).toBe(b);
    b.add(piece(1, 0), 0);
    b.add(piece(2, 0), 0);
    expect(links.pick(400)).toBe(a);
    expect(links.pick(401)).toBeUndefined();
    a.open = false;
    expect(links.pick(0)).toBeUndefined();
    expect(links.anyOpen).toBe(true);
  });

  it('keep short writes together up to a bound, and spread all else', () => {
    const links = new Links({ requestsMax: 1000, bytesMax: 1e9 });
    const [a, b] = [links.add(1), links.add(2)];
    const written = (bytes: number): Link | undefined => {
      const link = links.pickFor(NBD_CMD_WRITE, 0, bytes);
      link?.add(piece(0, bytes), 0);
      return link;
    };
    for (let out = 0; out < TOGETHER_BYTES; out += 4096) expect(written(4096)).toBe(a);
    expect(written(4096)).toBe(b);
    expect(written(4096)).toBe(b);
    // `b` is the one for short writes now; the rest goes to whoever has less to do.
    expect(links.pickFor(NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 4096)).toBe(b);
    for (let i = 0; i < 100; i += 1) b.add(piece(i, 0), 0);
    expect(written(4096)).toBe(b);
    for (const [cmd, flags] of [
      [NBD_CMD_WRITE, NBD_CMD_FLAG_FUA],
      [NBD_CMD_READ, 0],
      [NBD_CMD_FLUSH, 0],
    ] as const)
      expect(links.pickFor(cmd, flags, 4096)).toBe(a);
    expect(links.pickFor(NBD_CMD_WRITE, 0, 256 * 1024)).toBe(a);
    expect(written(4096)).toBe(b);
  });

  it('leave a link that is full, or has gone, for another one with room', () => {
    const links = new Links({ requestsMax: 2, bytesMax: 10_000 });
    const [a, b] = [links.add(1), links.add(2)];
    expect(links.pickFor(NBD_CMD_WRITE, 0, 4096)).toBe(a);
    a.add(piece(0, 4096), 0);
    a.add(piece(1, 4096), 0);
    expect(links.pickFor(NBD_CMD_WRITE, 0, 4096)).toBe(b);
    b.add(piece(2, 8000), 0);
    expect(links.pickFor(NBD_CMD_WRITE, 0, 4096)).toBeUndefined();
    expect(links.pickFor(NBD_CMD_WRITE, 0, 2000)).toBe(b);
    b.open = false;
    expect(links.pickFor(NBD_CMD_WRITE, 0, 2000)).toBeUndefined();
  });

  it('spread short writes over all of them for a server that wants that', () => {
    const links = new Links({ requestsMax: 1000, bytesMax: 1e9, spread: true });
    const pool = new PiecePool();
    const all = [links.add(1), links.add(2), links.add(3)];
    const picked = all.map(() => {
      const link = links.pickFor(NBD_CMD_WRITE, 0, 4096);
      link?.add(pool.take(), 0);
      return link;
    });
    expect(new Set(picked)).toEqual(new Set(all));
  });

  it('always have room for a piece alone', () => {
    const links = new Links({ requestsMax: 2, bytesMax: 1000 });
    const a = links.add(1);
    expect(links.pick(5000)).toBe(a);
  });

  it('wait for each piece from when it was sent, or from the last answer to an older one of its link, in whatever order pieces end', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(), fc.boolean())), (steps) => {
        const links = new Links({ requestsMax: 100, bytesMax: 1e9 });
        const both = [links.add(1), links.add(2)] as const;
        const pool = new PiecePool();
        /** Oldest first. */
        const out: { p: Piece; since: number; sentAt: number }[] = [];
        steps.forEach(([adds, n, second], now) => {
          if (adds || out.length === 0) {
            const p = pool.take();
            p.payloadBytes = n;
            both[second ? 1 : 0].add(p, now);
            out.push({ p, since: now, sentAt: now });
          } else {
            const i = n % out.length;
            const [done] = out.splice(i, 1);
            const link = done?.p.link;
            if (done === undefined || link === undefined) throw new Error('none');
            for (const younger of out.slice(i)) if (younger.p.link === link) younger.since = now;
            link.remove(done.p, now);
            pool.give(done.p);
          }
          for (const ms of [1, 5, 1000]) {
            const due = Math.min(...out.map((o) => Math.min(o.since + ms, o.sentAt + 10 * ms)));
            expect(links.dueAt(ms)).toBe(out.length === 0 ? undefined : due);
          }
          expect(both[0].requests + both[1].requests).toBe(out.length);
          expect(both[0].bytes + both[1].bytes).toBe(out.reduce((sum, o) => sum + o.p.payloadBytes, 0));
        });
      }),
    );
  });
});

describe('the pool of pieces', () => {
  it('gives back what it was given, under the same number', () => {
    const pool = new PiecePool();
    const [a, b] = [pool.take(), pool.take()];
    expect([a.index, b.index]).toEqual([0, 1]);
    a.request = new Request();
    pool.give(a);
    expect(pool.take()).toBe(a);
    expect(a.request).toBeUndefined();
    expect(pool.at(1)).toBe(b);
    expect(() => pool.at(2)).toThrow('piece 2 does not exist');
  });
});
