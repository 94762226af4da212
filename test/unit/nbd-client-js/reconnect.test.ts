import { describe, expect, it } from 'vitest';
import { type Chance, Errno, IoError } from '../../../src/io/types.ts';
import { ReconnectingClient, type ReconnectState } from '../../../src/nbd-client-js/reconnect.ts';
import { ClientWorld } from '../../support/client-world.ts';
import { ManualClock, settle } from '../../support/manual-clock.ts';

const chance: Chance = { u32: () => 0, hex64: () => '0000000000000001', float: () => 0.5 };

class FakeClient {
  closedWith: number | undefined;
  #listener: ((errno: number, reason: string) => void) | undefined;

  onClosed(f: (errno: number, reason: string) => void): void {
    this.#listener = f;
  }

  close(errno: number, reason = ''): void {
    this.closedWith = errno;
    this.#listener?.(errno, reason);
  }
}

interface Scene {
  clock: ManualClock;
  states: ReconnectState<FakeClient>[];
  driver: ReconnectingClient<FakeClient>;
  /** Attempts that wait for the test to decide. */
  attempts: { succeed: (c: FakeClient) => void; fail: (e: unknown) => void }[];
}

function scene(onState?: (s: Scene, state: ReconnectState<FakeClient>) => void): Scene {
  const clock = new ManualClock();
  const states: Scene['states'] = [];
  const attempts: Scene['attempts'] = [];
  const driver = new ReconnectingClient<FakeClient>({
    clock,
    chance,
    connect: () => new Promise((succeed, fail) => attempts.push({ succeed, fail })),
    onState: (state) => {
      states.push(state);
      onState?.(s, state);
    },
  });
  const s: Scene = { clock, states, driver, attempts };
  return s;
}

async function fail(s: Scene): Promise<void> {
  s.attempts.shift()?.fail(new IoError(Errno.ECONNREFUSED, 'nobody there'));
  await settle();
}

describe('a reconnecting client', () => {
  it('tries in a later turn, and says when it is connected', async () => {
    const s = scene();
    expect(s.states).toEqual([]);
    await settle();
    const client = new FakeClient();
    s.attempts.shift()?.succeed(client);
    await settle();
    expect(s.states).toEqual([
      { kind: 'connecting', failures: 0 },
      { kind: 'connected', client },
    ]);
    expect(s.driver.client).toBe(client);
  });

  it('waits longer after each failure, up to a bound, with one timer', async () => {
    const s = scene();
    await settle();
    const waits: number[] = [];
    for (let i = 0; i < 9; i += 1) {
      await fail(s);
      const state = s.driver.state;
      if (state.kind !== 'waiting') throw new Error(`it is ${state.kind}`);
      expect(state).toMatchObject({ failures: i + 1, error: { message: 'nobody there' } });
      expect(s.clock.pending).toBe(1);
      waits.push(state.waitMs);
      s.clock.advance(state.waitMs);
      await settle();
      expect(s.driver.state).toEqual({ kind: 'connecting', failures: i + 1 });
    }
    expect(waits).toEqual([75, 150, 300, 600, 1200, 2400, 3750, 3750, 3750]);
  });

  it('connects again after a loss, with the reason of it', async () => {
    const s = scene();
    await settle();
    const client = new FakeClient();
    s.attempts.shift()?.succeed(client);
    await settle();
    client.close(Errno.ETIMEDOUT, 'no reply');
    expect(s.driver.state).toMatchObject({ kind: 'waiting', failures: 1, error: { message: 'no reply', errno: Errno.ETIMEDOUT } });
    expect(s.driver.client).toBeUndefined();
    s.clock.advance(75);
    await settle();
    expect(s.attempts).toHaveLength(1);
  });

  it('goes on counting failures unless a connection has lasted', async () => {
    const s = scene();
    await settle();
    for (const [lastsMs, failures] of [
      [0, 1],
      [4999, 2],
      [5000, 1],
    ] as const) {
      const client = new FakeClient();
      s.attempts.shift()?.succeed(client);
      await settle();
      s.clock.advance(lastsMs);
      client.close(Errno.ECONNRESET, 'lost');
      expect(s.driver.state).toMatchObject({ kind: 'waiting', failures });
      s.clock.advance(5000);
      await settle();
    }
  });

  it('tries at once when told to hurry, once', async () => {
    const s = scene();
    await settle();
    await fail(s);
    s.driver.hurry();
    s.driver.hurry();
    await settle();
    expect(s.attempts).toHaveLength(1);
    expect(s.clock.pending).toBe(0);
    s.driver.hurry();
    await settle();
    expect(s.attempts).toHaveLength(1);
  });

  it.each(['before the first attempt', 'while connecting', 'while connected', 'while waiting'])('stops %s', async (when) => {
    const s = scene();
    const client = new FakeClient();
    if (when !== 'before the first attempt') await settle();
    if (when === 'while connected') s.attempts.shift()?.succeed(client);
    if (when === 'while waiting') await fail(s);
    await settle();
    s.driver.stop();
    s.driver.stop();
    s.driver.hurry();
    s.attempts.shift()?.succeed(client);
    await settle();
    s.clock.advance(60_000);
    await settle();
    expect(s.states.filter((x) => x.kind === 'stopped')).toHaveLength(1);
    expect(s.states.at(-1)).toEqual({ kind: 'stopped' });
    expect(s.clock.pending).toBe(0);
    if (when.endsWith('ing') && when !== 'while waiting') expect(client.closedWith).toBe(Errno.ESHUTDOWN);
    if (when === 'while connected') expect(client.closedWith).toBe(Errno.ESHUTDOWN);
  });

  it('may be stopped from within its own callback', async () => {
    for (const kind of ['connecting', 'connected', 'waiting'] as const) {
      const s = scene((x, state) => {
        if (state.kind === kind) x.driver.stop();
      });
      await settle();
      const attempt = s.attempts.shift();
      if (kind === 'waiting') attempt?.fail('why');
      else attempt?.succeed(new FakeClient());
      await settle();
      s.clock.advance(60_000);
      await settle();
      expect(s.states.at(-1)).toEqual({ kind: 'stopped' });
      expect(s.clock.pending).toBe(0);
    }
  });

  it('drives a real client from one connection to the next', async () => {
    const w = new ClientWorld();
    const states: ReconnectState[] = [];
    const driver = new ReconnectingClient({
      clock: w.clock,
      chance,
      connect: () => w.connect({}, {}, (p) => p.serve(new Uint8Array(1 << 20), true)),
      onState: (s) => states.push(s),
    });
    for (let i = 0; i < 5; i += 1) await settle();
    await driver.client?.flushNow();
    w.peers[0]?.close();
    await settle();
    expect(driver.state.kind).toBe('waiting');
    w.clock.advance(75);
    for (let i = 0; i < 5; i += 1) await settle();
    await driver.client?.flushNow();
    driver.stop();
    await settle();
    expect(states.map((s) => s.kind)).toEqual(['connecting', 'connected', 'waiting', 'connecting', 'connected', 'stopped']);
    expect(w.engine.usage()).toMatchObject({ connections: 0, operations: 0 });
  });
});
