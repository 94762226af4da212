/**
 * What nodes say to each other, and the schemas that judge it at the door.
 *
 *   dialing node                                    listening node
 *     hello {protocol, cluster, node, to, purpose}  ->
 *                                                   <-  {ok: true, protocol, …} or {ok: false, code, error}
 *   then, purpose 'link':                                purpose 'nbd':
 *     request, ping  ->                                  plain NBD, the listening node speaks first
 *                    <-  response, pong
 *
 * The hello and its answer keep their shape in every version; all else may change with the version that they agree on.
 * Keys that a receiver does not know are ignored, so that a newer node can say more to an older one.
 */
import { z } from 'zod';
import { ClusterCode } from './errors.ts';

export interface ProtocolRange {
  min: number;
  max: number;
}

/** Versions this code speaks. An upgrade goes node by node, so the next version keeps `min` one step behind `max`. */
export const PROTOCOL: ProtocolRange = { min: 1, max: 1 };

/** The highest version both speak; undefined when there is none. */
export function negotiate(a: ProtocolRange, b: ProtocolRange): number | undefined {
  const highest = Math.min(a.max, b.max);
  return highest >= Math.max(a.min, b.min) ? highest : undefined;
}

/** Bytes of a hello or its answer, at most. */
export const HELLO_MAX_BYTES = 64 * 1024;

/** Of an error's code and text. */
export const CODE_MAX_CHARS = 255;
export const ERROR_MAX_CHARS = 4096;

const name = z.string().min(1).max(255);
const code = z.string().min(1).max(CODE_MAX_CHARS);
const version = z.number().int().min(1).max(65535);
const id = z.number().int().min(1).max(Number.MAX_SAFE_INTEGER);

export const helloSchema = z.object({
  type: z.literal('hello'),
  protocol: z.object({ min: version, max: version }).refine((r) => r.min <= r.max, 'min is above max'),
  cluster: name,
  /** Who speaks, and one value for each start of its daemon. */
  node: name,
  daemonStart: name,
  /** Whom the speaker believes to reach at this address. */
  to: name,
  purpose: z.enum(['link', 'nbd']),
  /** Purpose nbd: for whoever admits the connection. */
  params: z.unknown().optional(),
});
export type Hello = z.infer<typeof helloSchema>;

export const helloAnswerSchema = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true), protocol: version, node: name, daemonStart: name }),
  z.object({ ok: z.literal(false), code, error: z.string().max(ERROR_MAX_CHARS) }),
]);
export type HelloAnswer = z.infer<typeof helloAnswerSchema>;

export const messageSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('request'), id, method: name, params: z.unknown().optional() }),
  z.object({
    type: z.literal('response'),
    id,
    result: z.unknown().optional(),
    error: z.object({ code, message: z.string().max(ERROR_MAX_CHARS) }).optional(),
  }),
  /** `everyMs`: the next one comes within this time; one that does not say so keeps to the receiver's own setting. */
  z.object({ type: z.literal('ping'), id, everyMs: z.number().positive().optional(), facts: z.unknown().optional() }),
  z.object({ type: z.literal('pong'), id, facts: z.unknown().optional() }),
]);
export type Message = z.infer<typeof messageSchema>;

/** The first thing a schema found wrong, with its place: for logs and for error answers. */
export function firstFault(e: z.ZodError): string {
  const issue = e.issues[0];
  if (issue === undefined) return 'not as agreed';
  const place = issue.path.map(String).join('.');
  return place === '' ? issue.message : `${place}: ${issue.message}`;
}

export interface Listening {
  self: string;
  cluster: string;
  protocol: ProtocolRange;
  knows(node: string): boolean;
}

export type HelloVerdict = { ok: true; protocol: number } | { ok: false; code: string; error: string };

/** Whether a well-formed hello may go on; the first thing wrong decides. Pure. */
export function judgeHello(h: Hello, here: Listening): HelloVerdict {
  const no = (code: string, error: string): HelloVerdict => ({ ok: false, code, error });
  if (h.cluster !== here.cluster) {
    return no(ClusterCode.WRONG_CLUSTER, `node ${h.node} is of cluster ${h.cluster}; ${here.self} is of cluster ${here.cluster}`);
  }
  if (h.node === here.self) return no(ClusterCode.REFUSED, `a node that calls itself ${h.node} called ${here.self}: a node has no link to itself`);
  if (h.to !== here.self) return no(ClusterCode.WRONG_NODE, `${h.node} meant to reach ${h.to}, but this is ${here.self}`);
  if (!here.knows(h.node)) return no(ClusterCode.UNKNOWN_NODE, `${here.self} has no peer named ${h.node}`);
  const protocol = negotiate(here.protocol, h.protocol);
  if (protocol === undefined) {
    return no(
      ClusterCode.VERSION,
      `${h.node} speaks protocol ${rangeText(h.protocol)}, ${here.self} speaks ${rangeText(here.protocol)}: upgrade the older one`,
    );
  }
  return { ok: true, protocol };
}

export function rangeText(r: ProtocolRange): string {
  return r.min === r.max ? String(r.min) : `${String(r.min)} to ${String(r.max)}`;
}
