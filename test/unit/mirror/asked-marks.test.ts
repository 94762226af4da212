/** Marks that the engine asks for because it was to write regions that it may not write yet: when it may, and who waits for that. */
import { expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { settle } from '../../support/manual-clock.ts';
import { REGION, Rig, type RigOptions } from './rig.ts';

/** Connection 1 is served; nothing is marked. The bitmap file's syncs wait for `sync`. */
async function setup(o: RigOptions = {}): Promise<{ rig: Rig; ask: (...regions: number[]) => void; sync: () => Promise<void> }> {
  const rig = await Rig.make(o);
  rig.engine.serves = true;
  await rig.device.served.enter();
  rig.device.served.opened(1);
  await look(rig);
  expect(rig.engine.servedNow.has(1)).toBe(true);
  const waiting: (() => void)[] = [];
  rig.files.beforeSync = () => new Promise((resolve) => waiting.push(resolve));
  const sync = async (): Promise<void> => {
    for (const go of waiting.splice(0)) go();
    await settle();
  };
  const ask = (...regions: number[]): void => {
    rig.engine.heeds.ask(1, rig.engine.servedNow.get(1), regions);
  };
  return { rig, ask, sync };
}

/** An ordinary read, which is when the device looks whether it may serve. */
async function look(rig: Rig): Promise<void> {
  const r = rig.read(0, 512);
  await rig.endAll();
  expect(r.errno).toBe(0);
}

function allowed(rig: Rig, words = rig.engine.servedNow.get(1)?.marks?.allowed): number[] {
  const all = words ?? new Uint32Array(0);
  return Array.from({ length: 32 * all.length }, (_x, i) => i).filter((r) => ((all[Math.floor(r / 32)] ?? 0) & (1 << (r % 32))) !== 0);
}

/** Says whether all is quiet for somebody who waits for it from now on. */
function waitUntilQuiet(rig: Rig): { quiet: boolean } {
  const state = { quiet: false };
  void rig.device.served.quiet().then(() => {
    state.quiet = true;
  });
  return state;
}

it('a region that is asked for may be written when its mark is durable, and not before (M1)', async () => {
  const { rig, ask, sync } = await setup();
  ask(3, 5);
  await settle();
  expect([allowed(rig), rig.engine.heeds.answered, rig.marks.intent.pendingRegions]).toEqual([[], [], 2]);
  expect(await rig.onDisk('intent')).toEqual([]);
  await sync();
  expect([allowed(rig), rig.engine.heeds.answered, rig.marks.intent.pendingRegions]).toEqual([[3, 5], [1], 0]);
  expect(await rig.onDisk('intent')).toEqual([3, 5]);
});

it('what is asked for while a flush is under way is marked by the next one, all together', async () => {
  const { rig, ask, sync } = await setup();
  ask(3);
  await settle();
  ask(4);
  ask(5, 6);
  await settle();
  await sync();
  expect([allowed(rig), rig.marks.intent.unflushedRegions, await rig.onDisk('intent')]).toEqual([[3], 3, [3]]);
  await sync();
  expect(allowed(rig)).toEqual([3, 4, 5, 6]);
  expect([rig.engine.heeds.answered, rig.engine.heeds.heeds(1)]).toEqual([[1, 1], true]);
});

it('a region whose mark is durable already is allowed at once', async () => {
  const { rig, ask, sync } = await setup();
  ask(3);
  await settle();
  await sync();
  ask(3);
  expect([allowed(rig), rig.engine.heeds.answered]).toEqual([[3], [1, 1]]);
});

it('a region that is asked for twice at a time is allowed, and nothing of it stays under way', async () => {
  const { rig, ask, sync } = await setup();
  ask(3, 3);
  await settle();
  await sync();
  expect([allowed(rig), rig.marks.intent.pendingRegions]).toEqual([[3], 0]);
});

it('its mark stays until a sync that began after it may be written has proven it (M5)', async () => {
  const { rig, ask, sync } = await setup();
  const before = rig.marks.seal();
  ask(3);
  await settle();
  await sync();
  rig.marks.intent.proven(before);
  expect([rig.marks.collect(false), allowed(rig)]).toEqual([0, [3]]);
  rig.marks.intent.proven(rig.marks.seal());
  expect([rig.marks.collect(false), allowed(rig)]).toEqual([1, []]);
});

it('when the marks can not be written nothing is allowed, and the engine serves nothing any more', async () => {
  const { rig, ask, sync } = await setup();
  rig.files.fault = (operation) => (operation === 'sync' ? { errno: Errno.EIO } : undefined);
  ask(3);
  await settle();
  await sync();
  expect([rig.engine.servedNow.size, [...rig.engine.unserving.keys()], rig.marks.intent.pendingRegions]).toEqual([0, [1], 0]);
  rig.engine.unserved(1);
  // The write comes as a request, and is refused there as ever.
  const w = rig.write(3 * REGION, 512, 1);
  await settle();
  await sync();
  await rig.endAll();
  expect(w.errno).toBe(Errno.EIO);
});

it('what is asked for too late is not marked: it comes as a request', async () => {
  const { rig, ask } = await setup();
  const rules = rig.engine.servedNow.get(1);
  const quiet = rig.device.served.quiet();
  rig.engine.heeds.ask(1, rules, [3]);
  rig.engine.unserved(1);
  await quiet;
  expect([rig.marks.intent.markedRegions, rig.engine.heeds.answered]).toEqual([0, []]);
  expect(() => {
    ask(3);
  }).toThrow('nowhere to ask');
});

it('whoever waits until all is quiet waits for marks that were asked for, too: they are of writes that may still come', async () => {
  const { rig, ask, sync } = await setup();
  ask(3);
  await settle();
  const state = waitUntilQuiet(rig);
  rig.engine.unserved(1);
  await settle();
  expect([state.quiet, rig.device.served.underWay]).toEqual([false, true]);
  await sync();
  expect([state.quiet, rig.device.served.underWay]).toEqual([true, false]);
});

it('nothing is served again before all is quiet for those who wait for it', async () => {
  const { rig, ask, sync } = await setup();
  ask(3);
  await settle();
  const state = waitUntilQuiet(rig);
  rig.engine.unserved(1);
  await look(rig);
  expect([rig.engine.servedNow.size, state.quiet]).toEqual([0, false]);
  await sync();
  expect(state.quiet).toBe(true);
  await look(rig);
  expect(rig.engine.servedNow.get(1)?.marks?.asks?.subarray(0, 2)).toEqual(Uint32Array.of(0, 0));
});

it('one that is served again meanwhile does not take the answer for its own', async () => {
  const { rig, ask, sync } = await setup();
  ask(3);
  await settle();
  // A bar that nobody waits behind.
  rig.device.served.bar()();
  rig.engine.unserved(1);
  await look(rig);
  const again = rig.engine.servedNow.get(1)?.marks?.asks;
  expect(again?.subarray(0, 2)).toEqual(Uint32Array.of(0, 0));
  await sync();
  expect([again?.subarray(0, 2), rig.engine.heeds.answered]).toEqual([Uint32Array.of(0, 0), []]);
});

it('so many that a sync should make room are told to the host', async () => {
  const { rig, ask, sync } = await setup({ settings: { intent: { keepMax: 8, markedMax: 8 } } });
  ask(0, 1, 2, 3, 4, 5, 6);
  expect(rig.host.pressures).toBe(0);
  await settle();
  ask(7);
  await sync();
  expect(rig.host.pressures).toBe(1);
  await sync();
  expect(allowed(rig)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});

it('clients that are served together have nowhere to ask', async () => {
  const { rig } = await setup();
  const entered = rig.device.served.enter();
  rig.engine.unserved(1);
  await entered;
  rig.device.served.opened(2);
  await look(rig);
  expect([...rig.engine.servedNow.values()].map((r) => [r.marks?.clients, r.marks?.asks])).toEqual([
    [2, undefined],
    [2, undefined],
  ]);
});
