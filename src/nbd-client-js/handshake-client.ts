/**
 * The client's handshakes: take an export (GO), look at one (INFO), list them (LIST).
 *
 *   [STARTTLS ->]
 *   EXTENDED_HEADERS -> SET_META_CONTEXT base:allocation -> GO with block sizes
 *        | no        ^           | no                        | server does not know GO, and has no extended headers
 *        v           |           v                           v
 *   STRUCTURED_REPLY-+    no block status              EXPORT_NAME (no error text, no block sizes)
 *        | no
 *        v
 *   simple replies
 *
 * A server of the newstyle that is not fixed is asked for EXPORT_NAME alone.
 *
 * Source: NetworkBlockDevice/nbd, doc/proto.md, "Option haggling". All functions reject with HandshakeError only, and leave
 * closing the socket on an error to the caller.
 */
import type { PullSocket } from '../io/pull-socket.ts';
import { Errno } from '../io/types.ts';
import {
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_MAX_STRING_BYTES,
  NBD_META_CONTEXT_BASE_ALLOCATION,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
} from '../nbd/wire/constants.ts';
import {
  decodeExportNameReply,
  decodeInfo,
  decodeRepMetaContext,
  decodeRepServer,
  encodeInfoRequest,
  encodeMetaContextRequest,
} from '../nbd/wire/handshake.ts';
import { encodeText, EXPORT_NAME_REPLY, EXPORT_NAME_ZEROES_BYTES } from '../nbd/wire/layout.ts';
import { optionName, optionReplyName } from '../nbd/wire/names.ts';
import { cleanText, HandshakeError } from './errors.ts';
import { decodeExport, type ExportFacts, type ExportInfo } from './export-info.ts';
import { type HagglerOptions, OptionHaggler, type OptionReply, type Secure } from './option-haggler.ts';

/** NBD_REP_INFO replies a server may send for one export. */
const INFOS_MAX = 64;
/** Contexts a server may offer although one was asked for. */
const CONTEXTS_MAX = 16;
/** Exports listed; a server with more is refused, not cut short. */
const EXPORTS_MAX = 16 * 1024;

const NOTHING = new Uint8Array(0);

export interface ExportListing {
  name: string;
  /** Cleaned; may be empty. */
  description: string;
}

export interface TakeOptions extends HagglerOptions {
  /** TLS is to be spoken, before anything else; a server that will not is not taken. */
  secure?: Secure;
  /** The socket is this one from now on. */
  onSecured?: (pull: PullSocket) => void;
}

/** Greets, haggles and enters transmission: afterwards the socket belongs to an engine. `extendedHeaders`: asked for. */
export async function takeExport(pull: PullSocket, exportName: string, o: TakeOptions, extendedHeaders = true): Promise<ExportInfo> {
  const haggler = new OptionHaggler(pull, o);
  checkName(haggler, exportName);
  await haggler.greet();
  if (o.secure !== undefined) {
    const secured = await haggler.secure(o.secure);
    o.onSecured?.(secured);
  }
  const headers = haggler.fixed ? await askForHeaders(haggler, extendedHeaders) : SIMPLE_REPLIES;
  const contexts = headers.structured ? await askForBaseAllocation(haggler, exportName) : NO_CONTEXTS;
  const found = haggler.fixed ? await askForInfo(haggler, NBD_OPT_GO, exportName) : undefined;
  if (found === undefined && headers.extended) {
    throw haggler.broken(`${optionName(NBD_OPT_GO)} is not known to it, and extended headers, which demand it, were agreed on`);
  }
  const facts = found ?? (await askByExportName(haggler, exportName));
  return decoded(haggler, exportName, { ...facts, ...headers, ...contexts });
}

/** Looks at an export without taking it, and closes the connection. Block status is not asked for. */
export async function inspectExport(pull: PullSocket, exportName: string, o: HagglerOptions): Promise<ExportInfo> {
  const haggler = new OptionHaggler(pull, o);
  checkName(haggler, exportName);
  await haggler.greet();
  haggler.requireFixed();
  const headers = await askForHeaders(haggler, true);
  const facts = await askForInfo(haggler, NBD_OPT_INFO, exportName);
  if (facts === undefined) throw haggler.refusal({ reply: NBD_REP_ERR_UNSUP, text: '' }, optionName(NBD_OPT_INFO));
  haggler.abort();
  return decoded(haggler, exportName, { ...facts, ...headers, ...NO_CONTEXTS });
}

/** All exports the server tells of (it need not tell of all), in its own order; closes the connection. */
export async function listExports(pull: PullSocket, o: HagglerOptions): Promise<ExportListing[]> {
  const haggler = new OptionHaggler(pull, o);
  await haggler.greet();
  haggler.requireFixed();
  const answer = await haggler.ask(NBD_OPT_LIST, NOTHING, EXPORTS_MAX);
  if (!answer.ok) throw haggler.refusal(answer, 'to list its exports');
  const listings = answer.replies.map((r) => {
    const listing = r.reply === NBD_REP_SERVER ? decodeRepServer(r.data) : undefined;
    if (listing === undefined) throw malformed(haggler, NBD_OPT_LIST, r);
    return { name: listing.name, description: cleanText(encodeText(listing.description)) };
  });
  haggler.abort();
  return listings;
}

/** Of the replies that come in chunks, the best that this server has. */
const SIMPLE_REPLIES = { structured: false, extended: false };

async function askForHeaders(haggler: OptionHaggler, extendedHeaders: boolean): Promise<Pick<ExportFacts, 'structured' | 'extended'>> {
  if (extendedHeaders && (await haggler.ask(NBD_OPT_EXTENDED_HEADERS, NOTHING, 0)).ok) return { structured: true, extended: true };
  return { structured: (await haggler.ask(NBD_OPT_STRUCTURED_REPLY, NOTHING, 0)).ok, extended: false };
}

type Contexts = Pick<ExportFacts, 'baseAllocationContextId' | 'hasOtherContexts'>;
const NO_CONTEXTS: Contexts = { baseAllocationContextId: undefined, hasOtherContexts: false };

async function askForBaseAllocation(haggler: OptionHaggler, exportName: string): Promise<Contexts> {
  const data = encodeMetaContextRequest(exportName, [NBD_META_CONTEXT_BASE_ALLOCATION]);
  const answer = await haggler.ask(NBD_OPT_SET_META_CONTEXT, data, CONTEXTS_MAX);
  // A refusal here may mean that the export does not exist: GO will say so, and better.
  if (!answer.ok) return NO_CONTEXTS;
  let id: number | undefined;
  for (const r of answer.replies) {
    const context = r.reply === NBD_REP_META_CONTEXT ? decodeRepMetaContext(r.data) : undefined;
    if (context === undefined) throw malformed(haggler, NBD_OPT_SET_META_CONTEXT, r);
    if (context.context === NBD_META_CONTEXT_BASE_ALLOCATION) id = context.id;
  }
  return { baseAllocationContextId: id, hasOtherContexts: id !== undefined && answer.replies.length > 1 };
}

type HaggledFacts = Pick<ExportFacts, 'sizeBytes' | 'flags' | 'blockSizes' | 'description'>;

/** Undefined: the server does not know the option. */
async function askForInfo(haggler: OptionHaggler, option: number, exportName: string): Promise<HaggledFacts | undefined> {
  const data = encodeInfoRequest(exportName, [NBD_INFO_BLOCK_SIZE, NBD_INFO_DESCRIPTION]);
  const answer = await haggler.ask(option, data, INFOS_MAX);
  if (!answer.ok) {
    if (answer.reply === NBD_REP_ERR_UNSUP) return undefined;
    throw haggler.refusal(answer, `export ${JSON.stringify(exportName)}`);
  }
  let size: { sizeBytes: number; flags: number } | undefined;
  let blockSizes: ExportFacts['blockSizes'];
  let description = '';
  for (const r of answer.replies) {
    const info = r.reply === NBD_REP_INFO ? decodeInfo(r.data) : undefined;
    if (info === undefined) throw malformed(haggler, option, r);
    if (info.kind === 'export') size = info;
    else if (info.kind === 'block-size') blockSizes = info;
    else if (info.type === NBD_INFO_DESCRIPTION) description = cleanText(info.bytes);
  }
  if (size === undefined) throw haggler.broken(`${optionName(option)} was granted without the export's size`);
  return { sizeBytes: size.sizeBytes, flags: size.flags, blockSizes, description };
}

async function askByExportName(haggler: OptionHaggler, exportName: string): Promise<HaggledFacts> {
  haggler.send(NBD_OPT_EXPORT_NAME, encodeText(exportName));
  const bytes = EXPORT_NAME_REPLY.SIZE + (haggler.noZeroes ? 0 : EXPORT_NAME_ZEROES_BYTES);
  let reply: Uint8Array;
  try {
    reply = await haggler.read(bytes, `answer to ${optionName(NBD_OPT_EXPORT_NAME)}`);
  } catch (e: unknown) {
    if (!(e instanceof HandshakeError) || e.failure !== 'closed') throw e;
    // Closing the connection is the only way in which this option can be refused.
    throw haggler.fail('unknown-export', Errno.ENOENT, `it closed the connection when asked for export ${JSON.stringify(exportName)}`);
  }
  const size = decodeExportNameReply(reply);
  if (size === undefined) throw haggler.broken(`malformed answer to ${optionName(NBD_OPT_EXPORT_NAME)}`);
  return { ...size, blockSizes: undefined, description: '' };
}

function decoded(haggler: OptionHaggler, exportName: string, facts: ExportFacts): ExportInfo {
  const info = decodeExport(facts);
  if (typeof info === 'string') throw haggler.broken(`export ${JSON.stringify(exportName)}: ${info}`);
  return info;
}

function malformed(haggler: OptionHaggler, option: number, r: OptionReply): HandshakeError {
  return haggler.broken(`malformed ${optionReplyName(r.reply)} of ${String(r.data.length)} bytes in answer to ${optionName(option)}`);
}

function checkName(haggler: OptionHaggler, exportName: string): void {
  if (exportName.includes('\0') || encodeText(exportName).length > NBD_MAX_STRING_BYTES) {
    throw haggler.fail('refused', Errno.EINVAL, `an export name has no NUL and at most ${String(NBD_MAX_STRING_BYTES)} bytes`);
  }
}
