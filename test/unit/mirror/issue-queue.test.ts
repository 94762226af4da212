/** A generation that is made before a write asks for it: for a target that is going to be copied to. */
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { settle } from '../../support/manual-clock.ts';
import { Rig } from './rig.ts';

/** What has come of a promise by now. */
function watched(p: Promise<void>): { is: string } {
  const seen = { is: 'waiting' };
  p.then(
    () => (seen.is = 'made'),
    (e: unknown) => (seen.is = e instanceof Error ? e.message : String(e)),
  );
  return seen;
}

describe('a generation that is due, made without a write', () => {
  it('is made once, and no write asks for another', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.device.needGeneration();
    const made = [watched(rig.device.makeGeneration()), watched(rig.device.makeGeneration())];
    await settle();
    expect(made).toEqual([{ is: 'waiting' }, { is: 'waiting' }]);
    rig.host.generations[0]?.resolve();
    await settle();
    expect(made).toEqual([{ is: 'made' }, { is: 'made' }]);
    const w = rig.write(0, 512, 1);
    await rig.endAll();
    expect(w.errno).toBe(0);
    expect(rig.host.generations).toHaveLength(1);
  });

  it('is not made where none is due', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    await rig.device.makeGeneration();
    expect(rig.host.generations).toHaveLength(0);
  });

  it('holds a write that comes meanwhile, and lets it go when it is committed', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.device.needGeneration();
    const made = watched(rig.device.makeGeneration());
    const w = rig.write(0, 512, 1);
    await rig.endAll();
    expect(rig.engine.leg.has('write')).toBe(false);
    rig.host.generations[0]?.resolve();
    await rig.endAll();
    expect(made.is).toBe('made');
    expect(w.errno).toBe(0);
    expect(rig.host.generations).toHaveLength(1);
  });

  it('is made again when it has become due again meanwhile', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.device.needGeneration();
    const made = watched(rig.device.makeGeneration());
    await settle();
    rig.device.needGeneration();
    rig.host.generations[0]?.resolve();
    await settle();
    expect(made.is).toBe('waiting');
    rig.host.generations[1]?.resolve();
    await settle();
    expect(made.is).toBe('made');
  });

  it('stays due when it can not be committed, and the device goes on: the next write asks again', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.device.needGeneration();
    const made = watched(rig.device.makeGeneration());
    await settle();
    rig.host.generations[0]?.reject(new Error('disk full'));
    await settle();
    expect(made.is).toContain('disk full');
    expect(rig.device.stopped).toBe(false);
    const w = rig.write(0, 512, 1);
    await settle();
    expect(rig.host.generations).toHaveLength(2);
    rig.host.generations[1]?.resolve();
    await rig.endAll();
    expect(w.errno).toBe(0);
  });

  it('stops the device when it can not be committed for a write that waits either', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.device.needGeneration();
    const made = watched(rig.device.makeGeneration());
    const w = rig.write(0, 512, 1);
    await settle();
    rig.host.generations[0]?.reject(new Error('disk full'));
    await settle();
    expect(made.is).toContain('disk full');
    rig.host.generations[1]?.reject(new Error('disk full'));
    await rig.endAll();
    expect(w.errno).toBe(Errno.ESHUTDOWN);
    expect(rig.device.stopped).toBe(true);
  });

  it('is refused while writes are held, for there is somebody whose loss may ask for another', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.device.needGeneration();
    rig.device.suspend('claim');
    await expect(rig.device.makeGeneration()).rejects.toThrow('writes are held');
    expect(rig.host.generations).toHaveLength(0);
    rig.device.unsuspend('claim');
    const made = watched(rig.device.makeGeneration());
    rig.host.generations[0]?.resolve();
    await settle();
    expect(made.is).toBe('made');
  });
});
