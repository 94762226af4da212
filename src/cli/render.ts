/** How a mirror is shown: the blocks of `mirror_status`, as DataKeeper's users know them, and the table of all mirrors. Pure. */
import Table from 'cli-table3';
import pico from 'picocolors';
import { formatAge, formatClock, formatDuration, formatSize } from '../control/units.ts';
import type { BrokenMirror, CheckpointStatus, MirrorStatus, Progress, TargetStatus } from '../control/types.ts';
import type { ConfirmDefault, Decision } from '../failover/types.ts';
import { oneLine } from './exit.ts';

const BAR_WIDTH = 16;

/** `[=====>          ]  38%` */
export function bar(share: number): string {
  const full = Math.min(1, Math.max(0, share));
  const cells = Math.floor(full * BAR_WIDTH);
  const body = cells === 0 ? '' : cells === BAR_WIDTH ? '='.repeat(BAR_WIDTH) : `${'='.repeat(cells - 1)}>`;
  return `[${body.padEnd(BAR_WIDTH)}] ${String(Math.floor(full * 100)).padStart(3)}%`;
}

/** `[=====>          ]  38% (1.2 GiB of 3.1 GiB), 00:00:12 left` */
export function progressLine(p: Progress): string {
  const left = p.secondsLeft === null ? 'time left unknown' : `${formatClock(p.secondsLeft)} left`;
  return `${bar(p.totalBytes === 0 ? 1 : p.doneBytes / p.totalBytes)} (${formatSize(p.doneBytes)} of ${formatSize(p.totalBytes)}), ${left}`;
}

/** `161793K/sec` */
export function speed(bytesPerSec: number): string {
  return `${String(Math.floor(bytesPerSec / 1024))}K/sec`;
}

type Paint = (text: string) => string;

function paintOf(state: string, colour: boolean): Paint {
  const c = pico.createColors(colour);
  if (state === 'Source' || state === 'Target') return c.green;
  return ['Split Brain', 'Data Corrupt', 'Inconsistent', 'Broken'].includes(state) ? c.red : c.yellow;
}

export interface RenderOptions {
  colour: boolean;
}

/** All lines of `mirror_status TAG`: one block for each target, then one for the node itself. */
export function mirrorLines(s: MirrorStatus, o: RenderOptions): string[] {
  return [...s.targets.flatMap((t) => targetLines(s, t, o)), ...nodeLines(s, o)].map((l) => l.trimEnd());
}

function targetLines(s: MirrorStatus, t: TargetStatus, o: RenderOptions): string[] {
  const shown = t.state === 'Resyncing' ? 'Resynchronizing' : t.state;
  const detail = oneLine(t.detail);
  const lines = [`[-] ${s.node} -> ${t.node}`, `    Status: ${paintOf(t.state, o.colour)(shown)}${detail === '' ? '' : ` (${detail})`}`];
  if (t.progress !== null) lines.push(`      ${progressLine(t.progress)}`, `    Resync Speed: ${speed(t.progress.bytesPerSec)}`);
  lines.push(`    Type: ${t.mode === 'sync' ? 'Synchronous' : 'Asynchronous'}${t.foreign ? ', foreign' : ''}`);
  lines.push(`    Bitmap: ${String(s.regions)} bits (chunks), ${String(t.dirtyRegions)} dirty (${percent(t.dirtyRegions, s.regions)})`);
  if (t.mode === 'async') lines.push(`    Queue: ${String(t.queuedWrites)} writes, ${formatSize(t.queuedBytes)}`);
  if (t.rule !== null) lines.push(`    Rule: ${t.rule}`);
  if (t.lastResync !== null) {
    const { kind, bytes, sent, seconds } = t.lastResync;
    lines.push(`    Last Resync: ${kind}, ${formatSize(bytes)} covered, ${formatSize(sent)} sent, in ${formatClock(seconds)}`);
  }
  return lines;
}

function nodeLines(s: MirrorStatus, o: RenderOptions): string[] {
  const { flags } = s;
  const set = [
    ...(flags.lastOwner ? ['last_owner'] : []),
    ...(flags.source === null ? [] : [`source ${flags.source}`]),
    ...(flags.dataCorrupt ? ['data_corrupt'] : []),
  ];
  const epoch = s.epoch === null ? 'none yet' : `${String(s.epoch.number)} of ${s.epoch.owner}`;
  const lines = [
    `[-] ${s.node}`,
    `    State: ${(s.suspended === null ? paintOf(s.state, o.colour) : pico.createColors(o.colour).red)(s.state)}, ${serviceText(s)}`,
    ...suspendedLines(s.suspended),
    `    Source: ${s.source ?? 'unknown'}`,
    `    Flags: ${set.length === 0 ? 'none' : set.join(', ')}`,
    `    Decision: ${s.decision === null ? 'none yet' : `${s.decision.action}, rule ${s.decision.rule}: ${oneLine(s.decision.why)}`}`,
    ...askedLines(s.tag, s.decision?.asks).map((l) => `    ${l}`),
    `    Size: ${formatSize(s.sizeBytes)}, ${String(s.regions)} regions of ${formatSize(s.regionBytes)}, sectors of ${String(s.sectorBytes)} bytes`,
    `    Leg: ${oneLine(s.leg)}, ${s.localLeg}`,
    `    Generation: ${s.generation}, epoch ${epoch}`,
    `    Intent: ${formatSize(s.intentBytes)} marked`,
    `    Failover: ${failoverText(s)}`,
    `    Arbiter: ${s.arbiter}${s.arbiterOverruled ? ', overruled by force until most nodes are heard' : ''}`,
  ];
  if (s.export !== null) lines.push(`    Export: ${s.export.name} on ${s.export.socketPath}`);
  lines.push(...s.checkpoints.map((c) => `    Checkpoint: ${checkpointText(c)}`));
  if (s.verify !== null) lines.push('    Verify:', `      ${progressLine(s.verify)}`);
  for (const x of s.snapshots) lines.push(`    Snapshot: ${x.export}, ${snapshotText(x)}`);
  const silent = Object.entries(s.nodes).filter(([n, d]) => n !== s.node && !d.reachable);
  if (silent.length > 0) lines.push(`    Not Reachable: ${silent.map(([n]) => n).join(', ')}`);
  return lines;
}

/** `keeps 1.2 GiB of at most 10 GiB`, or why it is lost. */
export function snapshotText(s: MirrorStatus['snapshots'][number]): string {
  if (s.state === 'lost') return `lost: ${oneLine(s.why)}`;
  return `keeps ${formatSize(s.usedBytes)} of at most ${formatSize(s.spaceBytes)}`;
}

/** `monday: valid, 3 MiB written since` */
export function checkpointText(c: CheckpointStatus): string {
  if (c.void !== null) return `${c.name}: void, rule ${c.void.rule}: ${oneLine(c.void.why)}`;
  return `${c.name}: ${c.dirtyBytes === null ? 'kept while out of service' : `valid, ${formatSize(c.dirtyBytes)} written since`}`;
}

function serviceText(s: Pick<MirrorStatus, 'inService' | 'suspended'>): string {
  if (s.suspended !== null) return 'in service, but suspended: it answers nothing';
  return s.inService ? 'in service' : 'out of service';
}

const SUSPENDED_FOR: Readonly<Record<string, string>> = {
  'no quorum': 'no majority of the nodes is heard',
  claim: 'another node claims a later epoch',
  stalled: 'this process stood still, and the others are asked whether it may go on',
};

/** `Suspended: no quorum (no majority of the nodes is heard), for 12s; what waits is answered with errors in 3s` */
function suspendedLines(s: MirrorStatus['suspended']): string[] {
  if (s === null) return [];
  const why = s.for.map((r) => `${oneLine(r)}${Object.hasOwn(SUSPENDED_FOR, r) ? ` (${SUSPENDED_FOR[r] ?? ''})` : ''}`).join(', ');
  const then =
    s.errorsInMs === null
      ? 'requests wait'
      : s.errorsInMs === 0
        ? 'every request is answered with an error'
        : `requests wait, and are answered with errors in ${formatAge(s.errorsInMs)}`;
  return [`    Suspended: ${why}, for ${formatAge(s.sinceMs)}; ${then}`];
}

/** `confirm, after 2s of silence: 1m for an answer, then it stays out` */
export function failoverText(s: Pick<MirrorStatus, 'failover' | 'failureTimeoutMs' | 'confirm' | 'takeoverAfterCleanStop'>): string {
  const how = `${s.failover}, after ${formatDuration(s.failureTimeoutMs)} of silence${s.takeoverAfterCleanStop ? ', also after a clean stop' : ''}`;
  return s.confirm === null ? how : `${how}: ${formatDuration(s.confirm.timeoutSec * 1000)} for an answer, then it ${thenText(s.confirm.default)}`;
}

/** What is asked, how to answer, and until when; nothing when nothing is asked. */
export function askedLines(tag: string, asks: Decision['asks']): string[] {
  if (asks === undefined) return [];
  const answer = `netraid confirm ${tag}, or --no`;
  if (asks.leftMs === null) return [`Asks: settled; to go in service all the same: netraid confirm ${tag}`];
  return [
    `Asks: take over${asks.lost === null ? '' : ` from ${asks.lost}`}? ${answer}; in ${formatClock(asks.leftMs / 1000)} it ${thenText(asks.then)}`,
  ];
}

function thenText(then: ConfirmDefault): string {
  return then === 'go' ? 'goes in service' : 'stays out';
}

function percent(part: number, all: number): string {
  return `${(all === 0 ? 0 : (100 * part) / all).toFixed(1)}%`;
}

/** One row a mirror, those last whose state can't be used. */
export function mirrorTable(all: readonly MirrorStatus[], broken: readonly BrokenMirror[], o: RenderOptions): string[] {
  const rows = all.map((s) => [
    s.tag,
    paintOf(s.state, o.colour)(s.state),
    s.suspended !== null ? 'suspended' : s.inService ? 'yes' : 'no',
    s.source ?? 'unknown',
    formatSize(s.sizeBytes),
    s.targets.length === 0 ? '-' : s.targets.map((t) => inShort(t, o)).join(', '),
  ]);
  rows.push(...broken.map((b) => [b.tag, paintOf('Broken', o.colour)('Broken'), 'no', 'unknown', '-', '-']));
  return plainTable(['TAG', 'STATE', 'IN SERVICE', 'SOURCE', 'SIZE', 'TARGETS'], rows);
}

function inShort(t: TargetStatus, o: RenderOptions): string {
  const share =
    t.progress === null || t.progress.totalBytes === 0 ? '' : ` ${String(Math.floor((100 * t.progress.doneBytes) / t.progress.totalBytes))}%`;
  return `${t.node}: ${paintOf(t.state, o.colour)(t.state)}${share}`;
}

/** Columns without borders, two blanks apart. */
export function plainTable(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const sides = ['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right'];
  const inner = ['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid'];
  const chars = { ...Object.fromEntries([...sides, ...inner].map((n) => [n, ''])), middle: '  ' };
  const table = new Table({ chars, style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] } });
  table.push([...head], ...rows.map((r) => [...r]));
  return table
    .toString()
    .split('\n')
    .map((l) => l.trimEnd());
}
