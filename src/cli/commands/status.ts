/** What there is, and how it is: one mirror, all mirrors, the node. */
import type { Actions, BrokenMirror, LinkInfo, MirrorStatus } from '../../control/types.ts';
import { ExitCode, oneLine, UsageError } from '../exit.ts';
import { answer, pollPause } from '../output.ts';
import { mirrorLines, mirrorTable, plainTable } from '../render.ts';
import type { CommandContext } from '../world.ts';

export async function mirrorStatus(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  if (ctx.args.flag('watch')) return await watch(ctx, () => one(ctx, tag));
  const s = await ctx.client.call('status', { tag });
  answer(ctx, s, mirrorLines(s, ctx.terminal));
  return ExitCode.OK;
}

export async function status(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.optionalTag();
  if (tag !== undefined) return await mirrorStatus(ctx);
  if (ctx.args.flag('watch')) return await watch(ctx, () => all(ctx));
  const { value, lines } = await all(ctx);
  answer(ctx, value, lines);
  return ExitCode.OK;
}

/** What JSON shows of a mirror whose state can't be used. */
interface Broken extends BrokenMirror {
  node: string;
  state: 'Broken';
  inService: false;
}

interface Shown {
  value: MirrorStatus | (MirrorStatus | Broken)[];
  lines: string[];
}

async function one(ctx: CommandContext, tag: string): Promise<Shown> {
  const value = await ctx.client.call('status', { tag });
  return { value, lines: mirrorLines(value, ctx.terminal) };
}

async function all(ctx: CommandContext): Promise<Shown> {
  const mirrors = await ctx.client.call('list', {});
  const { node, broken } = await ctx.client.call('info', {});
  const value = [...mirrors, ...broken.map((b): Broken => ({ ...b, node, state: 'Broken', inService: false }))];
  if (value.length === 0) return { value, lines: ['no mirrors on this node'] };
  return { value, lines: [...mirrorTable(mirrors, broken, ctx.terminal), ...broken.map((b) => oneLine(`${b.tag}: ${b.why}`))] };
}

/** On a terminal drawn over itself; elsewhere once more whenever something has changed, as JSON one line each. Ends with the daemon. */
async function watch(ctx: CommandContext, look: () => Promise<Shown>): Promise<never> {
  if (ctx.args.flag('json') && ctx.terminal.isTTY) throw new UsageError('--watch draws, --json is for programs; allowed: one of them on a terminal');
  let last = '';
  for (;;) {
    const { value, lines } = await look();
    const text = ctx.args.flag('json') ? JSON.stringify(value) : lines.join('\n');
    if (ctx.terminal.isTTY) ctx.terminal.redraw(lines);
    else if (text !== last) ctx.terminal.line(text);
    last = text;
    await pollPause(ctx);
  }
}

type TlsInfo = Actions['info']['result']['tls'];

const nodesText = {
  off: 'not between nodes',
  'beyond-loopback': 'between nodes (but for loopback)',
  all: 'between nodes',
  allowed: 'between nodes that both can',
} as const;
const clientsText = { off: 'not for clients', allowed: 'for clients that want it', required: 'for clients' } as const;

function tlsText(t: TlsInfo): string {
  if (t === null) return 'none';
  const ends = t.expires === null ? '' : `; the certificate of this node ends on ${t.expires.slice(0, 10)}`;
  return `${nodesText[t.nodes]}${t.kernel && t.nodes !== 'off' ? ', by the kernel' : ''}, ${clientsText[t.clients]}${ends}`;
}

export async function info(ctx: CommandContext): Promise<number> {
  const i = await ctx.client.call('info', {});
  const links = (p: { links: LinkInfo[] }): string => p.links.map((l) => `${l.path} ${l.tls ? 'TLS' : 'in clear'}`).join(', ');
  const peers = Object.entries(i.peers).map(([n, p]) => [n, p.reachable ? 'reachable' : 'silent', links(p)]);
  answer(ctx, i, [
    `Node: ${i.node}`,
    `Cluster: ${i.cluster}`,
    `Version: ${i.version}`,
    `Root: ${ctx.place.root}`,
    `Mirrors: ${i.mirrors.length === 0 ? 'none' : i.mirrors.join(', ')}`,
    ...(i.broken.length === 0 ? [] : [`Broken: ${i.broken.map((b) => b.tag).join(', ')}; netraid status says why`]),
    ...(i.refused.clients + i.refused.nodes + i.refused.sessions === 0
      ? []
      : [
          `Refused for their address, for who they are or for want of proof: ${String(i.refused.clients)} connections of clients, ${String(i.refused.nodes)} of nodes; of sources whose time is over: ${String(i.refused.sessions)} sessions; the log of the daemon says which`,
        ]),
    `TLS: ${tlsText(i.tls)}`,
    ...(peers.length === 0 ? ['Peers: none'] : ['Peers:', ...plainTable(['NODE', 'STATE', 'CONNECTIONS'], peers).map((l) => `  ${l}`)]),
  ]);
  return ExitCode.OK;
}
