/** `netraid explain`: what this node knows, what it decides from that, by which rule, and what would change it. */
import type { Actions } from '../../control/types.ts';
import type { Epoch, NodeView } from '../../failover/types.ts';
import { ExitCode, oneLine, UsageError } from '../exit.ts';
import { formatAge, formatSize } from '../../control/units.ts';
import { answer } from '../output.ts';
import { askedLines, plainTable } from '../render.ts';
import type { CommandContext } from '../world.ts';

type Explained = Actions['explain']['result'];
type Heard = Explained['heard'][string];

export async function explain(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const whatIf = ctx.args.optional('what-if') ?? null;
  if (whatIf?.trim() === '') throw new UsageError('--what-if is empty; allowed: "NODE lost", "NODE back", "in-service", "force"');
  const e = await ctx.client.call('explain', { tag, whatIf });
  const { decision } = e;
  answer(ctx, e, [
    `${tag} on ${e.facts.node}${whatIf === null ? '' : `, if ${oneLine(whatIf)}`}: ${decision.action}`,
    `  Rule: ${decision.rule}`,
    `  Why: ${oneLine(decision.why)}`,
    ...askedLines(tag, decision.asks).map((l) => `  ${l}`),
    ...(decision.changesIf ?? []).map((c) => `  Changes If: ${oneLine(c)}`),
    `  Arbiter: ${arbiterText(e.arbiter)}`,
    ...factLines(e),
    ...(e.compares.length === 0 ? [] : ['Compare:']),
    ...e.compares.map((c) => `  ${compareLine(c)}`),
  ]);
  return ExitCode.OK;
}

function arbiterText(a: Explained['arbiter']): string {
  if (a.voters.length === 0) return a.kind;
  const silent = a.voters.filter((n) => !a.heard.includes(n));
  const missing = silent.length === 0 ? '' : `; not heard: ${silent.join(', ')}`;
  const heard = `${String(a.heard.length)} of ${String(a.voters.length)} votes heard (${a.heard.join(', ')})${missing}; ${String(a.needed)} are needed`;
  return `${a.kind}, ${heard}${a.overruled ? '; overruled by force until most nodes are heard' : ''}`;
}

function factLines(e: Explained): string[] {
  const nodes = Object.entries(e.heard).map(([n, h]) => ({ node: n, h, view: n === e.facts.node ? e.facts : e.peers[n] }));
  const facts = nodes.map(({ node, h, view }) => [node, heardText(h), ...(view === undefined ? ['-', '-', '-'] : viewCells(view, h))]);
  const records = nodes.flatMap(({ view, h }) => (view === undefined ? [] : [recordCells(view, h)]));
  const indented = (lines: string[]): string[] => lines.map((l) => `  ${l}`);
  return [
    'Facts:',
    ...indented(plainTable(['NODE', 'HEARD', 'STATE', 'FLAGS', 'MARKED'], facts)),
    'Records:',
    ...indented(plainTable(['NODE', 'GENERATION', 'SERVED', 'IN SYNC IN', 'SEEN', 'IN-SYNC SET', 'LEFT UNCONFIRMED', 'AGAINST ITSELF'], records)),
  ];
}

function heardText(h: Heard): string {
  switch (h.how) {
    case 'here':
      return 'this node';
    case 'heard':
      return `${formatAge(h.silentForMs ?? 0)} ago`;
    case 'silent':
      return `silent for ${formatAge(h.silentForMs ?? 0)}`;
    case 'never':
      return 'never since start';
    case 'mute':
      return 'daemon runs, says nothing of it';
    case 'foreign':
      return 'foreign';
  }
}

const isNow = (h: Heard): boolean => h.how === 'here' || h.how === 'heard';

function viewCells(v: NodeView, h: Heard): string[] {
  const marked = v.intentBytes + Object.values(v.outOfSyncBytes).reduce((a, b) => a + b, 0);
  const flags = [
    ...(v.flags.lastOwner ? ['last_owner'] : []),
    ...(v.flags.dataCorrupt ? ['data_corrupt'] : []),
    ...(v.flags.source === null ? [] : [`source ${v.flags.source}`]),
  ];
  const state = v.inService ? `${v.state}, in service` : v.state;
  return [isNow(h) ? state : `unknown; last: ${state}`, flags.length === 0 ? 'none' : flags.join(', '), formatSize(marked)];
}

/** What the record of a node says; of one that is silent: what it last said. */
function recordCells(v: NodeView, h: Heard): string[] {
  const r = v.record;
  const against = [
    ...(r.resyncingFrom === null ? [] : [`${r.resyncingFrom.kind} resync from ${r.resyncingFrom.node} not finished`]),
    ...(r.toldOut === null ? [] : [`told out by ${r.toldOut.by} in ${epoch(r.toldOut.epoch)}: ${oneLine(r.toldOut.why)}`]),
    ...(r.witnessed === undefined ? [] : [`knows that ${r.witnessed.generation} was made in ${epoch(r.witnessed.epoch)}`]),
    ...(r.legBehind === null ? [] : [`own leg behind ${r.legBehind.newest}`]),
    ...(r.claim === null ? [] : [`claims ${epoch(r.claim)}`]),
    ...(r.stoppedOnPurpose ? ['stopped on purpose'] : []),
    ...(r.keepOut ? ['kept out by an operator'] : []),
  ];
  const list = (l: readonly string[]): string => (l.length === 0 ? 'none' : l.join(', '));
  return [
    isNow(h) ? v.node : `${v.node}, last said`,
    r.generation,
    epoch(r.epochServed),
    epoch(r.epochInSync),
    epoch(r.epochSeen),
    list(r.inSync),
    list(r.droppedUnconfirmed),
    list(against),
  ];
}

function epoch(e: Epoch | null): string {
  return e === null ? 'none' : `${String(e.number)} of ${e.owner}`;
}

function compareLine(c: Explained['compares'][number]): string {
  const direction = c.direction === null ? '' : ` ${c.direction.from} -> ${c.direction.to}`;
  const wait = c.waitFor === undefined ? '' : `, waits for ${c.waitFor}`;
  const age = c.heard.silentForMs === null ? '' : `, ${formatAge(c.heard.silentForMs)} ago`;
  const whom = isNow(c.heard) ? c.with : `${c.with}, by the last it said${age}, should it come back`;
  return `${whom}: ${c.rule}: ${c.kind}${direction}${wait}: ${oneLine(c.why)}`;
}
