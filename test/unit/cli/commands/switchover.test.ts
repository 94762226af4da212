import { describe, expect, it } from 'vitest';
import type { AttachStatus } from '../../../../src/attach/status.ts';
import type { BlockDevices } from '../../../../src/cli/world.ts';
import { FakeDaemon, harmless, mirror, run } from '../fake-daemon.ts';

class FakeDevices implements Pick<BlockDevices, 'detach' | 'unmount' | 'status'> {
  readonly calls: string[] = [];
  known: AttachStatus[] = [
    { tag: 'a', condition: 'attached', method: 'fuse', devices: ['/dev/loop3'], mountPoints: ['/m', '/n'], helpers: [1], why: '' },
  ];
  #none = (): Promise<never> => Promise.reject(new Error('not asked for'));
  attach = this.#none;
  mount = this.#none;
  detach: BlockDevices['detach'] = () => {
    this.calls.push('detach');
    return Promise.resolve({ wasAttached: true, forced: [] });
  };
  unmount: BlockDevices['unmount'] = ({ dir }) => {
    this.calls.push(`unmount ${dir}`);
    return Promise.resolve({ wasMounted: true });
  };
  status: BlockDevices['status'] = () => Promise.resolve(this.known);
}

const daemon = (over = {}) =>
  new FakeDaemon({
    status: () => mirror(over),
    preview: harmless(['server1 -> server2'], { bytesOverwritten: 0, by: 'server2' }),
    switchover: ({ tag, node }) => ({ tag, from: 'server1', to: node }),
    resolve: ({ tag, victim }) => ({ tag, kept: 'server2', victim, bytesOverwritten: 4096 }),
  });

describe('netraid switchover', () => {
  it('shows what will happen, asks, and says where the mirror is now', async () => {
    const d = daemon();
    expect((await run('netraid switchover a server2', d)).code).toBe(2);
    expect(d.changes()).toEqual([]);
    const { code, out } = await run('netraid switchover a server2 --yes', d);
    expect([code, out, d.changes()]).toEqual([0, ['server1 -> server2', 'a is in service on server2; server1 is a target now'], ['switchover']]);
  });

  it('answers with JSON', async () => {
    const { out } = await run('netraid switchover a server2 --yes --json', daemon());
    expect(JSON.parse(out.join('\n'))).toEqual({ tag: 'a', from: 'server1', to: 'server2' });
  });

  it('on the source is refused while a device is attached; with --detach that is taken away first, the newest mount first', async () => {
    const devices = new FakeDevices();
    const d = daemon();
    const { code, errors } = await run('netraid switchover a server2 --yes', d, { devices });
    expect([code, d.changes(), devices.calls]).toEqual([1, [], []]);
    expect(errors[0]).toMatch(/a is attached here as \/dev\/loop3, mounted on \/m, \/n: .*--detach/);
    expect((await run('netraid switchover a server2 --yes --detach', d, { devices })).code).toBe(0);
    expect([d.changes(), devices.calls]).toEqual([['switchover'], ['unmount /n', 'unmount /m', 'detach']]);
  });

  it('elsewhere leaves what is attached there alone', async () => {
    const devices = new FakeDevices();
    expect((await run('netraid switchover a server2 --yes', daemon({ inService: false }), { devices })).code).toBe(0);
    expect(devices.calls).toEqual([]);
  });

  it('is not begun when the daemon would refuse it', async () => {
    const d = daemon();
    d.handlers.preview = harmless([], { refused: 'server2 is not in sync' });
    const { code, errors } = await run('netraid switchover a server2 --yes', d);
    expect([code, errors, d.changes()]).toEqual([1, ['netraid switchover: server2 is not in sync'], []]);
  });
});

describe('netraid resolve', () => {
  it('shows, asks, and gives up the data of the victim', async () => {
    const d = daemon();
    expect((await run('netraid resolve a --victim server1', d)).code).toBe(2);
    expect(d.changes()).toEqual([]);
    const { code, out } = await run('netraid resolve a --victim server1 --yes', d);
    expect([code, out.at(-1), d.changes()]).toEqual([0, 'a: the data of server2 is kept; server1 is resynced from it, fully', ['resolve']]);
    expect(d.calls.find(([a]) => a === 'resolve')?.[1]).toEqual({ tag: 'a', victim: 'server1', kept: 'server2' });
  });

  it('follows the resync only on the node in service', async () => {
    const { code, errors } = await run('netraid resolve a --victim server1 --yes --wait 1s', daemon({ inService: false }));
    expect(code).toBe(1);
    expect(errors[0]).toMatch(/ordered on server2; --wait follows it only there/);
  });
});

it.each([
  'switchover',
  'switchover a',
  'switchover a b c',
  'switchover a b/c --yes',
  'resolve',
  'resolve a',
  'resolve a --victim',
  'resolve a --victim x/y',
])('refuses netraid %s', async (words) => {
  const d = new FakeDaemon();
  const { code, errors } = await run(`netraid ${words}`, d);
  expect([code, errors.length, d.calls]).toEqual([2, 1, []]);
});
