/** What each action of the control interface accepts: checked once, where a request arrives; below that, types say it. */
import { z } from 'zod';
import { DEVICE_MAX_BYTES, REGION_MAX_BYTES, REGION_MIN_BYTES } from '../bitmap/regions.ts';
import { CONFIRM_TIMEOUT_MAX_SEC, NODES_MAX, PATH_MAX_CHARACTERS } from '../failover/limits.ts';
import { isSectorSize } from '../failover/sectors.ts';
import { StateError, validateCheckpointName, validateNodeName, validateSnapshotName, validateTag } from '../failover/paths.ts';
import { type ActionName, type Actions, ControlError } from './types.ts';
import { formatSize } from './units.ts';

const URI_MAX_CHARACTERS = 2048;
const WHAT_IF_MAX_CHARACTERS = 200;
/** A rule, a node's name, and an epoch with its owner. */
const OVERRULES_MAX_CHARACTERS = 1024;
export const PRIORITY_MAX = 999;
export const FAILURE_TIMEOUT_MIN_MS = 100;
export const FAILURE_TIMEOUT_MAX_MS = 3_600_000;
/** A week: longer waits are said with -1, without end. */
export const WAIT_FOR_PREVIOUS_SOURCE_MAX_SEC = 604_800;

/** A string that `check` takes, which throws StateError for any other. */
function checked(check: (text: string) => string): z.ZodType<string> {
  return z.string().superRefine((text, ctx) => {
    try {
      check(text);
    } catch (e: unknown) {
      if (!(e instanceof StateError)) throw e;
      ctx.addIssue({ code: 'custom', message: e.message });
    }
  });
}

const tag = checked((t) => validateTag(t));
const node = checked((n) => validateNodeName(n));
const name = checked((n) => validateSnapshotName(n));
const nodes = z.array(node).max(NODES_MAX);
const leg = z
  .string()
  .max(PATH_MAX_CHARACTERS)
  .refine((p) => p.startsWith('/') && !p.includes('\0'), 'not an absolute path');
const foreignUri = z.string().max(URI_MAX_CHARACTERS).startsWith('nbd', 'not an NBD URI such as nbd://HOST:PORT/EXPORT');
const sizeBytes = z
  .number()
  .int()
  .min(1, 'allowed: at least 1 byte')
  .max(DEVICE_MAX_BYTES, `allowed: at most ${formatSize(DEVICE_MAX_BYTES)}`);
const regionBytes = z
  .number()
  .int()
  .min(REGION_MIN_BYTES)
  .max(REGION_MAX_BYTES)
  .refine((n) => Number.isInteger(Math.log2(n)), 'not a power of two');
const priority = z.number().int().min(0).max(PRIORITY_MAX);
const mode = z.enum(['sync', 'async']);
const failover = z.enum(['auto', 'off', 'confirm']);
const confirm = {
  confirmTimeoutSec: z.exactOptional(z.number().int().min(1).max(CONFIRM_TIMEOUT_MAX_SEC)),
  confirmDefault: z.exactOptional(z.enum(['go', 'stay'])),
};
const confirmed = z.exactOptional(z.array(z.enum(['force', 'no-majority'])));
const overrules = z.exactOptional(z.array(z.string().max(OVERRULES_MAX_CHARACTERS)).max(NODES_MAX));
const none = z.strictObject({});
const onlyTag = z.strictObject({ tag });
const tagAndNodes = z.strictObject({ tag, nodes });
const checkpoint = checked((n) => validateCheckpointName(n));
const tagAndName = z.strictObject({ tag, name: checkpoint });
const tagAndNode = z.strictObject({ tag, node });

/** The compiler holds each schema to the parameters in `Actions`. */
export const actionSchemas: { [A in ActionName]: z.ZodType<Actions[A]['params']> } = {
  info: none,
  list: none,
  status: onlyTag,
  create: z.strictObject({
    tag,
    leg,
    sizeBytes: sizeBytes.nullable(),
    regionBytes: regionBytes.nullable(),
    sectorBytes: z.exactOptional(z.number().refine(isSectorSize, 'allowed: a power of two from 512 to 4096')),
    priority,
    failureTimeoutMs: z.number().int().min(FAILURE_TIMEOUT_MIN_MS).max(FAILURE_TIMEOUT_MAX_MS).nullable(),
    failover: failover.nullable(),
    ...confirm,
    arbiter: z.enum(['none', 'majority']).nullable(),
    waitForPreviousSourceSec: z.number().int().min(-1).max(WAIT_FOR_PREVIOUS_SOURCE_MAX_SEC).nullable(),
    takeoverAfterCleanStop: z.exactOptional(z.boolean()),
    zeroed: z.boolean(),
  }),
  extend: z
    .strictObject({ tag, node, leg: leg.nullable(), foreignUri: foreignUri.nullable(), mode, priority, zeroed: z.boolean() })
    .refine((p) => (p.leg === null) !== (p.foreignUri === null), 'either leg or foreignUri, and not both'),
  unextend: tagAndNode,
  replace: z.strictObject({ tag, node, leg }),
  delete: onlyTag,
  set: z.strictObject({ tag, failover: z.exactOptional(failover), ...confirm }),
  confirm: z.strictObject({ tag, go: z.boolean() }),
  'in-service': z.strictObject({ tag, withoutLastOwner: z.exactOptional(z.boolean()), confirmed }),
  'out-of-service': onlyTag,
  pause: tagAndNodes,
  resume: tagAndNodes,
  fullresync: z.strictObject({ tag, source: node.nullable(), nodes, overrules }),
  verify: onlyTag,
  'verify-result': onlyTag,
  'snapshot-create': z.strictObject({ tag, name, spaceBytes: sizeBytes.nullable(), checkpoint: z.exactOptional(checkpoint) }),
  'snapshot-list': onlyTag,
  'snapshot-delete': z.strictObject({ tag, name }),
  resize: z.strictObject({ tag, sizeBytes, force: z.boolean() }),
  'checkpoint-create': tagAndName,
  'checkpoint-delete': tagAndName,
  switchover: tagAndNode,
  resolve: z.strictObject({ tag, victim: node, kept: z.exactOptional(node) }),
  force: z.strictObject({ tag, withoutLastOwner: z.boolean(), confirmed }),
  preview: z.strictObject({
    tag,
    action: z.enum(['force', 'fullresync', 'in-service', 'delete', 'unextend', 'replace', 'resize', 'extend', 'switchover', 'resolve']),
    nodes,
    source: node.nullable(),
    resize: z.exactOptional(z.strictObject({ sizeBytes, force: z.boolean() })),
  }),
  'clear-bitmap': tagAndNode,
  explain: z.strictObject({ tag, whatIf: z.string().min(1).max(WHAT_IF_MAX_CHARACTERS).nullable() }),
};

export const actionNames: readonly string[] = Object.keys(actionSchemas);

export function isActionName(name: string): name is ActionName {
  return Object.hasOwn(actionSchemas, name);
}

/** Throws ControlError `bad-request` that names the action, the first field at fault, and what is wrong with it. */
export function parseParams<A extends ActionName>(action: A, params: unknown): Actions[A]['params'] {
  const parsed = actionSchemas[action].safeParse(params);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = issue === undefined || issue.path.length === 0 ? 'parameters' : issue.path.map(String).join('.');
  throw new ControlError('bad-request', `${action}: ${field}: ${issue?.message ?? 'not as agreed'}`);
}
