import { expect, it } from 'vitest';
import type { CheckpointStatus } from '../../../../src/control/types.ts';
import { ControlError } from '../../../../src/control/types.ts';
import { FakeDaemon, mirror, run } from '../fake-daemon.ts';

const at = (name: string, over: Partial<CheckpointStatus> = {}): CheckpointStatus => ({
  name,
  madeAt: Date.UTC(2026, 10, 28, 8, 0, 1, 5),
  state: 'valid',
  void: null,
  dirtyRegions: 3,
  dirtyBytes: 786_432,
  context: `qemu:dirty-bitmap:${name}`,
  ...over,
});
const gone = {
  state: 'void',
  void: { rule: 'was-target', why: 'server2 writes to this leg\nsince' },
  dirtyRegions: null,
  dirtyBytes: null,
  context: null,
} as const;
const kept = { state: 'kept', dirtyRegions: null, dirtyBytes: null, context: null } as const;

it('is made, and what was not synced yet is said', async () => {
  const daemon = new FakeDaemon({ 'checkpoint-create': (p) => at(p.name, p.name === 'quiet' ? { dirtyRegions: 0, dirtyBytes: 0 } : {}) });
  expect(await run('netraid checkpoint create data monday', daemon)).toMatchObject({
    code: 0,
    out: ['data: checkpoint monday is made; 768 KiB were not synced yet, and count as written since'],
  });
  expect((await run('netraid checkpoint create data quiet', daemon)).out).toEqual(['data: checkpoint quiet is made']);
  expect(daemon.calls[0]).toEqual(['checkpoint-create', { tag: 'data', name: 'monday' }]);
});

it('is listed with what was written since, or why it is void', async () => {
  const daemon = new FakeDaemon({ status: () => mirror({ checkpoints: [at('monday'), at('old', gone), at('asleep', kept)] }) });
  expect((await run('netraid checkpoint list data', daemon)).out).toEqual([
    '2026-11-28T08:00:01Z  monday: valid, 768 KiB written since',
    '2026-11-28T08:00:01Z  old: void, rule was-target: server2 writes to this leg since',
    '2026-11-28T08:00:01Z  asleep: kept while out of service',
  ]);
  const json = JSON.parse((await run('netraid checkpoint list data --json', daemon)).out.join('\n')) as unknown;
  expect(json).toMatchObject([
    { name: 'monday', made: '2026-11-28T08:00:01Z', state: 'valid', dirtyBytes: 786_432 },
    { state: 'void' },
    { state: 'kept' },
  ]);
  const none = new FakeDaemon({ status: () => mirror({}) });
  expect((await run('netraid checkpoint list data', none)).out).toEqual(['data has no checkpoints on this node']);
});

it('is deleted', async () => {
  const daemon = new FakeDaemon({ 'checkpoint-delete': (p) => ({ deleted: p.name }) });
  expect(await run('netraid checkpoint delete data monday', daemon)).toMatchObject({ code: 0, out: ['data: checkpoint monday is deleted'] });
});

it('refuses a wrong name before it asks anybody, and passes on what the daemon refuses', async () => {
  const daemon = new FakeDaemon({
    'checkpoint-create': () => {
      throw new ControlError('refused', 'data has a checkpoint monday already');
    },
  });
  for (const name of ['a:b', '-', '""']) expect((await run(`netraid checkpoint create data ${name}`, daemon)).code).toBe(2);
  expect(daemon.calls).toEqual([]);
  expect(await run('netraid checkpoint create data monday', daemon)).toMatchObject({
    code: 1,
    errors: [expect.stringContaining('data has a checkpoint monday already')],
  });
});
