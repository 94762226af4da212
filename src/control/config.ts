/**
 * A node's configuration: one YAML file, ROOT/etc/netraid.yaml, and the tunables. Parsing is pure, and says of every fault
 * in which file, line and field it is and what is allowed there.
 */
import { isAlias, isMap, isScalar, LineCounter, type ParsedNode, parseDocument, visit } from 'yaml';
import { z } from 'zod';
import { MARKED_BYTES } from '../bitmap/regions.ts';
import type { NodeTunables } from '../failover/env.ts';
import { isName, nodePaths } from '../failover/paths.ts';
import type { NodeName } from '../failover/types.ts';
import { ADDRESS_RANGES_MAX, AddressRanges, isAddressRange } from '../io/address-ranges.ts';
import type { ExportTlsMode, LinkTlsMode } from '../io/tls.ts';
import { type Address, Errno, type Files, IoError } from '../io/types.ts';
import { DEFAULT_SETTINGS, type MirrorSettings } from '../mirror/settings.ts';
import { ConfigError, shown } from './config-error.ts';
import type { ExportRules } from './export-access.ts';
import { type ClientLimits, DEFAULT_CLIENT_LIMITS } from './exports.ts';
import { HOOK_TIMEOUT_MAX_MS, HOOK_TIMEOUT_MS } from './hooks.ts';
import { configPath } from './places.ts';
import { FAILURE_TIMEOUT_MAX_MS, FAILURE_TIMEOUT_MIN_MS } from './schemas.ts';
import { parseTunables, type Tunables } from './tunables.ts';
import { DURATION_ALLOWED, formatDuration, formatSize, parseDuration, parseSize, SIZE_ALLOWED } from './units.ts';

/** The newest file version that this code reads. */
export const CONFIG_VERSION = 1;
const PEERS_MAX = 31;
const PATHS_MAX = 8;
const CLIENTS_MAX = 64;
const CLIENT_CONNECTIONS_MAX = 2048;
const IDLE_TIMEOUT_MAX_MS = 24 * 3_600_000;
const FILE_MAX_BYTES = 256 * 1024;
const KEEP_DIRTY_MAX_MS = 24 * 3_600_000;
/** A hook that is to end before ownership moves holds a switchover up for as long. */
const MiB = 1024 * 1024;

type TcpAddress = Extract<Address, { kind: 'tcp' }>;

export interface NodeConfig {
  cluster: string;
  node: NodeName;
  /** Between nodes; null: a node by itself. */
  listen: TcpAddress | null;
  /** One or more paths to each. */
  peers: Record<NodeName, TcpAddress[]>;
  /** Ranges of addresses that nodes may connect from; null: from anywhere. */
  allow: string[] | null;
  /** For NBD clients, besides the unix socket below the root. */
  exportListen: TcpAddress[];
  /** Who may use what there. */
  exportRules: ExportRules;
  exportLimits: ClientLimits;
  /** Of connections between nodes, and of NBD clients over TCP. */
  tls: LinkTlsMode;
  exportTlsMode: ExportTlsMode;
  failureTimeoutMs: number;
  connectionsPerTarget: number;
  checksums: boolean;
  resyncsMax: number;
  hookTimeoutMs: number;
  localErrors: MirrorSettings['localErrors'];
  skipEqual: boolean;
  /** Regions kept marked after their data was proven, and marked at most; null: by what a mirror's regions hold. */
  keepDirtyMax: number | null;
  /** After so long without a write none of them is kept. */
  keepDirtyMs: number;
  dirtyMax: number | null;
  asyncQueueMaxBytes: number;
  payloadMaxBytes: number;
  resyncCopyBytes: number;
  resyncCopiesMax: number;
}

export interface LoadedConfig {
  config: NodeConfig;
  tunables: Tunables;
  /** What the daemon's parts take. */
  settings: MirrorSettings;
  nodeTunables: NodeTunables;
}

// ---------------------------------------------------------------------------------------------------------- fields

/** A required field: `parse` answers undefined for what is not allowed. */
function field<T>(allowed: string, parse: (value: unknown) => T | undefined) {
  return z.unknown().transform((value, ctx): T => {
    const parsed = value === undefined ? undefined : parse(value);
    if (parsed !== undefined) return parsed;
    const what = value === undefined ? 'is missing' : `${shown(value)} is not allowed`;
    ctx.issues.push({ code: 'custom', message: `${what}; allowed: ${allowed}`, input: value });
    return z.NEVER;
  });
}

/** One that may be left out. */
function setting<T extends string | number | boolean | null>(
  fallback: T,
  allowed: string,
  parse: (value: unknown) => T | undefined,
  show: (value: T) => string = String,
) {
  const schema: z.ZodType<T> = field(`${allowed}; ${show(fallback)} when it is left out`, parse);
  return schema.optional().transform((value) => value ?? fallback);
}

const NAME_ALLOWED = '1 to 64 letters, digits, dots, dashes and underscores, the first a letter or a digit';
const CLIENTS_ALLOWED = `names in certificates or PSK users, 1 to ${String(CLIENTS_MAX)} of up to 128 letters, digits, dots, dashes, underscores and @`;
const ADDRESS_ALLOWED = 'HOST:PORT, with an IPv6 address as "[ADDRESS]:PORT" in quotes';

const name = field(NAME_ALLOWED, (v) => (typeof v === 'string' && isName(v) ? v : undefined));
const address = field(ADDRESS_ALLOWED, parseAddress);
const addresses = (value: unknown): TcpAddress[] | undefined => {
  const list = Array.isArray(value) ? value.map(parseAddress) : [parseAddress(value)];
  const good = list.filter((a) => a !== undefined);
  return good.length === list.length && good.length > 0 && good.length <= PATHS_MAX ? good : undefined;
};
const ADDRESSES_ALLOWED = `${ADDRESS_ALLOWED}, or a list of 1 to ${String(PATHS_MAX)} of them`;

const RANGES_ALLOWED = `ADDRESS or ADDRESS/BITS, such as 10.0.0.0/24 or "fd00::/64", or a list of 1 to ${String(ADDRESS_RANGES_MAX)} of them`;
const ranges = field(RANGES_ALLOWED, (value) => {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  const good = list.filter((v) => typeof v === 'string' && isAddressRange(v));
  return good.length === list.length && good.length > 0 && good.length <= ADDRESS_RANGES_MAX ? (good as string[]) : undefined;
});

const flag = (fallback: boolean) => setting(fallback, 'true or false', (v) => (typeof v === 'boolean' ? v : undefined));

function count<T extends number | null>(fallback: T, min: number, max: number, show?: () => string) {
  const parse = (v: unknown) => inRange(typeof v === 'number' && Number.isInteger(v) ? v : undefined, min, max);
  return setting<T | number>(fallback, `a whole number from ${String(min)} to ${String(max)}`, parse, show);
}

/** A number of regions; null: as many as hold `bytes`. */
const bySize = (min: number, max: number, bytes: number) => count(null, min, max, () => `as many regions as hold ${formatSize(bytes)}`);

/** A plain number is a number of bytes. */
const size = (fallback: number, min: number, max: number) => {
  const parse = (v: unknown) => inRange(typeof v === 'string' || typeof v === 'number' ? parseSize(String(v)) : undefined, min, max);
  return setting(fallback, `${SIZE_ALLOWED}, from ${formatSize(min)} to ${formatSize(max)}`, parse, formatSize);
};

const duration = (fallback: number, min: number, max: number) => {
  const parse = (v: unknown) => inRange(typeof v === 'string' ? parseDuration(v) : undefined, min, max);
  return setting(fallback, `${DURATION_ALLOWED}, from ${formatDuration(min)} to ${formatDuration(max)}`, parse, formatDuration);
};

/** 0: off. */
const offOrDuration = (fallback: number, min: number, max: number) => {
  const parse = (v: unknown) => (v === 'off' ? 0 : inRange(typeof v === 'string' ? parseDuration(v) : undefined, min, max));
  const show = (ms: number): string => (ms === 0 ? 'off' : formatDuration(ms));
  return setting(fallback, `off, or ${DURATION_ALLOWED}, from ${formatDuration(min)} to ${formatDuration(max)}`, parse, show);
};

function oneOf<T extends string>(fallback: T, allowed: readonly T[]) {
  return setting(fallback, allowed.join(', ').replace(/, (?=[^,]+$)/, ' or '), (v) => allowed.find((a) => a === v));
}

function inRange(n: number | undefined, min: number, max: number): number | undefined {
  return n !== undefined && n >= min && n <= max ? n : undefined;
}

function parseAddress(value: unknown): TcpAddress | undefined {
  if (typeof value !== 'string') return undefined;
  const m = /^(?:\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[\w.-]+)?)\]|([A-Za-z0-9][A-Za-z0-9._-]{0,252})):(\d{1,5})$/.exec(value);
  if (m === null) return undefined;
  const port = Number(m[3]);
  return port >= 1 && port <= 65535 ? { kind: 'tcp', host: m[1] ?? m[2] ?? '', port } : undefined;
}

const clientNames = field(CLIENTS_ALLOWED, (v) => {
  const list: unknown[] = Array.isArray(v) ? v : [v];
  const good = list.filter((n) => typeof n === 'string' && /^[\w.@-]{1,128}$/.test(n)).map(String);
  return good.length === list.length && good.length > 0 && good.length <= CLIENTS_MAX ? good : undefined;
});
const d = DEFAULT_SETTINGS;

const mirrorSchema = z.strictObject({ allow: ranges.optional(), clients: clientNames.optional(), readOnly: flag(false) });
const exportsSchema = z.strictObject({
  listen: field(ADDRESSES_ALLOWED, addresses).optional(),
  allow: ranges.optional(),
  tls: oneOf<ExportTlsMode>('off', ['off', 'allowed', 'required']),
  connections: count(DEFAULT_CLIENT_LIMITS.connectionsMax, 1, CLIENT_CONNECTIONS_MAX),
  connectionsPerAddress: count(DEFAULT_CLIENT_LIMITS.connectionsPerAddressMax, 1, CLIENT_CONNECTIONS_MAX),
  idleTimeout: offOrDuration(DEFAULT_CLIENT_LIMITS.idleMs, 1000, IDLE_TIMEOUT_MAX_MS),
  mirrors: z.record(z.string(), mirrorSchema).default({}),
});

const schema = z.strictObject({
  version: field(String(CONFIG_VERSION), (v) => (v === CONFIG_VERSION ? v : undefined)),
  cluster: name,
  node: name,
  listen: address.optional(),
  peers: z.record(z.string(), field(ADDRESSES_ALLOWED, addresses)).default({}),
  allow: ranges.optional(),
  tls: oneOf<LinkTlsMode>('auto', ['auto', 'required', 'allowed', 'off']),
  exports: exportsSchema.prefault({}),
  failureTimeout: duration(2000, FAILURE_TIMEOUT_MIN_MS, FAILURE_TIMEOUT_MAX_MS),
  connectionsPerTarget: count(4, 1, 16),
  checksums: flag(true),
  resyncsMax: count(1, 1, 7),
  hookTimeout: duration(HOOK_TIMEOUT_MS, 1000, HOOK_TIMEOUT_MAX_MS),
  localErrors: oneOf<MirrorSettings['localErrors']>(d.localErrors, ['leave', 'pass-on']),
  skipEqual: flag(d.resync.skipEqual),
  keepDirtyMax: bySize(0, 1_000_000, MARKED_BYTES / 2),
  keepDirtyFor: duration(d.keepIdleMs, 1000, KEEP_DIRTY_MAX_MS),
  dirtyMax: bySize(1, 10_000_000, MARKED_BYTES),
  asyncQueueMax: size(d.async.bytesMax, MiB, 4096 * MiB),
  payloadMax: size(d.payloadMaxBytes, MiB, 32 * MiB),
  resyncCopy: size(d.resync.copyBytes, 4096, 32 * MiB),
  resyncCopiesMax: count(d.resync.copiesInFlightMax, 1, 256),
});

// --------------------------------------------------------------------------------------------------------- parsing

type Path = readonly PropertyKey[];

/** Throws ConfigError that names `file`, the line and the field. */
export function parseConfig(text: string, file: string): NodeConfig {
  const lines = new LineCounter();
  const doc = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: true });
  const [syntax] = [...doc.errors, ...doc.warnings];
  if (syntax !== undefined) throw new ConfigError(file, lines.linePos(syntax.pos[0]).line, '', syntax.message);
  const fail = (path: Path, what: string, shownPath: Path = path): never => {
    throw new ConfigError(file, lineOf(doc.contents, path, lines), shownPath.map(String).join('.'), what);
  };
  if (!isMap(doc.contents)) return fail([], 'must be fields with values, such as version: 1');
  visit(doc, {
    Node: (_key, node) => {
      if (isAlias(node))
        throw new ConfigError(file, lines.linePos(node.range?.[0] ?? 0).line, '', `*${node.source} is an alias; allowed: the value itself`);
    },
  });
  const value = doc.toJS() as Record<string, unknown>;
  // Asked first: a newer version may have any other field.
  const { version } = value;
  if (typeof version === 'number' && Number.isInteger(version) && version > CONFIG_VERSION) {
    return fail(['version'], `${String(version)} was written for a newer NetRAID; this one reads version ${String(CONFIG_VERSION)}`);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) return failWith(parsed.error, fail);
  const c = parsed.data;
  const peers = Object.entries(c.peers);
  for (const [peer] of peers) {
    if (!isName(peer)) fail(['peers', peer], `not a node's name; allowed: ${NAME_ALLOWED}`);
    if (peer === c.node) fail(['peers', peer], 'is this node itself; allowed: the other nodes');
  }
  if (peers.length > PEERS_MAX) fail(['peers'], `${String(peers.length)} are too many; allowed: ${String(PEERS_MAX)}`);
  if (peers.length > 0 && c.listen === undefined) fail(['peers'], `with peers, listen is needed too; allowed there: ${ADDRESS_ALLOWED}`, ['listen']);
  for (const [tag, m] of Object.entries(c.exports.mirrors)) {
    if (!isName(tag)) fail(['exports', 'mirrors', tag], `not a mirror's tag; allowed: ${NAME_ALLOWED}`);
    if (m.clients !== undefined && c.exports.tls === 'off') {
      fail(['exports', 'mirrors', tag, 'clients'], 'clients prove their names by TLS, and tls of exports is off; allowed there: allowed or required');
    }
  }
  if (c.allow !== undefined) requireOwnPeers(new AddressRanges(c.allow), c.peers, fail);
  if (c.keepDirtyMax !== null && c.dirtyMax !== null && c.keepDirtyMax > c.dirtyMax)
    fail(['keepDirtyMax'], `${String(c.keepDirtyMax)} is above dirtyMax, which is ${String(c.dirtyMax)}; allowed: at most that`);
  return {
    cluster: c.cluster,
    node: c.node,
    listen: c.listen ?? null,
    peers: c.peers,
    allow: c.allow ?? null,
    exportListen: c.exports.listen ?? [],
    exportRules: {
      allow: c.exports.allow ?? null,
      mirrors: Object.fromEntries(
        Object.entries(c.exports.mirrors).map(([tag, m]) => [tag, { allow: m.allow ?? null, clients: m.clients ?? null, readOnly: m.readOnly }]),
      ),
    },
    exportLimits: {
      connectionsMax: c.exports.connections,
      connectionsPerAddressMax: c.exports.connectionsPerAddress,
      idleMs: c.exports.idleTimeout,
    },
    tls: c.tls,
    exportTlsMode: c.exports.tls,
    failureTimeoutMs: c.failureTimeout,
    connectionsPerTarget: c.connectionsPerTarget,
    checksums: c.checksums,
    resyncsMax: c.resyncsMax,
    hookTimeoutMs: c.hookTimeout,
    localErrors: c.localErrors,
    skipEqual: c.skipEqual,
    keepDirtyMax: c.keepDirtyMax,
    keepDirtyMs: c.keepDirtyFor,
    dirtyMax: c.dirtyMax,
    asyncQueueMaxBytes: c.asyncQueueMax,
    payloadMaxBytes: c.payloadMax,
    resyncCopyBytes: c.resyncCopy,
    resyncCopiesMax: c.resyncCopiesMax,
  };
}

/** A node whose address is known and not allowed could reach us never; of a name it is not known here what it stands for. */
function requireOwnPeers(allow: AddressRanges, peers: NodeConfig['peers'], fail: (path: Path, what: string) => never): void {
  for (const [peer, paths] of Object.entries(peers)) {
    const out = paths.find((p) => isAddressRange(p.host) && !allow.has(`${p.host}:${String(p.port)}`));
    if (out !== undefined) fail(['allow'], `has no range with ${out.host}, which is ${peer}; allowed: ranges with the addresses of all peers`);
  }
}

function failWith(error: z.ZodError, fail: (path: Path, what: string) => never): never {
  const [issue] = error.issues;
  if (issue === undefined) return fail([], 'not as agreed');
  if (issue.code === 'unrecognized_keys') {
    const shape = [schema.shape, exportsSchema.shape, {}, mirrorSchema.shape][issue.path.length] ?? {};
    const allowed = Object.keys(shape).join(', ');
    return fail([...issue.path, issue.keys[0] ?? ''], `is not known; allowed: ${allowed}`);
  }
  if (issue.code === 'invalid_type') return fail(issue.path, 'must be fields with values, indented below it');
  return fail(issue.path, issue.message);
}

/** Of the field itself; of the nearest one around it when it is missing. */
function lineOf(root: ParsedNode | null, path: Path, lines: LineCounter): number {
  let node: unknown = root;
  let at = 0;
  for (const key of path) {
    if (!isMap(node)) break;
    const pair = node.items.find((p) => isScalar(p.key) && String(p.key.value) === String(key));
    if (pair === undefined) break;
    if (isScalar(pair.key) && pair.key.range) at = pair.key.range[0];
    node = pair.value;
  }
  return lines.linePos(at).line;
}

// --------------------------------------------------------------------------------------------------------- loading

/** The configuration and the tunables below `root`. Rejects with ConfigError; an absent file of tunables is none. */
export async function loadConfig(
  files: Files,
  root: string,
  env: Readonly<Record<string, string | undefined>>,
  file = configPath(root),
): Promise<LoadedConfig> {
  const text = await read(files, file);
  if (text === undefined) {
    throw new ConfigError(file, null, '', 'there is no configuration; write one with at least version: 1, cluster: NAME and node: NAME');
  }
  const config = parseConfig(text, file);
  const tunablesFile = nodePaths(root).tunables;
  const tunables = parseTunables((await read(files, tunablesFile)) ?? '', tunablesFile, env);
  return { config, tunables, settings: mirrorSettings(config, tunables), nodeTunables: nodeTunables(config, tunables) };
}

/** Undefined for a file that is not there. */
async function read(files: Files, file: string): Promise<string | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await files.readFile(file, FILE_MAX_BYTES);
  } catch (e: unknown) {
    if (!(e instanceof IoError)) throw e;
    if (e.errno === Errno.ENOENT) return undefined;
    throw new ConfigError(file, null, '', `can't be read: ${e.message}`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (e: unknown) {
    if (!(e instanceof TypeError)) throw e;
    throw new ConfigError(file, null, '', 'is not UTF-8 text');
  }
}

export function mirrorSettings(c: NodeConfig, t: Tunables): MirrorSettings {
  return {
    ...d,
    payloadMaxBytes: c.payloadMaxBytes,
    localErrors: c.localErrors,
    async: { ...d.async, writesMax: t.asyncWritesMax, bytesMax: c.asyncQueueMaxBytes },
    keepIdleMs: c.keepDirtyMs,
    intent: { keepMax: c.keepDirtyMax, markedMax: c.dirtyMax },
    resync: {
      ...d.resync,
      rateMaxBytesPerSec: t.rateMaxBytesPerSec,
      rateMinBytesPerSec: t.rateMinBytesPerSec,
      copyBytes: c.resyncCopyBytes,
      copiesInFlightMax: c.resyncCopiesMax,
      skipEqual: c.skipEqual,
    },
  };
}

function nodeTunables(c: NodeConfig, t: Tunables): NodeTunables {
  return {
    connectionsPerTarget: c.connectionsPerTarget,
    resyncsMax: c.resyncsMax,
    noFullSync: t.noFullSync,
    waitToResync: t.waitToResync,
    connectBeforeServing: t.connectBeforeServing,
    checksums: c.checksums,
  };
}
