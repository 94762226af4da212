import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { SHORTAGE_RETRY_MS, SHORTAGE_TRIES_MAX } from '../../../src/mirror/own-leg-ops.ts';
import { settle } from '../../support/manual-clock.ts';
import { Rig } from './rig.ts';

const NO_MEMORY = Errno.ENOMEM;

/** Ends the operation of that kind on the own leg for want of memory, and lets the time pass until it is asked again. */
async function lacks(rig: Rig, kind: 'read' | 'write' | 'zero'): Promise<void> {
  rig.end('own', kind, NO_MEMORY);
  await settle();
  rig.clock.advance(SHORTAGE_RETRY_MS);
  await settle();
}

async function inSync(): Promise<Rig> {
  const rig = await Rig.inSync({ targets: { b: 'sync' } });
  rig.host.easy = true;
  return rig;
}

describe('while the machine lacks memory', () => {
  it.each(['write', 'zero'] as const)('a %s is asked again, holds its range meanwhile, and is answered when the own leg has it', async (kind) => {
    const rig = await inSync();
    const first = kind === 'write' ? rig.write(0, 512, 7) : rig.zero(0, 512);
    await settle();
    rig.end('b', kind);
    await lacks(rig, kind);
    const second = rig.write(0, 512, 8);
    await lacks(rig, kind);
    expect([first.answers, second.answers, rig.copy('b').ops.length]).toEqual([0, 0, 0]);
    await rig.endAll();
    expect([first, second]).toMatchObject([
      { errno: 0, answers: 1 },
      { errno: 0, answers: 1 },
    ]);
    expect([rig.host.ownLeg, rig.host.lost, rig.differsFrom('b')]).toEqual([[], [], -1]);
    expect(rig.engine.handlesAlive).toBe(0);
  });

  it('a read is asked again, and costs the mirror no leg where memory stays away: the application hears of it', async () => {
    const rig = await inSync();
    rig.engine.leg.bytes.fill(5, 0, 512);
    const good = rig.read(0, 512);
    await settle();
    for (let i = 0; i < 5; i += 1) await lacks(rig, 'read');
    await rig.endAll();
    expect(good.data?.[0]).toBe(5);
    const bad = rig.read(0, 512);
    await settle();
    for (let i = 0; bad.answers === 0 && i < 4 * SHORTAGE_TRIES_MAX; i += 1) await lacks(rig, 'read');
    expect(bad).toMatchObject({ errno: NO_MEMORY, answers: 1 });
    expect([rig.host.ownLeg, rig.local.state]).toEqual([[], 'in']);
  });

  it('a write that it never takes fails the leg in the end: a target has what it lacks (M2)', async () => {
    const rig = await inSync();
    const w = rig.write(0, 512, 7);
    await settle();
    rig.end('b', 'write');
    for (let i = 0; i < SHORTAGE_TRIES_MAX; i += 1) await lacks(rig, 'write');
    expect(w.answers).toBe(0);
    rig.end('own', 'write', NO_MEMORY);
    await settle();
    expect(rig.local.state).toBe('out');
    expect(w).toMatchObject({ errno: 0, answers: 1 });
  });

  it.each(['a FLUSH', 'a write with FUA'])('%s is not asked again: it may be a sync that has failed (M3)', async (what) => {
    const rig = await inSync();
    const kind = what === 'a FLUSH' ? 'sync' : 'write';
    if (kind === 'sync') rig.flush();
    else rig.write(0, 512, 7, true);
    await settle();
    rig.end('b', kind);
    rig.end('own', kind, NO_MEMORY);
    rig.clock.advance(SHORTAGE_RETRY_MS);
    await settle();
    expect(rig.engine.leg.ops).toEqual([]);
    expect([rig.local.syncFailed, rig.host.ownLeg.length]).toEqual([true, 1]);
  });

  it('nothing is asked again of a device that has stopped, and it becomes idle (M9)', async () => {
    const rig = await inSync();
    const w = rig.write(0, 512, 7);
    await settle();
    rig.end('b', 'write');
    rig.end('own', 'write', NO_MEMORY);
    rig.device.stop(Errno.ESHUTDOWN);
    const idle = rig.device.idle();
    rig.clock.advance(SHORTAGE_RETRY_MS);
    await idle;
    expect(rig.engine.leg.ops).toEqual([]);
    expect(w).toMatchObject({ errno: Errno.ESHUTDOWN, answers: 1 });
  });
});
