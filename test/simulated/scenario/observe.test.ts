import { expect, it } from 'vitest';
import { onStage } from '../../support/scenario-world.ts';

it('sees status, flags and process of each node', async () => {
  await onStage(async ({ observer }) => {
    const seen = await observer.seeAll(['a', 'b']);
    expect(seen['a']).toMatchObject({
      running: true,
      flags: { lastOwner: true, source: 'a', dataCorrupt: false },
      status: { inService: true },
      why: '',
    });
    expect(seen['b']).toMatchObject({ running: true, flags: { lastOwner: false, source: 'a' }, status: { inService: false, state: 'Target' } });
    expect((await observer.inService())?.node).toBe('a');
  });
});

it('says why there is no status', async () => {
  await onStage(async ({ observer, world }) => {
    world.freeze('a');
    await world.crash(['b']);
    expect(await observer.see('a')).toMatchObject({ running: true, status: null, why: 'the daemon is frozen' });
    expect(await observer.see('b')).toMatchObject({ running: false, status: null, why: 'the daemon is down', flags: { source: 'a' } });
    expect(await observer.inService()).toBeUndefined();
  });
});

it('takes of two that say they serve the one of the later epoch', async () => {
  await onStage(async ({ observer, world }) => {
    world.cut('a', 'b');
    world.cut('b', 'a');
    await expect
      .poll(async () => {
        await new Promise<void>((resolve) => {
          world.clock.after(100, resolve);
        });
        return (await observer.inService())?.node;
      })
      .toBe('b');
    expect((await observer.see('a')).status?.inService).toBe(true);
  });
});
