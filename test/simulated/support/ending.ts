/**
 * How every history ends (M14): all is repaired, healed and started, and the mirror must come together within bounded time:
 * one source, all targets in sync, all legs alike, nothing lost that was promised. Where the rules leave it to an operator,
 * he does what the documentation tells him, and no more.
 */
import type { Cluster, Machine } from './cluster.ts';
import { wroteApart } from './branches.ts';
import { boot } from './actions.ts';
import { firstWrong, givenUpWithItsRecord, splitBrainShown } from './split-brain.ts';
import { checkQuietly } from './quiet-checks.ts';
import { LEG, PATHS, TAG } from './plan.ts';
import type { Workload } from './workload.ts';

const violated = (c: Cluster): boolean => c.violation !== undefined;

/** Virtual time in which the mirror comes together by itself, and with an operator's help. */
const BY_ITSELF_MS = 20_000;
const HELPED_MS = 20_000;

export async function endHistory(c: Cluster, w: Workload): Promise<void> {
  c.say('=== the end: everything is repaired');
  for (const m of c.all) {
    m.sim.repairDisk();
    m.sim.setDisk({ shortTransfers: 0 });
    if (m.sim.state === 'frozen') m.sim.thaw();
  }
  c.world.healAll();
  for (const a of c.plan.nodes) for (const b of c.plan.nodes) if (a < b) c.world.slow(a, b, {});
  for (const a of c.plan.nodes) for (const b of c.plan.nodes) if (a < b) c.world.flipBits(a, b, 0);
  await until(c, 'all nodes run', BY_ITSELF_MS, () => {
    for (const m of c.all) if (!m.busy) boot(m);
    return c.all.every((m) => m.up);
  });
  let helped = await comeTogether(c);
  if (violated(c)) return;
  await w.stop();
  await until(c, 'the application has ended', BY_ITSELF_MS, () => w.inFlight === 0);
  // A switchover may still be waiting for its targets.
  await until(c, 'no command is under way', BY_ITSELF_MS, () => c.all.every((m) => !m.commanded));
  // A sync that was under way when everything was repaired may have failed since.
  if (await comeTogether(c)) helped = true;
  if (violated(c)) return;
  c.count(helped ? 'ends with an operator' : 'ends by itself');
  await judge(c, w);
}

async function until(c: Cluster, what: string, ms: number, f: () => boolean): Promise<boolean> {
  const end = c.world.now() + ms;
  while (!f()) {
    if (violated(c)) return false;
    if (c.world.now() > end) {
      c.violated('M14', `not within ${String(ms)} ms: ${what}\n${describe(c)}`);
      return false;
    }
    await c.world.sleep(20);
  }
  return true;
}

/** The one source, when every other node is its target, in sync. */
export function together(c: Cluster): Machine | undefined {
  const sources = c.all.filter((m) => m.inService);
  const [source] = sources;
  const role = source?.mirror?.source;
  if (source === undefined || role === undefined || sources.length !== 1 || role.device.suspension !== null) return undefined;
  // What both slept through in the middle of a write is on one leg, and on its way to the other.
  if (role.device.writesInHand()) return undefined;
  if (role.links.size !== c.plan.nodes.length - 1 || role.device.local.state !== 'in') return undefined;
  for (const l of role.links.values()) if (l.leg.phase !== 'in-sync' || (l.leg.queue?.outstandingWrites ?? 0) > 0) return undefined;
  const members = source.mirror?.record().inSync.length ?? 0;
  if (members !== c.plan.nodes.length) return undefined;
  return c.all.every((m) => m === source || m.view?.state === 'Target') ? source : undefined;
}

/** M13: the record of a node is damaged, and no other has all of the data: nothing but making the mirror anew from that leg is left. */
function nobodyHasIt(c: Cluster): boolean {
  if (!c.all.some((m) => m.daemon?.broken.has(TAG) === true)) return false;
  return c.all.every((m) => {
    const record = m.mirror?.record();
    return record === undefined || !record.hadData || record.resyncingFrom !== null;
  });
}

/** True: an operator had to help. */
async function comeTogether(c: Cluster): Promise<boolean> {
  const start = c.world.now();
  let helped = false;
  let nextHelp = start + 3000;
  while (together(c) === undefined) {
    if (violated(c)) return helped;
    const now = c.world.now();
    if (now > start + BY_ITSELF_MS + (helped ? HELPED_MS : 0)) {
      if (nobodyHasIt(c)) {
        c.count('end: the only node with all of the data has a damaged state record');
        return helped;
      }
      c.violated('M14', `the mirror does not come together\n${describe(c)}`);
      return helped;
    }
    for (const m of c.all) if (!m.busy) boot(m);
    if (now > nextHelp) {
      nextHelp = now + 3000;
      if (await help(c)) helped = true;
    }
    await c.world.sleep(20);
  }
  return helped;
}

/** What an operator does who reads the status; false: nothing is left to him. */
async function help(c: Cluster): Promise<boolean> {
  const damaged = c.all.find((m) => m.daemon?.broken.has(TAG) === true);
  const [source] = c.all.filter((m) => m.inService);
  if (source !== undefined) {
    const role = source.mirror?.source;
    const record = source.mirror?.record();
    if (record !== undefined && record.paused.length > 0)
      return await tell(c, source, 'resume', () => source.command('resume', { tag: TAG, nodes: [] }));
    if (damaged !== undefined) return await renew(c, source, damaged);
    const unknown = [...(role?.links.values() ?? [])].find((l) => !l.leg.inSession && l.problem.includes('does not know this mirror'));
    if (unknown !== undefined) return await renew(c, source, c.machine(unknown.node));
    if (role?.device.local.state === 'out') return await tell(c, source, 'out-of-service', () => source.command('out-of-service', { tag: TAG }));
    for (const l of role?.links.values() ?? []) {
      if (l.leg.inSession || l.answer?.kind !== 'refuse') continue;
      c.count(`end: refused by ${l.answer.rule}`);
      if (l.answer.rule === 'split-brain') {
        splitBrainShown(c, source);
        if (await resolve(c, source, l.node)) return true;
      }
      return await renew(c, source, c.machine(l.node));
    }
    // A leg whose sync has failed is not trusted until the node starts anew on it.
    if ([...(role?.links.values() ?? [])].some((l) => !l.leg.inSession && l.problem.includes('sync of the local leg'))) {
      return await tell(c, source, 'out-of-service', () => source.command('out-of-service', { tag: TAG }));
    }
    const waiting = [...(role?.links.values() ?? [])].find((l) => l.answer?.kind === 'wait');
    if (waiting !== undefined)
      return await tell(c, source, 'fullresync', () => source.command('fullresync', { tag: TAG, source: null, nodes: [waiting.node] }));
    return false;
  }
  // Its disk did not let it read its state, and does now: its daemon is started anew.
  if (damaged !== undefined && damaged.daemon?.broken.get(TAG)?.why.includes('damaged') === false) {
    c.say(`=== operator: restart of ${damaged.name}: ${damaged.daemon.broken.get(TAG)?.why ?? ''}`);
    c.count('end: operator says restart');
    damaged.gone();
    damaged.sim.crash();
    return boot(damaged);
  }
  // Nobody serves: the last owner is asked first, then everybody.
  const byFlag = [...c.all].sort((a, b) => Number(b.mirror?.flags.flags.lastOwner === true) - Number(a.mirror?.flags.flags.lastOwner === true));
  for (const m of byFlag) {
    const answer = await m.command('in-service', { tag: TAG, confirmed: ['force', 'no-majority'] });
    c.say(`=== operator: in-service on ${m.name}: ${answer === '' ? 'done' : answer}`);
    if (answer === '') return true;
  }
  const shown = c.all.some((m) => m.view?.state === 'Split Brain');
  if (shown) {
    // Whoever has a damaged record can not be forced.
    const newest = byFlag.find((m) => m.name === c.branches.tip?.node && m.mirror !== undefined);
    const winner = newest ?? byFlag.find((m) => m.mirror !== undefined);
    if (winner === undefined) return false;
    splitBrainShown(c, winner);
    return await force(c, winner);
  }
  // He forces the node that has everything, and finds it: else something promised is lost.
  const { tip } = c.branches;
  const promised = tip === undefined ? undefined : { ...tip, model: tip.model.fork() };
  promised?.model.epochOver();
  if (tip !== undefined && c.branches.hasLostPower(tip)) promised?.model.powerWasLost();
  // One that never had the data may hold the same by chance, and is refused.
  const whole = promised === undefined ? [] : c.all.filter((m) => m.mirror?.record().hadData === true && firstWrong(c, promised, m) === undefined);
  for (const m of whole) if (await force(c, m)) return true;
  if (whole.length > 0) return false;
  if (c.plan.kinds.has('force') || c.plan.kinds.has('damage') || c.plan.kinds.has('async')) {
    for (const m of byFlag) if (await force(c, m)) return true;
  }
  return false;
}

async function tell(c: Cluster, m: Machine, what: string, run: () => Promise<string>): Promise<boolean> {
  const answer = await run();
  c.say(`=== operator: ${what} on ${m.name}: ${answer === '' ? 'done' : answer}`);
  c.count(`end: operator says ${what}`);
  return true;
}

async function force(c: Cluster, m: Machine): Promise<boolean> {
  c.forced = true;
  const answer = await m.force(true);
  c.say(`=== operator: force on ${m.name}: ${answer === '' ? 'done' : answer}`);
  if (answer === '') c.count('end: operator says force');
  return answer === '';
}

/** A node whose data or state is given up: it is made a new target. */
async function renew(c: Cluster, source: Machine, m: Machine): Promise<boolean> {
  c.count('end: operator says replace');
  if (m.daemon?.broken.has(TAG) === true) {
    givenUpWithItsRecord(c, source, m);
    const gone = await m.command('delete', { tag: TAG });
    c.say(`=== operator: delete on ${m.name}: ${gone === '' ? 'done' : gone}`);
  }
  const answer = await source.command('replace', { tag: TAG, node: m.name, leg: LEG });
  c.say(`=== operator: replace of ${m.name} on ${source.name}: ${answer === '' ? 'done' : answer}`);
  c.count(`end: operator says replace of ${m.name}`);
  if (!answer.includes('hears no majority')) return true;
  // Most are lost for good: he does what the refusal says.
  await tell(c, source, 'out-of-service', () => source.command('out-of-service', { tag: TAG }));
  return await force(c, source);
}

/** The data of that node is given up, by the command that is meant for it. False: refused. */
async function resolve(c: Cluster, source: Machine, victim: string): Promise<boolean> {
  const answer = await source.command('resolve', { tag: TAG, victim });
  c.say(`=== operator: resolve on ${source.name}, giving up ${victim}: ${answer === '' ? 'done' : answer}`);
  if (answer === '') c.count('end: operator says resolve');
  return answer === '';
}

async function judge(c: Cluster, w: Workload): Promise<void> {
  const source = together(c);
  if (source === undefined) return;
  checkQuietly(c);
  if (!(await w.readAll(source))) {
    c.violated('M14', `the mirror has come together, and can't be read\n${describe(c)}`);
    return;
  }
  const mine = c.branches.of(source);
  for (const m of c.all) {
    c.checked('legs alike');
    const at = m.sim.firstDifference(LEG, source.sim, LEG);
    if (at >= 0) c.violated('M14', `the legs of ${m.name} and ${source.name} differ at byte ${String(at)}`);
  }
  // M10: what another branch answered must be there as well, or have been shown as a split brain.
  for (const b of c.branches.open) {
    if (b === mine || b.leftToAsync || !wroteApart(b)) continue;
    c.checked('M10');
    if (c.plan.kinds.has('power')) b.model.powerWasLost();
    // What was written over since, by whoever went on, is not lost.
    const bad = firstWrong(c, b, source, (s, v) => mine?.model.writtenSince(s, v, b.forkedAt) === true);
    if (bad !== undefined) c.violated('M10', `${b.node} answered writes in epoch ${b.key} that were lost without a split brain being shown: ${bad}`);
  }
  // M3: the last flush was answered, so that power may go now.
  for (const m of c.all) {
    const mode = c.plan.modes[c.plan.nodes.indexOf(m.name)];
    if (mode === 'async' && m !== source) continue;
    c.checked('M3');
    const durable = m.sim.peekDurable(LEG);
    const now = m.sim.peek(LEG);
    if (durable === undefined || now === undefined) continue;
    const at = Buffer.compare(durable, now) === 0 ? -1 : durable.findIndex((b, i) => b !== now[i]);
    if (at >= 0) c.violated('M3', `after an answered FLUSH byte ${String(at)} of the leg of ${m.name} is not durable`);
  }
}

/** Where everybody stands, for a report. */
export function describe(c: Cluster): string {
  const lines: string[] = [];
  for (const m of c.all) {
    const n = m.mirror;
    if (n === undefined) {
      lines.push(
        `  ${m.name}: ${m.sim.state}${m.daemon?.broken.has(TAG) === true ? `, broken: ${m.daemon.broken.get(TAG)?.why ?? ''}` : ''} ${PATHS.state} ${PATHS.bitmap}`,
      );
      continue;
    }
    const v = m.view;
    if (v === undefined) {
      lines.push(`  ${m.name}: ${m.sim.state} ${JSON.stringify({ ...m.record, definition: undefined })}`);
      continue;
    }
    lines.push(
      `  ${m.name}: ${v.state}, in service ${String(v.inService)}; ${n.decision?.action ?? '-'} by ${n.decision?.rule ?? '-'}: ${n.decision?.why ?? ''}`,
    );
    lines.push(
      `    flags ${JSON.stringify(v.flags)} suspended ${JSON.stringify(n.source?.device.suspension?.reasons ?? [])} ${JSON.stringify({ ...v.record, definition: undefined })}`,
    );
    for (const l of n.source?.links.values() ?? [])
      lines.push(`    -> ${l.node}: ${l.leg.phase}; ${l.answer?.rule ?? '-'}/${l.answer?.kind ?? '-'} ${l.problem}`);
  }
  return lines.join('\n');
}
