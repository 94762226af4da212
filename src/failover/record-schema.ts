/**
 * The state record as it may come from a disk: every key known, every string and count bounded. And the view that another
 * node sends, where keys that a newer one added are ignored.
 */
import { z } from 'zod';
import {
  BOOT_ID_MAX_CHARACTERS,
  CHECKPOINTS_MAX,
  CONFIRM_DEFAULT,
  CONFIRM_TIMEOUT_SEC,
  HISTORY_MAX,
  MERGE_PENDING_MAX,
  NODES_MAX,
  OFFERED_MAX,
  PATH_MAX_CHARACTERS,
  WHY_MAX_CHARACTERS,
  TERMS_MAX,
} from './limits.ts';
import { isName } from './paths.ts';
import { remembered } from './remembered.ts';
import { isSectorSize } from './sectors.ts';
import { CHECKPOINT_RULES, type NodeView, type StateRecord } from './types.ts';

const name = z.string().refine(isName, 'not a name');
const hex64 = z.string().regex(/^[0-9a-f]{16}$/, 'not 16 lower-case hex digits');
const nodeList = z
  .array(name)
  .max(NODES_MAX)
  .refine((l) => new Set(l).size === l.length, 'a node is named twice');
const why = z.string().max(WHY_MAX_CHARACTERS);
const positive = z.number().int().positive();

const epoch = z.strictObject({ number: positive, owner: name, random: hex64 });

const nodeDefinition = z.strictObject({
  priority: z.number().int(),
  leg: z.string().max(PATH_MAX_CHARACTERS),
  mode: z.enum(['sync', 'async']),
  foreignUri: z.exactOptional(z.string().max(PATH_MAX_CHARACTERS)),
});

function byNode<T extends z.ZodType>(value: T): z.ZodRecord<typeof name, T> {
  return z.record(name, value).refine((r) => Object.keys(r).length <= NODES_MAX, `more than ${String(NODES_MAX)} nodes`);
}

const definitionShape = {
  tag: name,
  createId: hex64,
  revision: z.number().int().min(0),
  sizeBytes: positive,
  regionSizeBytes: positive.refine((n) => Number.isInteger(Math.log2(n)), 'not a power of two'),
  sectorSizeBytes: z.exactOptional(z.number().refine(isSectorSize, 'not a sector size')),
  nodes: byNode(nodeDefinition),
  failureTimeoutMs: positive,
  failover: z.enum(['auto', 'off', 'confirm']),
  // Records written before there was a choice do not say.
  confirmTimeoutSec: positive.default(CONFIRM_TIMEOUT_SEC),
  confirmDefault: z.enum(['go', 'stay']).default(CONFIRM_DEFAULT),
  arbiter: z.enum(['none', 'majority']),
  waitForPreviousSourceSec: z.number().min(-1),
  takeoverAfterCleanStop: z.boolean(),
};

const recordShape = {
  node: name,
  hadData: z.boolean(),
  legZeroed: z.boolean(),
  generation: hex64,
  offered: z.array(z.strictObject({ generation: hex64, served: z.boolean() })).max(OFFERED_MAX),
  history: z.array(hex64).max(HISTORY_MAX),
  absentPeers: byNode(hex64),
  accountComplete: nodeList,
  accountGivenTo: name.nullable(),
  inSync: nodeList,
  droppedUnconfirmed: nodeList,
  epochSeen: epoch.nullable(),
  epochServed: epoch.nullable(),
  epochInSync: epoch.nullable(),
  sessionIn: z.exactOptional(epoch.nullable()),
  terms: z.array(hex64).max(TERMS_MAX).optional(),
  claim: epoch.nullable(),
  session: z.strictObject({ role: z.enum(['none', 'source', 'target']), clean: z.boolean() }),
  sessionBoot: z.exactOptional(z.string().max(BOOT_ID_MAX_CHARACTERS)),
  legInDoubt: z.exactOptional(z.string().max(BOOT_ID_MAX_CHARACTERS)),
  resyncingFrom: z.strictObject({ node: name, kind: z.enum(['partial', 'full']), generation: hex64 }).nullable(),
  toldOut: z.strictObject({ by: name, epoch, why }).nullable(),
  witnessed: z.exactOptional(z.strictObject({ epoch, generation: hex64 })),
  legBehind: z.strictObject({ since: epoch, newest: name }).nullable(),
  mergePending: z.array(z.strictObject({ from: name, for: nodeList })).max(MERGE_PENDING_MAX),
  // A record of before there were switchovers has none.
  grant: z.strictObject({ epoch, from: name, to: name, synced: nodeList, paused: nodeList }).nullable().default(null),
  stoppedOnPurpose: z.boolean(),
  paused: nodeList,
  keepOut: z.boolean(),
  seeded: z.exactOptional(nodeList),
  fullOrdered: z.exactOptional(nodeList),
  overruled: z.exactOptional(epoch.nullable()),
  orderedOver: z.exactOptional(byNode(epoch.nullable())),
  checkpoints: z.exactOptional(
    z
      .array(z.strictObject({ name, madeAt: z.number().int(), epoch, void: z.strictObject({ rule: z.enum(CHECKPOINT_RULES), why }).nullable() }))
      .max(CHECKPOINTS_MAX)
      .refine((l) => new Set(l.map((c) => c.name)).size === l.length, 'a checkpoint is named twice'),
  ),
  dataCorruptSet: z.exactOptional(z.boolean()),
};

export const recordSchema: z.ZodType<StateRecord> = z.strictObject({ definition: z.strictObject(definitionShape), ...recordShape });

const amount = z.number().min(0);

export const viewSchema: z.ZodType<NodeView> = z.object({
  node: name,
  record: remembered<StateRecord>(z.object({ definition: z.object(definitionShape), ...recordShape })),
  flags: z.object({ lastOwner: z.boolean(), source: name.nullable(), dataCorrupt: z.boolean() }),
  state: z.enum(['Source', 'Target', 'Resyncing', 'Paused', 'Out of Sync', 'Inconsistent', 'Waiting', 'Data Corrupt', 'Split Brain']),
  inService: z.boolean(),
  bitmapDamaged: z.boolean(),
  // Whoever does not say is not trusted.
  legDoubtful: z.boolean().default(true),
  intentBytes: amount,
  outOfSyncBytes: byNode(amount),
  daemonStart: z.string().max(WHY_MAX_CHARACTERS),
  saidAtMs: z.exactOptional(amount),
  contactWithSource: z.boolean(),
  silentForMs: byNode(amount),
});
