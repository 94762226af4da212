/**
 * Codecs of the handshake: greeting, options, option replies and what they carry. Each encoder stands beside its decoder.
 * Decoders never throw: undefined means malformed, and the caller says what follows from that.
 */
import { NBD_INFO_BLOCK_SIZE, NBD_INFO_EXPORT, NBD_MAGIC, NBD_OPTS_MAGIC, NBD_REP_MAGIC } from './constants.ts';
import {
  CLIENT_FLAGS,
  decodeText,
  encodeText,
  EXPORT_NAME_REPLY,
  EXPORT_NAME_ZEROES_BYTES,
  getMagic,
  getU16,
  getU32,
  getU64,
  GREETING,
  INFO_BLOCK_SIZE,
  INFO_EXPORT,
  OPTION,
  OPTION_REPLY,
  setMagic,
  setU16,
  setU32,
  setU64,
  viewOf,
} from './layout.ts';

export function encodeGreeting(flags: number): Uint8Array {
  const out = new Uint8Array(GREETING.SIZE);
  const v = viewOf(out);
  setMagic(v, GREETING.magic, NBD_MAGIC);
  setMagic(v, GREETING.optsMagic, NBD_OPTS_MAGIC);
  setU16(v, GREETING.flags, flags);
  return out;
}
/** Undefined: not a newstyle NBD server. */
export function decodeGreeting(bytes: Uint8Array): { flags: number } | undefined {
  if (bytes.length !== GREETING.SIZE) return undefined;
  const v = viewOf(bytes);
  if (getMagic(v, GREETING.magic) !== NBD_MAGIC || getMagic(v, GREETING.optsMagic) !== NBD_OPTS_MAGIC) return undefined;
  return { flags: getU16(v, GREETING.flags) };
}

export function encodeClientFlags(flags: number): Uint8Array {
  const out = new Uint8Array(CLIENT_FLAGS.SIZE);
  setU32(viewOf(out), CLIENT_FLAGS.flags, flags);
  return out;
}
export function decodeClientFlags(bytes: Uint8Array): number | undefined {
  return bytes.length === CLIENT_FLAGS.SIZE ? getU32(viewOf(bytes), CLIENT_FLAGS.flags) : undefined;
}

export function encodeOption(option: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const out = new Uint8Array(OPTION.SIZE + data.length);
  const v = viewOf(out);
  setMagic(v, OPTION.magic, NBD_OPTS_MAGIC);
  setU32(v, OPTION.option, option);
  setU32(v, OPTION.length, data.length);
  out.set(data, OPTION.SIZE);
  return out;
}
export function decodeOptionHeader(bytes: Uint8Array): { option: number; length: number } | undefined {
  if (bytes.length !== OPTION.SIZE) return undefined;
  const v = viewOf(bytes);
  if (getMagic(v, OPTION.magic) !== NBD_OPTS_MAGIC) return undefined;
  return { option: getU32(v, OPTION.option), length: getU32(v, OPTION.length) };
}

export function encodeOptionReply(option: number, reply: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const out = new Uint8Array(OPTION_REPLY.SIZE + data.length);
  const v = viewOf(out);
  setMagic(v, OPTION_REPLY.magic, NBD_REP_MAGIC);
  setU32(v, OPTION_REPLY.option, option);
  setU32(v, OPTION_REPLY.reply, reply);
  setU32(v, OPTION_REPLY.length, data.length);
  out.set(data, OPTION_REPLY.SIZE);
  return out;
}
export function decodeOptionReplyHeader(bytes: Uint8Array): { option: number; reply: number; length: number } | undefined {
  if (bytes.length !== OPTION_REPLY.SIZE) return undefined;
  const v = viewOf(bytes);
  if (getMagic(v, OPTION_REPLY.magic) !== NBD_REP_MAGIC) return undefined;
  return { option: getU32(v, OPTION_REPLY.option), reply: getU32(v, OPTION_REPLY.reply), length: getU32(v, OPTION_REPLY.length) };
}

/** `zeroes`: unless both sides said NO_ZEROES. */
export function encodeExportNameReply(sizeBytes: number, flags: number, zeroes: boolean): Uint8Array {
  const out = new Uint8Array(EXPORT_NAME_REPLY.SIZE + (zeroes ? EXPORT_NAME_ZEROES_BYTES : 0));
  const v = viewOf(out);
  setU64(v, EXPORT_NAME_REPLY.size, sizeBytes);
  setU16(v, EXPORT_NAME_REPLY.flags, flags);
  return out;
}
export function decodeExportNameReply(bytes: Uint8Array): { sizeBytes: number; flags: number } | undefined {
  if (bytes.length < EXPORT_NAME_REPLY.SIZE) return undefined;
  const v = viewOf(bytes);
  return { sizeBytes: getU64(v, EXPORT_NAME_REPLY.size), flags: getU16(v, EXPORT_NAME_REPLY.flags) };
}

// ---------------------------------------------------------------------------------------------- strings with length

function putString(out: Uint8Array, at: number, text: Uint8Array): number {
  setU32(viewOf(out), at, text.length);
  out.set(text, at + 4);
  return at + 4 + text.length;
}
function takeString(bytes: Uint8Array, at: number): { text: string; end: number } | undefined {
  if (at + 4 > bytes.length) return undefined;
  const end = at + 4 + getU32(viewOf(bytes), at);
  if (end > bytes.length) return undefined;
  const text = decodeText(bytes.subarray(at + 4, end));
  return text === undefined ? undefined : { text, end };
}

/** Data of NBD_REP_SERVER: an export's name, then details for people. */
export function encodeRepServer(name: string, description: string): Uint8Array {
  const n = encodeText(name);
  const d = encodeText(description);
  const out = new Uint8Array(4 + n.length + d.length);
  out.set(d, putString(out, 0, n));
  return out;
}
export function decodeRepServer(data: Uint8Array): { name: string; description: string } | undefined {
  const name = takeString(data, 0);
  if (name === undefined) return undefined;
  const description = decodeText(data.subarray(name.end));
  return description === undefined ? undefined : { name: name.text, description };
}

/** Data of NBD_OPT_INFO and NBD_OPT_GO: an export's name, and which NBD_INFO_* are asked for. */
export function encodeInfoRequest(name: string, infos: readonly number[]): Uint8Array {
  const n = encodeText(name);
  const out = new Uint8Array(4 + n.length + 2 + infos.length * 2);
  const v = viewOf(out);
  let at = putString(out, 0, n);
  setU16(v, at, infos.length);
  for (const i of infos) {
    at += 2;
    setU16(v, at, i);
  }
  return out;
}
export function decodeInfoRequest(data: Uint8Array): { name: string; infos: number[] } | undefined {
  const name = takeString(data, 0);
  if (name === undefined || name.end + 2 > data.length) return undefined;
  const v = viewOf(data);
  const count = getU16(v, name.end);
  if (name.end + 2 + count * 2 !== data.length) return undefined;
  const infos: number[] = [];
  for (let i = 0; i < count; i += 1) infos.push(getU16(v, name.end + 2 + i * 2));
  return { name: name.text, infos };
}

// ------------------------------------------------------------------------------------------------ data of NBD_REP_INFO

export type Info =
  | { kind: 'export'; sizeBytes: number; flags: number }
  | { kind: 'block-size'; minimumBytes: number; preferredBytes: number; maximumBytes: number }
  /** NBD_INFO_NAME and NBD_INFO_DESCRIPTION, and whatever comes after this writing. */
  | { kind: 'text'; type: number; bytes: Uint8Array };

export function encodeInfoExport(sizeBytes: number, flags: number): Uint8Array {
  const out = new Uint8Array(INFO_EXPORT.SIZE);
  const v = viewOf(out);
  setU16(v, INFO_EXPORT.type, NBD_INFO_EXPORT);
  setU64(v, INFO_EXPORT.size, sizeBytes);
  setU16(v, INFO_EXPORT.flags, flags);
  return out;
}
export function encodeInfoBlockSize(minimumBytes: number, preferredBytes: number, maximumBytes: number): Uint8Array {
  const out = new Uint8Array(INFO_BLOCK_SIZE.SIZE);
  const v = viewOf(out);
  setU16(v, INFO_BLOCK_SIZE.type, NBD_INFO_BLOCK_SIZE);
  setU32(v, INFO_BLOCK_SIZE.minimum, minimumBytes);
  setU32(v, INFO_BLOCK_SIZE.preferred, preferredBytes);
  setU32(v, INFO_BLOCK_SIZE.maximum, maximumBytes);
  return out;
}
export function encodeInfoText(type: number, text: string): Uint8Array {
  const t = encodeText(text);
  const out = new Uint8Array(2 + t.length);
  setU16(viewOf(out), 0, type);
  out.set(t, 2);
  return out;
}
export function decodeInfo(data: Uint8Array): Info | undefined {
  if (data.length < 2) return undefined;
  const v = viewOf(data);
  const type = getU16(v, 0);
  if (type === NBD_INFO_EXPORT) {
    if (data.length !== INFO_EXPORT.SIZE) return undefined;
    return { kind: 'export', sizeBytes: getU64(v, INFO_EXPORT.size), flags: getU16(v, INFO_EXPORT.flags) };
  }
  if (type === NBD_INFO_BLOCK_SIZE) {
    if (data.length !== INFO_BLOCK_SIZE.SIZE) return undefined;
    return {
      kind: 'block-size',
      minimumBytes: getU32(v, INFO_BLOCK_SIZE.minimum),
      preferredBytes: getU32(v, INFO_BLOCK_SIZE.preferred),
      maximumBytes: getU32(v, INFO_BLOCK_SIZE.maximum),
    };
  }
  return { kind: 'text', type, bytes: data.slice(2) };
}

// ------------------------------------------------------------------------------------------------------ meta contexts

/** Data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT: an export's name, then queries. */
export function encodeMetaContextRequest(name: string, queries: readonly string[]): Uint8Array {
  const n = encodeText(name);
  const qs = queries.map((q) => encodeText(q));
  const out = new Uint8Array(4 + n.length + 4 + qs.reduce((sum, q) => sum + 4 + q.length, 0));
  let at = putString(out, 0, n);
  setU32(viewOf(out), at, qs.length);
  at += 4;
  for (const q of qs) at = putString(out, at, q);
  return out;
}
export function decodeMetaContextRequest(data: Uint8Array): { name: string; queries: string[] } | undefined {
  const name = takeString(data, 0);
  if (name === undefined || name.end + 4 > data.length) return undefined;
  const count = getU32(viewOf(data), name.end);
  let at = name.end + 4;
  const queries: string[] = [];
  for (let i = 0; i < count; i += 1) {
    const q = takeString(data, at);
    if (q === undefined) return undefined;
    queries.push(q.text);
    at = q.end;
  }
  return at === data.length ? { name: name.text, queries } : undefined;
}

/** Data of NBD_REP_META_CONTEXT. */
export function encodeRepMetaContext(id: number, context: string): Uint8Array {
  const c = encodeText(context);
  const out = new Uint8Array(4 + c.length);
  setU32(viewOf(out), 0, id);
  out.set(c, 4);
  return out;
}
export function decodeRepMetaContext(data: Uint8Array): { id: number; context: string } | undefined {
  if (data.length < 4) return undefined;
  const context = decodeText(data.subarray(4));
  return context === undefined ? undefined : { id: getU32(viewOf(data), 0), context };
}
