import { expect, test } from 'vitest';
import { Asks } from '../../../src/io/asks.ts';
import { EngineHub } from '../../../src/io/hub.ts';
import { Touched } from '../../../src/io/touched.ts';
import { UNDER_WAY_READ } from '../../../src/io/serve.ts';
import { ServedConns } from '../../../src/nbd/served-conns.ts';
import { FakeEngine } from '../../support/fake-engine.ts';

function setup(serves = true): { engine: FakeEngine; served: ServedConns; touched: Touched; quiet: () => number } {
  const engine = new FakeEngine();
  engine.serves = serves;
  let times = 0;
  const touched = new Touched(1 << 20, 65536);
  const rules = { leg: 7, sizeBytes: 1 << 20, blockBytes: 512, touched: touched.words, regionBytes: 65536 };
  const quiet = (): void => {
    times += 1;
  };
  const served = new ServedConns({ hub: new EngineHub(engine), rules: () => rules, quiet });
  return { engine, served, touched, quiet: () => times };
}

test('a connection is served by the rules of its device until it is closed, and under way until the engine says that it is not', () => {
  const { engine, served, touched, quiet } = setup();
  served.opened(1);
  expect(engine.servedNow.get(1)).toEqual({ leg: 7, sizeBytes: 1 << 20, blockBytes: 512, touched: touched.words, regionBytes: 65536 });
  expect(served.underWay).toBe(true);
  engine.answered.set(1, 12);
  expect(served.answeredOn(1)).toBe(12);
  served.closed(1);
  expect(engine.servedNow.size).toBe(0);
  expect(served.underWay).toBe(true);
  expect(quiet()).toBe(0);
  engine.unserved(1, 15);
  expect(served.underWay).toBe(false);
  expect(quiet()).toBe(1);
  expect(served.answeredOn(1)).toBe(0);
});

test('an engine that does not serve is not asked to stop it', () => {
  const { engine, served } = setup(false);
  served.opened(1);
  expect(served.underWay).toBe(false);
  served.stop();
  served.closed(1);
  served.closed(2);
  expect(engine.unserving.size).toBe(0);
});

test('paused ones are served again after resume, those still ending after a later one, and counts go on', () => {
  const { engine, served, quiet } = setup();
  served.opened(1);
  served.opened(2);
  served.pause();
  expect(served.paused).toBe(true);
  expect(engine.servedNow.size).toBe(0);
  engine.unserved(1, 3);
  expect(quiet()).toBe(0);
  served.resume();
  expect([...engine.servedNow.keys()]).toEqual([1]);
  expect(served.paused).toBe(false);
  engine.unserved(2, 4);
  expect(served.paused).toBe(true);
  served.resume();
  expect([...engine.servedNow.keys()].sort()).toEqual([1, 2]);
  expect(served.paused).toBe(false);
  engine.answered.set(1, 10);
  engine.answered.set(2, 20);
  expect([served.answeredOn(1), served.answeredOn(2)]).toEqual([13, 24]);
});

test('after stop nothing is served any more, neither what is paused nor what comes', () => {
  const { engine, served } = setup();
  served.opened(1);
  served.stop();
  engine.unserved(1, 0);
  served.resume();
  served.opened(2);
  expect(engine.servedNow.size).toBe(0);
  expect(served.underWay).toBe(false);
});

test('one that closes while it is ending, or while it is off, is forgotten', () => {
  const { engine, served } = setup();
  served.opened(1);
  served.pause();
  served.closed(1);
  engine.unserved(1, 5);
  served.resume();
  served.opened(2);
  served.pause();
  engine.unserved(2, 5);
  served.closed(2);
  served.resume();
  expect(engine.servedNow.size).toBe(0);
  expect(served.answeredOn(1) + served.answeredOn(2)).toBe(0);
});

test('one that comes while all are paused waits for resume', () => {
  const { engine, served } = setup();
  served.pause();
  served.opened(1);
  expect(engine.servedNow.size).toBe(0);
  expect(served.underWay).toBe(false);
  served.resume();
  expect(engine.servedNow.has(1)).toBe(true);
});

test('one that the engine can not take back yet is tried again with the next resume', () => {
  const { engine, served } = setup();
  served.opened(1);
  served.pause();
  engine.unserved(1, 2);
  engine.serves = false;
  served.resume();
  expect(served.paused).toBe(true);
  engine.serves = true;
  served.resume();
  expect(served.paused).toBe(false);
  expect(engine.servedNow.has(1)).toBe(true);
});

test('counts do not fall while one is ending', () => {
  const { engine, served } = setup();
  served.opened(1);
  engine.answered.set(1, 30);
  served.pause();
  engine.answered.set(1, 0);
  expect(served.answeredOn(1)).toBe(30);
  engine.unserved(1, 31);
  expect(served.answeredOn(1)).toBe(31);
});

test('the end of what was not asked to end is a bug', () => {
  const { served } = setup();
  served.opened(1);
  expect(() => {
    served.onDone(1, 0, 0);
  }).toThrow('was not asked to');
});

test('the end of one that nobody knows is a bug, too', () => {
  const { served } = setup();
  expect(() => {
    served.onDone(9, 0, 0);
  }).toThrow('was not asked to');
});

const conns = (engine: FakeEngine): number[] => [...engine.servedNow.keys()].sort((a, b) => a - b);

test('one that the engine refuses is tried again with the next resume, with rules of its own, and those behind it with it', () => {
  const engine = new FakeEngine();
  engine.serves = true;
  let asked = 0;
  const served = new ServedConns({
    hub: new EngineHub(engine),
    rules: () => {
      asked += 1;
      return { leg: asked, sizeBytes: 4096, blockBytes: 512, touched: new Uint32Array(2), regionBytes: 4096 };
    },
    quiet: () => undefined,
  });
  served.opened(1);
  engine.serves = false;
  served.opened(2);
  expect(served.paused).toBe(true);
  served.opened(3);
  served.resume();
  expect([conns(engine), served.paused]).toEqual([[1], true]);
  engine.serves = true;
  // For both of them: one that is refused bars no other.
  expect(asked).toBe(4);
  served.resume();
  expect([conns(engine), served.paused]).toEqual([[1, 2, 3], false]);
  expect([1, 2, 3].map((c) => engine.servedNow.get(c)?.leg)).toEqual([1, 5, 6]);
});

/** Says of each that the engine has been asked for. */
function trying(engine: FakeEngine, refused: ReadonlySet<number>): number[] {
  const tried: number[] = [];
  const serve = engine.serve.bind(engine);
  engine.serve = (conn, rules): boolean => {
    tried.push(conn);
    return !refused.has(conn) && serve(conn, rules);
  };
  return tried;
}

test('one that the engine refuses is in nobody’s way', () => {
  const { engine, served } = setup();
  // So that it is known to serve.
  served.opened(1);
  served.closed(1);
  engine.unserved(1, 0);
  const tried = trying(engine, new Set([2]));
  served.pause();
  served.opened(2);
  served.opened(3);
  served.resume();
  expect([tried, conns(engine), served.paused]).toEqual([[2, 3], [3], true]);
  served.resume();
  expect([tried, conns(engine), served.paused]).toEqual([[2, 3, 2], [3], true]);
});

test('an engine that has never served any is not tried with every request', () => {
  const { engine, served } = setup(false);
  served.opened(1);
  expect(served.paused).toBe(false);
  served.pause();
  served.resume();
  expect(served.paused).toBe(false);
  expect(engine.servedNow.size).toBe(0);
});

/** Each connection has words of its own for its writes under way. */
function withMarks(): { engine: FakeEngine; served: ServedConns; words: (conn: number) => Uint32Array; all: () => number[][] } {
  const engine = new FakeEngine();
  engine.serves = true;
  const touched = new Touched(1 << 20, 65536);
  const served = new ServedConns({
    hub: new EngineHub(engine),
    rules: () => {
      const marks = { allowed: new Uint32Array(1), underWay: new Uint32Array(2), clients: 1 };
      return { leg: 7, sizeBytes: 1 << 20, blockBytes: 512, touched: touched.words, regionBytes: 65536, marks };
    },
    quiet: () => undefined,
  });
  const given = new Map<number, Uint32Array>();
  const words = (conn: number): Uint32Array => {
    const now = engine.servedNow.get(conn)?.marks?.underWay ?? given.get(conn) ?? new Uint32Array(0);
    given.set(conn, now);
    return now;
  };
  return { engine, served, words, all: () => [...served.regionsUnderWay()].map((w) => [...w]) };
}

test('a connection is busy while one of its words says so, for a write or a read, also while it is ending', () => {
  const { engine, served, words } = withMarks();
  served.opened(1);
  served.opened(2);
  expect([1, 2, 3].map((c) => served.isBusy(c))).toEqual([false, false, false]);
  words(2)[1] = 4;
  expect([1, 2, 3].map((c) => served.isBusy(c))).toEqual([false, true, false]);
  served.closed(2);
  expect(served.isBusy(2)).toBe(true);
  words(2)[1] = 0;
  expect(served.isBusy(2)).toBe(false);
  words(2)[0] = UNDER_WAY_READ;
  expect([1, 2].map((c) => served.isBusy(c))).toEqual([false, true]);
  words(2)[0] = 1;
  engine.unserved(2, 1);
  expect(served.isBusy(2)).toBe(false);
});

/** Connection 1 has somewhere to ask. */
function withAsks(told: () => void = () => undefined): {
  engine: FakeEngine;
  served: ServedConns;
  asks: Asks;
  asked: (readonly [number, Uint32Array])[];
} {
  const engine = new FakeEngine();
  engine.serves = true;
  const asks = new Asks();
  const asked: (readonly [number, Uint32Array])[] = [];
  const { words } = new Touched(1 << 20, 65536);
  const marks = { allowed: new Uint32Array(1), underWay: new Uint32Array(2), clients: 1, asks: asks.words };
  const served = new ServedConns({
    hub: new EngineHub(engine),
    rules: () => ({ leg: 7, sizeBytes: 1 << 20, blockBytes: 512, touched: words, regionBytes: 65536, marks }),
    quiet: () => undefined,
    asked: (conn, its) => {
      asked.push([conn, its]);
      told();
    },
  });
  served.opened(1);
  return { engine, served, asks, asked };
}

test('what a connection asks for is told once what it had asked for before is answered, and it is busy until all of that is', () => {
  const { engine, served, asks, asked } = withAsks();
  const ask = (...regions: number[]): void => {
    engine.heeds.ask(1, engine.servedNow.get(1), regions);
  };
  expect([asked, served.isBusy(1)]).toEqual([[], false]);
  ask(3, 4);
  expect([asked, served.isBusy(1)]).toEqual([[[1, asks.words]], true]);
  // Nobody waits to be told of it: whoever answers looks.
  ask(5);
  expect([asked.length, engine.heeds.heeds(1)]).toEqual([1, false]);
  asks.answer(2);
  served.answered(1);
  expect([asked.length, served.isBusy(1), engine.heeds.answered, engine.heeds.heeds(1)]).toEqual([2, true, [1], false]);
  asks.answer(1);
  served.answered(1);
  expect([asked.length, served.isBusy(1), engine.heeds.answered, engine.heeds.heeds(1)]).toEqual([2, false, [1, 1], true]);
  ask(6);
  expect(asked.length).toBe(3);
});

test('what is answered in the midst of being told ends the telling, and the engine says what comes then', () => {
  const told: number[] = [];
  const { engine, served, asks } = withAsks(() => {
    told.push(asks.words[0] ?? 0);
    // As long as more comes before it is answered: each would be told within the other.
    engine.heeds.ask(1, engine.servedNow.get(1), [told.length]);
    asks.answer(1);
    served.answered(1);
  });
  engine.heeds.ask(1, engine.servedNow.get(1), [0]);
  expect([told, engine.heeds.heeds(1)]).toEqual([[1, 2], true]);
});

test('what was taken of one that is ending by then may be answered, and nothing more is told', () => {
  const { engine, served, asks, asked } = withAsks();
  const rules = engine.servedNow.get(1);
  engine.heeds.ask(1, rules, [3]);
  served.pause();
  engine.heeds.ask(1, rules, [4]);
  asks.answer(1);
  served.answered(1);
  expect([asked.length, engine.heeds.heeds(1)]).toEqual([1, false]);
  engine.unserved(1, 0);
  expect(served.underWay).toBe(false);
});

test('what is asked for while a connection is ending is not told, and nothing is waited for any more when it has ended', () => {
  const { engine, served, asked } = withAsks();
  const rules = engine.servedNow.get(1);
  served.pause();
  engine.heeds.ask(1, rules, [3]);
  engine.unserved(1, 0);
  expect([asked, served.underWay, served.isBusy(1)]).toEqual([[], false, false]);
  // It is waited for again when it is served again.
  served.resume();
  engine.heeds.ask(1, engine.servedNow.get(1), [4]);
  expect(asked.length).toBe(1);
});

test('without marks nobody knows of a single request', () => {
  const { served } = setup();
  served.opened(1);
  expect(served.isBusy(1)).toBe(false);
  expect([...served.regionsUnderWay()]).toEqual([]);
});

test('regions under way are those of each that is served or ending, and of none that is off', () => {
  const { engine, served, words, all } = withMarks();
  expect(all()).toEqual([]);
  served.opened(1);
  served.opened(2);
  words(1).set([5, 6]);
  words(2)[0] = 7;
  expect(all()).toEqual([
    [5, 6],
    [7, 0],
  ]);
  served.pause();
  expect(all()).toEqual([
    [5, 6],
    [7, 0],
  ]);
  engine.unserved(1, 1);
  expect(all()).toEqual([[7, 0]]);
  engine.unserved(2, 1);
  expect(all()).toEqual([]);
  engine.serves = false;
  served.resume();
  expect(all()).toEqual([]);
  engine.serves = true;
  served.resume();
  // Of the new rules: nothing of before.
  expect(all()).toEqual([
    [0, 0],
    [0, 0],
  ]);
});

// -------------------------------------------------------------------------------------------------- together

/** All or none; `clients`: what each call for rules was told. */
function together(serves = true): { engine: FakeEngine; served: ServedConns; clients: number[]; quiet: () => number; end: () => void } {
  const engine = new FakeEngine();
  engine.serves = serves;
  const clients: number[] = [];
  let times = 0;
  const served = new ServedConns({
    hub: new EngineHub(engine),
    together: true,
    rules: (n) => {
      clients.push(n);
      return { leg: 7, sizeBytes: 4096, blockBytes: 512, touched: new Uint32Array(2), regionBytes: 4096 };
    },
    quiet: () => {
      times += 1;
    },
  });
  const end = (): void => {
    for (const conn of [...engine.unserving.keys()]) engine.unserved(conn, 0);
  };
  return { engine, served, clients, quiet: () => times, end };
}

/** Those of `open` are served. */
function allServed(open: readonly number[]): ReturnType<typeof together> {
  const t = together();
  for (const conn of open) t.served.opened(conn);
  t.served.resume();
  expect([conns(t.engine), t.served.paused]).toEqual([open, false]);
  return t;
}

test('together: one that is opened waits for resume, which has rules for as many as there are then', () => {
  const { engine, served, clients, end } = together();
  served.opened(1);
  expect([conns(engine), served.paused, served.open]).toEqual([[], true, 1]);
  served.resume();
  expect([conns(engine), served.paused, clients]).toEqual([[1], false, [1]]);
  served.opened(2);
  served.opened(3);
  expect([conns(engine), served.open]).toEqual([[], 3]);
  end();
  served.resume();
  expect([conns(engine), served.paused, clients]).toEqual([[1, 2, 3], false, [1, 3, 3, 3]]);
});

test('together: one that comes or goes ends it for all, once, and none is served before the last of them has ended', () => {
  for (const change of ['opened', 'closed'] as const) {
    const { engine, served, quiet } = allServed([1, 2]);
    if (change === 'opened') served.opened(3);
    else served.closed(2);
    expect([change, conns(engine), [...engine.unserving.keys()], served.underWay]).toEqual([change, [], [1, 2], true]);
    served.resume();
    engine.unserved(1, 0);
    expect([change, served.paused]).toEqual([change, true]);
    served.resume();
    expect([change, conns(engine), served.underWay, quiet()]).toEqual([change, [], true, 0]);
    // A try that comes too early is not the last one.
    expect(served.paused).toBe(true);
    engine.unserved(2, 0);
    expect([change, served.underWay, quiet(), served.paused]).toEqual([change, false, 1, true]);
    served.resume();
    expect([change, conns(engine), served.paused]).toEqual([change, change === 'opened' ? [1, 2, 3] : [1], false]);
  }
});

test('together: one that goes while it is not served is forgotten, and the others are served without it', () => {
  const { engine, served, clients, end } = together();
  for (const conn of [1, 2, 3]) served.opened(conn);
  served.closed(2);
  expect(served.open).toBe(2);
  served.resume();
  expect([conns(engine), clients]).toEqual([
    [1, 3],
    [2, 2],
  ]);
  // While it is ending, too.
  served.pause();
  served.closed(3);
  expect(served.open).toBe(1);
  end();
  served.resume();
  expect([conns(engine), clients.at(-1)]).toEqual([[1], 1]);
  served.closed(1);
  end();
  served.resume();
  expect([conns(engine), served.open, served.underWay, clients.length]).toEqual([[], 0, false, 3]);
});

test('together: where one is refused none is served, and the engine is not asked again before one comes or goes', () => {
  for (const change of ['opened', 'closed'] as const) {
    const { engine, served, clients, end } = allServed([1, 2, 3]);
    served.pause();
    end();
    const refused = new Set([2]);
    const tried = trying(engine, refused);
    served.resume();
    // One that was taken already is given up again, and none behind the refused one is asked for.
    expect([change, tried, conns(engine), [...engine.unserving.keys()], served.paused]).toEqual([change, [1, 2], [], [1], false]);
    end();
    expect([change, served.paused, served.underWay]).toEqual([change, false, false]);
    if (change === 'opened') served.opened(4);
    else served.closed(3);
    expect([change, served.paused]).toEqual([change, true]);
    refused.clear();
    served.resume();
    const now = change === 'opened' ? [1, 2, 3, 4] : [1, 2];
    expect([change, conns(engine), served.paused, clients.at(-1)]).toEqual([change, now, false, now.length]);
  }
});

test('together: one that goes while what was refused is still ending is waited for by those that stay', () => {
  const { engine, served, end } = allServed([1, 2]);
  served.pause();
  end();
  const refused = new Set([2]);
  trying(engine, refused);
  served.resume();
  refused.clear();
  served.closed(1);
  served.resume();
  expect([conns(engine), served.underWay]).toEqual([[], true]);
  end();
  expect([served.paused, served.underWay]).toEqual([true, false]);
  served.resume();
  expect(conns(engine)).toEqual([2]);
});

test('together: an engine that serves none is asked once for each that comes or goes', () => {
  const { engine, served } = together(false);
  const tried = trying(engine, new Set());
  for (const conn of [1, 2]) served.opened(conn);
  for (let i = 0; i < 3; i += 1) if (served.paused) served.resume();
  expect(tried).toEqual([1]);
  served.closed(1);
  for (let i = 0; i < 3; i += 1) if (served.paused) served.resume();
  expect([tried, conns(engine), served.underWay]).toEqual([[1, 2], [], false]);
});

test('together: counts of each go on when another comes', () => {
  const { engine, served } = allServed([1, 2]);
  engine.answered.set(1, 5);
  engine.answered.set(2, 6);
  served.opened(3);
  expect([1, 2, 3].map((c) => served.answeredOn(c))).toEqual([5, 6, 0]);
  engine.unserved(1, 7);
  engine.unserved(2, 8);
  served.resume();
  for (const [conn, n] of [
    [1, 1],
    [2, 2],
    [3, 3],
  ] as const)
    engine.answered.set(conn, n);
  expect([1, 2, 3].map((c) => served.answeredOn(c))).toEqual([8, 10, 3]);
});

test('together: after stop none is served, whoever comes or goes', () => {
  const { engine, served, end } = allServed([1, 2]);
  served.stop();
  end();
  served.opened(3);
  served.closed(1);
  served.resume();
  expect([conns(engine), served.underWay]).toEqual([[], false]);
});
