import { describe, expect, it } from 'vitest';
import { LegOp } from '../../../../src/io/portable/leg-op.ts';
import { LegSyncs } from '../../../../src/io/portable/leg-syncs.ts';
import { Legs } from '../../../../src/io/portable/legs.ts';
import { Errno } from '../../../../src/io/types.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { MemoryLeg } from '../memory-leg.ts';
import { makeParts } from './rig.ts';

/** A leg whose answers wait for `letGo`. */
function slow(): { file: MemoryLeg; syncs: LegSyncs; heard: string[]; ask: (name: string) => void } {
  const file = new MemoryLeg(new ManualClock(), 512);
  file.held = [];
  const syncs = new LegSyncs(file);
  const heard: string[] = [];
  const ask = (name: string): void => {
    syncs.sync((errno) => {
      heard.push(`${name} ${String(errno)}`);
    });
  };
  return { file, syncs, heard, ask };
}

/** The one under way ends, and others are held back again. */
function end(file: MemoryLeg, errno = 0): void {
  const held = file.held ?? [];
  file.held = [];
  file.syncErrno = errno;
  for (const f of held) f();
}

describe('syncs of one leg', () => {
  it('never overlap: those that are asked for meanwhile share the one that begins afterwards', () => {
    const { file, heard, ask } = slow();
    for (const name of ['a', 'b', 'c']) ask(name);
    expect(file.calls).toEqual(['sync']);
    end(file);
    expect(heard).toEqual(['a 0']);
    expect(file.calls).toEqual(['sync', 'sync']);
    ask('d');
    end(file);
    expect(heard).toEqual(['a 0', 'b 0', 'c 0']);
    end(file);
    expect(heard).toEqual(['a 0', 'b 0', 'c 0', 'd 0']);
    expect(file.calls).toHaveLength(3);
  });

  it('are one each when they come one after the other', () => {
    const { file, heard, ask } = slow();
    for (let i = 0; i < 200; i += 1) {
      ask('x');
      end(file);
    }
    expect(heard).toEqual(Array.from({ length: 200 }, () => 'x 0'));
    expect(file.calls).toHaveLength(200);
  });

  it('that were asked for while one ran that failed fail with it: the kernel reports an error once', () => {
    const { file, heard, ask } = slow();
    for (const name of ['a', 'b', 'c']) ask(name);
    end(file, Errno.EIO);
    expect(heard).toEqual(['a 5', 'b 5', 'c 5']);
    expect(file.calls).toEqual(['sync']);
    ask('d');
    end(file);
    expect(heard).toEqual(['a 5', 'b 5', 'c 5', 'd 0']);
  });

  it('may be asked for by whoever hears that one has ended, also when the leg answers within the call', () => {
    const file = new MemoryLeg(new ManualClock(), 512);
    const syncs = new LegSyncs(file);
    let left = 10_000;
    const again = (errno: number): void => {
      expect(errno).toBe(0);
      left -= 1;
      if (left > 0) syncs.sync(again);
    };
    syncs.sync(again);
    expect(left).toBe(0);
    expect(file.calls).toHaveLength(10_000);
  });

  it('asked for by one that hears of a failure are not lost, nor told twice', () => {
    const { file, syncs, heard, ask } = slow();
    syncs.sync(() => {
      ask('first');
    });
    syncs.sync(() => {
      ask('second');
      ask('third');
    });
    ask('waiting');
    end(file, Errno.EIO);
    end(file);
    expect(heard).toEqual(['waiting 5', 'first 5', 'second 0', 'third 0']);
  });
});

describe('a write that is to be durable', () => {
  it('waits for its turn among the syncs of its leg', async () => {
    const parts = makeParts();
    const file = new MemoryLeg(parts.clock, 4096);
    const legs = new Legs(parts.context, { open: () => Promise.resolve(file) });
    const { leg } = await legs.open('x', { write: true, lock: false });
    file.held = [];
    legs.sync(1, leg);
    for (const op of [2, 3]) legs.zero(op, leg, 0, 512, false, true);
    end(file);
    expect(file.calls).toEqual(['sync', 'zero', 'zero', 'sync']);
    end(file);
    expect(file.calls).toHaveLength(5);
    end(file);
    await parts.turn();
    expect(parts.seen.map((e) => e.errno)).toEqual([0, 0, 0]);
    expect(file.calls).toHaveLength(5);
  });

  it('of a leg that is by itself syncs it by itself', () => {
    const file = new MemoryLeg(new ManualClock(), 512);
    const op = new LegOp(() => undefined);
    op.write(file, 0, new Uint8Array(512), true);
    expect(file.calls).toEqual(['write', 'sync']);
  });
});
