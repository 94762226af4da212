import { describe, expect, it } from 'vitest';
import { AttachError } from '../../../src/attach/errors.ts';
import type { AttachStatus } from '../../../src/attach/status.ts';
import { type Devices, LostDevices } from '../../../src/main/lost-devices.ts';
import { ManualClock } from '../../support/manual-clock.ts';

type Condition = AttachStatus['condition'];

/** Devices by tag; `busy` refuses that many times. */
class FakeDevices implements Devices {
  readonly here = new Map<string, Condition>();
  readonly looked: string[] = [];
  busy = 0;
  failing = false;

  look(tag: string): Promise<AttachStatus | undefined> {
    this.looked.push(tag);
    if (this.failing) return Promise.reject(new Error('no /proc'));
    const condition = this.here.get(tag);
    if (condition === undefined) return Promise.resolve(undefined);
    return Promise.resolve({ tag, condition, method: 'fuse', devices: ['/dev/loop7'], mountPoints: ['/srv'], helpers: [1], why: `is ${condition}` });
  }
  all(): Promise<string[]> {
    if (this.failing) return Promise.reject(new Error('no /proc'));
    return Promise.resolve([...this.here.keys()].filter((t) => this.here.get(t) === 'broken'));
  }
  takeAway(tag: string): Promise<void> {
    if (this.busy > 0) {
      this.busy -= 1;
      return Promise.reject(new AttachError('refused', '/srv is in use by sh (7)'));
    }
    this.here.delete(tag);
    return Promise.resolve();
  }
}

function make(): { devices: FakeDevices; clock: ManualClock; lost: LostDevices; said: string[] } {
  const said: string[] = [];
  const line =
    (level: string) =>
    (message: string, fields?: Record<string, unknown>): void => {
      said.push(`${level}: ${message} ${JSON.stringify(fields ?? {})}`);
    };
  const devices = new FakeDevices();
  const clock = new ManualClock();
  return { devices, clock, said, lost: new LostDevices(devices, clock, { info: line('info'), warn: line('warn'), error: line('error') }) };
}

/** Lets what has begun come to its next wait. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i += 1) await Promise.resolve();
}

describe('the block device of a mirror that left service', () => {
  it('is taken away when nothing behind it answers, and that is told', async () => {
    const { devices, lost, said } = make();
    devices.here.set('data', 'broken');
    lost.left('data');
    await settle();
    expect([...devices.here]).toEqual([]);
    expect(said).toEqual([expect.stringContaining('info: the block device of a mirror that left service was taken away')]);
  });

  it('stays when it answers, because the mirror is back', async () => {
    const { devices, clock, lost, said } = make();
    devices.here.set('data', 'attached');
    lost.left('data');
    await settle();
    expect([...devices.here.keys()]).toEqual(['data']);
    expect(clock.pending).toBe(0);
    expect(said).toEqual([]);
  });

  it('is looked at again while it is silent, and while a filesystem on it is in use', async () => {
    const { devices, clock, lost } = make();
    devices.here.set('data', 'silent');
    lost.left('data');
    await settle();
    expect(clock.pending).toBe(1);
    devices.here.set('data', 'broken');
    devices.busy = 2;
    for (let i = 0; i < 3; i += 1) {
      clock.advance(2000);
      await settle();
    }
    expect([...devices.here]).toEqual([]);
    expect(clock.pending).toBe(0);
  });

  it('is left in the end when it is in use all the time, and the command for it is named', async () => {
    const { devices, clock, lost, said } = make();
    devices.here.set('data', 'broken');
    devices.busy = 1000;
    lost.left('data');
    for (let i = 0; i < 50; i += 1) {
      await settle();
      clock.advance(2000);
    }
    expect([...devices.here.keys()]).toEqual(['data']);
    expect(clock.pending).toBe(0);
    expect(devices.looked.length).toBe(15);
    expect(said).toEqual([expect.stringMatching(/^warn: .*stays.*in use by sh \(7\).*netraid detach data --unmount/)]);
    // Another end of service begins anew.
    devices.busy = 0;
    lost.left('data');
    await settle();
    expect([...devices.here]).toEqual([]);
  });

  it('is waited for once, however often the mirror leaves', async () => {
    const { devices, clock, lost } = make();
    devices.here.set('data', 'silent');
    lost.left('data');
    await settle();
    lost.left('data');
    await settle();
    expect(devices.looked).toEqual(['data']);
    expect(clock.pending).toBe(1);
    lost.stop();
    expect(clock.pending).toBe(0);
    lost.left('other');
    await settle();
    expect(devices.looked).toEqual(['data']);
  });

  it('of an earlier life of the daemon goes when it starts; others stay', async () => {
    const { devices, lost } = make();
    devices.here.set('data', 'broken');
    devices.here.set('more', 'leftover');
    await lost.sweep();
    await settle();
    expect([...devices.here.keys()]).toEqual(['more']);
  });

  it('that can not be looked at is told', async () => {
    const { devices, lost, said } = make();
    devices.failing = true;
    await lost.sweep();
    lost.left('data');
    await settle();
    expect(said[0]).toMatch(/^warn: it is not known .*no \/proc/);
    expect(said[1]).toMatch(/^error: a block device could not be looked at .*no \/proc/);
  });
});
