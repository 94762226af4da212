/**
 * The server's half of fixed newstyle negotiation: greeting, option haggling, up to the first byte of transmission.
 *
 *   greeting -> client flags -> ( option -> replies )* -> GO or EXPORT_NAME -> transmission
 *                                                      -> ABORT, a limit, a breach -> closed
 *
 * Invariants:
 * - the peer is not trusted: option length, names, number of options, unsent replies and total time are bounded
 * - a malformed option is answered with an error and haggling goes on; a lost place in the stream closes
 * - nothing is thrown for what a peer does; the outcome says why the connection ended
 */
import { PullSocket } from '../io/pull-socket.ts';
import type { SecureSocket } from '../io/tls.ts';
import type { Clock } from '../io/types.ts';
import { exportSizeBytes, type Haggled, transmissionFlags } from './export-info.ts';
import { findExport, type Found, infoOf } from './export-lookup.ts';
import type { HandshakeOptions, HandshakeOutcome } from './handshake-outcome.ts';
import { headersRefused } from './headers.ts';
import { infoReplies } from './info-replies.ts';
import { contextsAsked, contextsOf, QUERIES_MAX, type SelectedContext, selectedOn } from './meta-contexts.ts';
import {
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_MAX_STRING_BYTES,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
} from './wire/constants.ts';
import {
  decodeClientFlags,
  decodeInfoRequest,
  decodeMetaContextRequest,
  decodeOptionHeader,
  encodeExportNameReply,
  encodeGreeting,
  encodeOptionReply,
  encodeRepMetaContext,
  encodeRepServer,
} from './wire/handshake.ts';
import { CLIENT_FLAGS, decodeText, encodeText, OPTION } from './wire/layout.ts';
import { optionName } from './wire/names.ts';

export { DEFAULT_HANDSHAKE_LIMITS, type HandshakeLimits } from './handshake-limits.ts';
export type { HandshakeOptions, HandshakeOutcome } from './handshake-outcome.ts';

/** Never rejects. On 'closed' the socket was ended or destroyed. */
export async function serveHandshake(pull: PullSocket, o: HandshakeOptions): Promise<HandshakeOutcome> {
  const session = new HandshakeSession(pull, o);
  try {
    const outcome = await session.run();
    if (outcome.kind === 'closed') endPolitely(session.pull, o.clock, o.limits.lingerMs);
    return outcome;
  } catch (e: unknown) {
    session.pull.destroy();
    return { kind: 'closed', orderly: session.betweenOptions && !session.expired, why: e instanceof Error ? e.message : String(e) };
  }
}

/** Lets the last replies out, but waits no longer than `lingerMs` for a peer that does not take them (M14). */
export function endPolitely(pull: PullSocket, clock: Clock, lingerMs: number): void {
  pull.end();
  const timer = clock.after(lingerMs, () => {
    pull.destroy();
  });
  pull.onClosed(() => {
    timer.cancel();
  });
}

function closed(why: string, orderly = false): HandshakeOutcome {
  return { kind: 'closed', orderly, why };
}

class HandshakeSession {
  /** As it is now: after STARTTLS another one. */
  pull: PullSocket;
  readonly #o: HandshakeOptions;
  readonly #deadline: number;
  #zeroes = true;
  /** Replies in chunks: structured, or extended. */
  #structured = false;
  #extended = false;
  /** Selected contexts belong to the export they were selected for. */
  #meta: { exportName: string; contexts: SelectedContext[] } | undefined;
  betweenOptions = false;
  /** What the client has proved by TLS; null: it speaks none. */
  #proved: readonly string[] | null = null;

  constructor(pull: PullSocket, o: HandshakeOptions) {
    this.pull = pull;
    this.#o = o;
    this.#deadline = o.clock.now() + o.limits.handshakeTimeoutMs;
  }

  get expired(): boolean {
    return this.#o.clock.now() >= this.#deadline;
  }

  async run(): Promise<HandshakeOutcome> {
    const { limits } = this.#o;
    this.pull.write(encodeGreeting(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES));
    const flags = decodeClientFlags(await this.#read(CLIENT_FLAGS.SIZE));
    if (flags === undefined || (flags & ~(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES)) !== 0) {
      return closed(`client flags ${String(flags)} are not known`);
    }
    this.#zeroes = (flags & NBD_FLAG_C_NO_ZEROES) === 0;

    for (let rounds = 0; rounds < limits.optionsMax; rounds += 1) {
      if (this.pull.socket.unsentBytes() > limits.unsentMaxBytes) return closed('the client does not take the replies it asked for');
      this.betweenOptions = true;
      const header = decodeOptionHeader(await this.#read(OPTION.SIZE));
      this.betweenOptions = false;
      if (header === undefined) return closed('an option does not begin with IHAVEOPT');
      const { option, length } = header;
      if (length > limits.optionMaxBytes) {
        if (length > limits.discardMaxBytes || option === NBD_OPT_EXPORT_NAME) {
          return closed(`${optionName(option)} with ${String(length)} bytes of data`);
        }
        await this.#discard(length);
        this.#reply(option, NBD_REP_ERR_TOO_BIG, `at most ${String(limits.optionMaxBytes)} bytes`);
        continue;
      }
      const data = await this.#read(length);
      const outcome = await this.#option(option, data);
      if (outcome !== undefined) return outcome;
    }
    return closed(`more than ${String(limits.optionsMax)} options`);
  }

  // ---------------------------------------------------------------------------------------------------- options

  async #option(option: number, data: Uint8Array): Promise<HandshakeOutcome | undefined> {
    if (this.#o.tls?.mode === 'required' && this.#proved === null && option !== NBD_OPT_STARTTLS && option !== NBD_OPT_ABORT) {
      if (option === NBD_OPT_EXPORT_NAME) return closed('NBD_OPT_EXPORT_NAME without the TLS that is required');
      this.#reply(option, NBD_REP_ERR_TLS_REQD, 'TLS is required here: NBD_OPT_STARTTLS comes first');
      return undefined;
    }
    switch (option) {
      case NBD_OPT_EXPORT_NAME:
        return await this.#exportName(data);
      case NBD_OPT_ABORT:
        this.#reply(option, NBD_REP_ACK);
        return closed('the client aborted the handshake', true);
      case NBD_OPT_LIST:
        this.#list(data);
        return undefined;
      case NBD_OPT_INFO:
      case NBD_OPT_GO:
        return await this.#infoOrGo(option, data);
      case NBD_OPT_STRUCTURED_REPLY:
      case NBD_OPT_EXTENDED_HEADERS:
        this.#headers(option, data);
        return undefined;
      case NBD_OPT_LIST_META_CONTEXT:
      case NBD_OPT_SET_META_CONTEXT:
        await this.#metaContext(option, data);
        return undefined;
      case NBD_OPT_STARTTLS:
        return await this.#startTls(data);
      default:
        this.#reply(option, NBD_REP_ERR_UNSUP, 'unknown option');
        return undefined;
    }
  }

  /** All that was agreed on before is void (spec, NBD_OPT_STARTTLS). */
  async #startTls(data: Uint8Array): Promise<HandshakeOutcome | undefined> {
    const { tls, clock } = this.#o;
    if (tls === undefined) {
      this.#reply(NBD_OPT_STARTTLS, NBD_REP_ERR_UNSUP, 'this server does not offer TLS by STARTTLS');
      return undefined;
    }
    if (data.length > 0 || this.#proved !== null) {
      this.#reply(NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID, data.length > 0 ? 'this option takes no data' : 'TLS is spoken already');
      return undefined;
    }
    const { socket } = this.pull;
    // Whatever is here already was sent in clear, by whomever: it must not pass for what the client says under TLS.
    if (this.pull.unreadBytes > 0) return closed('bytes behind NBD_OPT_STARTTLS, before TLS began');
    this.#reply(NBD_OPT_STARTTLS, NBD_REP_ACK);
    const early = this.pull.detach();
    let secure: SecureSocket;
    try {
      secure = await tls.tls.accept(socket, early, this.#remainingMs(), 'client');
    } catch (e: unknown) {
      this.#o.onUnproved?.(e instanceof Error ? e.message : String(e));
      throw e;
    }
    this.pull = new PullSocket(secure, clock);
    if (secure.peer === null) {
      this.#o.onUnproved?.(secure.refusal);
      this.pull.destroy();
      return closed(`TLS: ${secure.refusal}`);
    }
    this.#o.onSecured?.(this.pull);
    this.#proved = secure.peer.names;
    this.#structured = false;
    this.#extended = false;
    this.#meta = undefined;
    return undefined;
  }

  #headers(option: number, data: Uint8Array): void {
    const refused = headersRefused(option, data.length, { offered: this.#o.extendedHeaders ?? true, extended: this.#extended });
    if (refused === undefined) {
      this.#structured = true;
      if (option === NBD_OPT_EXTENDED_HEADERS) this.#extended = true;
    }
    this.#reply(option, refused?.reply ?? NBD_REP_ACK, refused?.why);
  }

  /** The old way in, which has no way to say no but to close. */
  async #exportName(data: Uint8Array): Promise<HandshakeOutcome> {
    if (this.#extended) return closed('NBD_OPT_EXPORT_NAME after extended headers were agreed on, which demand NBD_OPT_GO');
    const name = data.length <= NBD_MAX_STRING_BYTES ? decodeText(data) : undefined;
    const found = name === undefined ? undefined : await findExport(this.#o, name, this.#proved, this.#remainingMs());
    if (name === undefined || found === undefined) return closed('NBD_OPT_EXPORT_NAME for an export that is not here');
    if (found === 'forbidden' || found === 'needs-tls') return closed('NBD_OPT_EXPORT_NAME for an export that is not for this client');
    this.#o.onExport?.(found.device);
    const info = infoOf(found);
    this.pull.write(encodeExportNameReply(exportSizeBytes(info), transmissionFlags(info, this.#haggled(name)), this.#zeroes));
    return this.#transmission(name, found);
  }

  #list(data: Uint8Array): void {
    if (data.length > 0) {
      this.#reply(NBD_OPT_LIST, NBD_REP_ERR_INVALID, 'this option takes no data');
      return;
    }
    for (const e of this.#o.exports.list()) {
      const may = this.#o.access?.(e.name, this.#proved) ?? 'full';
      if (may === 'none' || may === 'needs-tls') continue;
      this.#send(NBD_OPT_LIST, NBD_REP_SERVER, encodeRepServer(e.name, e.description));
    }
    this.#reply(NBD_OPT_LIST, NBD_REP_ACK);
  }

  async #infoOrGo(option: number, data: Uint8Array): Promise<HandshakeOutcome | undefined> {
    const request = decodeInfoRequest(data);
    if (request === undefined) {
      this.#reply(option, NBD_REP_ERR_INVALID, 'malformed request');
      return undefined;
    }
    const found = await this.#findOrRefuse(option, request.name);
    if (found === undefined) return undefined;
    if (option === NBD_OPT_GO) this.#o.onExport?.(found.device);
    for (const data of infoReplies(infoOf(found), found.name, request.infos, this.#haggled(request.name))) this.#send(option, NBD_REP_INFO, data);
    this.#reply(option, NBD_REP_ACK);
    return option === NBD_OPT_GO ? this.#transmission(request.name, found) : undefined;
  }

  async #metaContext(option: number, data: Uint8Array): Promise<void> {
    const set = option === NBD_OPT_SET_META_CONTEXT;
    // Whatever comes of it, a new selection ends the old one.
    if (set) this.#meta = undefined;
    const request = decodeMetaContextRequest(data);
    if (request === undefined || request.queries.some((q) => tooLong(q))) {
      this.#reply(option, NBD_REP_ERR_INVALID, 'malformed request');
      return;
    }
    if (!this.#structured) {
      this.#reply(option, NBD_REP_ERR_INVALID, 'structured replies were not negotiated');
      return;
    }
    if (request.queries.length > QUERIES_MAX) {
      this.#reply(option, NBD_REP_ERR_TOO_BIG, `at most ${String(QUERIES_MAX)} queries`);
      return;
    }
    const found = await this.#findOrRefuse(option, request.name);
    if (found === undefined) return;
    const contexts = contextsAsked(contextsOf(found.device), request.queries, set);
    for (const c of contexts) this.#send(option, NBD_REP_META_CONTEXT, encodeRepMetaContext(set ? c.id : 0, c.name));
    if (set) this.#meta = { exportName: request.name, contexts };
    this.#reply(option, NBD_REP_ACK);
  }

  // ----------------------------------------------------------------------------------------------------- helpers

  #transmission(exportName: string, { device, readOnly }: Found): HandshakeOutcome {
    const metaContexts = this.#meta?.exportName === exportName ? selectedOn(device, this.#meta.contexts) : [];
    if (metaContexts === undefined) return closed('a meta context that was selected is gone');
    const { structuredReplies, extendedHeaders } = this.#haggled(exportName);
    if (extendedHeaders && device.info().checksums === true) return closed('checksums are of compact headers');
    const { socket } = this.pull;
    const early = this.pull.detach();
    return { kind: 'transmission', exportName, device, socket, structuredReplies, extendedHeaders, readOnly, metaContexts, early };
  }

  #contexts(exportName: string): readonly SelectedContext[] {
    return this.#meta?.exportName === exportName ? this.#meta.contexts : [];
  }

  #haggled(exportName: string): Haggled {
    return { structuredReplies: this.#structured, extendedHeaders: this.#extended, metaContext: this.#contexts(exportName).length > 0 };
  }

  async #findOrRefuse(option: number, name: string): Promise<Found | undefined> {
    if (tooLong(name)) {
      this.#reply(option, NBD_REP_ERR_TOO_BIG, `a name has at most ${String(NBD_MAX_STRING_BYTES)} bytes`);
      return undefined;
    }
    const found = await findExport(this.#o, name, this.#proved, this.#remainingMs());
    if (found === undefined) this.#reply(option, NBD_REP_ERR_UNKNOWN, 'no such export');
    else if (found === 'needs-tls') this.#reply(option, NBD_REP_ERR_TLS_REQD, 'this export is for clients that prove by TLS who they are');
    else if (found === 'forbidden') this.#reply(option, NBD_REP_ERR_POLICY, 'this export is not for you');
    else return found;
    return undefined;
  }

  #remainingMs(): number {
    return Math.max(0, this.#deadline - this.#o.clock.now());
  }

  async #read(bytes: number): Promise<Uint8Array> {
    if (this.expired) throw new Error('the handshake took too long');
    return await this.pull.read(bytes, this.#remainingMs());
  }

  async #discard(bytes: number): Promise<void> {
    for (let left = bytes; left > 0; ) {
      const part = Math.min(left, this.#o.limits.optionMaxBytes);
      await this.#read(part);
      left -= part;
    }
  }

  #reply(option: number, reply: number, message = ''): void {
    this.#send(option, reply, encodeText(message));
  }

  #send(option: number, reply: number, data: Uint8Array): void {
    this.pull.write(encodeOptionReply(option, reply, data));
  }
}

function tooLong(text: string): boolean {
  // No string has more than three UTF-8 bytes for a UTF-16 unit, so most need not be encoded to be measured.
  return text.length * 3 > NBD_MAX_STRING_BYTES && encodeText(text).length > NBD_MAX_STRING_BYTES;
}
