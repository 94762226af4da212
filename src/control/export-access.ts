/** Who may use which export over TCP, and how. The unix socket below the root is guarded by the permissions of its folder. */
import { AddressRanges } from '../io/address-ranges.ts';
import type { ExportAccess } from '../nbd/access.ts';

/** Of the exports of all mirrors, and of single ones. `allow`: ranges of addresses; null: anybody. */
export interface ExportRules {
  allow: string[] | null;
  /** By tag; an `allow` there stands in place of the one for all. */
  mirrors: Record<string, { allow: string[] | null; readOnly: boolean }>;
}

export const OPEN_TO_ALL: ExportRules = { allow: null, mirrors: {} };

/** Throws RangeError for ranges that are none. */
export function exportAccess(rules: ExportRules): ExportAccess {
  const rangesOf = (allow: string[] | null): AddressRanges | null => (allow === null ? null : new AddressRanges(allow));
  const forAll = rangesOf(rules.allow);
  const single = new Map(
    Object.entries(rules.mirrors).map(([tag, m]) => [tag, { ranges: m.allow === null ? forAll : rangesOf(m.allow), readOnly: m.readOnly }]),
  );
  const all = [forAll, ...[...single.values()].map((s) => s.ranges)];
  return {
    to: (tag, remote) => {
      const s = single.get(tag);
      const ranges = s === undefined ? forAll : s.ranges;
      if (ranges !== null && !ranges.has(remote)) return 'none';
      return s?.readOnly === true ? 'read-only' : 'full';
    },
    toAny: (remote) => all.some((ranges) => ranges === null || ranges.has(remote)),
  };
}
