import { expect, it } from 'vitest';
import { SimWorld } from '../../../src/io/simulated/world.ts';
import { describePrograms } from './conformance-programs.ts';

describePrograms('simulated world', () => {
  const world = new SimWorld(1);
  const node = world.node('a');
  return Promise.resolve({
    programs: node.boot().programs,
    folder: '/hooks',
    install(name, { says, ...end }) {
      node.install(`/hooks/${name}`, (args, env) => (says === undefined ? end : { output: [...args, ...says.map((v) => env[v])].join(' ') }));
      return Promise.resolve();
    },
    drive: (body) => world.run(body()),
  });
});

it('a program takes virtual time, and its end is not heard by a daemon that has died', async () => {
  const world = new SimWorld(1);
  const node = world.node('a');
  node.install('/hooks/a', () => ({ durationMs: 50_000 }));
  const limits = { timeoutMs: 60_000, graceMs: 1, outputMaxBytes: 1 };
  let heard = 0;
  const start = (): void => {
    void node
      .boot()
      .programs.run('/hooks/a', [], {}, limits)
      .then(() => {
        heard = world.now();
      });
  };
  start();
  await world.runFor(40_000);
  node.crash();
  await world.runFor(20_000);
  expect(heard).toBe(0);
  start();
  await world.runFor(60_000);
  expect(heard).toBeGreaterThanOrEqual(110_000);
});

it('a program that was taken away is not listed any more', async () => {
  const world = new SimWorld(1);
  const node = world.node('a');
  node.install('/hooks/a', () => ({}));
  node.install('/hooks/b', () => ({}));
  node.install('/hooks/a', undefined);
  const { programs } = node.boot();
  expect(await world.run(programs.list('/hooks'))).toEqual(['b']);
});
