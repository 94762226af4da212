/** `netraid pki`: a CA in a folder. It needs no daemon; the room that does it is loaded when one of these commands runs. */
import { resolve } from 'node:path';
import { isName } from '../../failover/paths.ts';
import { isoSecond } from '../../io/calendar.ts';
import { HOST_ALLOWED, HOSTS_MAX, parseHost } from '../../pki/hosts.ts';
import type { Certificate, Kind, PkiWorld } from '../../pki/types.ts';
import { label } from '../args.ts';
import { confirm, say } from '../confirm.ts';
import { ExitCode, oneLine, RefusedError, UsageError } from '../exit.ts';
import { answer } from '../output.ts';
import { plainTable } from '../render.ts';
import type { CommandContext } from '../world.ts';

const CA_DAYS = 3650;
const CERTIFICATE_DAYS = 825;
const DAYS_MAX = 36_500;
const NAME_ALLOWED = '1 to 64 letters, digits, dots, dashes and underscores, the first a letter or a digit';
/** With the words before it, the name of a CA has the 64 letters that X.520 allows. */
const CLUSTER_MAX = 50;

function worldOf(ctx: CommandContext): PkiWorld {
  const { files, clock, crypto } = ctx;
  if (crypto === null) throw new RefusedError('keys can not be made in this world');
  return { files, clock, crypto };
}

const pathOf = (ctx: CommandContext, name: string): string => resolve(ctx.args.text(name));

/** Of a node, and of whatever is named as nodes are. */
function nameOf(ctx: CommandContext, option: string): string {
  const name = ctx.args.text(option);
  if (!isName(name)) throw new UsageError(`${label(option)} ${JSON.stringify(name)} is not allowed; allowed: ${NAME_ALLOWED}`);
  return name;
}

const dayOf = (wallMs: number): string => isoSecond(wallMs).slice(0, 10);

export async function init(ctx: CommandContext): Promise<number> {
  const dir = pathOf(ctx, 'DIR');
  const cluster = ctx.args.optional('cluster') === undefined ? undefined : nameOf(ctx, 'cluster');
  if (cluster !== undefined && cluster.length > CLUSTER_MAX) throw new UsageError(`--cluster is too long; allowed: ${String(CLUSTER_MAX)} letters`);
  const days = ctx.args.integer('days', 1, DAYS_MAX) ?? CA_DAYS;
  const { initAuthority } = await import('../../pki/authority.ts');
  const made = await initAuthority(worldOf(ctx), { dir, days, ...(cluster === undefined ? {} : { cluster }) });
  answer(ctx, { dir, name: made.name, until: isoSecond(made.untilMs) }, [
    `${made.name} is made in ${dir}, valid until ${dayOf(made.untilMs)}`,
    `Its key is ca-key.pem there: whoever has it can issue certificates.`,
  ]);
  return ExitCode.OK;
}

export async function issueCertificate(ctx: CommandContext): Promise<number> {
  const { args } = ctx;
  const [dir, name, kind, hosts] = [pathOf(ctx, 'DIR'), nameOf(ctx, 'NAME'), kindOf(ctx), hostsOf(ctx)];
  const days = args.integer('days', 1, DAYS_MAX) ?? CERTIFICATE_DAYS;
  const out = pathOf(ctx, 'out');
  const { issue } = await import('../../pki/issue.ts');
  const { certificate, cutShort } = await issue(worldOf(ctx), { dir, name, kind, hosts: hosts.filter((h) => h !== name), days, out });
  answer(ctx, { ...shown(certificate), out }, [issuedLine(certificate, cutShort), whereLine(certificate, out)]);
  return ExitCode.OK;
}

export async function renewCertificate(ctx: CommandContext): Promise<number> {
  const { args } = ctx;
  const [dir, name, out] = [pathOf(ctx, 'DIR'), nameOf(ctx, 'NAME'), pathOf(ctx, 'out')];
  const days = args.integer('days', 1, DAYS_MAX) ?? CERTIFICATE_DAYS;
  const { renew } = await import('../../pki/issue.ts');
  const { certificate, cutShort, revoked } = await renew(worldOf(ctx), { dir, name, days, out, revokeOld: args.flag('revoke-old') });
  answer(ctx, { ...shown(certificate), out, revoked }, [
    issuedLine(certificate, cutShort),
    whereLine(certificate, out),
    ...(revoked.length === 0 ? [] : revokedLines(name, revoked, dir)),
  ]);
  return ExitCode.OK;
}

export async function revokeCertificates(ctx: CommandContext): Promise<number> {
  const [dir, name] = [pathOf(ctx, 'DIR'), nameOf(ctx, 'NAME')];
  const world = worldOf(ctx);
  const [{ openAuthority, recordNames }, { revoke, serialsOf }] = await Promise.all([import('../../pki/authority.ts'), import('../../pki/issue.ts')]);
  const authority = await openAuthority(world, dir);
  const serials = serialsOf(await recordNames(world, authority), name).filter((s) => !authority.list.revoked.has(s));
  if (serials.length > 0) {
    say(ctx, [`${name} is cut off by each node that gets the new list; to be revoked: ${serials.join(', ')}`]);
    await confirm(ctx, `Revoke every certificate of ${name}?`);
  }
  const revoked = serials.length === 0 ? [] : await revoke(world, { dir, name });
  const lines = revoked.length === 0 ? [`every certificate of ${name} was revoked before`] : revokedLines(name, revoked, dir);
  answer(ctx, { name, revoked, list: resolve(dir, 'ca-crl.pem') }, lines);
  return ExitCode.OK;
}

export async function list(ctx: CommandContext): Promise<number> {
  const dir = pathOf(ctx, 'DIR');
  const { listIssued } = await import('../../pki/authority.ts');
  const { authority, issued, damaged } = await listIssued(worldOf(ctx), dir);
  const rows = issued.map((c) => [c.name, c.kind, c.hosts.join(' ') || '-', c.serial, dayOf(c.fromMs), dayOf(c.untilMs), c.state]);
  const result = {
    ca: { name: authority.name, until: isoSecond(authority.untilMs) },
    certificates: issued.map((c) => ({ ...shown(c), state: c.state })),
    damaged,
  };
  answer(ctx, result, [
    `${oneLine(authority.name)}, valid until ${dayOf(authority.untilMs)}`,
    ...(rows.length === 0 ? ['no certificates'] : plainTable(['NAME', 'KIND', 'HOSTS', 'SERIAL', 'FROM', 'UNTIL', 'STATE'], rows)),
  ]);
  for (const what of damaged) ctx.terminal.error(oneLine(what));
  return damaged.length === 0 ? ExitCode.OK : ExitCode.REFUSED;
}

export async function psk(ctx: CommandContext): Promise<number> {
  const [file, user] = [pathOf(ctx, 'FILE'), nameOf(ctx, 'USER')];
  const { addPreSharedKey } = await import('../../pki/psk.ts');
  await addPreSharedKey(worldOf(ctx), file, user);
  answer(ctx, { file, user }, [`${user} has a new key in ${file}`]);
  return ExitCode.OK;
}

function kindOf(ctx: CommandContext): Kind {
  const [node, client] = [ctx.args.flag('node'), ctx.args.flag('client')];
  if (node && client) throw new UsageError('--node and --client exclude each other');
  if (!node && !client) throw new UsageError('--node or --client is missing: what the certificate is for');
  return node ? 'node' : 'client';
}

function hostsOf(ctx: CommandContext): string[] {
  const hosts = ctx.args.list('host').map((text) => {
    const host = parseHost(text);
    if (host === undefined) throw new UsageError(`--host ${JSON.stringify(text)} is not allowed; allowed: ${HOST_ALLOWED}`);
    return host;
  });
  if (hosts.length > HOSTS_MAX) throw new UsageError(`--host is given ${String(hosts.length)} times; allowed: ${String(HOSTS_MAX)}`);
  return [...new Set(hosts)];
}

/** As JSON has it. */
function shown(c: Certificate): Record<string, unknown> {
  return { name: c.name, kind: c.kind, hosts: c.hosts, serial: c.serial, from: isoSecond(c.fromMs), until: isoSecond(c.untilMs) };
}

function issuedLine(c: Certificate, cutShort: boolean): string {
  const hosts = c.hosts.length === 0 ? '' : ` at ${c.hosts.join(', ')}`;
  return `${c.name}${hosts} has a ${c.kind}'s certificate, valid until ${dayOf(c.untilMs)}${cutShort ? ', when the CA itself ends' : ''}`;
}

function whereLine(c: Certificate, out: string): string {
  return c.kind === 'node'
    ? `Copy the files in ${out} to ROOT/etc/tls of ${c.name}, the key readable by its daemon alone.`
    : `The client finds its files in ${out} (tls-certificates=${out}).`;
}

function revokedLines(name: string, serials: readonly string[], dir: string): string[] {
  return [
    `${String(serials.length)} certificate${serials.length === 1 ? '' : 's'} of ${name} revoked`,
    `Copy ${resolve(dir, 'ca-crl.pem')} to ROOT/etc/tls of each node: until then it takes ${serials.length === 1 ? 'this one' : 'these'} for valid.`,
  ];
}
