/**
 * What nodes ask of each other about a mirror: methods and the schemas that judge parameters at the door. Everything
 * that changes a peer's record is answered only when it is durable there.
 */
import { z } from 'zod';
import { CONFIRM_DEFAULT, CONFIRM_TIMEOUT_SEC, TERMS_MAX, WHY_MAX_CHARACTERS } from './limits.ts';
import { isSectorSize } from './sectors.ts';

const name = z.string().min(1).max(64);
const hex = z.string().regex(/^[0-9a-f]{16}$/);
const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

export const epochSchema = z.object({ number: count, owner: name, random: hex });

const nodeDefinition = z.object({
  priority: z.number().int().min(0).max(1_000_000),
  leg: z.string().max(4096),
  mode: z.enum(['sync', 'async']),
  foreignUri: z.exactOptional(z.string().max(4096)),
});

export const definitionSchema = z.object({
  tag: name,
  createId: hex,
  revision: count,
  sizeBytes: count,
  regionSizeBytes: count,
  /** An older node leaves it out, and ignores it. */
  sectorSizeBytes: z.exactOptional(z.number().refine(isSectorSize, 'not a sector size')),
  nodes: z.record(name, nodeDefinition),
  failureTimeoutMs: z.number().int().min(100).max(3_600_000),
  failover: z.enum(['auto', 'off', 'confirm']),
  confirmTimeoutSec: z.number().int().min(1).max(1_000_000_000).default(CONFIRM_TIMEOUT_SEC),
  confirmDefault: z.enum(['go', 'stay']).default(CONFIRM_DEFAULT),
  arbiter: z.enum(['none', 'majority']),
  waitForPreviousSourceSec: z.number().int().min(-1).max(1_000_000_000),
  takeoverAfterCleanStop: z.boolean(),
});

const grantSchema = z.object({ epoch: epochSchema, from: name, to: name, synced: z.array(name).max(16), paused: z.array(name).max(16) });

const resyncKind = z.enum(['none', 'partial', 'full']);

/** Membership and history as the source knows it: what an in-sync target needs to decide by itself later. */
export const membershipSchema = z.object({
  generation: hex,
  offered: hex.nullable(),
  history: z.array(hex).max(256),
  inSync: z.array(name).max(8),
  absentPeers: z.record(name, hex),
  droppedUnconfirmed: z.array(name).max(8),
  hadData: z.boolean(),
  /** Absent in what an older node says. */
  paused: z.array(name).max(8).default([]),
  definition: definitionSchema,
  /** Absent in what an older node says. */
  terms: z.array(hex).max(TERMS_MAX).optional(),
});
export type Membership = z.infer<typeof membershipSchema>;

/** Error codes with which a node refuses a source for its epoch (M9). */
export function endsEpoch(code: string): boolean {
  return code === 'superseded' || code === 'split-brain';
}

export const methods = {
  /** A fresh view of the mirror on that node; null when it does not know the mirror. */
  view: z.object({ tag: name }),
  /** Makes the mirror known on a new target: record and leg. */
  adopt: z.object({ tag: name, definition: z.unknown(), zeroed: z.boolean() }),
  /** Whether a leg there could become one of the mirror; changes nothing. An older node has no such method. */
  'leg.check': z.object({ tag: name, leg: z.string().max(4096), definition: z.unknown() }),
  /** Forgets the mirror; the leg keeps its data. */
  forget: z.object({ tag: name, createId: hex }),
  /** A source's term is claimed: written down before it is answered. */
  claim: z.object({ tag: name, epoch: epochSchema }),
  /** A session for this epoch: what ran before is ended and drained first (M4). */
  'session.open': z.object({
    tag: name,
    epoch: epochSchema,
    session: hex,
    kind: resyncKind,
    generation: hex,
    definition: z.unknown(),
    /** All that is copied will be written, whatever is there already: the target's leg is known to be doubtful (M3). */
    rewrites: z.boolean().default(true),
    /** The source wants checksums on the connections of this session; absent from an older node, which has none. */
    checksums: z.boolean().default(false),
  }),
  /** The target is in sync from now on; of the source's words that it is out, the first `words` are over. */
  'session.join': z.object({
    tag: name,
    epoch: epochSchema,
    session: hex,
    membership: membershipSchema,
    words: z.number().int().min(0).default(0),
  }),
  /** Membership or generation has changed at the source. */
  'session.members': z.object({ tag: name, epoch: epochSchema, session: hex, membership: membershipSchema }),
  /** "You are out": durable before it is confirmed (M2). */
  'session.out': z.object({ tag: name, epoch: epochSchema, why: z.string().max(WHY_MAX_CHARACTERS) }),
  /**
   * To a node that has no part in it: a generation is about to be committed that a member which left in silence does not know of (M2). Not
   * `holds`: all members know it now.
   */
  witness: z.object({ tag: name, createId: hex, epoch: epochSchema, generation: hex, holds: z.boolean() }),
  /** The header of a request of the caller's source came damaged, so that its connection was ended. An older node has no such method. */
  'session.damaged': z.object({ tag: name, epoch: epochSchema }),
  /** The source stops on purpose. */
  'session.stop': z.object({ tag: name, epoch: epochSchema, session: hex }),
  /** The source's own leg is behind this target from now on. */
  'source-leg-behind': z.object({ tag: name, epoch: epochSchema, session: hex }),
  /** A piece of one map: runs from `cursor` on. */
  'marks.get': z.object({ tag: name, map: z.string().max(128), cursor: count }),
  /** The caller hands the mirror over; answered when the node is in service, or durably will not be on this grant. */
  'switchover.take': z.object({ tag: name, grant: grantSchema }),
  /** An operator asked another node: the one in service carries it out, or says what it would do. */
  switchover: z.object({ tag: name, to: name, preview: z.boolean() }),
  resolve: z.object({ tag: name, victim: name, preview: z.boolean() }),
  /** The caller has merged this node's account durably. */
  'marks.given': z.object({ tag: name, to: name, epoch: epochSchema }),
  /** Digest of bytes of the replica, for a resync that leaves equal pieces alone. */
  digest: z.object({
    tag: name,
    session: hex,
    offset: count,
    length: z
      .number()
      .int()
      .min(1)
      .max(64 * 1024 * 1024),
  }),
  /** Grows the leg. */
  grow: z.object({ tag: name, epoch: epochSchema, session: hex, sizeBytes: count, definition: z.unknown() }),
} as const;

export type WitnessParams = z.infer<(typeof methods)['witness']>;

/** Purpose of a connection that becomes NBD. */
export const nbdParamsSchema = z.object({ tag: name, token: hex });

export interface SessionAnswer {
  token: string;
  daemonStart: string;
  /** The session's connections have checksums (src/nbd/wire/checksums.ts): both nodes want them. */
  checksums: boolean;
}

export const sessionAnswerSchema = z.object({ token: hex, daemonStart: z.string().max(64), checksums: z.boolean().default(false) });

export const marksAnswerSchema = z.object({
  /** Base64 of encoded runs. */
  pieces: z.array(z.string().max(400_000)).max(8),
  /** Region to go on from; null: that was all. */
  next: count.nullable(),
});

export const takeAnswerSchema = z.object({ taken: z.boolean(), why: z.string().max(4096) });

/** `lines`: what it would do, for a preview. */
export const operatorAnswerSchema = z.object({
  lines: z.array(z.string().max(4096)).max(64),
  refused: z.string().max(4096).nullable(),
  bytesOverwritten: count,
});

export const claimAnswerSchema = z.object({ accepted: z.boolean(), why: z.string().max(WHY_MAX_CHARACTERS), view: z.unknown() });
