/** What heartbeats say, judged at the door. */
import { z } from 'zod';
import { WHY_MAX_CHARACTERS } from './limits.ts';
import { isName } from './paths.ts';
import { viewSchema } from './record-schema.ts';

const name = z.string().refine(isName, 'not a node name');

const outWord = z.object({
  epoch: z.object({ number: z.number().int().min(0), owner: name, random: z.string().regex(/^[0-9a-f]{16}$/) }),
  nth: z.number().int().min(0).default(0),
});

/** Facts of a heartbeat: a view for each mirror, whether the receiver is told that it is out, and which such word the sender heeds. */
export const factsSchema = z.record(
  z.string().max(64),
  z.object({
    view: viewSchema,
    out: outWord.extend({ why: z.string().max(WHY_MAX_CHARACTERS) }).nullable(),
    heeds: outWord.nullable().default(null),
  }),
);
export type HeartbeatFacts = z.infer<typeof factsSchema>;
