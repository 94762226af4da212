/**
 * NBD URIs, as the NBD project's doc/uri.md defines them, without TLS:
 *
 *   nbd://HOST[:PORT]/EXPORT
 *   nbd+unix:///EXPORT?socket=PATH
 *
 * The export name is everything after the first `/` of the path, percent-decoded; it may be empty. Pure.
 */
import { type Address, Errno, IoError } from '../io/types.ts';

export const NBD_DEFAULT_PORT = 10809;

/** Longest string that NBD carries, bytes of UTF-8 (proto.md, "Values"). */
const EXPORT_NAME_MAX_BYTES = 4096;
/** Room for a unix socket's path in Linux' sockaddr_un, without its final NUL. */
const SOCKET_PATH_MAX_BYTES = 107;

const ALLOWED = 'allowed are nbd://HOST[:PORT]/EXPORT and nbd+unix:///EXPORT?socket=PATH';

export interface NbdUri {
  address: Address;
  exportName: string;
}

/** Throws IoError EINVAL (ENOTSUP for TLS) with one line that says what is allowed. */
export function parseNbdUri(uri: string): NbdUri {
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(uri)?.[1]?.toLowerCase();
  if (scheme === undefined) throw bad(uri, 'it has no scheme');
  if (scheme === 'nbds' || scheme === 'nbds+unix') {
    throw new IoError(Errno.ENOTSUP, `NBD URI ${quote(uri)}: NBD over TLS (${scheme}) is not supported; ${ALLOWED}`);
  }
  if (scheme !== 'nbd' && scheme !== 'nbd+unix') throw bad(uri, `scheme ${scheme} is not NBD`);

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

  if (scheme === 'nbd+unix') {
    if (authority !== '') throw bad(uri, 'nbd+unix has no host: three slashes');
    return { address: { kind: 'unix', path: parseSocket(uri, query) }, exportName };
  }
  if (query !== undefined && query !== '') throw bad(uri, `parameter ${quote(query)} is not known`);
  return { address: parseAuthority(uri, authority), exportName };
}

/** The inverse, for messages and for records. */
export function formatNbdUri(u: NbdUri): string {
  const name = encodeURIComponent(u.exportName);
  if (u.address.kind === 'unix') return `nbd+unix:///${name}?socket=${encodeURIComponent(u.address.path).replaceAll('%2F', '/')}`;
  const host = u.address.host.includes(':') ? `[${u.address.host.replace('%', '%25')}]` : u.address.host;
  return `nbd://${host}:${String(u.address.port)}/${name}`;
}

function parseAuthority(uri: string, authority: string): Address {
  if (authority.includes('@')) throw bad(uri, 'a user name has no meaning without TLS');
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

function parseSocket(uri: string, query: string | undefined): string {
  let socket: string | undefined;
  for (const pair of (query ?? '').split('&')) {
    if (pair === '') continue;
    const at = pair.indexOf('=');
    const key = decode(uri, at < 0 ? pair : pair.slice(0, at), 'parameter');
    if (key !== 'socket') throw bad(uri, `parameter ${quote(key)} is not known`);
    if (socket !== undefined) throw bad(uri, 'socket is given twice');
    socket = at < 0 ? '' : decode(uri, pair.slice(at + 1), 'socket');
  }
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
