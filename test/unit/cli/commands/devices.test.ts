import { describe, expect, it } from 'vitest';
import { AttachError } from '../../../../src/attach/errors.ts';
import type { AttachStatus } from '../../../../src/attach/status.ts';
import type { BlockDevices } from '../../../../src/cli/world.ts';
import { FakeDaemon, mirror, run } from '../fake-daemon.ts';

class FakeDevices implements BlockDevices {
  readonly calls: [string, unknown][] = [];
  known: AttachStatus[] = [];
  lack = '';

  #did<T>(name: string, o: unknown, result: T): Promise<T> {
    this.calls.push([name, o]);
    return Promise.resolve(result);
  }

  attach: BlockDevices['attach'] = (o) => {
    if (this.lack !== '') o.onLack?.(this.lack);
    return this.#did('attach', o, { device: '/dev/loop7', method: 'fuse' as const });
  };
  detach: BlockDevices['detach'] = (o) => this.#did('detach', o, { wasAttached: this.known.length > 0, forced: [] });
  mount: BlockDevices['mount'] = (o) => this.#did('mount', o, { type: 'ext4', mountPoint: o.dir });
  unmount: BlockDevices['unmount'] = (o) => this.#did('unmount', o, { wasMounted: true });
  status: BlockDevices['status'] = () => Promise.resolve(this.known);
}

const attached: AttachStatus = {
  tag: 'datarep-ext3',
  condition: 'attached',
  method: 'fuse',
  devices: ['/dev/loop3'],
  mountPoints: ['/a', '/b'],
  helpers: [1],
  why: '',
};

const daemon = (over = {}) => new FakeDaemon({ status: () => mirror(over) });

describe('netraid attach and detach', () => {
  it('make a device of what is in service', async () => {
    const devices = new FakeDevices();
    const { code, out } = await run('netraid attach datarep-ext3 --method fuse --root /r', daemon({ sectorBytes: 4096 }), { devices });
    expect([code, out]).toEqual([0, ['datarep-ext3 is /dev/loop7 (fuse)']]);
    expect(devices.calls).toEqual([
      [
        'attach',
        {
          socketPath: '/r/run/nbd.sock',
          exportName: 'datarep-ext3',
          sectorBytes: 4096,
          runDir: '/r/run',
          tag: 'datarep-ext3',
          method: 'fuse',
          onLack: expect.any(Function) as () => void,
        },
      ],
    ]);
  });

  it.each([
    [true, ['datarep-ext3 is attached, but it lacks something']],
    [false, []],
  ])('tell a person, and no program, what the device lacks (on a terminal: %s)', async (isTTY, errors) => {
    const devices = new FakeDevices();
    devices.lack = 'it lacks something';
    const r = await run('netraid attach datarep-ext3', daemon(), { devices, isTTY });
    expect([r.code, r.errors]).toEqual([0, errors]);
  });

  it('make none of what is not', async () => {
    const devices = new FakeDevices();
    const { code, errors } = await run('netraid attach datarep-ext3', daemon({ node: 'server2', inService: false, export: null }), { devices });
    expect([code, errors, devices.calls]).toEqual([
      1,
      ['netraid attach: datarep-ext3 is not in service on server2; its source is server1: there is nothing to attach'],
      [],
    ]);
  });

  it('take it away again, or say that there was none', async () => {
    const devices = new FakeDevices();
    expect((await run('netraid detach datarep-ext3', daemon(), { devices })).out).toEqual(['datarep-ext3 was not attached']);
    devices.known = [attached];
    expect((await run('netraid detach datarep-ext3 --unmount', daemon(), { devices })).out).toEqual(['datarep-ext3 is detached']);
    expect(devices.calls.at(-1)?.[1]).toMatchObject({ unmount: true });
  });

  it('show a refusal as it is', async () => {
    const devices = new FakeDevices();
    devices.detach = () => Promise.reject(new AttachError('refused', '/dev/loop3 is mounted'));
    expect(await run('netraid detach datarep-ext3', daemon(), { devices })).toMatchObject({
      code: 1,
      errors: ['netraid detach: /dev/loop3 is mounted'],
    });
  });

  it('say where there are no block devices', async () => {
    expect(await run('netraid attach datarep-ext3', daemon())).toMatchObject({
      code: 1,
      errors: ['netraid attach: block devices can not be made in this world'],
    });
  });
});

describe('netraid mount', () => {
  it('attaches first where needed', async () => {
    const devices = new FakeDevices();
    const { code, out } = await run('netraid mount datarep-ext3 /mnt --mkfs ext4 --options noatime', daemon(), { devices });
    expect([code, out]).toEqual([0, ['datarep-ext3 is mounted on /mnt (ext4 on /dev/loop7)']]);
    expect(devices.calls.map(([n]) => n)).toEqual(['attach', 'mount']);
    expect(devices.calls[1]?.[1]).toEqual({ device: '/dev/loop7', dir: '/mnt', check: false, mkfs: 'ext4', force: false, options: 'noatime' });
  });

  it('takes the device that is there', async () => {
    const devices = new FakeDevices();
    devices.known = [{ ...attached, tag: 'other' }, attached];
    await run('netraid mount datarep-ext3 /mnt --check', daemon(), { devices });
    expect(devices.calls).toEqual([['mount', { device: '/dev/loop3', dir: '/mnt', check: true }]]);
  });

  it('asks before it overwrites by force', async () => {
    const devices = new FakeDevices();
    expect((await run('netraid mount datarep-ext3 /mnt --mkfs xfs --force', daemon(), { devices })).code).toBe(2);
    expect((await run('netraid mount datarep-ext3 /mnt --mkfs xfs --force', daemon(), { devices, answers: ['no'] })).code).toBe(1);
    expect(devices.calls).toEqual([]);
    await run('netraid mount datarep-ext3 /mnt --mkfs xfs --force --yes', daemon(), { devices });
    expect(devices.calls.at(-1)?.[1]).toMatchObject({ mkfs: 'xfs', force: true });
  });
});

describe('netraid umount', () => {
  it('unmounts the newest first, and detaches when asked to', async () => {
    const devices = new FakeDevices();
    devices.known = [attached];
    const { out } = await run('netraid umount datarep-ext3 --detach', daemon(), { devices });
    expect(out).toEqual(['datarep-ext3 is unmounted from /b', 'datarep-ext3 is unmounted from /a', 'datarep-ext3 is detached']);
    expect(devices.calls.map(([n]) => n)).toEqual(['unmount', 'unmount', 'detach']);
  });

  it('says when there is nothing to do', async () => {
    expect((await run('netraid umount datarep-ext3', daemon(), { devices: new FakeDevices() })).out).toEqual(['datarep-ext3 was not mounted']);
  });
});

it.each([
  'attach',
  'attach a --method iscsi',
  'attach a/b',
  'detach',
  'detach a --yes',
  'mount a',
  'mount a mnt',
  'mount a /mnt --force',
  'mount a /mnt --mkfs ntfs',
  'umount',
  'umount a b',
])('refuses netraid %s', async (words) => {
  const [d, devices] = [daemon(), new FakeDevices()];
  const { code, errors } = await run(`netraid ${words}`, d, { devices });
  expect([code, errors.length, d.calls, devices.calls]).toEqual([2, 1, [], []]);
});
