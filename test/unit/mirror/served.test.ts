/** Plain requests of a mirror without targets, which the engine executes by itself: when it may, who hears of them, and who waits for them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BitmapFile } from '../../../src/bitmap/bitmap-file.ts';
import { RegionMap } from '../../../src/bitmap/regions.ts';
import { nullLog } from '../../../src/io/log.ts';
import type { ServeRules } from '../../../src/io/serve.ts';
import { Errno } from '../../../src/io/types.ts';
import { Touched } from '../../../src/io/touched.ts';
import { Marks } from '../../../src/mirror/marks.ts';
import { MirrorExport } from '../../../src/mirror/mirror-export.ts';
import { Prover } from '../../../src/mirror/prover.ts';
import { DEFAULT_SETTINGS } from '../../../src/mirror/settings.ts';
import { settle } from '../../support/manual-clock.ts';
import { type Answer, IDENTITY, REGION, Rig, type RigOptions } from './rig.ts';

/** What the engine does for one connection, as `ServeMarks` has it; one write at a time. */
class Thread {
  readonly #rig: Rig;
  readonly #conn: number;
  #writing: { rules: ServeRules; region: number } | undefined;

  constructor(rig: Rig, conn: number) {
    this.#rig = rig;
    this.#conn = conn;
  }

  get isWriting(): boolean {
    return this.#writing !== undefined;
  }

  /** False: the request is told. */
  begin(region: number): boolean {
    const rules = this.#rig.engine.servedNow.get(this.#conn);
    if (rules?.marks === undefined || this.#writing !== undefined) return false;
    const { allowed, underWay } = rules.marks;
    underWay[0] = region + 1;
    this.#touch(rules, region);
    if (((allowed[Math.floor(region / 32)] ?? 0) & (1 << (region % 32))) === 0) {
      underWay[0] = 0;
      return false;
    }
    this.#writing = { rules, region };
    return true;
  }

  end(byte = 9): void {
    const w = this.#writing;
    if (w?.rules.marks === undefined) throw new Error('it writes nothing');
    this.#writing = undefined;
    this.#rig.engine.leg.bytes.fill(byte, w.region * REGION, w.region * REGION + 512);
    this.#rig.engine.leg.written(w.region * REGION, 512, false);
    this.#touch(w.rules, w.region);
    w.rules.marks.underWay[0] = 0;
    this.#rig.engine.answered.set(this.#conn, this.#rig.engine.served(this.#conn) + 1);
  }

  write(region: number): boolean {
    if (!this.begin(region)) return false;
    this.end();
    return true;
  }

  #touch(rules: ServeRules, region: number): void {
    new Touched(rules.sizeBytes, rules.regionBytes, rules.touched).touch(region * REGION, 512);
  }
}

const served = (rig: Rig): number[] => [...rig.engine.servedNow.keys()].sort((a, b) => a - b);
/** All that was asked to end has. */
const unserveAll = (rig: Rig): void => {
  for (const conn of [...rig.engine.unserving.keys()]) rig.engine.unserved(conn);
};
const allowed = (rig: Rig, conn = 1): number[] => {
  const words = rig.engine.servedNow.get(conn)?.marks?.allowed ?? new Uint32Array(0);
  return Array.from({ length: 32 * words.length }, (_x, i) => i).filter((r) => ((words[Math.floor(r / 32)] ?? 0) & (1 << (r % 32))) !== 0);
};
const unproven = (rig: Rig): number[] =>
  [...rig.marks.intent.unproven().runs()].flatMap((r) => Array.from({ length: r.length }, (_x, i) => r.first + i));

async function write(rig: Rig, region: number): Promise<void> {
  const w = rig.write(region * REGION, 512, 1);
  await rig.endAll();
  expect(w.errno).toBe(0);
}

/** An ordinary read, which is when the device looks whether it may serve. */
async function read(rig: Rig): Promise<void> {
  const r = rig.read(0, 512);
  await rig.endAll();
  expect(r.errno).toBe(0);
}

/** A client is let in, and makes its first request on this connection. */
async function come(rig: Rig, conn: number): Promise<void> {
  await rig.device.served.enter();
  rig.device.served.opened(conn);
}

/** As the server and the connection tell it. */
function go(rig: Rig, conn: number): void {
  rig.device.served.leave();
  rig.device.served.closed(conn);
}

/** Connection 1 is served, and may write regions 1 and 2. */
async function setup(o: RigOptions = {}): Promise<{ rig: Rig; thread: Thread }> {
  const rig = await Rig.make(o);
  rig.engine.serves = true;
  await come(rig, 1);
  await write(rig, 1);
  await write(rig, 2);
  expect([served(rig), allowed(rig)]).toEqual([[1], [1, 2]]);
  return { rig, thread: new Thread(rig, 1) };
}

/** For another size of the device. */
async function otherMarks(rig: Rig, deviceBytes: number): Promise<Marks> {
  const file = await BitmapFile.create(rig.files, '/bigger', { ...IDENTITY, deviceBytes, generation: '00000000000000aa' });
  return new Marks({ file, regions: new RegionMap({ deviceBytes, regionBytes: REGION }), limits: DEFAULT_SETTINGS.intent, log: nullLog });
}

/** Whether a promise has resolved by now. */
async function isDone(p: Promise<unknown>): Promise<boolean> {
  const state = { done: false };
  void p.then(() => {
    state.done = true;
  });
  await settle();
  return state.done;
}

describe('a connection of a mirror without targets', () => {
  it('is served from its first request on, by the rules of the device, and no region is written so before its mark is durable (M1)', async () => {
    const rig = await Rig.make();
    rig.engine.serves = true;
    await come(rig, 1);
    expect([served(rig), rig.device.served.underWay]).toEqual([[], false]);
    const thread = new Thread(rig, 1);
    const w = rig.write(3 * REGION, 512, 1);
    const rules = rig.engine.servedNow.get(1);
    expect(rules).toMatchObject({ leg: 1, sizeBytes: 16 * REGION, blockBytes: 512, regionBytes: REGION });
    expect([rules?.marks?.allowed.length, rules?.marks?.underWay.length]).toEqual([1, 16]);
    expect(rig.device.served.underWay).toBe(true);
    expect(await rig.onDisk('intent')).toEqual([]);
    expect(thread.write(3)).toBe(false);
    await rig.endAll();
    expect(w.errno).toBe(0);
    expect(await rig.onDisk('intent')).toEqual([3]);
    expect(allowed(rig)).toEqual([3]);
    expect([thread.write(3), thread.write(4)]).toEqual([true, false]);
  });

  it('is counted by the export, with the writes that it was not told of', async () => {
    const { rig, thread } = await setup();
    const e = new MirrorExport(rig.device, 'text');
    const seen = (): unknown[] => [1, 2].map((c) => [e.servedOn(c), e.isBusy(c)]);
    thread.write(2);
    thread.begin(1);
    expect(seen()).toEqual([
      [1, true],
      [0, false],
    ]);
    thread.end();
    expect([e.servedOn(1), e.isBusy(1)]).toEqual([2, false]);
    const before = rig.device.counters.writes;
    rig.marks.hear();
    expect(rig.device.counters.writes - before).toBe(1);
    // Another comes, and the first one goes.
    const entered = e.enter();
    unserveAll(rig);
    await entered;
    e.opened(2);
    expect(seen()).toEqual([
      [2, false],
      [0, false],
    ]);
    await read(rig);
    expect(served(rig)).toEqual([1, 2]);
    new Thread(rig, 1).write(1);
    new Thread(rig, 2).write(2);
    expect(seen()).toEqual([
      [3, false],
      [1, false],
    ]);
    e.leave();
    e.closed(1);
    unserveAll(rig);
    await settle();
    await read(rig);
    expect(served(rig)).toEqual([2]);
    new Thread(rig, 2).write(1);
    expect(seen()).toEqual([
      [0, false],
      [2, false],
    ]);
  });

  it('is not served while the mirror has a target, in sync or not, nor while the own leg is out', async () => {
    for (const o of [{ targets: { b: 'sync' } }, { targets: { b: 'async' } }] as const) {
      for (const rig of [await Rig.make(o), await Rig.inSync(o)]) {
        rig.engine.serves = true;
        await come(rig, 1);
        await write(rig, 1);
        expect(served(rig)).toEqual([]);
      }
    }
    const rig = await Rig.make();
    rig.engine.serves = true;
    await come(rig, 1);
    rig.local.state = 'out';
    rig.read(0, 512);
    await settle();
    expect(served(rig)).toEqual([]);
    rig.local.state = 'in';
    rig.read(0, 512);
    expect(served(rig)).toEqual([1]);
  });

  it('is told of its writes where the engine serves none', async () => {
    const rig = await Rig.make();
    await come(rig, 1);
    await write(rig, 1);
    await write(rig, 1);
    expect([served(rig), rig.device.served.underWay]).toEqual([[], false]);
    expect(await isDone(rig.device.served.quiet())).toBe(true);
  });
});

describe('clients', () => {
  /** A write that the device was told of, and that its leg has not ended. */
  const inHand = (rig: Rig, region = 1): Answer => rig.write(region * REGION, 512, 3);

  it('are let in at once, the one that is alone, and served when all that it waits for is done', async () => {
    const rig = await Rig.make();
    rig.engine.serves = true;
    expect(await isDone(rig.device.served.enter())).toBe(true);
    rig.device.served.opened(1);
    await write(rig, 1);
    expect(served(rig)).toEqual([1]);
    go(rig, 1);
    unserveAll(rig);
    expect(await isDone(rig.device.served.enter())).toBe(true);
    rig.device.served.opened(2);
    await read(rig);
    expect(served(rig)).toEqual([2]);
  });

  it('are not served where none has been let in: nobody knows who is there', async () => {
    const rig = await Rig.make();
    rig.engine.serves = true;
    rig.device.served.opened(1);
    await write(rig, 1);
    expect(served(rig)).toEqual([]);
  });

  it('end it with the second one, which waits for what is under way and told; both are served when both have asked for something (M4)', async () => {
    const { rig, thread } = await setup();
    rig.marks.intent.proven(rig.marks.seal());
    thread.begin(1);
    const entered = rig.device.served.enter();
    expect(served(rig)).toEqual([]);
    expect(await isDone(entered)).toBe(false);
    thread.end();
    expect(thread.begin(2)).toBe(false);
    expect([await isDone(entered), rig.device.served.underWay]).toEqual([false, true]);
    unserveAll(rig);
    // Told before the other's first request can come.
    expect(unproven(rig)).toEqual([1]);
    expect(await isDone(entered)).toBe(true);
    for (let i = 0; i < 3; i += 1) {
      await read(rig);
      await write(rig, 1);
      expect([served(rig), rig.device.served.underWay]).toEqual([[], false]);
    }
    rig.device.served.opened(2);
    await read(rig);
    expect([served(rig), allowed(rig, 1), allowed(rig, 2)]).toEqual([[1, 2], allowed(rig, 1), allowed(rig, 1)]);
    const [first, second] = [1, 2].map((c) => rig.engine.servedNow.get(c)?.marks);
    expect([first?.clients, second?.clients, first?.allowed === second?.allowed, first?.underWay === second?.underWay]).toEqual([2, 2, true, false]);
  });

  it('end it also where the first one had asked for no read and no write yet: it is served when the other has asked too', async () => {
    const rig = await Rig.make();
    rig.engine.serves = true;
    await rig.device.served.enter();
    const f = rig.flush();
    await rig.endAll();
    expect(f.errno).toBe(0);
    expect(await isDone(rig.device.served.enter())).toBe(true);
    for (const conn of [1, 2]) {
      rig.device.served.opened(conn);
      await write(rig, 1);
      expect([conn, served(rig)]).toEqual([conn, conn === 1 ? [] : [1, 2]]);
    }
  });

  it('wait together where several come, are served when the last has asked, and so are those that stay when one goes', async () => {
    const { rig, thread } = await setup();
    thread.begin(1);
    const entered = [rig.device.served.enter(), rig.device.served.enter()];
    expect(await Promise.all(entered.map(isDone))).toEqual([false, false]);
    thread.end();
    unserveAll(rig);
    expect(await Promise.all(entered.map(isDone))).toEqual([true, true]);
    for (const conn of [2, 3]) {
      await read(rig);
      expect([conn, served(rig)]).toEqual([conn, []]);
      rig.device.served.opened(conn);
    }
    await read(rig);
    expect([served(rig), rig.engine.servedNow.get(2)?.marks?.clients]).toEqual([[1, 2, 3], 3]);
    for (const [gone, stay] of [
      [2, [1, 3]],
      [1, [3]],
    ] as const) {
      go(rig, gone);
      expect([gone, served(rig)]).toEqual([gone, []]);
      await settle();
      await read(rig);
      // What was under way of one has not ended.
      expect([gone, served(rig)]).toEqual([gone, []]);
      unserveAll(rig);
      await read(rig);
      expect([gone, served(rig)]).toEqual([gone, stay]);
    }
  });

  it('leave the other one to be served only when all that had come by then is answered, whoever has asked it', async () => {
    const { rig } = await setup();
    const entered = rig.device.served.enter();
    unserveAll(rig);
    await entered;
    rig.device.served.opened(2);
    const w = inHand(rig);
    const r = rig.read(2 * REGION, 512);
    expect(served(rig)).toEqual([1, 2]);
    go(rig, 1);
    unserveAll(rig);
    await settle();
    const other = inHand(rig, 2);
    expect(served(rig)).toEqual([]);
    rig.end('own', 'read');
    rig.end('own', 'write');
    await settle();
    expect([w.errno, r.errno, other.errno]).toEqual([0, 0, undefined]);
    // What has come since comes from the one that is there.
    const last = rig.read(0, 512);
    expect(served(rig)).toEqual([2]);
    await rig.endAll();
    expect([other.errno, last.errno]).toEqual([0, 0]);
  });

  it('that come while a write of one that has gone is in hand are let in, and not served before that is answered', async () => {
    const { rig } = await setup();
    const w = inHand(rig);
    await settle();
    go(rig, 1);
    unserveAll(rig);
    expect(await isDone(rig.device.served.enter())).toBe(true);
    rig.device.served.opened(2);
    for (let i = 0; i < 3; i += 1) {
      const r = rig.read(2 * REGION, 512);
      rig.end('own', 'read');
      await settle();
      expect([r.errno, w.errno, served(rig)]).toEqual([0, undefined, []]);
    }
    rig.end('own', 'write');
    await settle();
    expect([w.errno, served(rig)]).toEqual([0, []]);
    await read(rig);
    expect(served(rig)).toEqual([2]);
  });

  it('that come while a write of one that has gone waits for the entrance are not served before that is answered, either', async () => {
    const { rig } = await setup();
    const closing = rig.device.closeEntrance('resize');
    unserveAll(rig);
    await closing;
    const w = inHand(rig);
    go(rig, 1);
    await settle();
    await come(rig, 2);
    rig.device.openEntrance('resize');
    await settle();
    rig.read(2 * REGION, 512);
    expect([w.errno, served(rig)]).toEqual([undefined, []]);
    await rig.endAll();
    expect(w.errno).toBe(0);
    await read(rig);
    expect(served(rig)).toEqual([2]);
  });

  it('that come while the engine writes for one that has gone wait for that', async () => {
    const { rig, thread } = await setup();
    thread.begin(1);
    go(rig, 1);
    expect(served(rig)).toEqual([]);
    await settle();
    const entered = rig.device.served.enter();
    expect(await isDone(entered)).toBe(false);
    thread.end();
    unserveAll(rig);
    expect(await isDone(entered)).toBe(true);
    rig.device.served.opened(2);
    await read(rig);
    expect(served(rig)).toEqual([2]);
  });

  it('wait on, when the one they wait for goes meanwhile', async () => {
    const { rig, thread } = await setup();
    thread.begin(1);
    const entered = rig.device.served.enter();
    go(rig, 1);
    expect(await isDone(entered)).toBe(false);
    thread.end();
    unserveAll(rig);
    expect(await isDone(entered)).toBe(true);
    rig.device.served.opened(2);
    await read(rig);
    expect(served(rig)).toEqual([2]);
  });

  it('that were let in and have not come leave the first one as it was', async () => {
    const { rig, thread } = await setup();
    const entered = rig.device.served.enter();
    unserveAll(rig);
    await entered;
    await read(rig);
    expect(served(rig)).toEqual([]);
    rig.device.served.leave();
    await settle();
    await read(rig);
    expect([served(rig), allowed(rig)]).toEqual([[1], [1, 2]]);
    expect(thread.write(2)).toBe(true);
  });

  it('are served while there are no more than eight', async () => {
    const { rig } = await setup();
    for (let conn = 2; conn <= 9; conn += 1) {
      const entered = rig.device.served.enter();
      unserveAll(rig);
      await entered;
      rig.device.served.opened(conn);
      await read(rig);
      expect([conn, served(rig).length]).toEqual([conn, conn <= 8 ? conn : 0]);
    }
    go(rig, 3);
    await settle();
    await read(rig);
    expect(served(rig)).toEqual([1, 2, 4, 5, 6, 7, 8, 9]);
  });

  it('that the engine does not take together are told all, until one of them goes', async () => {
    const { rig, thread } = await setup();
    const entered = rig.device.served.enter();
    unserveAll(rig);
    await entered;
    rig.device.served.opened(2);
    const serve = rig.engine.serve.bind(rig.engine);
    const tried: number[] = [];
    rig.engine.serve = (conn, rules): boolean => {
      tried.push(conn);
      return conn !== 2 && serve(conn, rules);
    };
    for (let i = 0; i < 3; i += 1) {
      await read(rig);
      unserveAll(rig);
      expect([i, tried, served(rig), thread.write(1)]).toEqual([i, [1, 2], [], false]);
    }
    go(rig, 2);
    await settle();
    await read(rig);
    expect([served(rig), thread.write(1)]).toEqual([[1], true]);
  });

  it('of a device with too many regions are not served: its bitmaps would be too long', async () => {
    for (const more of [0, 1]) {
      const { rig } = await setup();
      const closing = rig.device.closeEntrance('resize');
      unserveAll(rig);
      await closing;
      const marks = await otherMarks(rig, (2 ** 24 + more) * REGION);
      rig.device.setGeometry((2 ** 24 + more) * REGION, marks);
      rig.device.openEntrance('resize');
      await write(rig, 5);
      await write(rig, 5);
      expect([more, served(rig)]).toEqual([more, more === 0 ? [1] : []]);
    }
  });
});

describe('whatever has to be decided', () => {
  /** Begins, and ends; undefined: it never does. */
  const reasons: [string, (rig: Rig) => undefined | (() => void | Promise<void>)][] = [
    [
      'a suspension',
      (rig) => {
        rig.device.suspend('claim');
        return () => {
          rig.device.unsuspend('claim');
        };
      },
    ],
    [
      'a closed entrance',
      (rig) => {
        void rig.device.closeEntrance('resize');
        return () => {
          rig.device.openEntrance('resize');
        };
      },
    ],
    [
      'writes that are refused',
      (rig) => {
        rig.device.refuseWrites(true);
        return () => {
          rig.device.refuseWrites(false);
        };
      },
    ],
    [
      'a generation that is due',
      (rig) => {
        rig.device.needGeneration();
        return async () => {
          const w = rig.write(REGION, 512, 3);
          await settle();
          expect([served(rig), w.errno]).toEqual([[], undefined]);
          rig.host.generations.shift()?.resolve();
          await rig.endAll();
          expect(w.errno).toBe(0);
        };
      },
    ],
    [
      'a failure of the own leg, until it is known what comes of it',
      (rig) => {
        rig.device.localFailed('broken', true);
        return async () => {
          rig.host.ownLeg.shift()?.resolve(false);
          await settle();
        };
      },
    ],
    [
      'an own leg that leaves',
      (rig) => {
        rig.device.localFailed('broken', true);
        rig.host.ownLeg.shift()?.resolve(true);
        return undefined;
      },
    ],
    [
      'a target that is added',
      (rig) => {
        rig.add('b');
        return () => {
          rig.device.sessions.remove('b');
        };
      },
    ],
    [
      'a bar, and another',
      (rig) => {
        const a = rig.device.served.bar();
        const b = rig.device.served.bar();
        return async () => {
          a();
          await read(rig);
          expect(served(rig)).toEqual([]);
          b();
        };
      },
    ],
    [
      'a checkpoint, begun under a bar',
      (rig) => {
        const unbar = rig.device.served.bar();
        rig.marks.addCheckpoint('monday');
        unbar();
        return () => {
          rig.marks.dropCheckpoint('monday');
        };
      },
    ],
    [
      "a snapshot's keeper, set under a bar",
      (rig) => {
        const unbar = rig.device.served.bar();
        rig.device.keeper = { takes: () => false };
        unbar();
        return () => {
          rig.device.keeper = undefined;
        };
      },
    ],
    [
      'a process that stood still',
      (rig) => {
        rig.device.stalledFor(1e13);
        expect(rig.host.stalls).toBe(1);
        return () => {
          rig.device.unsuspend('stalled');
        };
      },
    ],
    [
      'the stop',
      (rig) => {
        rig.device.stop(Errno.ESHUTDOWN);
        return undefined;
      },
    ],
  ];

  const cases = reasons.flatMap(([what, begin]) => (['it', 'another client'] as const).map((who) => [what, who, begin] as const));

  it.each(cases)('bars it from that turn on, until it is over: %s; then %s is served', async (_what, who, begin) => {
    const { rig, thread } = await setup();
    thread.begin(1);
    const end = begin(rig);
    expect(served(rig)).toEqual([]);
    expect(rig.device.served.underWay).toBe(true);
    rig.read(0, 512);
    await settle();
    expect(served(rig)).toEqual([]);
    // What began before that may end, and is told.
    thread.end();
    unserveAll(rig);
    expect(rig.device.served.underWay).toBe(false);
    expect(unproven(rig)).toContain(1);
    if (who !== 'it') {
      go(rig, 1);
      await come(rig, 2);
    }
    const opened = rig.read(0, 512);
    await rig.endAll();
    expect(served(rig)).toEqual([]);
    await end?.();
    await rig.endAll();
    expect(opened.answers).toBe(1);
    rig.read(0, 512);
    await rig.endAll();
    const conn = who === 'it' ? 1 : 2;
    expect(served(rig)).toEqual(end === undefined ? [] : [conn]);
    if (end !== undefined) expect(allowed(rig, conn)).toEqual([1, 2]);
  });

  it('holds what waits for it back, too: nothing is served past a write that waits', async () => {
    const { rig } = await setup();
    rig.device.needGeneration();
    unserveAll(rig);
    const w = rig.write(REGION, 512, 3);
    await settle();
    await read(rig);
    expect([served(rig), w.errno]).toEqual([[], undefined]);
  });
});

describe('quiet', () => {
  it('comes when what was under way has ended, and was told, and so it does for each who waits for it', async () => {
    const { rig, thread } = await setup();
    rig.marks.intent.proven(rig.marks.seal());
    thread.write(2);
    thread.begin(1);
    const quiet = rig.device.served.quiet();
    const again = rig.device.served.quiet();
    expect([await isDone(quiet), await isDone(again)]).toEqual([false, false]);
    thread.end();
    expect(thread.begin(2)).toBe(false);
    // The engine may have more that has come: that is told before it says that it is done.
    expect([await isDone(quiet), await isDone(again)]).toEqual([false, false]);
    rig.engine.unserved(1);
    expect([await isDone(quiet), await isDone(again)]).toEqual([true, true]);
    expect(rig.marks.intent.hasUnproven).toBe(true);
    expect(unproven(rig)).toEqual([1, 2]);
    expect(await isDone(rig.device.served.quiet())).toBe(true);
    await read(rig);
    expect(served(rig)).toEqual([1]);
  });

  it.each(['closed entrance', 'stopped device', 'device that is to be idle, with nothing in its way,'])(
    'is what a %s waits for, too',
    async (what) => {
      const { rig, thread } = await setup();
      rig.marks.intent.proven(rig.marks.seal());
      thread.begin(1);
      thread.end();
      thread.begin(2);
      if (what === 'stopped device') rig.device.stop(Errno.ESHUTDOWN);
      const idle = what === 'closed entrance' ? rig.device.closeEntrance('resize') : rig.device.idle();
      expect([await isDone(idle), served(rig)]).toEqual([false, []]);
      thread.end();
      unserveAll(rig);
      expect(await isDone(idle)).toBe(true);
      expect(unproven(rig)).toEqual([1, 2]);
    },
  );

  it('is waited for by a session: a target gets all that was written before it, and after', async () => {
    const { rig, thread } = await setup();
    rig.marks.intent.proven(rig.marks.seal());
    thread.begin(1);
    rig.add('b');
    expect(() => rig.open('b')).toThrow('may be under way');
    const quiet = rig.device.served.quiet();
    thread.end(7);
    expect(rig.oos('b')).toEqual([]);
    unserveAll(rig);
    await quiet;
    // Written after the target was there, and without it: so it lacks that (M5).
    expect(rig.oos('b')).toEqual([1]);
    rig.open('b');
    expect(rig.target('b').toCopy?.get(1)).toBe(true);
    await write(rig, 5);
    expect(served(rig)).toEqual([]);
  });

  it('leaves nothing of a target out that was written just before it was added, and not heard of', async () => {
    const { rig, thread } = await setup();
    rig.marks.intent.proven(rig.marks.seal());
    thread.write(2);
    rig.add('b');
    unserveAll(rig);
    await rig.device.served.quiet();
    expect(rig.oos('b')).toEqual([2]);
    expect(unproven(rig)).toEqual([2]);
  });
});

describe('what was written without being told', () => {
  it('is proven by a flush that comes after its end, and by none before (M3, M5)', async () => {
    const { rig, thread } = await setup();
    thread.write(1);
    thread.begin(2);
    const f = rig.flush();
    thread.end();
    await rig.endAll();
    expect(f.errno).toBe(0);
    expect(rig.marks.hasUnproven).toBe(true);
    expect(unproven(rig)).toEqual([2]);
    expect(rig.marks.collect(false)).toBe(1);
    expect(allowed(rig)).toEqual([2]);
    const g = rig.flush();
    await rig.endAll();
    expect(g.errno).toBe(0);
    expect(rig.marks.hasUnproven).toBe(false);
    expect(rig.marks.collect(false)).toBe(1);
    expect(allowed(rig)).toEqual([]);
    expect(thread.begin(2)).toBe(false);
  });

  it('is proven by the prover, whose marks then go, and a hot region keeps its own', async () => {
    const { rig, thread } = await setup({ easy: true });
    const prover = new Prover(rig.device);
    thread.write(1);
    thread.begin(2);
    expect(await rig.until(prover.prove())).toBe(true);
    expect(rig.marks.collect(false)).toBe(1);
    expect(allowed(rig)).toEqual([2]);
    thread.end();
    const closing = rig.device.closeEntrance('resize');
    unserveAll(rig);
    await rig.until(closing);
    expect(await rig.until(prover.proveAll())).toBe(true);
    expect([rig.intent(), rig.marks.intent.markedRegions]).toEqual([[], 0]);
    expect(rig.engine.leg.durable[2 * REGION]).toBe(9);
  });

  it('is found by the tick of the prover, though no other request comes', async () => {
    const { rig, thread } = await setup({ easy: true, settings: { proveIdleMs: 100, keepIdleMs: 1000 } });
    const prover = new Prover(rig.device);
    rig.marks.intent.proven(rig.marks.seal());
    thread.write(1);
    expect(rig.engine.leg.durable[REGION]).not.toBe(9);
    prover.start();
    await rig.eventually('it is synced', () => rig.engine.leg.durable[REGION] === 9);
    await rig.eventually('all marks have gone', () => rig.marks.intent.markedRegions === 0, 100);
    prover.stop();
    expect(allowed(rig)).toEqual([]);
  });

  it('counts as written since a checkpoint that is made before it was told', async () => {
    const { rig, thread } = await setup();
    rig.marks.intent.proven(rig.marks.seal());
    thread.write(2);
    const unbar = rig.device.served.bar();
    unserveAll(rig);
    await rig.device.served.quiet();
    rig.marks.addCheckpoint('monday');
    unbar();
    expect(rig.marks.checkpoint('monday')?.get(2)).toBe(true);
    expect(rig.marks.checkpoint('monday')?.get(1)).toBe(false);
  });

  it('is marked still on the disk that a power failure leaves, until it is proven (M1)', async () => {
    const { rig, thread } = await setup();
    thread.write(1);
    rig.marks.intent.proven(rig.marks.seal());
    thread.write(2);
    rig.marks.collect(false);
    await rig.marks.durable();
    expect(await rig.onDisk('intent')).toEqual([2]);
  });
});

describe('another geometry', () => {
  it('has marks of its own, which the connections are served with after it', async () => {
    const { rig, thread } = await setup();
    const deviceBytes = 48 * REGION;
    const marks = await otherMarks(rig, deviceBytes);
    thread.begin(2);
    const closing = rig.device.closeEntrance('resize');
    const old = rig.engine.unserving.has(1);
    expect(() => {
      rig.device.setGeometry(deviceBytes, marks);
    }).toThrow('in use');
    thread.end();
    expect(() => {
      rig.device.setGeometry(deviceBytes, marks);
    }).toThrow('in use');
    unserveAll(rig);
    await closing;
    expect([old, unproven(rig)]).toEqual([true, [1, 2]]);
    rig.device.setGeometry(deviceBytes, marks);
    rig.marks = marks;
    rig.device.openEntrance('resize');
    await read(rig);
    const rules = rig.engine.servedNow.get(1);
    expect([rules?.sizeBytes, rules?.marks?.allowed.length]).toEqual([deviceBytes, 2]);
    expect(allowed(rig)).toEqual([]);
    expect(thread.write(2)).toBe(false);
    unserveAll(rig);
    await write(rig, 5);
    expect(allowed(rig)).toContain(5);
    marks.intent.proven(marks.seal());
    thread.write(5);
    expect(marks.hasUnproven).toBe(true);
    expect(marks.intent.unproven().get(5)).toBe(true);
  });
});

// ------------------------------------------------------------------------------------------------ in any order

const CLIENTS = 2;
const REGIONS = 6;

type Act = {
  /** What follows comes in another turn. */
  turn: boolean;
} & (
  | { do: 'begin' | 'serve' | 'write'; who: number; region: number }
  | { do: 'end' | 'come' | 'go' | 'change' | 'read'; who: number }
  | { do: 'flush' | 'collect' | 'prove' | 'durable' | 'suspend' | 'unsuspend' | 'unserve' | 'quiet' | 'break' | 'mend' | 'close' | 'open' }
);

const who = fc.nat(CLIENTS - 1);
/** A few of them mostly: what is written again is what may be served. */
const region = fc.oneof({ weight: 3, arbitrary: fc.nat(1) }, { weight: 1, arbitrary: fc.nat(REGIONS - 1) });
const turn = fc.boolean();
/** One of several acts without more to say. */
const plain = <T extends string>(...names: [T, ...T[]]): fc.Arbitrary<{ do: T; turn: boolean }> => fc.record({ do: fc.constantFrom(...names), turn });

const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 24, arbitrary: fc.record({ do: fc.constantFrom('begin' as const, 'serve' as const, 'write' as const), who, region, turn }) },
  { weight: 14, arbitrary: fc.record({ do: fc.constantFrom('end' as const, 'end' as const, 'read' as const), who, turn }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constantFrom('come' as const, 'go' as const, 'go' as const, 'change' as const), who, turn }) },
  { weight: 16, arbitrary: plain('flush', 'collect', 'prove', 'durable', 'unserve', 'unserve', 'unserve', 'unserve') },
  { weight: 4, arbitrary: plain('suspend', 'unsuspend', 'unsuspend', 'unsuspend', 'quiet', 'close', 'open', 'open', 'open') },
  { weight: 1, arbitrary: plain('break', 'mend', 'mend', 'mend') },
);

/** From its handshake to its end. */
interface Client {
  conn: number;
  state: 'comes' | 'in' | 'gone';
  thread: Thread | undefined;
  answers: Answer[];
}

/** What the property has really tried: one that tries nothing can not fail. */
interface Seen {
  served: number;
  /** After another had been there. */
  servedLater: number;
  /** Where others were served with it. */
  servedTogether: number;
  /** Writes that ended because another's request was told. */
  gaveBack: number;
  /** Clients that had to wait for what was under way. */
  waited: number;
}

class World {
  readonly rig: Rig;
  readonly prover: Prover;
  readonly seen: Seen;
  /** All that ever were. */
  readonly clients: Client[] = [];
  /** Those that are there, by the number that acts have for them. */
  readonly now = new Map<number, Client>();
  /** Where a write is under way that nobody was told of, and who was served with its client. */
  readonly under = new Map<Client, { region: number; group: ReadonlySet<number> }>();
  readonly flushes: Answer[] = [];

  constructor(rig: Rig, seen: Seen) {
    this.rig = rig;
    this.prover = new Prover(rig.device);
    this.seen = seen;
  }

  come(which: number): void {
    if (this.now.has(which)) return;
    const c: Client = { conn: this.clients.length + 1, state: 'comes', thread: undefined, answers: [] };
    this.clients.push(c);
    this.now.set(which, c);
    if (this.rig.device.served.underWay) this.seen.waited += 1;
    void this.rig.device.served.enter().then(() => {
      if (c.state === 'comes') c.state = 'in';
      else this.rig.device.served.leave();
    });
  }

  go(which: number): void {
    const c = this.now.get(which);
    if (c === undefined) return;
    this.now.delete(which);
    const was = c.state;
    c.state = 'gone';
    if (was !== 'in') return;
    this.rig.device.served.leave();
    if (c.thread !== undefined) this.rig.device.served.closed(c.conn);
  }

  /** One that may ask for something, and has. */
  #asking(which: number): { c: Client; thread: Thread } | undefined {
    const c = this.now.get(which);
    if (c?.state !== 'in') return undefined;
    if (c.thread === undefined) {
      c.thread = new Thread(this.rig, c.conn);
      this.rig.device.served.opened(c.conn);
    }
    return { c, thread: c.thread };
  }

  /** M4: what others have asked for is done, or in the hands of who keeps the order. The engine tells nothing before what it does for those of a group is done. */
  #told(c: Client, ask: () => Answer): void {
    for (const [other, { group }] of [...this.under]) {
      if (other !== c) this.seen.gaveBack += 1;
      expect([other.conn, 'is written for, when one asks', c.conn, group.has(c.conn)]).toEqual([
        other.conn,
        'is written for, when one asks',
        c.conn,
        true,
      ]);
      this.#endOf(other);
    }
    c.answers.push(ask());
  }

  /** The engine takes what it may execute only when nothing that it has told of any of them is in hand. */
  #isLent(): boolean {
    const { servedNow } = this.rig.engine;
    return !this.clients.some((c) => servedNow.has(c.conn) && c.answers.some((a) => a.answers === 0));
  }

  /** M4: what is done past the one who keeps the order meets nothing of another. */
  #checkAlone(c: Client): void {
    for (const other of this.clients) {
      if (other === c) continue;
      const open = other.answers.filter((a) => a.answers === 0).length + (this.under.has(other) ? 1 : 0);
      expect([c.conn, 'is served, in hand of', other.conn, open]).toEqual([c.conn, 'is served, in hand of', other.conn, 0]);
    }
  }

  begin(which: number, r: number): void {
    const a = this.#asking(which);
    if (a === undefined || a.thread.isWriting) return;
    const group = new Set(this.rig.engine.servedNow.keys());
    // One thread serves all of a group.
    if (group.has(a.c.conn)) for (const other of [...this.under.keys()]) this.#endOf(other);
    if (!this.#isLent() || !a.thread.begin(r)) {
      this.write(which, r);
      return;
    }
    this.under.set(a.c, { region: r, group });
    this.#checkAlone(a.c);
    // All that are there, or none.
    expect(group).toEqual(new Set([...this.now.values()].map((c) => c.conn)));
    this.seen.served += 1;
    if (group.size > 1) this.seen.servedTogether += 1;
    if (a.c.conn > 1) this.seen.servedLater += 1;
  }

  write(which: number, r: number): void {
    const a = this.#asking(which);
    if (a !== undefined) this.#told(a.c, () => this.rig.write(r * REGION, 512, 2));
  }

  read(which: number): void {
    const a = this.#asking(which);
    if (a !== undefined) this.#told(a.c, () => this.rig.read(0, 512));
  }

  /** Of one that is there; or the oldest of those that have gone. */
  end(which: number): void {
    const here = this.now.get(which);
    const c = here !== undefined && this.under.has(here) ? here : [...this.under.keys()].find((u) => u.state === 'gone');
    if (c !== undefined) this.#endOf(c);
  }

  #endOf(c: Client): void {
    this.under.delete(c);
    c.thread?.end();
  }

  /** The engine ends all of a group when it writes for none of them any more. */
  unserve(): void {
    if (this.under.size === 0) unserveAll(this.rig);
  }

  step(a: Act): void {
    const { rig } = this;
    switch (a.do) {
      case 'begin':
        this.begin(a.who, a.region);
        return;
      case 'serve':
        this.begin(a.who, a.region);
        this.end(a.who);
        return;
      case 'end':
        this.end(a.who);
        return;
      case 'write':
        this.write(a.who, a.region);
        return;
      case 'read':
        this.read(a.who);
        return;
      case 'come':
        this.come(a.who);
        return;
      case 'go':
        this.go(a.who);
        return;
      case 'change':
        for (let which = 0; which < CLIENTS; which += 1) if (which !== a.who) this.go(which);
        this.come(a.who);
        return;
      case 'flush':
        this.flushes.push(rig.flush());
        return;
      case 'collect':
        rig.marks.collect(false);
        return;
      case 'prove':
        void this.prover.prove();
        return;
      case 'durable':
        void rig.marks.durable();
        return;
      case 'suspend':
        rig.device.suspend('claim');
        return;
      case 'unsuspend':
        rig.device.unsuspend('claim');
        return;
      case 'close':
        void rig.device.closeEntrance('resize');
        return;
      case 'open':
        rig.device.openEntrance('resize');
        return;
      case 'unserve':
        this.unserve();
        return;
      case 'quiet':
        void rig.device.served.quiet();
        return;
      case 'break':
        rig.files.fault = (op) => (op === 'sync' ? { errno: Errno.EIO } : undefined);
        return;
      case 'mend':
        rig.files.fault = () => undefined;
    }
  }

  /** After a power failure now, all that the leg may not have is known to be doubted. */
  async check(): Promise<void> {
    const onDisk = new Set(await this.rig.onDisk('intent'));
    const { bytes, durable } = this.rig.engine.leg;
    for (let r = 0; r < REGIONS; r += 1) {
      const range = [r * REGION, r * REGION + 512] as const;
      const differs = Buffer.compare(bytes.subarray(...range), durable.subarray(...range)) !== 0;
      if (differs) expect([r, 'is not synced', onDisk.has(r)]).toEqual([r, 'is not synced', true]);
    }
    for (const { region: r } of this.under.values()) expect([r, 'is being written', onDisk.has(r)]).toEqual([r, 'is being written', true]);
  }

  /** Everything ends, and is answered. */
  async finish(): Promise<void> {
    const { rig } = this;
    for (const c of [...this.under.keys()]) this.#endOf(c);
    rig.files.fault = () => undefined;
    rig.device.unsuspend('claim');
    const closing = rig.device.closeEntrance('end');
    rig.device.openEntrance('resize');
    this.unserve();
    rig.device.openEntrance('end');
    await rig.until(closing);
    const last = rig.device.closeEntrance('end');
    this.unserve();
    await rig.until(last);
    expect(await rig.until(this.prover.proveAll())).toBe(true);
    expect(await rig.until(rig.marks.durable())).toBe(true);
    expect([await rig.onDisk('intent'), rig.device.served.underWay]).toEqual([[], false]);
    expect(Buffer.compare(rig.engine.leg.bytes, rig.engine.leg.durable)).toBe(0);
    for (const a of [...this.flushes, ...this.clients.flatMap((c) => c.answers)]) expect(a.answers).toBe(1);
    for (const c of this.now.values()) expect(c.state).toBe('in');
  }
}

describe('in any order of requests, clients, flushes, proofs and pauses', () => {
  it('all that is being written or not on stable storage is marked on disk (M1, M5), and what is served meets nothing that was told (M4)', async () => {
    const seen: Seen = { served: 0, servedLater: 0, servedTogether: 0, gaveBack: 0, waited: 0 };
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.array(act, { minLength: 30, maxLength: 90 }), async (both, acts) => {
        const rig = await Rig.make({ regions: REGIONS, easy: true });
        rig.engine.serves = true;
        const w = new World(rig, seen);
        w.come(0);
        await settle();
        for (let r = 0; r < REGIONS; r += 2) {
          w.write(0, r);
          await rig.endAll();
        }
        if (both) {
          w.come(1);
          w.unserve();
          await settle();
          w.read(1);
          await rig.endAll();
        }
        for (const a of acts) {
          w.step(a);
          if (!a.turn) continue;
          await settle();
          await w.check();
        }
        await settle();
        await w.finish();
      }),
      { numRuns: 300 },
    );
    for (const [what, times] of Object.entries(seen)) expect([what, times > 10]).toEqual([what, true]);
  });
});
