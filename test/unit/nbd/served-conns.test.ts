import { expect, test } from 'vitest';
import { EngineHub } from '../../../src/io/hub.ts';
import { Touched } from '../../../src/io/touched.ts';
import { UNDER_WAY_READ } from '../../../src/io/types.ts';
import { ServedConns } from '../../../src/nbd/served-conns.ts';
import { FakeEngine } from '../../support/fake-engine.ts';

function setup(serves = true, connectionsMax?: number): { engine: FakeEngine; served: ServedConns; touched: Touched; quiet: () => number } {
  const engine = new FakeEngine();
  engine.serves = serves;
  let times = 0;
  const touched = new Touched(1 << 20, 65536);
  const rules = { leg: 7, sizeBytes: 1 << 20, blockBytes: 512, touched: touched.words, regionBytes: 65536 };
  const quiet = (): void => {
    times += 1;
  };
  const served = new ServedConns({
    hub: new EngineHub(engine),
    rules: () => rules,
    quiet,
    ...(connectionsMax === undefined ? {} : { connectionsMax }),
  });
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
const range = (first: number, last: number): number[] => Array.from({ length: last - first + 1 }, (_x, i) => first + i);

test('beyond connectionsMax one waits, without a try at every request, and has the place of one that has ended', () => {
  const { engine, served } = setup(true, 16);
  for (const conn of range(1, 18)) served.opened(conn);
  expect(conns(engine)).toEqual(range(1, 16));
  // All places are taken: there is nothing to try.
  expect(served.paused).toBe(false);
  served.closed(5);
  served.resume();
  // Its writes may still be under way: it has its place until they have ended.
  expect(conns(engine)).toEqual(range(1, 16).filter((c) => c !== 5));
  engine.unserved(5, 0);
  expect(served.paused).toBe(true);
  served.resume();
  expect(conns(engine)).toEqual(range(1, 17).filter((c) => c !== 5));
  expect(served.paused).toBe(false);
  served.pause();
  for (const conn of [...engine.unserving.keys()]) engine.unserved(conn, 0);
  served.resume();
  expect(conns(engine)).toEqual(range(1, 17).filter((c) => c !== 5));
});

test('one that closes while it waits for a place gets none', () => {
  const { engine, served } = setup(true, 1);
  served.opened(1);
  served.opened(2);
  served.opened(3);
  served.closed(2);
  served.closed(1);
  engine.unserved(1, 0);
  served.resume();
  expect(conns(engine)).toEqual([3]);
  served.closed(3);
  engine.unserved(3, 0);
  expect(served.paused).toBe(false);
  served.resume();
  expect(conns(engine)).toEqual([]);
});

test('a place that is free while all are paused is given with the resume', () => {
  const { engine, served } = setup(true, 2);
  for (const conn of [1, 2, 3]) served.opened(conn);
  served.pause();
  served.opened(4);
  served.closed(1);
  for (const conn of [1, 2]) engine.unserved(conn, 0);
  expect(conns(engine)).toEqual([]);
  served.resume();
  expect(conns(engine)).toEqual([2, 3]);
});

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

test.each([undefined, 1])('one that the engine refuses is in nobody’s way, also where there are few places (%s)', (connectionsMax) => {
  const { engine, served } = setup(true, connectionsMax);
  // So that it is known to serve.
  served.opened(1);
  served.closed(1);
  engine.unserved(1, 0);
  const tried: number[] = [];
  const serve = engine.serve.bind(engine);
  engine.serve = (conn, rules): boolean => {
    tried.push(conn);
    return conn !== 2 && serve(conn, rules);
  };
  served.pause();
  served.opened(2);
  served.opened(3);
  served.resume();
  expect([tried, conns(engine), served.paused]).toEqual([[2, 3], [3], true]);
  served.resume();
  // Where all places are taken there is nothing to try.
  expect([tried, conns(engine), served.paused]).toEqual([connectionsMax === undefined ? [2, 3, 2] : [2, 3], [3], connectionsMax === undefined]);
  served.closed(3);
  engine.unserved(3, 0);
  served.resume();
  expect([tried.at(-1), conns(engine), served.paused]).toEqual([2, [], true]);
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
      const marks = { allowed: new Uint32Array(1), underWay: new Uint32Array(2) };
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
