/** Which addresses may connect: single ones and CIDR ranges, of IPv4 and IPv6. Pure; it reaches no network. */
import { BlockList, isIP } from 'node:net';

export const ADDRESS_RANGES_MAX = 256;

interface Range {
  address: string;
  bits: number;
  family: 'ipv4' | 'ipv6';
}

export class AddressRanges {
  // Apart: one list would find every IPv4 address in ::/0.
  readonly #ipv4 = new BlockList();
  readonly #ipv6 = new BlockList();

  /** Throws RangeError for what `isAddressRange` does not take. */
  constructor(ranges: readonly string[]) {
    for (const text of ranges) {
      const r = parseRange(text);
      if (r === undefined) throw new RangeError(`${text} is no range of addresses`);
      (r.family === 'ipv4' ? this.#ipv4 : this.#ipv6).addSubnet(r.address, r.bits, r.family);
    }
  }

  /** `remote`: of a socket, ADDRESS:PORT (`IoSocket.remote`). False for what is no address, such as the path of a unix socket. */
  has(remote: string): boolean {
    // An IPv4 peer of a socket that listens for both has an address of IPv6; a link-local one names its interface.
    const host = hostOf(remote)
      .replace(/^::ffff:(?=\d+\.)/i, '')
      .replace(/%.*$/, '');
    const family = isIP(host);
    return family === 4 ? this.#ipv4.check(host, 'ipv4') : family === 6 && this.#ipv6.check(host, 'ipv6');
  }
}

/** The host in `IoSocket.remote`, without its port. */
export function hostOf(remote: string): string {
  const colon = remote.lastIndexOf(':');
  return colon > 0 ? remote.slice(0, colon) : remote;
}

/** ADDRESS or ADDRESS/BITS. */
export function isAddressRange(text: string): boolean {
  return parseRange(text) !== undefined;
}

/** A single address, without a zone. */
export function isAddress(text: string): boolean {
  return !text.includes('/') && parseRange(text) !== undefined;
}

function parseRange(text: string): Range | undefined {
  const m = /^([0-9A-Fa-f:.]{2,45})(?:\/(\d{1,3}))?$/.exec(text);
  const address = m?.[1] ?? '';
  const version = isIP(address);
  if (version === 0) return undefined;
  const bitsMax = version === 4 ? 32 : 128;
  const bits = m?.[2] === undefined ? bitsMax : Number(m[2]);
  return bits > bitsMax ? undefined : { address, bits, family: version === 4 ? 'ipv4' : 'ipv6' };
}
