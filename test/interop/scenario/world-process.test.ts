import { existsSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { runInProcesses, ProcessWorld } from '../../../src/scenario/world-process.ts';
import { command, scenarioOf } from '../../support/scenarios.ts';

const worlds: ProcessWorld[] = [];
afterEach(async () => {
  for (const w of worlds.splice(0)) await w.close(false);
});

async function world(): Promise<ProcessWorld> {
  const w = await ProcessWorld.make(scenarioOf(['up: [a, b]']).mirror);
  worlds.push(w);
  return w;
}

it('makes zeroed legs, finds where they first differ, and leaves nothing behind', async () => {
  const w = await world();
  expect(await w.firstDifference('a', 'b')).toBe(-1);
  await w.write('b', w.legPath('b'), 3_000_001, new Uint8Array([1]));
  expect(await w.firstDifference('a', 'b')).toBe(3_000_001);
  expect(await w.read('b', w.legPath('b'), 3_000_000, 3)).toEqual(new Uint8Array([0, 1, 0]));
  expect((await w.read('b', w.legPath('b'), (4 << 20) - 1, 10))?.length).toBe(1);
  expect(await w.read('b', `${w.root('b')}/nothing`, 0, 1)).toBeUndefined();
  await w.close(false);
  expect(existsSync(w.folder)).toBe(false);
});

it('knows what runs, and refuses what can not be done to it', async () => {
  const w = await world();
  expect(w.running('a')).toBe('down');
  await expect(w.crash(['a'])).rejects.toThrow('a is down already');
  await expect(w.down('a')).rejects.toThrow('a is down');
  await w.up('a');
  expect(w.running('a')).toBe('up');
  await expect(w.up('a')).rejects.toThrow('a is up already');
  w.freeze('a');
  expect(w.running('a')).toBe('frozen');
  expect(() => w.control('a')).toThrow('a is frozen');
  w.thaw('a');
  expect(() => {
    w.thaw('a');
  }).toThrow('a is up, not frozen');
  expect(await w.control('a').call('info', {})).toMatchObject({ node: 'a' });
  await w.down('a');
  expect(w.running('a')).toBe('down');
  expect(w.lastWords('a').join('\n')).toContain('stopped');
});

it('runs a scenario, keeps its folders when it is asked to, and tells what does not hold', async () => {
  const kept: string[] = [];
  const steps = [
    'up: [a, b]',
    'write: {at: 0, length: 64KiB, seed: 1}',
    'diskerror: {on: b, op: write}',
    'leg: {on: b, at: 0, length: 4KiB, seed: 2}',
  ];
  const { failure } = await runInProcesses(scenarioOf(steps), { command, keep: (line) => kept.push(line) });
  expect(failure).toMatchObject({ step: 4, action: 'leg' });
  expect(failure?.message).toContain('the leg of b does not hold the bytes of seed 2');
  const folder = /folders are in (.*)$/.exec(kept[0] ?? '')?.[1] ?? '';
  expect(existsSync(`${folder}/a/leg`)).toBe(true);
  const { rm } = await import('node:fs/promises');
  await rm(folder, { recursive: true });
});
