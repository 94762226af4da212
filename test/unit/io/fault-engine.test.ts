import { describe, expect, it } from 'vitest';
import { FaultEngine } from '../../../src/io/fault-engine.ts';
import { EngineHub } from '../../../src/io/hub.ts';
import { nodeFiles } from '../../../src/io/node/files.ts';
import { createNodeIo } from '../../../src/io/node/node-io.ts';
import { PortableEngine } from '../../../src/io/portable-engine.ts';
import { Errno, type Files, IoError, type LegId, type OpId } from '../../../src/io/types.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { describeEngine } from './engine-conformance.ts';
import { pattern } from './engine-rig.ts';
import { MemoryLeg } from './memory-leg.ts';
import { makeNodeWorld } from './node-world.ts';

interface Faulty {
  engine: FaultEngine;
  leg: LegId;
  inner: MemoryLeg;
  clock: ManualClock;
  /** Content of the fault file; undefined: absent. */
  fault: { word: string | undefined; looks: string[]; hold: Promise<void> | undefined };
  /** The errno that an operation ends with. */
  run: (begin: (op: OpId) => void) => Promise<number>;
  read: () => Promise<number>;
  write: (fua?: boolean) => Promise<number>;
  sync: () => Promise<number>;
  zero: () => Promise<number>;
}

async function makeFaulty(): Promise<Faulty> {
  const clock = new ManualClock();
  const inner = new MemoryLeg(clock, 4096);
  const fault: Faulty['fault'] = { word: undefined, looks: [], hold: undefined };
  const files: Files = {
    ...nodeFiles,
    async readFile(path) {
      fault.looks.push(path);
      await fault.hold;
      if (fault.word === undefined) throw new IoError(Errno.ENOENT, path);
      return new TextEncoder().encode(fault.word);
    },
  };
  const engine = new FaultEngine(new PortableEngine({ clock, legs: { open: () => Promise.resolve(inner) } }), files, clock, '/faults');
  const hub = new EngineHub(engine);
  const { leg } = await engine.openLeg('/data/leg.img', { write: true, lock: false });
  const run = async (begin: (op: OpId) => void): Promise<number> => {
    const r = await hub.run(begin);
    if (r.h !== 0) engine.release(r.h);
    return r.errno;
  };
  return {
    ...{ engine, leg, inner, clock, fault, run },
    read: () =>
      run((op) => {
        engine.read(op, leg, 0, 10);
      }),
    write: (fua = false) => {
      const h = engine.allocate(10);
      engine.view(h).set(pattern(10, 1));
      const ended = run((op) => {
        engine.write(op, leg, 0, h, 0, 10, fua);
      });
      // The engine has a reference of its own by then, whether or not the operation has begun.
      engine.release(h);
      return ended;
    },
    sync: () =>
      run((op) => {
        engine.sync(op, leg);
      }),
    zero: () =>
      run((op) => {
        engine.zero(op, leg, 0, 10, true, false);
      }),
  };
}

describe('an engine whose legs fail on request', () => {
  it.each([
    [undefined, [0, 0, 0, 0]],
    ['full', [0, Errno.ENOSPC, 0, Errno.ENOSPC]],
    ['error read\n', [Errno.EIO, 0, 0, 0]],
    ['error read\nerror sync', [Errno.EIO, 0, Errno.EIO, 0]],
    ['error write\nfull', [0, Errno.ENOSPC, 0, Errno.ENOSPC]],
    ['error write', [0, Errno.EIO, 0, Errno.EIO]],
    ['error sync', [0, 0, Errno.EIO, 0]],
    ['something else', [0, 0, 0, 0]],
  ])('obeys the word %j', async (word, errnos) => {
    const { engine, inner, fault, read, write, sync, zero } = await makeFaulty();
    fault.word = word;
    expect(await Promise.all([read(), write(), sync(), zero()])).toEqual(errnos);
    expect(inner.calls.length).toBe(errnos.filter((e) => e === 0).length);
    expect(fault.looks).toEqual(['/faults/leg.img.fault']);
    expect(engine.usage()).toEqual({ handles: 0, bytes: 0, operations: 0, connections: 0 });
  });

  it('looks again after 50 ms and not before', async () => {
    const { clock, fault, write } = await makeFaulty();
    expect(await write()).toBe(0);
    fault.word = 'full';
    clock.advance(49);
    expect(await write()).toBe(0);
    expect(fault.looks.length).toBe(1);
    clock.advance(1);
    expect(await write()).toBe(Errno.ENOSPC);
    fault.word = undefined;
    clock.advance(50);
    expect(await write()).toBe(0);
    expect(fault.looks.length).toBe(3);
  });

  it('does not hold up what is under way while it looks, and counts what waits', async () => {
    const { engine, inner, clock, fault, read, write, sync } = await makeFaulty();
    expect(await sync()).toBe(0);
    inner.held = [];
    const underWay = write();
    clock.advance(50);
    let look = (): void => undefined;
    fault.hold = new Promise((resolve) => {
      look = resolve;
    });
    const behind = read();
    expect(engine.usage().operations).toBe(2);
    inner.letGo();
    expect(await underWay).toBe(0);
    look();
    expect(await behind).toBe(0);
    expect(engine.usage().operations).toBe(0);
  });

  it('tells of a failure from no call of its own', async () => {
    const { engine, leg, fault, run } = await makeFaulty();
    fault.word = 'error sync';
    let calling = true;
    const sync = run((op) => {
      engine.sync(op, leg);
    }).then(() => calling);
    calling = false;
    expect(await sync).toBe(false);
    // Now without a look before it.
    calling = true;
    const again = run((op) => {
      engine.sync(op, leg);
    }).then(() => calling);
    calling = false;
    expect(await again).toBe(false);
  });

  it('closes a leg when what waits for a look has ended', async () => {
    const { engine, leg, inner, fault, write } = await makeFaulty();
    let look = (): void => undefined;
    fault.hold = new Promise((resolve) => {
      look = resolve;
    });
    const waits = write();
    const closed = engine.closeLeg(leg);
    look();
    expect(await waits).toBe(0);
    await closed;
    expect(inner.closed).toBe(true);
  });
});

const noFaults = createNodeIo({
  engine: { engine: 'portable' },
  wrapEngine: (inner, files, clock) => new FaultEngine(inner, files, clock, '/nonexistent'),
});
it('serves no connection without telling: every write is to pass here', async () => {
  const f = await makeFaulty();
  expect(f.engine.serve()).toBe(false);
  expect(f.engine.served(1)).toBe(0);
  const ended = f.run((op) => {
    f.engine.unserve(op, 1);
  });
  f.clock.advance(1);
  expect(await ended).toBe(0);
});

describeEngine('node world, with no fault asked for', async () => ({ ...(await makeNodeWorld('unix')), io: noFaults }), false);
