/** Hosts that a certificate is for, besides its name. */
import { isAddress } from '../io/address-ranges.ts';

export const HOSTS_MAX = 64;
export const HOST_ALLOWED = 'a host name, or an address of IPv4 or IPv6';

const HOST_NAME_MAX = 253;
const LABEL = /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;

/** An address in its short form, a host name in lower case; undefined for what is neither. */
export function parseHost(text: string): string | undefined {
  if (isAddress(text)) return shortAddress(text);
  const labels = text.split('.');
  // Digits alone at the end: an address that is wrong.
  if (text.length > HOST_NAME_MAX || !labels.every((l) => LABEL.test(l)) || /^\d+$/.test(labels.at(-1) ?? '')) return undefined;
  return text.toLowerCase();
}

/** The same address is written in the same way: `2001:DB8:0:0:0:0:0:1` as `2001:db8::1`. */
function shortAddress(address: string): string {
  return address.includes(':') ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address;
}
