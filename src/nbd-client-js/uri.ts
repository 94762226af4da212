/**
 * NBD URIs, as the NBD project's doc/uri.md defines them, with libnbd's parameters for TLS:
 *
 *   nbd://HOST[:PORT]/EXPORT
 *   nbd+unix:///EXPORT?socket=PATH
 *   nbds://[USER@]HOST[:PORT]/EXPORT                    also nbds+unix, and each with
 *     tls-certificates=DIR, or tls-psk-file=FILE and tls-username=USER; tls-hostname=NAME, which the server's certificate must be for
 *
 * The export name is everything after the first `/` of the path, percent-decoded; it may be empty. Pure.
 */
import type { ServerProof } from '../io/tls.ts';
import { type Address, Errno, IoError } from '../io/types.ts';

export const NBD_DEFAULT_PORT = 10809;

/** Longest string that NBD carries, bytes of UTF-8 (proto.md, "Values"). */
const EXPORT_NAME_MAX_BYTES = 4096;
/** Room for a unix socket's path in Linux' sockaddr_un, without its final NUL. */
const SOCKET_PATH_MAX_BYTES = 107;

/** Of a file or folder that a parameter names. */
const PATH_MAX_CHARS = 4096;
/** As in a file of keys. */
const USER_MAX_CHARS = 128;

const ALLOWED = 'allowed are nbd://HOST[:PORT]/EXPORT and nbd+unix:///EXPORT?socket=PATH, or nbds for TLS';
const TLS_PARAMETERS = ['tls-certificates', 'tls-psk-file', 'tls-username', 'tls-hostname', 'tls-verify-peer'] as const;
type TlsParameter = (typeof TLS_PARAMETERS)[number];

export interface NbdUri {
  address: Address;
  exportName: string;
  /** TLS is to be spoken; absent: in clear. */
  tls?: ServerProof;
}

/** Throws IoError EINVAL with one line that says what is allowed. */
export function parseNbdUri(uri: string): NbdUri {
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(uri)?.[1]?.toLowerCase();
  if (scheme === undefined) throw bad(uri, 'it has no scheme');
  const secure = scheme === 'nbds' || scheme === 'nbds+unix';
  const unix = scheme.endsWith('+unix');
  if (!secure && scheme !== 'nbd' && scheme !== 'nbd+unix') throw bad(uri, `scheme ${scheme} is not NBD`);

  // RFC 3986, section 3: hier-part with an authority, then an optional query; a fragment means nothing here.
  const m = /^\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?(#.*)?$/s.exec(uri.slice(scheme.length + 1));
  if (m === null) throw bad(uri, 'after the scheme comes //');
  const [, authority = '', path = '', query, fragment] = m;
  if (fragment !== undefined) throw bad(uri, 'a fragment (#) has no meaning; write # as %23');

  const exportName = decode(uri, path, 'export name');
  if (exportName.includes('\0')) throw bad(uri, 'the export name contains a NUL');
  if (new TextEncoder().encode(exportName).length > EXPORT_NAME_MAX_BYTES) {
    throw bad(uri, `the export name is longer than ${String(EXPORT_NAME_MAX_BYTES)} bytes`);
  }

  const said = parseQuery(uri, query, [...(unix ? ['socket'] : []), ...(secure ? TLS_PARAMETERS : [])]);
  const at = authority.lastIndexOf('@');
  const user = at < 0 ? undefined : decode(uri, authority.slice(0, at), 'user name');
  if (user !== undefined && !secure) throw bad(uri, 'a user name has no meaning without TLS');
  const where = authority.slice(at + 1);
  if (unix && where !== '') throw bad(uri, `${scheme} has no host: three slashes`);
  const address: Address = unix ? { kind: 'unix', path: socketPath(uri, said.get('socket')) } : parseAuthority(uri, where);
  if (!secure) return { address, exportName };
  return { address, exportName, tls: proofOf(uri, said, user, address) };
}

/** The inverse, for messages and for records. */
export function formatNbdUri(u: NbdUri): string {
  const name = encodeURIComponent(u.exportName);
  const scheme = u.tls === undefined ? 'nbd' : 'nbds';
  const path = (p: string): string => encodeURIComponent(p).replaceAll('%2F', '/');
  const parameters: string[] = u.address.kind === 'unix' ? [`socket=${path(u.address.path)}`] : [];
  if (u.tls !== undefined) {
    const { certificates, pskFile, user, host } = u.tls;
    if (certificates !== null) parameters.push(`tls-certificates=${path(certificates)}`);
    if (pskFile !== null) parameters.push(`tls-psk-file=${path(pskFile)}`);
    if (user !== null) parameters.push(`tls-username=${encodeURIComponent(user)}`);
    if (host !== hostOf(u.address)) parameters.push(`tls-hostname=${encodeURIComponent(host)}`);
  }
  const query = parameters.length === 0 ? '' : `?${parameters.join('&')}`;
  if (u.address.kind === 'unix') return `${scheme}+unix:///${name}${query}`;
  const host = u.address.host.includes(':') ? `[${u.address.host.replace('%', '%25')}]` : u.address.host;
  return `${scheme}://${host}:${String(u.address.port)}/${name}${query}`;
}

/** What the certificate of a server there is for, unless something else is said. */
function hostOf(a: Address): string {
  return a.kind === 'unix' ? 'localhost' : a.host.replace(/%.*$/, '');
}

function proofOf(uri: string, said: ReadonlyMap<string, string>, named: string | undefined, address: Address): ServerProof {
  const get = (p: TlsParameter): string | undefined => said.get(p);
  for (const p of ['tls-certificates', 'tls-psk-file'] as const) {
    const path = get(p);
    if (path !== undefined && (!path.startsWith('/') || path.includes('\0') || path.length > PATH_MAX_CHARS)) {
      throw bad(uri, `${p} ${quote(path)} is no path from the root`);
    }
  }
  const certificates = get('tls-certificates') ?? null;
  const pskFile = get('tls-psk-file') ?? null;
  if (certificates !== null && pskFile !== null) throw bad(uri, 'tls-certificates and tls-psk-file are two ways of proof, and one is needed');
  // Whom nobody has to prove to be, anybody in between can be.
  if ((get('tls-verify-peer') ?? 'true') !== 'true') throw bad(uri, 'a server that need not prove who it is (tls-verify-peer) is not taken');
  const user = get('tls-username') ?? named ?? null;
  if (named !== undefined && user !== named) throw bad(uri, 'it names two users');
  if (user !== null && !/^[^:\s]+$/.test(user.slice(0, USER_MAX_CHARS + 1))) throw bad(uri, `${quote(user)} is no user of a file of keys`);
  if (user !== null && user.length > USER_MAX_CHARS) throw bad(uri, `the user name is longer than ${String(USER_MAX_CHARS)} characters`);
  if (user !== null && certificates !== null) throw bad(uri, 'a user name has no meaning with certificates');
  const host = get('tls-hostname') ?? hostOf(address);
  if (!/^[A-Za-z0-9._:-]{1,253}$/.test(host)) throw bad(uri, `tls-hostname ${quote(host)} is not a host name`);
  return { host, certificates, pskFile, user };
}

function parseAuthority(uri: string, authority: string): Address {
  const m = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d*))?$/.exec(authority);
  if (m === null) throw bad(uri, 'host and port are not readable; an IPv6 address stands in [ ]');
  const [, v6, name = '', portText] = m;
  let host: string;
  if (v6 !== undefined) {
    host = decode(uri, v6, 'host');
    if (!/^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[\w.-]+)?$/.test(host)) throw bad(uri, `[${v6}] is not an IPv6 address`);
  } else {
    host = decode(uri, name, 'host');
    if (host === '') throw bad(uri, 'the host is missing');
    if (!/^[A-Za-z0-9._~-]+$/.test(host)) throw bad(uri, `${quote(host)} is not a host name`);
  }
  const port = portText === undefined || portText === '' ? NBD_DEFAULT_PORT : Number(portText);
  if (port < 1 || port > 65535) throw bad(uri, `port ${String(portText)} is not between 1 and 65535`);
  return { kind: 'tcp', host, port };
}

function parseQuery(uri: string, query: string | undefined, known: readonly string[]): Map<string, string> {
  const said = new Map<string, string>();
  for (const pair of (query ?? '').split('&')) {
    if (pair === '') continue;
    const at = pair.indexOf('=');
    const key = decode(uri, at < 0 ? pair : pair.slice(0, at), 'parameter');
    if (!known.includes(key)) throw bad(uri, `parameter ${quote(key)} is not known`);
    if (said.has(key)) throw bad(uri, `${key} is given twice`);
    said.set(key, at < 0 ? '' : decode(uri, pair.slice(at + 1), key));
  }
  return said;
}

function socketPath(uri: string, socket: string | undefined): string {
  if (socket === undefined || socket === '') throw bad(uri, 'socket=PATH is missing');
  if (socket.includes('\0')) throw bad(uri, 'abstract sockets are not supported');
  if (new TextEncoder().encode(socket).length > SOCKET_PATH_MAX_BYTES) {
    throw bad(uri, `the socket's path is longer than ${String(SOCKET_PATH_MAX_BYTES)} bytes`);
  }
  return socket;
}

function decode(uri: string, text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch (e: unknown) {
    throw new IoError(Errno.EINVAL, `NBD URI ${quote(uri)}: ${what} ${quote(text)}: ${e instanceof Error ? e.message : String(e)}; ${ALLOWED}`);
  }
}

function bad(uri: string, why: string): IoError {
  return new IoError(Errno.EINVAL, `NBD URI ${quote(uri)}: ${why}; ${ALLOWED}`);
}

/** In quotes, control characters escaped, bounded: a message stays one line. */
function quote(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
}
