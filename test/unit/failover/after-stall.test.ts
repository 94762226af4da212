import { expect, it } from 'vitest';
import { askAfterStall, type StallAsker } from '../../../src/failover/after-stall.ts';
import { Changes, type NodeContext } from '../../../src/failover/context.ts';
import type { Epoch, NodeView } from '../../../src/failover/types.ts';
import { HandClock } from '../cluster/hand-clock.ts';
import { definition, view } from './build.ts';

const NODES = ['a', 'b', 'c'];
const TIMEOUT = 1000;
const epoch = (number: number, owner = 'a'): Epoch => ({ number, owner, random: `000000000000000${owner}` });

type Answer = { says: NodeView | null } | 'silent' | 'pending';

/** A source `a` in epoch 3 that stood still; what `b` and `c` answer is changed by hand, and so are the stalls. */
class Asked {
  readonly clock = new HandClock();
  readonly answers: Record<string, Answer> = { b: 'silent', c: 'silent' };
  /** What heartbeats last said, and since when nothing came. */
  readonly views: Record<string, NodeView> = {};
  readonly silentSince: Record<string, number> = {};
  readonly changes = new Changes((ms, f) => this.clock.after(ms, f));
  readonly now = { stalls: 1, stopped: false };
  answering = false;
  #open: (() => void)[] = [];

  constructor() {
    const { now } = this;
    this.clock.jump(5 * TIMEOUT);
    const ctx = {
      env: { self: 'a', io: { clock: this.clock }, cluster: { checkStall: () => undefined } },
      tag: 't',
      record: () => ({ definition: definition(NODES) }),
      get stalls() {
        return now.stalls;
      },
      peerView: (n: string) => this.views[n],
      silentForMs: (n: string) => this.clock.now() - (this.silentSince[n] ?? 0),
      askView: async (n: string) => {
        const answer = this.answers[n];
        if (answer === 'pending') await new Promise<void>((open) => this.#open.push(open));
        if (answer === 'silent' || answer === 'pending' || answer === undefined) throw new Error('no answer');
        return answer.says;
      },
    } as unknown as NodeContext;
    const source: StallAsker = {
      ctx,
      epoch: epoch(3),
      device: { unsuspend: () => (this.answering = true) } as unknown as StallAsker['device'],
      changes: this.changes,
      timeoutMs: TIMEOUT,
      retryMs: 100,
      get stopped() {
        return now.stopped;
      },
      isStopped: () => now.stopped,
    };
    void askAfterStall(source);
  }

  /** As long as it takes until nothing moves any more, and then this much time. */
  async pass(ms: number): Promise<void> {
    for (let i = 0; i < ms / 100; i++) {
      await this.settle();
      this.clock.advance(100);
    }
    await this.settle();
  }

  async settle(): Promise<void> {
    for (let i = 0; i < 20; i++) await Promise.resolve();
  }

  giveUp(): void {
    for (const open of this.#open.splice(0)) open();
  }
}

const says = (node: string, over: Partial<NodeView['record']> = {}): Answer => ({
  says: view(node, NODES, { record: { epochSeen: epoch(3), epochInSync: epoch(3), ...over } }),
});

it('goes on as soon as one confirms its epoch', async () => {
  const s = new Asked();
  await s.pass(300);
  expect(s.answering).toBe(false);
  s.answers.c = says('c');
  await s.pass(100);
  expect(s.answering).toBe(true);
});

it('goes on when all were silent for failureTimeout since it asked', async () => {
  const s = new Asked();
  await s.pass(900);
  expect(s.answering).toBe(false);
  await s.pass(200);
  expect(s.answering).toBe(true);
});

it.each([
  ['has voted for a later epoch', { epochSeen: epoch(4, 'b') }],
  ['was in sync in a later one', { epochInSync: epoch(4, 'b'), epochSeen: epoch(4, 'b') }],
  ['served a later one', { epochServed: epoch(4, 'c') }],
  ['claims a later one', { claim: epoch(4, 'c') }],
  ['has voted for another owner of this one', { epochSeen: epoch(3, 'b') }],
])('answers nothing as long as somebody is heard who %s, whatever another says', async (_what, over) => {
  const s = new Asked();
  s.answers.c = says('c', over);
  await s.pass(1500);
  expect(s.answering).toBe(false);
  s.answers.b = says('b');
  await s.pass(1500);
  expect(s.answering).toBe(false);
});

it('forgets the claim of one who could not be asked, and has fallen silent since', async () => {
  const s = new Asked();
  await s.pass(100);
  s.silentSince.c = s.clock.now();
  s.views.c = view('c', NODES, { record: { epochSeen: epoch(4, 'c'), claim: epoch(4, 'c') } });
  await s.pass(800);
  expect(s.answering).toBe(false);
  await s.pass(600);
  expect(s.answering).toBe(true);
});

it('takes the word of one that it can not ask, when that reaches it by itself', async () => {
  const s = new Asked();
  await s.pass(100);
  s.silentSince.c = s.clock.now();
  s.views.c = view('c', NODES, { record: { epochSeen: epoch(3), epochInSync: epoch(3) } });
  await s.pass(100);
  expect(s.answering).toBe(true);
});

it.each([4, 2])('asks nothing of a node whose mirror of that tag is another one, in epoch %i', async (number) => {
  const s = new Asked();
  s.answers.c = says('c', { epochSeen: epoch(number, 'c'), definition: { ...definition(NODES), createId: '00000000000000ff' } });
  await s.pass(800);
  expect(s.answering).toBe(false);
  s.answers.b = says('b');
  await s.pass(200);
  expect(s.answering).toBe(true);
});

it('a word that was given before it stood still once more counts no longer', async () => {
  const s = new Asked();
  s.answers.b = says('b');
  s.answers.c = 'pending';
  await s.pass(200);
  // b was lost meanwhile, and c took over.
  s.now.stalls += 1;
  s.clock.jump(3 * TIMEOUT);
  s.answers.b = 'silent';
  s.answers.c = says('c', { epochServed: epoch(4, 'c') });
  s.giveUp();
  await s.pass(500);
  expect(s.answering).toBe(false);
});

it('asks no longer, and goes on no more, once the source has stopped', async () => {
  const s = new Asked();
  await s.pass(300);
  s.now.stopped = true;
  s.answers.b = says('b');
  await s.pass(2000);
  expect(s.answering).toBe(false);
});
