/** Faults in ownership, generations and the merge of accounts that the simulator must find; see plants.ts. */
import type { Plant } from './plants.ts';

export const FAILOVER_PLANTS: readonly Plant[] = [
  {
    name: 'merge pending is not durable',
    only: 'crash,slow',
    nodes: 3,
    edits: [
      {
        file: 'src/failover/merge.ts',
        find: '...(wasInSync && r.inSync.includes(previous) ? [previous] : []), ...proven])],',
        replace: '...(wasInSync && r.inSync.includes(previous) ? [previous, ...others] : []), ...proven])],',
      },
      {
        file: 'src/failover/merge.ts',
        find: 'mergePending: pending.length === 0 || !wasInSync ? [] : [{ from: previous, for: pending }],',
        replace: 'mergePending: pending.length < 0 ? [{ from: previous, for: pending }] : [],',
      },
    ],
  },
  {
    name: 'a merge that copies instead of uniting',
    only: 'crash,slow',
    edits: [
      {
        file: 'src/failover/merge-account.ts',
        find: "marks.addOutOfSync(into.slice('oos:'.length), map);",
        replace: "marks.outOfSync(into.slice('oos:'.length)).clearAll();\n    marks.addOutOfSync(into.slice('oos:'.length), map);",
      },
    ],
  },
  {
    name: 'a mark dropped at the handshake',
    only: 'crash,slow',
    edits: [
      {
        file: 'src/mirror/sessions.ts',
        find: 't.toCopy = this.#owner.marks.outOfSync(t.node).clone();',
        replace: 't.toCopy = this.#owner.marks.outOfSync(t.node).clone();\n    this.#owner.marks.outOfSync(t.node).clearAll();',
      },
    ],
  },
  {
    name: 'data_corrupt is not set when the source returns alone',
    only: 'crash,power',
    edits: [
      {
        file: 'src/failover/decide.ts',
        find: "return stayOut(s, 'source-alone', why, changesIf, { dataCorrupt: true });",
        replace: "return stayOut(s, 'source-alone', why, changesIf);",
      },
    ],
  },
  {
    name: 'a target that is being resynced is promoted',
    only: 'crash,slow,aimed',
    edits: [
      {
        file: 'src/failover/decide.ts',
        find: '  if (cut === null) return null;\n  return stayOut(s,',
        replace: "  if (cut === null || cut.kind !== '') return null;\n  return stayOut(s,",
      },
      {
        file: 'src/failover/situation.ts',
        find: '  if (r.resyncingFrom !== null) return `its resync from ${r.resyncingFrom.node} was cut short`;\n',
        replace: '',
      },
      {
        file: 'src/failover/situation.ts',
        find: "  if (!servedLast && !r.inSync.includes(v.node)) return 'it was not in sync';",
        replace: '',
      },
      // Its source, which does not count it as in sync, is to bring the contact all the same.
      {
        file: 'src/failover/node.ts',
        find: ' && r.inSync.includes(this.env.self)) this.#inContact();',
        replace: ') this.#inContact();',
      },
      {
        file: 'src/failover/node.ts',
        find: 'this.#contact = !this.replica.doubtful && this.toldOut.heeds === null;',
        replace: 'this.#contact = true;',
      },
      // It was told that it is out before it was resynced, and is to remember that as well.
      {
        file: 'src/failover/target.ts',
        find: '    // Whoever is a target orders nothing any more.\n',
        replace: '    toldOut: null,\n',
      },
    ],
  },
  {
    name: 'a target does not look at the epoch',
    only: 'cuts,aimed',
    edits: [
      { file: 'src/failover/target.ts', find: '    if (seen === null) return;', replace: '    if (seen === null || epoch.number > 0) return;' },
    ],
  },
  {
    name: 'last_owner written after the first answer',
    only: 'crash,power',
    edits: [
      { file: 'src/failover/claim.ts', find: '    await this.#n.own.setLastOwner(true);\n', replace: '' },
      {
        file: 'src/failover/claim.ts',
        find: '{ rule: d.rule, epoch: epoch.number });\n',
        replace:
          '{ rule: d.rule, epoch: epoch.number });\n    await new Promise<void>((resolve) => void this.#n.env.io.clock.after(300, resolve));\n    await this.#n.own.setLastOwner(true);\n',
      },
    ],
  },
  {
    name: 'priority before generation',
    only: 'crash,power,slow',
    edits: [
      { file: 'src/failover/situation.ts', find: '  if (holdsUnknown(v.record, s.record)) return true;\n', replace: '' },
      { file: 'src/failover/situation.ts', find: '  return isHigher(termOf(v.record), s.term);\n}', replace: '  return false;\n}' },
      {
        file: 'src/failover/decide.ts',
        find: '  if (later === undefined) return null;\n',
        replace: '  if (later === undefined || later !== undefined) return null;\n',
      },
    ],
  },
  {
    name: 'a generation made at the source only',
    only: 'crash,power,slow',
    nodes: 3,
    edits: [
      { file: 'src/failover/members.ts', find: 'const told = await this.#tellMembers(membershipOf(next));', replace: 'const told = next.inSync;' },
    ],
  },
  {
    name: 'a write in flight when a target was lost is answered before the new generation is committed',
    only: 'crash,power,cuts',
    edits: [
      {
        file: 'src/mirror/losses.ts',
        find: 'const newGeneration = wasInSync && this.#owner.writesInHand();',
        replace: 'const newGeneration = false && wasInSync && this.#owner.writesInHand();',
      },
    ],
  },
  {
    name: 'a claim served without deciding again',
    only: 'crash,cuts,aimed',
    edits: [
      {
        file: 'src/failover/claim.ts',
        find: "return refused === '' ? this.#decided(facts) : { action: 'wait', rule: first.rule, why: refused };",
        replace: 'decide(facts);\n    void refused;\n    return first;',
      },
    ],
  },
  {
    name: "a node that accepted another's epoch keeps its own in-sync mark",
    only: 'crash,power,aimed',
    nodes: 3,
    edits: [
      { file: 'src/failover/node.ts', find: 'return { ...r, epochSeen: epoch, inSync: [], grant', replace: 'return { ...r, epochSeen: epoch, grant' },
      // What else would keep it from trusting that mark: the epochs that it has seen, and what it has heard of them.
      {
        file: 'src/failover/decide.ts',
        find: "  if (seen !== null && seen.owner !== self.node && !['lower', 'equal'].includes(compareEpoch(seen, s.term))) return null;\n",
        replace: "  if (seen !== null && seen.owner === '') return null;\n",
      },
      {
        file: 'src/failover/node.ts',
        find: '    if (isHigher(provenEpoch(view.record), termOf(this.record()))) this.#contact = false;\n',
        replace: '',
      },
    ],
  },
  {
    name: 'a stalled target is kept as a candidate',
    only: 'crash,aimed',
    nodes: 2,
    edits: [
      {
        file: 'src/failover/node.ts',
        find: '    this.#stalls += 1;\n    this.#contact = false;\n',
        replace: '    this.#stalls += 1;\n',
      },
    ],
  },
  {
    name: 'a target that hears its source, and nothing that can be read, is kept as a candidate',
    only: 'flip',
    edits: [
      { file: 'src/failover/node.ts', find: 'contact: this.#contact && !this.#mayBeLeftOut(),', replace: 'contact: this.#contact,' },
      {
        file: 'src/failover/node.ts',
        find: '    if (this.#mayBeLeftOut()) this.#contact = false;\n',
        replace: '    this.#mayBeLeftOut();\n',
      },
    ],
  },
  {
    name: 'an account used after it was handed over',
    only: 'crash,slow,force,aimed',
    nodes: 3,
    edits: [
      {
        file: 'src/failover/account.ts',
        find: '  if (f.accountGivenTo !== null && f.accountGivenTo !== from.node) return',
        replace: "  if (f.accountGivenTo === '') return",
      },
      {
        file: 'src/failover/merge.ts',
        find: '  if (p.record.accountGivenTo !== null) return',
        replace: "  if (p.record.accountGivenTo === '') return",
      },
      { file: 'src/failover/merge.ts', find: ' && r.legBehind === null && r.accountGivenTo === null;', replace: ' && r.legBehind === null;' },
    ],
  },
  {
    name: 'demotion that does not wait for late local writes',
    only: 'cuts,aimed,hiccup',
    edits: [
      {
        file: 'src/failover/end-of-term.ts',
        find: 'Promise.all([s.prover.idle(), s.inherited, s.device.idle()])',
        replace: 'Promise.all([s.prover.idle(), s.inherited])',
      },
    ],
  },
];
