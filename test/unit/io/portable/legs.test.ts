import { expect, it } from 'vitest';
import { Legs } from '../../../../src/io/portable/legs.ts';
import { Errno, IoError } from '../../../../src/io/types.ts';
import { expectIoError } from '../engine-rig.ts';
import { MemoryLeg } from '../memory-leg.ts';
import { makeParts } from './rig.ts';

it('closes a leg once, however often it is asked to, and forgets it even when closing fails', async () => {
  const parts = makeParts();
  const file = new MemoryLeg(parts.clock, 512);
  let closes = 0;
  file.close = () => {
    closes += 1;
    return Promise.reject(new IoError(Errno.EIO, 'close'));
  };
  const legs = new Legs(parts.context, { open: () => Promise.resolve(file) });
  const { leg } = await legs.open('x', { write: true, lock: false });
  const [one, two] = [legs.close(leg), legs.close(leg)];
  await expectIoError(one, Errno.EIO);
  await expectIoError(two, Errno.EIO);
  expect(closes).toBe(1);
  await legs.close(leg);
  await legs.closeAll();
  await expectIoError(legs.size(leg), Errno.ESHUTDOWN);
  await expectIoError(legs.setSize(leg, 1), Errno.ESHUTDOWN);
});

it('passes on why a leg could not be opened', async () => {
  const parts = makeParts();
  const legs = new Legs(parts.context, { open: () => Promise.reject(new IoError(Errno.EBUSY, 'x')) });
  await expectIoError(legs.open('x', { write: true, lock: true }), Errno.EBUSY);
});

it('releases its reference to a payload whatever the end', async () => {
  const parts = makeParts();
  const file = new MemoryLeg(parts.clock, 4096);
  const legs = new Legs(parts.context, { open: () => Promise.resolve(file) });
  const { leg } = await legs.open('x', { write: true, lock: false });
  for (const limitAt of [Infinity, 100]) {
    file.limitAt = limitAt;
    const h = parts.context.handles.allocate(1000);
    legs.write(1, leg, 0, h, 0, 1000, false);
    parts.context.handles.release(h);
    await parts.turn();
    expect(parts.context.handles.liveHandles).toBe(0);
  }
  legs.read(2, leg, 4000, 500);
  await parts.turn();
  expect(parts.seen.map((e) => e.errno)).toEqual([0, Errno.ENOSPC, Errno.EIO]);
  expect(parts.context.handles.liveHandles).toBe(0);
});
