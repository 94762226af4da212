import { describe, expect, it } from 'vitest';
import { ClusterError } from '../../../src/cluster/errors.ts';
import type { NodeContext } from '../../../src/failover/context.ts';
import { Damage } from '../../../src/failover/damage.ts';
import { nullLog } from '../../../src/io/log.ts';
import { dialNode } from '../../../src/failover/target-dial.ts';
import { ManualClock, settle } from '../../support/manual-clock.ts';
import { epoch, record } from './build.ts';

function logged(clock = new ManualClock()): { log: typeof nullLog; io: object } {
  return { log: nullLog, io: { clock, net: {} } };
}

describe('a node that refuses a session', () => {
  async function refusedWith(error: ClusterError): Promise<string[]> {
    const over: string[] = [];
    const context = {
      tag: 't',
      record: () => record('server1', ['server1', 'server2']),
      env: { cluster: { request: () => Promise.reject(error) }, tunables: { checksums: true }, ...logged() },
    };
    const damage = new Damage(context as unknown as NodeContext, 'server2');
    const dialer = { ctx: context as unknown as NodeContext, epoch: epoch(2), timeoutMs: 1000, epochOver: (why: string) => over.push(why) };
    await expect(dialNode(dialer, 'server2', { id: 'a'.repeat(16), kind: 'partial', rewrites: false, damage })).rejects.toBe(error);
    return over;
  }

  it('for its epoch ends the answering of the source (M9)', async () => {
    expect(await refusedWith(new ClusterError('superseded', 'epoch 2 is over', 'server2'))).toEqual(['epoch 2 is over']);
    expect(await refusedWith(new ClusterError('split-brain', 'two owners', 'server2'))).toEqual(['two owners']);
  });

  it('for anything else, or cannot be reached, does not', async () => {
    expect(await refusedWith(new ClusterError('leg-too-small', 'too small', 'server2'))).toEqual([]);
    expect(await refusedWith(new ClusterError('lost', 'the connection ended'))).toEqual([]);
    expect(await refusedWith(new ClusterError('superseded', 'said by nobody'))).toEqual([]);
  });
});

describe('a node that grants a session and then does not let itself be connected to', () => {
  it('has failureTimeout for each answer, and is given up after a bounded number of them (M14)', async () => {
    const clock = new ManualClock();
    const answerMs: number[] = [];
    const cluster = {
      request: () => Promise.resolve({ token: '0123456789abcdef', daemonStart: 'server2 1' }),
      dialNbd: (_node: string, _params: unknown, ms: number) => {
        answerMs.push(ms);
        return new Promise(() => undefined);
      },
    };
    const env = { ...logged(clock), hub: {}, tunables: { connectionsPerTarget: 4, checksums: true }, cluster };
    const ctx = { tag: 't', record: () => record('server1', ['server1', 'server2']), env } as unknown as NodeContext;
    const damage = new Damage(ctx, 'server2');
    const dialer = { ctx, epoch: epoch(2), timeoutMs: 1000, epochOver: () => undefined };
    const ended: unknown[] = [];
    dialNode(dialer, 'server2', { id: 'a'.repeat(16), kind: 'partial', rewrites: false, damage }).catch((e: unknown) => ended.push(e));
    await settle();
    clock.advance(7999);
    await settle();
    expect(answerMs).toEqual([1000]);
    expect(ended).toEqual([]);
    clock.advance(1);
    await settle();
    expect(ended).toMatchObject([{ message: 'no connection within 8000 ms' }]);
  });
});
