import { describe, expect, it } from 'vitest';
import { Request, RequestQueue } from '../../../src/nbd-client-js/request-pool.ts';

function request(tag: number): Request {
  const r = new Request();
  r.tag = tag;
  return r;
}

describe('the queue of requests', () => {
  it('is first in, first out, but for those put at the front', () => {
    const q = new RequestQueue();
    expect(q.shift()).toBeUndefined();
    q.pushFront(request(1));
    q.push(request(2));
    q.pushFront(request(0));
    q.push(request(3));
    expect(q.size).toBe(4);
    expect(q.first).toMatchObject({ tag: 0, queued: true });
    expect([0, 1, 2, 3].map(() => q.shift()?.tag)).toEqual([0, 1, 2, 3]);
    expect(q.size).toBe(0);
    expect(q.first).toBeUndefined();
    q.push(request(4));
    expect(q.shift()).toMatchObject({ tag: 4, queued: false, next: undefined });
  });
});
