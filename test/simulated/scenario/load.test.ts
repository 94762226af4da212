import { expect, it } from 'vitest';
import { Load } from '../../../src/scenario/load.ts';
import { Acknowledged } from '../../../src/scenario/model.ts';
import type { LoadAction } from '../../../src/scenario/types.ts';
import { sleep } from '../../../src/scenario/world.ts';
import { onStage } from '../../support/scenario-world.ts';
import { failureOf } from '../../support/scenarios.ts';

const action: LoadAction = {
  kind: 'load',
  name: 'app',
  seed: 1,
  writes: 40,
  length: { from: 4096, to: 16384 },
  range: { from: 65536, to: 1048576 },
  on: null,
};

it('writes as much as it was told, where it was told, and remembers it', async () => {
  await onStage(async ({ world, devices }) => {
    const model = new Acknowledged();
    const load = new Load({ world, devices, model }, action);
    while (load.acknowledged < action.writes) await sleep(world.clock, 10);
    await load.end();
    expect(load.acknowledged).toBe(action.writes);
    const ranges = model.ranges(1 << 20, 4 << 20);
    expect(ranges.length).toBeGreaterThan(0);
    for (const r of ranges) {
      expect(r.offset % 4096).toBe(0);
      expect(r.offset).toBeGreaterThanOrEqual(action.range.from);
      expect(r.offset + r.length).toBeLessThanOrEqual(action.range.to);
      const found = await devices.send({ on: null, withinMs: 1000 }, (c) => c.readBytes(r.offset, r.length));
      expect(found === undefined ? 'nothing' : model.check(r.offset, found.value, true)).toBeUndefined();
    }
  });
});

it('pauses while nobody is in service, and ends then as well', async () => {
  await onStage(async ({ world, devices }) => {
    const model = new Acknowledged();
    const load = new Load({ world, devices, model }, { ...action, writes: 1_000_000 });
    await sleep(world.clock, 100);
    await world.crash(['a', 'b']);
    const before = load.acknowledged;
    expect(before).toBeGreaterThan(0);
    await sleep(world.clock, 500);
    expect(load.acknowledged).toBeLessThanOrEqual(before + 4);
    await load.end();
    expect(load.failure).toBeUndefined();
  });
});

it('begins nothing while it is paused', async () => {
  await onStage(async ({ world, devices }) => {
    const model = new Acknowledged();
    const load = new Load({ world, devices, model }, { ...action, writes: 1_000_000 });
    await sleep(world.clock, 100);
    load.pause();
    await sleep(world.clock, 200);
    const before = load.acknowledged;
    await sleep(world.clock, 500);
    expect(load.acknowledged).toBe(before);
    load.resume();
    await sleep(world.clock, 500);
    expect(load.acknowledged).toBeGreaterThan(before);
    await load.stop();
  });
});

it('follows the node in service through a failover, and loses nothing', async () => {
  const steps = [
    'up: [a, b]',
    'load: {name: app, seed: 2, writes: 100000, length: 4KiB..32KiB, range: 0MiB..2MiB}',
    'wait: 200ms',
    'crash: a',
    'expect: {b: {inService: true}}',
    'wait: 300ms',
    'acknowledged: b',
    'endload: app',
    'acknowledged: b',
    'load: {name: app, seed: 3, writes: 10, length: 4KiB}',
  ];
  expect(await failureOf(steps)).toBeNull();
});

it('that is for one node stays with it', async () => {
  const steps = [
    'up: [a, b]',
    'load: {name: app, seed: 2, writes: 10, length: 4KiB, range: 0MiB..1MiB, on: b}',
    'wait: 1s',
    'endload: app',
    'read: {at: 0, length: 1MiB, seed: zero}',
  ];
  expect(await failureOf(steps)).toBeNull();
});
