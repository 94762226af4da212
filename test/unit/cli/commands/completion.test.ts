import { expect, it } from 'vitest';
import { FakeDaemon, run } from '../fake-daemon.ts';

it('needs no daemon', async () => {
  const d = new FakeDaemon();
  const { code, out } = await run('netraid completion bash', d);
  expect([code, out[0], d.calls]).toEqual([0, '# netraid completion for bash: source <(netraid completion bash)', []]);
});

it.each(['', 'fish', 'bash zsh'])('refuses %j', async (words) => {
  expect((await run(`netraid completion ${words}`, new FakeDaemon())).code).toBe(2);
});
