import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  firstFault,
  type Hello,
  helloAnswerSchema,
  helloSchema,
  judgeHello,
  type Listening,
  messageSchema,
  negotiate,
} from '../../../src/cluster/messages.ts';

const hello: Hello = {
  type: 'hello',
  protocol: { min: 1, max: 1 },
  cluster: 'c',
  node: 'server1',
  daemonStart: 's1',
  to: 'server2',
  purpose: 'link',
};
const here: Listening = { self: 'server2', cluster: 'c', protocol: { min: 1, max: 1 }, knows: (n) => n === 'server1' };

function verdictOf(h: Partial<Hello>, l: Partial<Listening> = {}): string {
  const v = judgeHello({ ...hello, ...h }, { ...here, ...l });
  return v.ok ? `protocol ${String(v.protocol)}` : v.code;
}

describe('protocol versions', () => {
  it.each([
    [{ min: 1, max: 1 }, { min: 1, max: 1 }, 1],
    [{ min: 1, max: 2 }, { min: 1, max: 1 }, 1],
    [{ min: 1, max: 2 }, { min: 1, max: 2 }, 2],
    [{ min: 2, max: 3 }, { min: 1, max: 2 }, 2],
    [{ min: 2, max: 2 }, { min: 1, max: 1 }, undefined],
    [{ min: 1, max: 1 }, { min: 3, max: 9 }, undefined],
  ])('%o and %o agree on %s', (a, b, agreed) => {
    expect(negotiate(a, b)).toBe(agreed);
  });

  it('both sides find the same version, the highest that both have', () => {
    const range = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 0, max: 4 })).map(([min, n]) => ({ min, max: min + n }));
    fc.assert(
      fc.property(range, range, (a, b) => {
        const common = [...Array(20).keys()].filter((v) => v >= a.min && v <= a.max && v >= b.min && v <= b.max);
        expect(negotiate(a, b)).toBe(common.at(-1));
        expect(negotiate(b, a)).toBe(common.at(-1));
      }),
    );
  });
});

describe('judging a hello', () => {
  it('a peer of the cluster that means this node goes on', () => {
    expect(verdictOf({})).toBe('protocol 1');
  });
  it('a node of another cluster is refused', () => {
    expect(verdictOf({ cluster: 'other' })).toBe('wrong-cluster');
  });
  it('a node that carries our own name is refused', () => {
    expect(verdictOf({ node: 'server2' })).toBe('refused');
  });
  it('a call meant for another node is refused', () => {
    expect(verdictOf({ to: 'server3' })).toBe('wrong-node');
  });
  it('a node that is no peer is refused', () => {
    expect(verdictOf({ node: 'server9' })).toBe('unknown-node');
    expect(verdictOf({ node: '__proto__' })).toBe('unknown-node');
  });
  it('a node without a common protocol is refused, and told what to do', () => {
    const v = judgeHello({ ...hello, protocol: { min: 3, max: 4 } }, here);
    expect(v).toMatchObject({ ok: false, code: 'version', error: expect.stringMatching(/3 to 4.*speaks 1.*upgrade/u) as string });
  });
});

describe('what arrives is judged by schema', () => {
  it.each([
    ['nothing', null],
    ['no version range', { ...hello, protocol: 1 }],
    ['a range upside down', { ...hello, protocol: { min: 2, max: 1 } }],
    ['version 0', { ...hello, protocol: { min: 0, max: 1 } }],
    ['an empty name', { ...hello, node: '' }],
    ['an endless name', { ...hello, node: 'x'.repeat(300) }],
    ['an unknown purpose', { ...hello, purpose: 'chat' }],
    ['no daemon start', { ...hello, daemonStart: undefined }],
  ])('a hello with %s is refused', (_what, value) => {
    expect(helloSchema.safeParse(value).success).toBe(false);
  });

  it('keys that a newer node adds are ignored', () => {
    expect(helloSchema.parse({ ...hello, colour: 'red' })).toEqual(hello);
    expect(messageSchema.parse({ type: 'ping', id: 1, facts: [1], load: 3 })).toEqual({ type: 'ping', id: 1, facts: [1] });
  });

  it.each([
    ['an unknown type', { type: 'shout', id: 1 }],
    ['no id', { type: 'ping' }],
    ['a negative id', { type: 'ping', id: -1 }],
    ['an id beyond exact integers', { type: 'pong', id: 2 ** 60 }],
    ['a method that is no text', { type: 'request', id: 1, method: 7 }],
    ['an error without code', { type: 'response', id: 1, error: { message: 'm' } }],
  ])('a message with %s is refused', (_what, value) => {
    expect(messageSchema.safeParse(value).success).toBe(false);
  });

  it('an answer is yes or no, not both or neither', () => {
    expect(helloAnswerSchema.safeParse({ ok: true, protocol: 1, node: 'a', daemonStart: 's' }).success).toBe(true);
    expect(helloAnswerSchema.safeParse({ ok: false, code: 'c', error: 'e' }).success).toBe(true);
    expect(helloAnswerSchema.safeParse({ ok: true, code: 'c', error: 'e' }).success).toBe(false);
    expect(helloAnswerSchema.safeParse({ protocol: 1 }).success).toBe(false);
  });

  it('a fault names its place', () => {
    const r = helloSchema.safeParse({ ...hello, protocol: { min: 1, max: 'x' } });
    expect(r.success ? '' : firstFault(r.error)).toMatch(/^protocol\.max: /u);
  });
});
