import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ClusterError } from '../../../src/cluster/errors.ts';
import { Methods } from '../../../src/cluster/methods.ts';
import { nullLog } from '../../../src/io/log.ts';

function methods(): { methods: Methods; errors: string[] } {
  const errors: string[] = [];
  return { methods: new Methods({ ...nullLog, error: (m) => errors.push(m) }), errors };
}

describe('answering requests', () => {
  it('a handler gets the peer and checked parameters', async () => {
    const m = methods();
    m.methods.add('twice', z.object({ n: z.number() }), (peer, p) => Promise.resolve({ peer, n: 2 * p.n }));
    expect(await m.methods.answer('server1', 'twice', { n: 4 })).toEqual({ result: { peer: 'server1', n: 8 } });
  });
  it('a result of nothing is null', async () => {
    const m = methods();
    m.methods.add('quiet', z.null(), () => Promise.resolve(undefined));
    expect(await m.methods.answer('server1', 'quiet', null)).toEqual({ result: null });
  });
  it('parameters that do not fit are refused with their place', async () => {
    const m = methods();
    m.methods.add('twice', z.object({ n: z.number() }), () => Promise.resolve(null));
    expect(await m.methods.answer('server1', 'twice', { n: 'x' })).toMatchObject({
      error: { code: 'invalid-params', message: expect.stringContaining('twice: n:') as string },
    });
  });
  it('an unknown method is refused, names of object members too', async () => {
    const m = methods();
    expect(await m.methods.answer('server1', 'constructor', null)).toMatchObject({ error: { code: 'no-method' } });
  });
  it('an error meant as an answer keeps its code and is not logged', async () => {
    const m = methods();
    m.methods.add('no', z.null(), () => Promise.reject(new ClusterError('too-early', 'come back later')));
    expect(await m.methods.answer('server1', 'no', null)).toEqual({ error: { code: 'too-early', message: 'come back later' } });
    expect(m.errors).toEqual([]);
  });
  it('any other error is answered as internal, and logged', async () => {
    const m = methods();
    m.methods.add('broken', z.null(), () => {
      throw new RangeError('oops');
    });
    expect(await m.methods.answer('server1', 'broken', null)).toEqual({ error: { code: 'internal', message: 'oops' } });
    expect(m.errors).toEqual(['the handler of broken failed']);
  });
  it('a method has one handler', () => {
    const m = methods();
    m.methods.add('a', z.null(), () => Promise.resolve(null));
    expect(() => {
      m.methods.add('a', z.null(), () => Promise.resolve(null));
    }).toThrow('has a handler already');
  });
});
