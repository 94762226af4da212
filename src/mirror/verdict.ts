/** What the legs' answers to a write, a trim or a FLUSH amount to (M2, M3). Pure. */
import { Errno, errnoName } from '../io/types.ts';
import type { LocalLeg, TargetLeg } from './legs.ts';
import { type MirrorRequest, NOT_ASKED, RequestKind } from './request.ts';

export type Verdict =
  | { kind: 'success' }
  /** The own leg failed; an in-sync target has the data and may take over the account. */
  | { kind: 'own-leg-failed'; errno: number; why: string }
  /** The own leg failed and stays: whatever the targets have of this request, they are not in sync any more. */
  | { kind: 'diverged'; errno: number; why: string }
  | { kind: 'error'; errno: number };

const SUCCESS: Verdict = { kind: 'success' };

export function verdict(m: MirrorRequest, local: LocalLeg, targets: Iterable<TargetLeg>, localErrors: 'leave' | 'pass-on'): Verdict {
  const own = ownResult(m, local);
  const others = heldElsewhere(m, targets);
  if (own > 0) {
    const why = `${m.kind === RequestKind.FLUSH ? 'sync' : 'write'} of the local leg: ${errnoName(own)}`;
    return { kind: others && localErrors === 'leave' ? 'own-leg-failed' : 'diverged', errno: own, why };
  }
  return own === NOT_ASKED && !others ? { kind: 'error', errno: Errno.EIO } : SUCCESS;
}

/** Once the leg has left, what it still answers counts no more than that of a leg that was never asked. */
function ownResult(m: MirrorRequest, local: LocalLeg): number {
  if (local.state === 'out') return NOT_ASKED;
  const own = m.results[0] ?? NOT_ASKED;
  // A sync that succeeds after one that failed says nothing of what the failed one was to make durable (M3).
  return own === 0 && local.syncFailed && (m.kind === RequestKind.FLUSH || m.fua) ? Errno.EIO : own;
}

/** An in-sync sync target has it. */
function heldElsewhere(m: MirrorRequest, targets: Iterable<TargetLeg>): boolean {
  for (const t of targets) if (m.results[t.slot] === 0 && t.phase === 'in-sync' && t.mode === 'sync') return true;
  return false;
}

/** A success that had to wait is looked at again: no leg that goes on has it when those that had it have left meanwhile (M2). */
export function stillHeld(m: MirrorRequest, local: LocalLeg, targets: Iterable<TargetLeg>): boolean {
  if (m.kind === RequestKind.READ || (m.length === 0 && m.kind !== RequestKind.FLUSH)) return true;
  return ownResult(m, local) === 0 || heldElsewhere(m, targets);
}

/** A FLUSH that every leg in session answered proves what was written before it (M5). */
export function provesAll(m: MirrorRequest, local: LocalLeg, targets: Iterable<TargetLeg>): boolean {
  if (m.kind !== RequestKind.FLUSH || !m.provesAll) return false;
  if (local.state === 'in' && ownResult(m, local) !== 0) return false;
  for (const t of targets) if (t.inSession && m.results[t.slot] !== 0) return false;
  return true;
}
