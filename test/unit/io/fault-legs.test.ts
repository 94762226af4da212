import { describe, expect, it } from 'vitest';
import { faultyLegOpener } from '../../../src/io/fault-legs.ts';
import type { LegFile } from '../../../src/io/leg-file.ts';
import { nodeFiles } from '../../../src/io/node/files.ts';
import { Errno, type Files, IoError } from '../../../src/io/types.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { pattern } from './engine-rig.ts';
import { MemoryLeg } from './memory-leg.ts';

interface Faulty {
  leg: LegFile;
  inner: MemoryLeg;
  clock: ManualClock;
  /** Content of the fault file; undefined: absent. */
  fault: { word: string | undefined; looks: string[]; hold: Promise<void> | undefined };
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
  const leg = await faultyLegOpener({ open: () => Promise.resolve(inner) }, files, clock, '/faults').open('/data/leg.img', {
    write: true,
    lock: false,
  });
  return { leg, inner, clock, fault };
}

const read = (l: LegFile): Promise<number> =>
  new Promise((resolve) => {
    l.read(new Uint8Array(10), 0, resolve);
  });
const write = (l: LegFile): Promise<number> =>
  new Promise((resolve) => {
    l.write(pattern(10, 1), 0, resolve);
  });
const sync = (l: LegFile): Promise<number> =>
  new Promise((resolve) => {
    l.sync(resolve);
  });
const zero = (l: LegFile): Promise<number> =>
  new Promise((resolve) => {
    l.zero(0, 10, true, resolve);
  });

describe('a faulty leg', () => {
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
    const { leg, fault, inner } = await makeFaulty();
    fault.word = word;
    expect(await Promise.all([read(leg), write(leg), sync(leg), zero(leg)])).toEqual(errnos);
    expect(inner.calls.length).toBe(errnos.filter((e) => e === 0).length);
    expect(fault.looks).toEqual(['/faults/leg.img.fault']);
  });

  it('looks again after 50 ms and not before', async () => {
    const { leg, clock, fault } = await makeFaulty();
    expect(await write(leg)).toBe(0);
    fault.word = 'full';
    clock.advance(49);
    expect(await write(leg)).toBe(0);
    expect(fault.looks.length).toBe(1);
    clock.advance(1);
    expect(await write(leg)).toBe(Errno.ENOSPC);
    fault.word = undefined;
    clock.advance(50);
    expect(await write(leg)).toBe(0);
    expect(fault.looks.length).toBe(3);
  });

  it('does not hold up what is under way while it looks', async () => {
    const { leg, inner, clock, fault } = await makeFaulty();
    expect(await sync(leg)).toBe(0);
    inner.held = [];
    const underWay = write(leg);
    clock.advance(50);
    let look = (): void => undefined;
    fault.hold = new Promise((resolve) => {
      look = resolve;
    });
    const behind = read(leg);
    inner.letGo();
    expect(await underWay).toBe(0);
    look();
    expect(await behind).toBe(0);
  });

  it('is the leg itself in everything else', async () => {
    const { leg, inner } = await makeFaulty();
    expect(leg.info()).toEqual(inner.info());
    expect(await leg.sizeBytes()).toBe(4096);
    await leg.truncate(1);
    const errno = await new Promise<number>((resolve) => {
      leg.extents(0, 10, resolve);
    });
    expect(errno).toBe(0);
    await leg.close();
    expect(inner.closed).toBe(true);
  });
});
