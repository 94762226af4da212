/**
 * What an operator must have said yes to. Between the question and the deed flags are deleted and nodes fall silent: what would be
 * done then, and was not shown to him, is refused instead. Pure.
 */
import type { Confirmable, Decision, Facts } from './types.ts';

/** `majorityHeard`: false where the mirror has an arbiter, and its word could not be had. */
export function toConfirm(d: Pick<Decision, 'action' | 'rule'>, majorityHeard: boolean | null): Confirmable[] {
  if (d.action !== 'go-in-service' || d.rule !== 'forced') return [];
  return majorityHeard === false ? ['force', 'no-majority'] : ['force'];
}

const SAID: Record<Confirmable, string> = {
  force: 'it would now be forced in service',
  'no-majority': 'no majority of the nodes is heard now, and a split brain could follow',
};

/** The decision itself, or a refusal that says what of it was not confirmed. */
export function ifConfirmed(d: Decision, command: Facts['command'], majorityHeard: boolean | null): Decision {
  const given: readonly Confirmable[] = command.kind === 'none' ? [] : (command.confirmed ?? []);
  // The word force is itself a yes to that.
  const missing = toConfirm(d, majorityHeard).filter((c) => !given.includes(c) && !(c === 'force' && command.kind === 'force'));
  if (missing.length === 0) return d;
  const why = `${missing.map((c) => SAID[c]).join(', and ')}, which was not confirmed: ${d.why}`;
  return { action: 'refuse', rule: d.rule, why, unconfirmed: missing, changesIf: ['the command is given again, and what it shows is confirmed'] };
}
