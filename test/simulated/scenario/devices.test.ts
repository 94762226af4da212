import { expect, it } from 'vitest';
import { StepFailure } from '../../../src/scenario/errors.ts';
import { sleep } from '../../../src/scenario/world.ts';
import { onStage } from '../../support/scenario-world.ts';

const page = (byte: number) => new Uint8Array(4096).fill(byte);
const anywhere = { on: null, withinMs: 5000 };

it('sends a request to the node in service, and sends it again to the next when that one dies', async () => {
  await onStage(async ({ world, devices }) => {
    await devices.send(anywhere, (c) => c.writeBytes(0, page(1)));
    await world.crash(['a']);
    await devices.send(anywhere, (c) => c.writeBytes(4096, page(2)));
    const found = await devices.send({ on: 'b', withinMs: 100 }, (c) => c.readBytes(0, 8192));
    expect([found?.value[0], found?.value[4096]]).toEqual([1, 2]);
  });
});

it('leaves a node that stands still when another has taken over', async () => {
  await onStage(async ({ world, devices }) => {
    await devices.send(anywhere, (c) => c.writeBytes(0, page(1)));
    world.freeze('a');
    await devices.send(anywhere, (c) => c.writeBytes(0, page(2)));
    expect(world.running('a')).toBe('frozen');
    const found = await devices.send({ on: 'b', withinMs: 100 }, (c) => c.readBytes(0, 4096));
    expect(found?.value[0]).toBe(2);
  });
});

it('ends when nobody is in service for so long, or when it is told to', async () => {
  await onStage(async ({ world, devices }) => {
    await world.crash(['a', 'b']);
    const began = world.clock.now();
    await expect(devices.send({ on: null, withinMs: 700 }, (c) => c.flushNow())).rejects.toThrow(StepFailure);
    expect(world.clock.now() - began).toBeLessThan(1000);
    let stopped = false;
    const waiting = devices.send({ on: null, withinMs: null, stopped: () => stopped }, (c) => c.flushNow());
    await sleep(world.clock, 5000);
    stopped = true;
    expect(await waiting).toBeUndefined();
  });
});

it('takes an error reply for an answer', async () => {
  await onStage(async ({ world, devices }) => {
    await world.crash(['b']);
    await devices.send(anywhere, (c) => c.writeBytes(0, page(1)));
    await world.fault('a', 'error write');
    await expect(devices.send(anywhere, (c) => c.writeBytes(0, page(2)))).rejects.toThrow('EIO');
    expect(await devices.sendToFail({ on: null, withinMs: 5000 }, (c) => c.writeBytes(0, page(2)))).toContain('EIO');
  });
});

it('takes the refusal of the export for an error, where a node is named', async () => {
  await onStage(async ({ devices }) => {
    expect(await devices.sendToFail({ on: 'b', withinMs: 1000 }, (c) => c.writeBytes(0, page(1)))).toContain('the export was refused');
  });
});
