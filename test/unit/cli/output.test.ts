import { describe, expect, it } from 'vitest';
import type { TargetStatus } from '../../../src/control/types.ts';
import { FakeDaemon, harmless, mirror, resyncing, run, target } from './fake-daemon.ts';

function daemon(states: TargetStatus[]) {
  const left = [...states];
  const next = () => mirror({ targets: [left.length > 1 ? (left.shift() ?? target('server2')) : (left[0] ?? target('server2'))] });
  return new FakeDaemon({ status: next, resume: next, preview: harmless() });
}
const command = 'mirror_action datarep-ext3 resume --wait 1m';

describe('waiting until in sync', () => {
  it('draws progress on a terminal, and wipes it away at the end', async () => {
    const { code, out, terminal } = await run(command, daemon([target('server2'), resyncing, resyncing, target('server2')]), { isTTY: true });
    expect([code, out]).toEqual([0, ['datarep-ext3: resumed', 'server1 -> server2: Target']]);
    expect(terminal.drawn).toContainEqual(['server1 -> server2 [=====>          ]  38% (1.2 GiB of 3.1 GiB), 00:00:12 left, 161793K/sec']);
    expect(terminal.drawn.at(-1)).toEqual([]);
  });

  it('draws nothing elsewhere', async () => {
    const { terminal } = await run(command, daemon([target('server2'), resyncing, target('server2')]));
    expect(terminal.drawn.flat()).toEqual([]);
  });

  it.each([
    [target('server2', { state: 'Paused' }), 'server2 does not come in sync: Paused'],
    [target('server2', { state: 'Split Brain', detail: 'two owners' }), 'server2 does not come in sync: Split Brain, two owners'],
    [target('server2', { state: 'Unknown', detail: 'silent' }), 'not in sync in time: server2 is Unknown (silent)'],
  ])('ends when it can not succeed, or in time', async (state, message) => {
    const { code, errors } = await run(command, daemon([target('server2'), resyncing, state]));
    expect([code, errors]).toEqual([1, [`mirror_action: ${message}`]]);
  });

  it('refuses to wait for who is no target, and for longer than makes sense', async () => {
    const { code, errors } = await run('mirror_action datarep-ext3 resume server9 --wait 1m', daemon([target('server2')]));
    expect([code, errors]).toEqual([1, ['mirror_action: server9 is not a target of datarep-ext3 on server1; targets: server2']]);
    const d = daemon([target('server2')]);
    expect((await run('mirror_action datarep-ext3 resume --wait 9999h', d)).code).toBe(2);
    expect(d.changes()).toEqual([]);
  });
});
