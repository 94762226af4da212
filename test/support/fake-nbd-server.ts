/**
 * The server's end of a connection, played by a test: well-behaved where the test does not care, hostile where it does.
 * Works on any IoSocket. Reads wait long, so that it is the client's deadlines that a test sees.
 */
import { PullSocket } from '../../src/io/pull-socket.ts';
import { type Clock, IoError, type IoSocket } from '../../src/io/types.ts';
import * as nbd from '../../src/nbd/wire/constants.ts';
import {
  decodeInfoRequest,
  decodeMetaContextRequest,
  decodeOptionHeader,
  encodeExportNameReply,
  encodeGreeting,
  encodeInfoBlockSize,
  encodeInfoExport,
  encodeInfoText,
  encodeOptionReply,
  encodeRepMetaContext,
} from '../../src/nbd/wire/handshake.ts';
import {
  CLIENT_FLAGS,
  EXTENDED_REPLY,
  EXTENDED_REQUEST,
  OPTION,
  REQUEST,
  SIMPLE_REPLY,
  STRUCTURED_REPLY,
  viewOf,
} from '../../src/nbd/wire/layout.ts';
import {
  decodeExtendedRequest,
  decodeRequest,
  encodeChunk,
  encodeExtendedChunk,
  encodeSimpleReply,
  newRequestHeader,
  type RequestHeader,
} from '../../src/nbd/wire/transmission.ts';

const PATIENCE_MS = 60_000;

export const ALL_FLAGS =
  nbd.NBD_FLAG_HAS_FLAGS |
  nbd.NBD_FLAG_SEND_FLUSH |
  nbd.NBD_FLAG_SEND_FUA |
  nbd.NBD_FLAG_SEND_TRIM |
  nbd.NBD_FLAG_SEND_WRITE_ZEROES |
  nbd.NBD_FLAG_SEND_FAST_ZERO |
  nbd.NBD_FLAG_CAN_MULTI_CONN;

export interface FakeExport {
  sizeBytes?: number;
  flags?: number;
  structured?: boolean;
  /** Default false. */
  extended?: boolean;
  /** Further contexts that the server grants unasked. */
  otherContexts?: Record<number, string>;
  /** Id of base:allocation; undefined: not offered. */
  contextId?: number;
  blockSizes?: [number, number, number];
  description?: string;
  /** False: only EXPORT_NAME. */
  knowsGo?: boolean;
  noZeroes?: boolean;
  /** False: newstyle, not fixed. */
  fixed?: boolean;
  /** Option errors to answer with, and their text. */
  refuse?: Record<number, { reply: number; text: string }>;
}

export interface FakeRequest extends RequestHeader {
  payload: Uint8Array;
}

export class FakePeer {
  readonly pull: PullSocket;
  /** Options seen, in order. */
  readonly options: number[] = [];
  exportName: string | undefined;
  clientFlags = 0;
  /** Extended headers were granted. */
  extended = false;

  constructor(socket: IoSocket, clock: Clock) {
    this.pull = new PullSocket(socket, clock);
  }

  read(bytes: number): Promise<Uint8Array> {
    return this.pull.read(bytes, PATIENCE_MS);
  }

  write(bytes: Uint8Array): void {
    this.pull.write(bytes);
  }

  close(): void {
    this.pull.end();
  }

  async greet(flags: number): Promise<void> {
    this.write(encodeGreeting(flags));
    this.clientFlags = viewOf(await this.read(CLIENT_FLAGS.SIZE)).getUint32(0);
  }

  async nextOption(): Promise<{ option: number; data: Uint8Array }> {
    const h = decodeOptionHeader(await this.read(OPTION.SIZE));
    if (h === undefined) throw new Error('the client sent no option header');
    this.options.push(h.option);
    return { option: h.option, data: await this.read(h.length) };
  }

  optionReply(option: number, reply: number, data?: Uint8Array): void {
    this.write(encodeOptionReply(option, reply, data));
  }

  /** The whole handshake; resolves when in transmission, or when the client has said ABORT. */
  async handshake(e: FakeExport = {}): Promise<'transmission' | 'abort'> {
    await this.greet(((e.fixed ?? true) ? nbd.NBD_FLAG_FIXED_NEWSTYLE : 0) | ((e.noZeroes ?? true) ? nbd.NBD_FLAG_NO_ZEROES : 0));
    const sizeBytes = e.sizeBytes ?? 1024 * 1024;
    const flags = e.flags ?? ALL_FLAGS;
    for (;;) {
      const { option, data } = await this.nextOption();
      const refusal = e.refuse?.[option];
      if (refusal !== undefined) {
        this.optionReply(option, refusal.reply, new TextEncoder().encode(refusal.text));
      } else if (option === nbd.NBD_OPT_ABORT) {
        return 'abort';
      } else if (option === nbd.NBD_OPT_EXTENDED_HEADERS && e.extended === true) {
        this.extended = true;
        this.optionReply(option, nbd.NBD_REP_ACK);
      } else if (option === nbd.NBD_OPT_STRUCTURED_REPLY && (e.structured ?? true)) {
        this.optionReply(option, nbd.NBD_REP_ACK);
      } else if (option === nbd.NBD_OPT_SET_META_CONTEXT && (e.structured ?? true)) {
        const asked = decodeMetaContextRequest(data);
        if (asked === undefined) throw new Error('malformed SET_META_CONTEXT');
        if (e.contextId !== undefined) this.optionReply(option, nbd.NBD_REP_META_CONTEXT, encodeRepMetaContext(e.contextId, asked.queries[0] ?? ''));
        for (const [id, name] of Object.entries(e.otherContexts ?? {})) {
          this.optionReply(option, nbd.NBD_REP_META_CONTEXT, encodeRepMetaContext(Number(id), name));
        }
        this.optionReply(option, nbd.NBD_REP_ACK);
      } else if ((option === nbd.NBD_OPT_GO || option === nbd.NBD_OPT_INFO) && (e.knowsGo ?? true)) {
        const asked = decodeInfoRequest(data);
        if (asked === undefined) throw new Error('malformed GO');
        this.exportName = asked.name;
        this.optionReply(option, nbd.NBD_REP_INFO, encodeInfoExport(sizeBytes, flags));
        if (e.blockSizes !== undefined) this.optionReply(option, nbd.NBD_REP_INFO, encodeInfoBlockSize(...e.blockSizes));
        if (e.description !== undefined) this.optionReply(option, nbd.NBD_REP_INFO, encodeInfoText(nbd.NBD_INFO_DESCRIPTION, e.description));
        this.optionReply(option, nbd.NBD_REP_ACK);
        if (option === nbd.NBD_OPT_GO) return 'transmission';
      } else if (option === nbd.NBD_OPT_EXPORT_NAME) {
        this.exportName = new TextDecoder().decode(data);
        this.write(encodeExportNameReply(sizeBytes, flags, (this.clientFlags & nbd.NBD_FLAG_C_NO_ZEROES) === 0));
        return 'transmission';
      } else {
        this.optionReply(option, nbd.NBD_REP_ERR_UNSUP);
      }
    }
  }

  /** Undefined: the connection ended. */
  async nextRequest(): Promise<FakeRequest | undefined> {
    try {
      const h = newRequestHeader();
      const head = viewOf(await this.read(this.extended ? EXTENDED_REQUEST.SIZE : REQUEST.SIZE));
      if (!(this.extended ? decodeExtendedRequest : decodeRequest)(head, 0, h)) throw new Error('the client sent no request header');
      const hasPayload = this.extended ? (h.flags & nbd.NBD_CMD_FLAG_PAYLOAD_LEN) !== 0 : h.type === nbd.NBD_CMD_WRITE;
      return { ...h, payload: hasPayload ? await this.read(h.length) : new Uint8Array(0) };
    } catch (e: unknown) {
      if (e instanceof IoError) return undefined;
      throw e;
    }
  }

  simpleReply(r: RequestHeader, error = 0, data: Uint8Array = new Uint8Array(0)): void {
    const out = new Uint8Array(SIMPLE_REPLY.SIZE + data.length);
    encodeSimpleReply(viewOf(out), 0, error, r.cookieHi, r.cookieLo);
    out.set(data, SIMPLE_REPLY.SIZE);
    this.write(out);
  }

  chunk(r: RequestHeader, flags: number, type: number, payload: Uint8Array = new Uint8Array(0)): void {
    const head = this.extended ? EXTENDED_REPLY.SIZE : STRUCTURED_REPLY.SIZE;
    const out = new Uint8Array(head + payload.length);
    const asked = { ...r, offsetHi: Math.floor(r.offset / 2 ** 32), offsetLo: r.offset % 2 ** 32 };
    if (this.extended) encodeExtendedChunk(viewOf(out), 0, flags, type, asked, payload.length);
    else encodeChunk(viewOf(out), 0, flags, type, r.cookieHi, r.cookieLo, payload.length);
    out.set(payload, head);
    this.write(out);
  }

  /** Serves requests from memory until the connection ends or the client says DISC; tells which. Simple replies where they may be, READ structured if `structured`. */
  async serve(disk: Uint8Array, structured: boolean): Promise<'disc' | 'closed'> {
    for (;;) {
      const r = await this.nextRequest();
      if (r === undefined) return 'closed';
      if (r.type === nbd.NBD_CMD_DISC) return 'disc';
      if (r.type === nbd.NBD_CMD_WRITE) disk.set(r.payload, r.offset);
      if (r.type === nbd.NBD_CMD_WRITE_ZEROES) disk.fill(0, r.offset, r.offset + r.length);
      if (r.type !== nbd.NBD_CMD_READ && this.extended) this.chunk(r, nbd.NBD_REPLY_FLAG_DONE, nbd.NBD_REPLY_TYPE_NONE);
      else if (r.type !== nbd.NBD_CMD_READ) this.simpleReply(r);
      else if (!structured) this.simpleReply(r, 0, disk.slice(r.offset, r.offset + r.length));
      else {
        const payload = new Uint8Array(8 + r.length);
        viewOf(payload).setBigUint64(0, BigInt(r.offset));
        payload.set(disk.subarray(r.offset, r.offset + r.length), 8);
        this.chunk(r, nbd.NBD_REPLY_FLAG_DONE, nbd.NBD_REPLY_TYPE_OFFSET_DATA, payload);
      }
    }
  }
}
