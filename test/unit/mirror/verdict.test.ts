import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { type LocalLeg, TargetLeg, type TargetMode, type TargetPhase } from '../../../src/mirror/legs.ts';
import { MirrorRequest, NOT_ASKED, RequestKind } from '../../../src/mirror/request.ts';
import { provesAll, stillHeld, verdict } from '../../../src/mirror/verdict.ts';

const info = { leg: 1, sizeBytes: 4096, blockSizeBytes: 512, sparse: true };

function leg(state: 'in' | 'out', syncFailed = false): LocalLeg {
  return { state, syncFailed, info };
}

function target(slot: number, phase: TargetPhase, mode: TargetMode = 'sync'): TargetLeg {
  const t = new TargetLeg(`t${String(slot)}`, slot, mode, false);
  t.phase = phase;
  return t;
}

function request(kind: RequestKind, results: number[], o: { fua?: boolean; provesAll?: boolean } = {}): MirrorRequest {
  const m = new MirrorRequest(0);
  m.reset();
  m.kind = kind;
  m.length = kind === RequestKind.FLUSH ? 0 : 512;
  m.fua = o.fua ?? false;
  m.provesAll = o.provesAll ?? true;
  m.results.set(results);
  return m;
}

const { EIO } = Errno;
const { WRITE, FLUSH, READ } = RequestKind;

describe('what the legs answered amounts to', () => {
  it('for every combination of own leg, target, setting and kind', () => {
    for (const kind of [WRITE, FLUSH] as const) {
      for (const state of ['in', 'out'] as const) {
        for (const own of [0, EIO]) {
          for (const phase of ['out', 'resyncing', 'in-sync', 'leaving'] as const) {
            for (const theirs of [0, EIO, NOT_ASKED]) {
              for (const localErrors of ['leave', 'pass-on'] as const) {
                const m = request(kind, [own, theirs]);
                const holds = phase === 'in-sync' && theirs === 0;
                const v = verdict(m, leg(state), [target(1, phase)], localErrors);
                if (state === 'out') expect(v.kind).toBe(holds ? 'success' : 'error');
                else if (own === 0) expect(v.kind).toBe('success');
                else expect(v.kind).toBe(holds && localErrors === 'leave' ? 'own-leg-failed' : 'diverged');
                if (v.kind !== 'success') expect(v.errno).toBe(EIO);
              }
            }
          }
        }
      }
    }
  });

  it('an async target never counts, whatever it answered', () => {
    expect(verdict(request(WRITE, [EIO, 0]), leg('in'), [target(1, 'in-sync', 'async')], 'leave').kind).toBe('diverged');
    expect(verdict(request(WRITE, [NOT_ASKED, 0]), leg('out'), [target(1, 'in-sync', 'async')], 'leave').kind).toBe('error');
  });

  it('after a failed sync of the own leg, no later one is a success there (M3)', () => {
    expect(verdict(request(FLUSH, [0]), leg('in', true), [], 'leave')).toMatchObject({ kind: 'diverged', errno: EIO });
    expect(verdict(request(WRITE, [0], { fua: true }), leg('in', true), [], 'leave')).toMatchObject({ kind: 'diverged', errno: EIO });
    expect(verdict(request(WRITE, [0]), leg('in', true), [], 'leave').kind).toBe('success');
    expect(verdict(request(FLUSH, [0, 0]), leg('in', true), [target(1, 'in-sync')], 'leave').kind).toBe('own-leg-failed');
  });
});

describe('a flush proves', () => {
  it('when every leg in session took part and succeeded', () => {
    expect(provesAll(request(FLUSH, [0, 0]), leg('in'), [target(1, 'in-sync')])).toBe(true);
    expect(provesAll(request(FLUSH, [0, EIO]), leg('in'), [target(1, 'leaving')])).toBe(true);
    expect(provesAll(request(FLUSH, [NOT_ASKED, 0]), leg('out'), [target(1, 'in-sync')])).toBe(true);
  });

  it('nothing when one did not, or the own leg has failed a sync before', () => {
    expect(provesAll(request(FLUSH, [0, NOT_ASKED]), leg('in'), [target(1, 'resyncing')])).toBe(false);
    expect(provesAll(request(FLUSH, [EIO, 0]), leg('in'), [target(1, 'in-sync')])).toBe(false);
    expect(provesAll(request(FLUSH, [0, 0]), leg('in', true), [target(1, 'in-sync')])).toBe(false);
    expect(provesAll(request(FLUSH, [0, 0], { provesAll: false }), leg('in'), [target(1, 'in-sync')])).toBe(false);
    expect(provesAll(request(WRITE, [0, 0]), leg('in'), [target(1, 'in-sync')])).toBe(false);
  });
});

describe('a success that had to wait', () => {
  it('is one only while a leg that has it goes on (M2)', () => {
    expect(stillHeld(request(WRITE, [0, 0]), leg('in'), [target(1, 'leaving')])).toBe(true);
    expect(stillHeld(request(WRITE, [EIO, 0]), leg('out'), [target(1, 'in-sync')])).toBe(true);
    expect(stillHeld(request(WRITE, [EIO, 0]), leg('out'), [target(1, 'leaving')])).toBe(false);
    expect(stillHeld(request(FLUSH, [0, 0]), leg('out'), [target(1, 'out')])).toBe(false);
  });

  it('is one without any leg when it changed nothing', () => {
    expect(stillHeld(request(READ, [NOT_ASKED]), leg('out'), [])).toBe(true);
    const nothing = request(WRITE, [NOT_ASKED]);
    nothing.length = 0;
    expect(stillHeld(nothing, leg('out'), [])).toBe(true);
  });
});
