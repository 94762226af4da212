/**
 * Failover `off` and `confirm`: what a node that may take over does before it does so by itself.
 *
 *   off      waits for an operator's `in-service`
 *   confirm  asks -> yes: goes | no: stays out | no answer within confirmTimeout: goes or stays out, as the mirror says
 *
 * Pure: how long ago it was asked, and what was answered, are facts. An answer counts only for what was asked: the same
 * rule, and the same term of the same source.
 */
import { epochText } from './epoch.ts';
import type { Situation } from './situation.ts';
import type { Asked, Decision, DecideRule, NodeName } from './types.ts';

export interface Leave {
  /** What it does instead of going in service; null: it may go. */
  held: Decision | null;
  /** The reason, with the operator's part in it. */
  why: string;
}

/** `lost`: the source whose return would settle it; null: none is lost. */
export function leaveToGo(s: Situation, rule: DecideRule, why: string, lost: NodeName | null): Leave {
  const { failover, confirmTimeoutSec, confirmDefault } = s.definition;
  if (failover === 'auto' || s.asked) return { held: null, why };
  const changesIf = ['an operator says in-service', ...(lost === null ? [] : [`${lost} returns`])];
  const { claiming } = s.facts;
  if (failover === 'off') return { held: claiming ? null : { action: 'wait', rule, why: `${why}, but failover is 'off'`, changesIf }, why };
  const about = `${rule}, epoch ${epochText(s.term)}`;
  const answer = s.facts.confirm?.about === about ? s.facts.confirm : undefined;
  const askedForMs = answer?.askedForMs ?? 0;
  const leftMs = Math.max(0, confirmTimeoutSec * 1000 - askedForMs);
  const nobody = `nobody has answered within ${String(confirmTimeoutSec)} s`;
  const asks: Asked = { about, lost, leftMs: null, then: confirmDefault };
  const stays = (because: string): Leave => ({
    held: { action: 'stay-out', rule, why: `${why}, but ${because}`, changesIf: ['an operator confirms it', ...changesIf], asks },
    why,
  });
  if (answer?.word === 'yes') return { held: null, why: `${why}, and an operator has confirmed it` };
  if (answer?.word === 'no') return claiming ? { held: null, why } : stays('an operator has said no');
  const over = leftMs === 0;
  if (over && confirmDefault === 'go') return { held: null, why: `${why}; ${nobody}, and the default is to go` };
  if (claiming) return { held: null, why };
  if (over) return stays(`${nobody}, and the default is to stay out`);
  const then = confirmDefault === 'go' ? 'it goes in service' : 'it stays out';
  return {
    held: {
      action: 'wait',
      rule,
      why: `${why}; an operator is asked whether to go in service here, and without an answer within ${String(confirmTimeoutSec)} s ${then}`,
      changesIf: ['an operator confirms it, or says no', ...changesIf],
      asks: { ...asks, leftMs },
    },
    why,
  };
}
