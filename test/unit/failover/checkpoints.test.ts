import { describe, expect, it } from 'vitest';
import {
  bitmapDamaged,
  checkpointsCarried,
  checkpointsVoid,
  type CheckpointFacts,
  judgeCheckpoint,
  VoidWatch,
  validCheckpoints,
  withCheckpoint,
  withoutCheckpoint,
} from '../../../src/failover/checkpoints.ts';
import { decodeRecord, encodeRecord } from '../../../src/failover/record.ts';
import type { Checkpoint, Epoch, StateRecord } from '../../../src/failover/types.ts';
import { epoch, record, tookOver, view } from './build.ts';

const TWO = ['server1', 'server2'];
const own = epoch(1);
const made = (over: Partial<Checkpoint> = {}): Checkpoint => ({ name: 'monday', madeAt: 5, epoch: own, void: null, ...over });

/** server1 made it in epoch 1, and goes in service again. */
function facts(over: Partial<CheckpointFacts> = {}, r: Partial<StateRecord> = {}): CheckpointFacts {
  return {
    record: record('server1', TWO, { sessionIn: own, checkpoints: [made()], ...r }),
    heard: [],
    seen: [own],
    confirmed: [],
    passedOver: [],
    maps: ['monday'],
    ...over,
  };
}

const judged = (f: CheckpointFacts): string | undefined => judgeCheckpoint(made(), f)?.rule;

describe('a checkpoint, when its node goes in service again', () => {
  it('holds where nobody else has served since', () => {
    expect(judged(facts())).toBeUndefined();
    expect(judged(facts({ heard: [view('server2', TWO)] }))).toBeUndefined();
  });

  it('is void where another is known to have served, by the own record or by one that is heard', () => {
    expect(judged(facts({ heard: [view('server2', TWO, { record: tookOver(TWO) })] }))).toBe('another-served');
    expect(judged(facts({ heard: [view('server2', TWO, { record: { epochInSync: epoch(2) } })] }))).toBe('another-served');
    expect(judged(facts({}, { toldOut: { by: 'server2', epoch: epoch(2), why: 'x' } }))).toBe('another-served');
    // Two owners of one number: no order between them is made up.
    expect(judged(facts({ heard: [view('server2', TWO, { record: { epochServed: epoch(1, 'server2', 'ffffffffffffffff') } })] }))).toBe(
      'another-served',
    );
  });

  it('is void where another has claimed an epoch since, and may have served it', () => {
    expect(judged(facts({ seen: [own, epoch(2)] }))).toBe('another-may-have-served');
    expect(judged(facts({ heard: [view('server3', TWO, { record: { epochSeen: epoch(2) } })] }))).toBe('another-may-have-served');
  });

  it('holds where that one is heard, has not served, and has left its claim behind', () => {
    expect(judged(facts({ seen: [own, epoch(2)], confirmed: ['server2'], heard: [view('server2', TWO)] }))).toBeUndefined();
    expect(judged(facts({ seen: [own, epoch(2)], confirmed: ['server3'] }))).toBe('another-may-have-served');
    expect(judged(facts({ seen: [own, epoch(2)], confirmed: ['server2'], heard: [view('server2', TWO, { record: tookOver(TWO) })] }))).toBe(
      'another-served',
    );
  });

  it('is void where an operator has passed over a node that may have served, and is not heard', () => {
    expect(judged(facts({ passedOver: ['server2'] }))).toBe('another-may-have-served');
    expect(judged(facts({ passedOver: ['server2'], confirmed: ['server2'] }))).toBeUndefined();
  });

  it('holds over claims of its own that came to nothing', () => {
    expect(judged(facts({ seen: [own, epoch(4, 'server1')] }))).toBeUndefined();
  });

  it('is void where the mirror was handed over to a node that is not heard', () => {
    const grant = { epoch: own, from: 'server1', to: 'server2', synced: TWO, paused: [] };
    expect(judged(facts({}, { grant }))).toBe('another-may-have-served');
    expect(judged(facts({ confirmed: ['server2'] }, { grant }))).toBeUndefined();
  });

  it('is void where a session of another source was opened on this leg, or nobody knows', () => {
    expect(judged(facts({}, { sessionIn: epoch(2) }))).toBe('was-target');
    expect(judged(facts({}, { sessionIn: null }))).toBe('was-target');
    const unsaid = facts().record;
    delete unsaid.sessionIn;
    expect(judged(facts({ record: unsaid }))).toBe('was-target');
  });

  it('is void where this node has served a term without it', () => {
    const later: Epoch = epoch(3, 'server1');
    expect(judged(facts({}, { epochServed: later }))).toBe('term-missing');
  });

  it('is void where its map is not there, or the own leg has been left behind', () => {
    expect(judged(facts({ maps: ['tuesday'] }))).toBe('map-missing');
    expect(judged(facts({}, { legBehind: { since: own, newest: 'server2' } }))).toBe('leg-behind');
  });

  it('that is void stays so, for the reason that it had', () => {
    const found = { rule: 'was-target', why: 'long ago' } as const;
    expect(judgeCheckpoint(made({ void: found }), facts())).toEqual(found);
  });

  it('is of the new epoch from then on, so that the next term can tell', () => {
    const next = epoch(2, 'server1');
    const { checkpoints } = checkpointsCarried(next, facts());
    expect(checkpoints).toEqual([made({ epoch: next })]);
    const later = facts({ seen: [own, next] }, { epochServed: next, epochInSync: next, sessionIn: next, checkpoints: checkpoints ?? [] });
    expect(checkpointsCarried(epoch(3, 'server1'), later).checkpoints?.[0]).toMatchObject({ void: null, epoch: { number: 3 } });
    expect(checkpointsCarried(next, facts({ maps: [] })).checkpoints).toEqual([
      made({ void: { rule: 'map-missing', why: expect.any(String) as string } }),
    ]);
  });
});

describe('the record', () => {
  const r = record('server1', TWO, { sessionIn: own });

  it('keeps checkpoints through its file, and without one is as an earlier version knows it', () => {
    const some = withCheckpoint(withCheckpoint(r, made()), made({ name: 'tuesday', void: { rule: 'was-target', why: 'x' } }));
    expect(decodeRecord(encodeRecord(some))).toEqual({ kind: 'ok', record: some });
    expect(validCheckpoints(some)).toEqual(['monday']);
    const none = withoutCheckpoint(withoutCheckpoint(some, 'monday'), 'tuesday');
    expect(Object.keys(none)).not.toContain('checkpoints');
    expect(none).toEqual(r);
  });

  it('can not have one named twice, or too many', () => {
    const twice = { ...r, checkpoints: [made(), made()] };
    expect(() => encodeRecord(twice)).toThrow(/named twice/);
    const many = { ...r, checkpoints: Array.from({ length: 17 }, (_, i) => made({ name: `c${String(i)}` })) };
    expect(() => encodeRecord(many)).toThrow(/Too big/);
  });

  it('voids all that were not void, once', () => {
    const some = withCheckpoint(r, made());
    const damaged = bitmapDamaged(some, 'a bad sector');
    expect(damaged).toMatchObject({
      accountComplete: [],
      checkpoints: [{ void: { rule: 'bitmap-damaged', why: expect.stringContaining('a bad sector') as string } }],
    });
    expect(checkpointsVoid(damaged, 'was-target', 'y').checkpoints).toEqual(damaged.checkpoints);
    expect(checkpointsVoid(r, 'was-target', 'y')).toEqual({});
  });

  it('tells each that becomes void once, and one of the same name made later again', () => {
    const valid = withCheckpoint(r, made());
    const gone = bitmapDamaged(valid, 'x');
    const watch = new VoidWatch(valid);
    expect(watch.look(valid)).toEqual([]);
    expect(watch.look(gone)).toMatchObject([{ name: 'monday', found: { rule: 'bitmap-damaged' } }]);
    expect(watch.look(gone)).toEqual([]);
    expect(watch.look(valid)).toEqual([]);
    expect(watch.look(gone)).toHaveLength(1);
    expect(new VoidWatch(gone).look(gone)).toEqual([]);
  });
});
