/** The arbiter `majority`, between claims: whether most nodes of the mirror can be heard. Foreign targets have no vote. */
import type { MirrorDefinition, NodeName } from './types.ts';

/** `silentForMs`: of another node; Infinity when it was never heard. True as well where nobody asks for a majority. */
export function hearsMajority(definition: MirrorDefinition, self: NodeName, silentForMs: (node: NodeName) => number): boolean {
  if (definition.arbiter !== 'majority') return true;
  const voters = Object.entries(definition.nodes).filter(([, d]) => d.foreignUri === undefined);
  const heard = voters.filter(([n]) => n === self || silentForMs(n) < definition.failureTimeoutMs).length;
  return heard * 2 > voters.length;
}
