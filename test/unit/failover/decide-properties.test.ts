import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareEpoch } from '../../../src/failover/epoch.ts';
import { decide } from '../../../src/failover/decide.ts';
import { definesOver } from '../../../src/failover/definition.ts';
import { grantHeld } from '../../../src/failover/grant.ts';
import { type Decision, decideRules, type Facts, type NodeView } from '../../../src/failover/types.ts';
import { anyFacts, viewOf } from './arbitrary.ts';
import { facts } from './build.ts';

/** Peers that spoke within failureTimeout, of the same mirror. */
function fresh(f: Facts): NodeView[] {
  const spoke = Object.values(f.peers).filter((p) => p.silentForMs < f.failureTimeoutMs);
  return spoke.map((p) => p.view).filter((v) => v.record.definition.createId === f.self.record.definition.createId);
}

/** Whom the definition names that holds among them. */
function members(f: Facts): string[] {
  const records = [f.self, ...fresh(f)].map((v) => v.record);
  return Object.keys(records.reduce((x, y) => (definesOver(y, x) ? y : x)).definition.nodes);
}

const heard = (f: Facts): NodeView[] => fresh(f).filter((v) => members(f).includes(v.node));

const each = (check: (f: Facts, d: Decision) => void): void => {
  fc.assert(
    fc.property(anyFacts, (f) => {
      check(f, decide(f));
    }),
    { numRuns: 1000 },
  );
};
const unforced = (check: (f: Facts, d: Decision) => void): void => {
  each((f, d) => {
    if (d.action === 'go-in-service' && d.rule !== 'forced') check(f, d);
  });
};

describe('for any facts', () => {
  it('there is a decision with a rule of the table and a reason', () => {
    each((_f, d) => {
      expect(decideRules).toContain(d.rule);
      expect(d.why).not.toBe('');
    });
  });

  it('a node in service stays, stops or is suspended, and no other is', () => {
    each((f, d) => {
      expect(['stay-in-service', 'demote', 'suspend'].includes(d.action)).toBe(f.self.inService);
    });
  });

  it('an operator is never left waiting in silence: what is not done is refused, or only listened for', () => {
    each((f, d) => {
      if (f.self.inService) return;
      if (f.command.kind === 'none') expect(d.action).not.toBe('refuse');
      else expect(d.action).not.toBe('stay-out');
      if (f.command.kind !== 'none' && d.action === 'wait') expect(f.upForMs).toBeLessThan(f.failureTimeoutMs);
    });
  });

  it('only an operator forces', () => {
    each((f, d) => {
      if (d.rule !== 'forced') return;
      const deletedByHand = f.command.kind === 'in-service' && f.self.record.dataCorruptSet === true && !f.self.flags.dataCorrupt;
      expect(f.command.kind === 'force' || deletedByHand).toBe(true);
    });
  });

  it('nobody goes in service beside a node that is in service and can be heard, forced or not', () => {
    each((f, d) => {
      if (d.action === 'go-in-service') expect(fresh(f).filter((v) => v.inService)).toEqual([]);
    });
  });

  it('without force, inconsistent data, a node told out, and a leg that is behind never go in service', () => {
    unforced((f) => {
      expect([f.self.record.resyncingFrom, f.self.record.toldOut, f.self.record.legBehind]).toEqual([null, null, null]);
    });
  });

  it('without force, nobody goes in service who knows somebody that served or was in sync later', () => {
    unforced((f) => {
      const own = [f.self.record.epochServed, f.self.record.epochInSync];
      for (const v of heard(f)) {
        for (const e of [v.record.epochServed, v.record.epochInSync])
          expect(own.some((o) => ['equal', 'higher'].includes(compareEpoch(o, e)))).toBe(true);
      }
    });
  });

  it('without force, a lost source or a handover, every required node can be heard', () => {
    unforced((f, d) => {
      if (d.rule !== 'evidence') return;
      // Whoever handed the mirror over, and was heard since, has vouched for the others.
      if (f.self.contactWithSource && grantHeld(f.self.record) !== null) return;
      const there = [f.self, ...heard(f)];
      const required = there.flatMap((v) => [...v.record.inSync, ...v.record.droppedUnconfirmed]).filter((n) => members(f).includes(n));
      expect(there.map((v) => v.node)).toEqual(expect.arrayContaining(required));
    });
  });

  it('a takeover needs a source that is silent for everybody', () => {
    unforced((f, d) => {
      if (d.rule !== 'takeover') return;
      const source = f.self.record.epochInSync?.owner ?? '';
      expect(f.self.contactWithSource).toBe(true);
      expect(heard(f).map((v) => v.node)).not.toContain(source);
      for (const v of heard(f)) expect(v.silentForMs[source] ?? Infinity).toBeGreaterThanOrEqual(f.failureTimeoutMs);
    });
  });

  it('a claim is not begun while another is unfinished, and not ended before everybody heard has accepted it', () => {
    each((f, d) => {
      if (d.action !== 'go-in-service') return;
      for (const v of heard(f)) {
        if (f.claiming) expect(compareEpoch(v.record.epochSeen, f.self.record.claim)).toBe('equal');
        else expect(v.record.claim).toBeNull();
      }
    });
  });

  it('of two that hear each other, not both go in service by themselves', () => {
    fc.assert(
      fc.property(viewOf('server1'), viewOf('server2'), (a, b) => {
        const goes = (x: NodeView, y: NodeView): boolean => decide(facts(x, [y])).action === 'go-in-service';
        expect(goes(a, b) && goes(b, a)).toBe(false);
      }),
      { numRuns: 1000 },
    );
  });
});
