/**
 * What a full resync of one target would do, found out before an operator is asked, and once more before it is done. Pure: the node in
 * service and what the target says of itself in, what is shown and what must be said yes to out.
 *
 * What a rule refuses, a split brain above all, is overwritten on a yes to that very finding and on nothing else. The source may know
 * it for a while before it shows it, and an order that was given meanwhile is not about it (M10).
 */
import { sameMirror, termOf } from './account.ts';
import { compare } from './compare.ts';
import { evidenceOf } from './decide-resolve.ts';
import { epochText } from './epoch.ts';
import { isForeign } from './situation.ts';
import type { CompareRule, Epoch, NodeName, NodeView } from './types.ts';

export interface FullResyncFinding {
  /** For people: what that node has, and what is lost. */
  lines: string[];
  /** The rule that the order would go against; null: none, by what is known, or the order does not go against it. */
  overrules: Overruled | null;
}

interface Overruled {
  /** The finding as a word: the rule, the node, and the last epoch that this was part of. A yes to it is a yes to no other. */
  word: string;
  why: string;
  /** What is given up with it. */
  over: Epoch | null;
}

/** Those that refuse because of what the other has. By any other row the source can't be the origin, which nobody's word changes. */
const OVERRULED: readonly CompareRule[] = ['split-brain', 'unrelated'];

/** `other`: what it says now; undefined: it is not heard. */
export function findFullResync(self: NodeView, node: NodeName, other: NodeView | undefined): FullResyncFinding {
  if (isForeign(self.record.definition, node)) return nothing(`${node} is a foreign target, and never part of a split brain`);
  if (other === undefined)
    return nothing(
      `${node} can not be heard: what it has written apart, if it has, is shown when it is heard, and not overwritten before this is said again`,
    );
  const answer = compare(self, other);
  const evidence = evidenceOf(other);
  if (answer.kind !== 'refuse') return nothing(evidence, `${node}: compare says ${answer.rule} (${answer.kind}): ${answer.why}`);
  const found = `${node}: ${answer.why} (rule ${answer.rule})`;
  if (other.inService) return nothing(evidence, `${found}; ${node} is not overwritten before ${node} has stopped and this is said again`);
  if (!OVERRULED.includes(answer.rule) || !sameMirror(self.record, other.record))
    return nothing(evidence, `${found}; ${node} is not overwritten before that has been put right`);
  const term = termOf(other.record);
  const word = `${answer.rule} ${node} ${epochText(term)}${term === null ? '' : ` ${term.random}`}`;
  return {
    lines: [evidence, `${found}; what ${node} has and ${self.node} does not know is lost`],
    overrules: { word, why: found, over: term },
  };
}

function nothing(...lines: string[]): FullResyncFinding {
  return { lines, overrules: null };
}
