/**
 * Whom a server lets in, by where a connection comes from: decided before anything is made of it, so that a crowd that is not let in
 * costs next to nothing.
 *
 *   forbidden by the access rules | barred for what its address did of late | no place left --> not let in, counted, said once a minute
 *
 * Clients of this machine, by a unix socket, are never barred, and have places of their own: no crowd from outside takes those.
 */
import { hostOf } from '../io/address-ranges.ts';
import type { LimitedLog } from '../io/limited-log.ts';
import type { Clock } from '../io/types.ts';
import type { ExportAccess } from './access.ts';
import { type OffenderLimits, Offenders } from './offenders.ts';

export interface AdmissionLimits {
  /** In transmission, from outside; and as many by unix sockets. */
  connectionsMax: number;
  /** In transmission, from one address. */
  connectionsPerAddressMax: number;
  /** Addresses whose handshakes fail. */
  offenders: OffenderLimits;
}

export const NOT_FOR_IT = 'it is not for that client';
const REFUSED = 'nbd connection refused';
/** Of a name that anybody may make up. */
const NAME_SHOWN = 80;

export function isLocal(remote: string): boolean {
  return remote.startsWith('unix:');
}

export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #log: LimitedLog;
  readonly #offenders: Offenders;
  /** Connections in transmission by where they come from, all of those by unix sockets as one. */
  readonly #servingBy = new Map<string, number>();
  #servingOutside = 0;
  #forbidden = 0;

  constructor(limits: AdmissionLimits, clock: Pick<Clock, 'now'>, log: LimitedLog) {
    this.#limits = limits;
    this.#log = log;
    this.#offenders = new Offenders(clock, limits.offenders);
  }

  /** False: it is to be closed without a word. One that is let in may be asked about again. */
  mayEnter(remote: string, access: ExportAccess | undefined): boolean {
    if (access?.toAny(remote) === false) {
      this.forbid(remote, '', NOT_FOR_IT);
      return false;
    }
    const host = hostOf(remote);
    const misdeeds = this.#offenders.barred(host);
    if (misdeeds === undefined) return true;
    this.#offenders.note(host);
    this.#log.warn(`barred ${host}`, REFUSED, {
      remote,
      why: `${String(misdeeds)} times of late its address failed in a handshake, or came while it was barred`,
    });
    return false;
  }

  /** False: no more connections from there are taken. */
  hasPlace(remote: string): boolean {
    const why = this.#full(remote);
    if (why !== undefined) this.turnedAway(remote, why);
    return why === undefined;
  }

  turnedAway(remote: string, why: string): void {
    this.#log.warn(`full ${hostOf(remote)}`, REFUSED, { remote, why });
  }

  #full(remote: string): string | undefined {
    const { connectionsMax, connectionsPerAddressMax } = this.#limits;
    const local = isLocal(remote);
    const fromThere = this.#servingBy.get(hostOf(remote)) ?? 0;
    const all = local ? fromThere : this.#servingOutside;
    if (all >= connectionsMax) return `too many connections: ${String(all)}`;
    return !local && fromThere >= connectionsPerAddressMax ? `too many connections from that address: ${String(fromThere)}` : undefined;
  }

  /** A connection from there has come into transmission, or left it. */
  count(remote: string, by: 1 | -1): void {
    const host = hostOf(remote);
    const now = (this.#servingBy.get(host) ?? 0) + by;
    if (now > 0) this.#servingBy.set(host, now);
    else this.#servingBy.delete(host);
    if (!isLocal(remote)) this.#servingOutside += by;
  }

  /** A handshake with it has failed, or was ended to make room. */
  misdeed(remote: string): void {
    if (!isLocal(remote)) this.#offenders.note(hostOf(remote));
  }

  forbid(remote: string, exportName: string, why: string): void {
    this.#forbidden += 1;
    this.#log.warn(`forbidden ${hostOf(remote)}`, REFUSED, { remote, exportName: exportName.slice(0, NAME_SHOWN), why });
  }

  /** Connections that were refused something for where they come from, or for what they have not proved. */
  get forbidden(): number {
    return this.#forbidden;
  }
}
