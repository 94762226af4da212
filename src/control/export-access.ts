/** Who may use which export over TCP, and how. The unix socket below the root is guarded by the permissions of its folder. */
import { tagOfExport } from '../failover/paths.ts';
import { AddressRanges } from '../io/address-ranges.ts';
import type { Access, ExportAccess } from '../nbd/access.ts';

export interface MirrorRules {
  /** Ranges of addresses, in place of those for all mirrors; null: those. */
  allow: string[] | null;
  /** Names of which a client must prove one by TLS; absent or null: none is asked for. */
  clients?: string[] | null;
  readOnly: boolean;
}

/** Of the exports of all mirrors, and of single ones. `allow`: ranges of addresses; null: anybody. */
export interface ExportRules {
  allow: string[] | null;
  /** By tag. */
  mirrors: Record<string, MirrorRules>;
}

export const OPEN_TO_ALL: ExportRules = { allow: null, mirrors: {} };

/** Throws RangeError for ranges that are none. */
export function exportAccess(rules: ExportRules): ExportAccess {
  const rangesOf = (allow: string[] | null): AddressRanges | null => (allow === null ? null : new AddressRanges(allow));
  const forAll = rangesOf(rules.allow);
  const single = new Map(Object.entries(rules.mirrors).map(([tag, m]) => [tag, { ...m, ranges: m.allow === null ? forAll : rangesOf(m.allow) }]));
  const all = [forAll, ...[...single.values()].map((s) => s.ranges)];
  return {
    to: (name, remote, proved): Access => {
      const s = single.get(tagOfExport(name));
      const ranges = s === undefined ? forAll : s.ranges;
      if (ranges !== null && !ranges.has(remote)) return 'none';
      const clients = s?.clients ?? null;
      if (clients !== null && proved === null) return 'needs-tls';
      if (clients !== null && proved?.some((name) => clients.includes(name)) !== true) return 'none';
      return s?.readOnly === true ? 'read-only' : 'full';
    },
    toAny: (remote) => all.some((ranges) => ranges === null || ranges.has(remote)),
  };
}
