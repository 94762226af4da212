import { expect, test } from 'vitest';
import { EngineHub } from '../../../src/io/hub.ts';
import { Touched } from '../../../src/io/touched.ts';
import { ServedConns } from '../../../src/nbd/served-conns.ts';
import { FakeEngine } from '../../support/fake-engine.ts';

function setup(serves = true): { engine: FakeEngine; served: ServedConns; touched: Touched; quiet: () => number } {
  const engine = new FakeEngine();
  engine.serves = serves;
  let times = 0;
  const touched = new Touched(1 << 20, 65536);
  const served = new ServedConns(new EngineHub(engine), 7, touched, 512, () => {
    times += 1;
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
  expect(served.paused).toBe(true);
  engine.unserved(2, 4);
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
