/** Facts of nodes against what was expected of them. Pure. */
import type { MirrorStatus } from '../control/types.ts';
import type { Flags } from '../failover/types.ts';
import type { Difference } from './errors.ts';
import { formatSize } from '../control/units.ts';
import type { Comparison, ExpectAction, NodeFacts } from './types.ts';

/** What can be seen of one node at one moment. */
export interface Seen {
  running: boolean;
  /** As the flag files are on its disk, whether it runs or not. */
  flags: Flags;
  /** Null when the daemon does not run, does not answer, or has no such mirror; `why` says which. */
  status: MirrorStatus | null;
  why: string;
}

export function holds(c: Comparison, bytes: number): boolean {
  switch (c.operator) {
    case '<':
      return bytes < c.bytes;
    case '<=':
      return bytes <= c.bytes;
    case '>':
      return bytes > c.bytes;
    case '>=':
      return bytes >= c.bytes;
    case '==':
      return bytes === c.bytes;
  }
}

export function showComparison(c: Comparison): string {
  return `${c.operator} ${showBytes(c.bytes)}`;
}

export function showBytes(bytes: number): string {
  return bytes < 1024 ? `${String(bytes)}B` : `${formatSize(bytes).replace(' ', '')} (${String(bytes)} bytes)`;
}

/** Of facts that had to stay true for so long: when they were, and when they were no longer. Times from the begin of the step. */
export function showBroken(forMs: number, t: { from: number; to: number; brokenAt: number }, by: readonly Difference[]): string {
  if (forMs === 0) return '';
  const ms = (x: number): string => `${String(Math.round(x))} ms`;
  const fields = by.map((d) => `${d.field} ${d.seen}`).join(', ');
  return `held from ${ms(t.from)} to ${ms(t.to)}, and had to for ${ms(forMs)}; broken when seen at ${ms(t.brokenAt)}: ${fields}`;
}

/** Empty: all facts hold. */
export function differences(expected: ExpectAction['nodes'], seen: Readonly<Record<string, Seen>>): Difference[] {
  return Object.entries(expected).flatMap(([node, facts]) => {
    const found = seen[node];
    return found === undefined ? [] : ofNode(node, facts, found);
  });
}

function ofNode(node: string, facts: NodeFacts, seen: Seen): Difference[] {
  const out: Difference[] = [];
  const { status, flags } = seen;
  const absent = `nothing (${seen.why})`;
  const check = (field: string, expected: unknown, found: unknown): void => {
    if (expected === undefined || expected === found) return;
    out.push({ field: `${node}.${field}`, expected: show(expected), seen: found === undefined ? absent : show(found) });
  };
  check('up', facts.up, seen.running);
  // A node that can't be asked serves nobody.
  check('inService', facts.inService, status?.inService ?? false);
  check('last_owner', facts.last_owner, flags.lastOwner);
  check('data_corrupt', facts.data_corrupt, flags.dataCorrupt);
  check('source', facts.source, flags.source);
  check('state', facts.state, status?.state);
  check('rule', facts.rule, status === null ? undefined : (status.decision?.rule ?? null));
  for (const [peer, state] of Object.entries(facts.sees ?? {})) {
    const found = status?.targets.find((t) => t.node === peer)?.state;
    check(`sees.${peer}`, state, status === null ? undefined : (found ?? notInService(status, peer)));
  }
  for (const [peer, comparison] of Object.entries(facts.dirty ?? {})) {
    const found = status?.targets.find((t) => t.node === peer)?.dirtyBytes;
    if (found !== undefined && holds(comparison, found)) continue;
    const none = status === null ? absent : notInService(status, peer);
    out.push({ field: `${node}.dirty.${peer}`, expected: showComparison(comparison), seen: found === undefined ? none : showBytes(found) });
  }
  return out;
}

function notInService(s: MirrorStatus, peer: string): string {
  return s.inService ? `nothing (${peer} is not among its targets)` : `nothing (${s.node} is not in service)`;
}

function show(value: unknown): string {
  return value === null ? 'none' : typeof value === 'string' ? value : JSON.stringify(value);
}
