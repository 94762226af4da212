/**
 * The client's half of fixed newstyle haggling: greeting, then one option at a time, each with all its replies.
 *
 *   greet()             magic, magic, flags  <-  server;  client flags  ->
 *   ask(option, data)   option  ->           <-  reply* and one ACK or error
 *
 * Invariants:
 * - a server can make the client hold at most `REPLIES_MAX_BYTES` in at most `repliesMax` replies for one option
 * - every read ends by the answer's deadline and by the whole handshake's; nothing a server sends makes it last longer
 * - whatever goes wrong is a HandshakeError of one line
 */
import { PullSocket } from '../io/pull-socket.ts';
import { type Clock, Errno, IoError, type IoSocket } from '../io/types.ts';
import {
  NBD_CLISERV_MAGIC,
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_MAGIC,
  NBD_OPT_ABORT,
  NBD_OPT_STARTTLS,
  NBD_OPTS_MAGIC,
  NBD_REP_ACK,
  NBD_REP_ERR_EXT_HEADER_REQD,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_PLATFORM,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_FLAG_ERROR,
} from '../nbd/wire/constants.ts';
import { decodeOptionReplyHeader, encodeClientFlags, encodeOption } from '../nbd/wire/handshake.ts';
import { getMagic, getU16, OPTION_REPLY, viewOf } from '../nbd/wire/layout.ts';
import { optionName, optionReplyName } from '../nbd/wire/names.ts';
import { cleanText, type HandshakeFailure, HandshakeError } from './errors.ts';

/** One reply: two strings of 4096 bytes and their lengths fit many times over. */
const REPLY_MAX_BYTES = 64 * 1024;
/** All replies to one option. */
const REPLIES_MAX_BYTES = 4 * 1024 * 1024;

/** A TLS handshake is so many answers at most (RFC 5246, 7.3, after TCP). */
const TLS_ANSWERS = 3;

/** Makes TLS of a paused socket that both ends have agreed to secure; the result is paused, or not yet started. Rejects with IoError. */
export type Secure = (socket: IoSocket, timeoutMs: number) => Promise<IoSocket>;

export interface OptionReply {
  reply: number;
  data: Uint8Array;
}

/** `ok` false: the server refused with error `reply`; `text` is its own message, cleaned. */
export type Answer = { ok: true; replies: OptionReply[] } | { ok: false; reply: number; text: string };

export interface HagglerOptions {
  clock: Clock;
  /** For each answer. */
  answerTimeoutMs: number;
  /** For the handshake as a whole. */
  handshakeTimeoutMs: number;
}

export class OptionHaggler {
  #pull: PullSocket;
  readonly #o: HagglerOptions;
  readonly #deadline: number;
  #noZeroes = false;
  #fixed = false;

  constructor(pull: PullSocket, o: HagglerOptions) {
    this.#pull = pull;
    this.#o = o;
    this.#deadline = o.clock.now() + o.handshakeTimeoutMs;
  }

  /** The reply to EXPORT_NAME comes without its 124 zeroes. */
  get noZeroes(): boolean {
    return this.#noZeroes;
  }

  /** It can answer options; else it knows EXPORT_NAME alone, and closes the connection at any other. */
  get fixed(): boolean {
    return this.#fixed;
  }

  async greet(): Promise<void> {
    const magic = await this.read(8, 'greeting');
    if (getMagic(viewOf(magic), 0) !== NBD_MAGIC) throw this.fail('not-nbd', Errno.EINVAL, 'it does not speak NBD');
    const style = getMagic(viewOf(await this.read(8, 'greeting')), 0);
    if (style === NBD_CLISERV_MAGIC) {
      throw this.fail('too-old', Errno.ENOTSUP, 'it speaks the oldstyle protocol, which has no option haggling; a newstyle server is needed');
    }
    if (style !== NBD_OPTS_MAGIC) throw this.fail('not-nbd', Errno.EINVAL, 'it does not speak NBD');
    const flags = getU16(viewOf(await this.read(2, 'greeting')), 0);
    this.#fixed = (flags & NBD_FLAG_FIXED_NEWSTYLE) !== 0;
    this.#noZeroes = (flags & NBD_FLAG_NO_ZEROES) !== 0;
    this.#pull.write(encodeClientFlags((this.#fixed ? NBD_FLAG_C_FIXED_NEWSTYLE : 0) | (this.#noZeroes ? NBD_FLAG_C_NO_ZEROES : 0)));
  }

  /** Whatever is not EXPORT_NAME. */
  requireFixed(): void {
    if (!this.#fixed) throw this.fail('too-old', Errno.ENOTSUP, 'it does not announce fixed newstyle haggling, which is needed');
  }

  async ask(option: number, data: Uint8Array, repliesMax: number): Promise<Answer> {
    this.#pull.write(encodeOption(option, data));
    const what = `answer to ${optionName(option)}`;
    const replies: OptionReply[] = [];
    let bytes = 0;
    for (;;) {
      const h = decodeOptionReplyHeader(await this.read(OPTION_REPLY.SIZE, what));
      if (h === undefined) throw this.broken(`${what} has a wrong magic`);
      if (h.option !== option) throw this.broken(`${what} names ${optionName(h.option)}`);
      if (h.length > REPLY_MAX_BYTES) {
        throw this.broken(`${what} is ${String(h.length)} bytes long, more than ${String(REPLY_MAX_BYTES)}`);
      }
      const body = await this.read(h.length, what);
      if (h.reply >= NBD_REP_FLAG_ERROR) return { ok: false, reply: h.reply, text: cleanText(body) };
      if (h.reply === NBD_REP_ACK) return { ok: true, replies };
      bytes += h.length;
      if (replies.length >= repliesMax || bytes > REPLIES_MAX_BYTES) {
        throw this.broken(`${what} does not end: ${String(replies.length)} replies, ${String(bytes)} bytes`);
      }
      replies.push({ reply: h.reply, data: body });
    }
  }

  /** Speaks TLS from here on, on the socket that comes back, or throws: what the server said in clear binds nobody (spec, "TLS versions"). */
  async secure(start: Secure): Promise<PullSocket> {
    this.requireFixed();
    const answer = await this.ask(NBD_OPT_STARTTLS, new Uint8Array(0), 0);
    if (!answer.ok) throw this.refusal(answer, 'to speak TLS');
    // Whatever is here already was sent in clear, by whomever.
    if (this.#pull.unreadBytes > 0) throw this.broken('bytes behind its answer to NBD_OPT_STARTTLS, before TLS began');
    const { socket } = this.#pull;
    this.#pull.detach();
    const left = this.#deadline - this.#o.clock.now();
    try {
      this.#pull = new PullSocket(await start(socket, Math.max(1, Math.min(left, this.#o.answerTimeoutMs * TLS_ANSWERS))), this.#o.clock);
    } catch (e: unknown) {
      if (!(e instanceof IoError)) throw e;
      throw this.fail('tls', e.errno, e.message);
    }
    this.#pull.socket.resume();
    return this.#pull;
  }

  /** Sends without waiting: for EXPORT_NAME, whose answer has its own shape. */
  send(option: number, data: Uint8Array): void {
    this.#pull.write(encodeOption(option, data));
  }

  /** Says goodbye and closes the socket once that is sent. */
  abort(): void {
    this.#pull.write(encodeOption(NBD_OPT_ABORT));
    this.#pull.end();
  }

  async read(bytes: number, what: string): Promise<Uint8Array> {
    const left = this.#deadline - this.#o.clock.now();
    if (left <= 0) throw this.#late(what, this.#o.handshakeTimeoutMs);
    const timeoutMs = Math.min(left, this.#o.answerTimeoutMs);
    try {
      return await this.#pull.read(bytes, timeoutMs);
    } catch (e: unknown) {
      if (!(e instanceof IoError)) throw e;
      if (e.errno === Errno.ETIMEDOUT) throw this.#late(what, timeoutMs);
      throw this.fail('closed', e.errno, `the connection ended (${e.code}) before its ${what}`);
    }
  }

  fail(failure: HandshakeFailure, errno: number, why: string): HandshakeError {
    return new HandshakeError(failure, errno, `NBD server ${this.#pull.socket.remote}: ${why}`);
  }

  broken(why: string): HandshakeError {
    return this.fail('protocol', Errno.EINVAL, `it broke the protocol: ${why}`);
  }

  /** The error for an answer that refuses. */
  refusal(a: { reply: number; text: string }, what: string): HandshakeError {
    const r = REFUSALS[a.reply];
    const said = a.text === '' ? '' : `; it says: ${a.text}`;
    const why = `it refused ${what}: ${r?.why ?? 'an error that is not known'} (${optionReplyName(a.reply)})${said}`;
    return this.fail(r?.failure ?? 'refused', r?.errno ?? Errno.EIO, why);
  }

  #late(what: string, timeoutMs: number): HandshakeError {
    return this.fail('timeout', Errno.ETIMEDOUT, `no ${what} within ${String(Math.round(timeoutMs))} ms`);
  }
}

const REFUSALS: Readonly<Record<number, { failure: HandshakeFailure; errno: number; why: string }>> = {
  [NBD_REP_ERR_UNSUP]: { failure: 'refused', errno: Errno.ENOTSUP, why: 'it does not know the option' },
  [NBD_REP_ERR_POLICY]: { failure: 'refused', errno: Errno.EACCES, why: 'its policy forbids it' },
  [NBD_REP_ERR_INVALID]: { failure: 'refused', errno: Errno.EINVAL, why: 'it found the request invalid' },
  [NBD_REP_ERR_PLATFORM]: { failure: 'refused', errno: Errno.ENOTSUP, why: 'its platform cannot' },
  [NBD_REP_ERR_TLS_REQD]: { failure: 'tls-required', errno: Errno.EACCES, why: 'it requires TLS' },
  [NBD_REP_ERR_UNKNOWN]: { failure: 'unknown-export', errno: Errno.ENOENT, why: 'it has no such export' },
  [NBD_REP_ERR_SHUTDOWN]: { failure: 'refused', errno: Errno.ESHUTDOWN, why: 'it is shutting down' },
  [NBD_REP_ERR_TOO_BIG]: { failure: 'refused', errno: Errno.EOVERFLOW, why: 'it found the request too big' },
  [NBD_REP_ERR_EXT_HEADER_REQD]: { failure: 'refused', errno: Errno.ENOTSUP, why: 'it requires extended headers, which were not agreed on' },
};
