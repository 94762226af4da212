/**
 * `state_TAG`: one mirror's durable state on one node (M13).
 *
 *   netraid-state 1 crc32=0badcafe length=1234
 *   { …readable JSON… }
 *
 * The first line is compared byte by byte with the one that the rest calls for, so that no damaged byte passes. A record
 * is replaced whole, and nothing that is not durable is ever in memory. Nothing is silently re-created.
 */
import { crc32 } from 'node:zlib';
import { replaceFile } from '../io/atomic-file.ts';
import { type Chance, Errno, type Files, IoError } from '../io/types.ts';
import { RECORD_MAX_BYTES, WHY_MAX_CHARACTERS } from './limits.ts';
import { recordSchema } from './record-schema.ts';
import type { MirrorDefinition, NodeName, StateRecord } from './types.ts';

export { viewSchema } from './record-schema.ts';

const VERSION = 1;
const MAGIC = 'netraid-state';

export type ReadRecord = { kind: 'ok'; record: StateRecord } | { kind: 'missing' } | { kind: 'damaged'; why: string };

/** Which record is expected: one carried here from another node or mirror is refused. */
export interface Expected {
  node: NodeName;
  tag: string;
}

function headerOf(body: Uint8Array): string {
  return `${MAGIC} ${String(VERSION)} crc32=${crc32(body).toString(16).padStart(8, '0')} length=${String(body.length)}\n`;
}

/** Throws ZodError for a record that could not be read again: a broken invariant of the caller. */
export function encodeRecord(record: StateRecord): Uint8Array {
  const body = new TextEncoder().encode(`${JSON.stringify(recordSchema.parse(record), null, 2)}\n`);
  const header = new TextEncoder().encode(headerOf(body));
  const bytes = new Uint8Array(header.length + body.length);
  bytes.set(header);
  bytes.set(body, header.length);
  if (bytes.length > RECORD_MAX_BYTES) throw new RangeError(`a state record of ${String(bytes.length)} bytes; at most ${String(RECORD_MAX_BYTES)}`);
  return bytes;
}

export function decodeRecord(bytes: Uint8Array, expected?: Expected): Exclude<ReadRecord, { kind: 'missing' }> {
  const damaged = (why: string): { kind: 'damaged'; why: string } => ({ kind: 'damaged', why });
  const end = bytes.indexOf(0x0a);
  if (end < 0 || end > 100) return damaged('it does not begin with the line of a state record');
  const header = new TextDecoder().decode(bytes.subarray(0, end + 1));
  const version = /^netraid-state ([1-9][0-9]{0,8}) /.exec(header)?.[1];
  if (version === undefined) return damaged('it does not begin with the line of a state record');
  if (Number(version) > VERSION)
    return damaged(`it is of version ${version}: a newer NetRAID wrote it, and this one reads version ${String(VERSION)}`);
  const body = bytes.subarray(end + 1);
  if (header !== headerOf(body))
    return damaged(`its ${String(body.length)} bytes are not what its first line says: ${JSON.stringify(header.trimEnd())}`);
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (e: unknown) {
    return damaged(`it is not JSON: ${e instanceof Error ? e.message : String(e)}`);
  }
  const parsed = recordSchema.safeParse(json);
  if (!parsed.success) {
    const first = parsed.error.issues[0];
    return damaged(`${first?.path.map(String).join('.') ?? ''}: ${first?.message ?? 'not a state record'}`);
  }
  const record = parsed.data;
  if (expected !== undefined && record.node !== expected.node)
    return damaged(`it is the record of node ${record.node}, and this is ${expected.node}`);
  if (expected !== undefined && record.definition.tag !== expected.tag) {
    return damaged(`it is the record of mirror ${record.definition.tag}, and this is ${expected.tag}`);
  }
  return { kind: 'ok', record };
}

/** Rejects with IoError when the disk does not answer. */
export async function readRecord(files: Files, path: string, expected?: Expected): Promise<ReadRecord> {
  let bytes: Uint8Array;
  try {
    bytes = await files.readFile(path, RECORD_MAX_BYTES);
  } catch (e: unknown) {
    if (e instanceof IoError && e.errno === Errno.ENOENT) return { kind: 'missing' };
    if (e instanceof IoError && e.errno === Errno.EFBIG) return { kind: 'damaged', why: `it is longer than ${String(RECORD_MAX_BYTES)} bytes` };
    throw e;
  }
  return decodeRecord(bytes, expected);
}

export async function writeRecord(files: Files, path: string, record: StateRecord): Promise<void> {
  await replaceFile(files, path, encodeRecord(record));
}

/** Cuts a reason to what the record keeps of it. */
export function boundedWhy(why: string): string {
  return why.length <= WHY_MAX_CHARACTERS ? why : `${why.slice(0, WHY_MAX_CHARACTERS - 1)}…`;
}

/**
 * Whether the page cache of this boot may hold what a sync that failed, and that nobody has heard of, has given up (M3). `lost`: anywhere,
 * and a sync that succeeds now says nothing of it; `unsynced`: it was a target, and no map says what it was writing.
 */
export function endedInDoubt(r: StateRecord, bootId: string): { doubtful: boolean; earlier: 'none' | 'unsynced' | 'lost' } {
  if (r.legInDoubt === bootId) return { doubtful: true, earlier: 'lost' };
  const doubtful = r.session.role !== 'none' && !r.session.clean && (r.sessionBoot ?? bootId) === bootId;
  return { doubtful, earlier: doubtful && r.session.role === 'target' ? 'unsynced' : 'none' };
}

/** The leg has been written, and synced, all over. */
export function withoutDoubt(r: StateRecord): StateRecord {
  const rest = { ...r };
  delete rest.legInDoubt;
  return rest;
}

/** The record of a mirror that is new on `node`. Only a node that is alone in the definition is in sync with itself. */
export function newRecord(definition: MirrorDefinition, node: NodeName, chance: Chance): StateRecord {
  const others = Object.entries(definition.nodes).filter(([n, d]) => n !== node && d.foreignUri === undefined);
  return {
    definition,
    node,
    hadData: false,
    legZeroed: false,
    generation: chance.hex64(),
    offered: [],
    history: [],
    absentPeers: {},
    accountComplete: [],
    accountGivenTo: null,
    inSync: others.length === 0 ? [node] : [],
    droppedUnconfirmed: [],
    epochSeen: null,
    epochServed: null,
    epochInSync: null,
    sessionIn: null,
    terms: [],
    claim: null,
    session: { role: 'none', clean: true },
    resyncingFrom: null,
    toldOut: null,
    legBehind: null,
    mergePending: [],
    grant: null,
    stoppedOnPurpose: false,
    paused: [],
    keepOut: false,
  };
}

/**
 * The one holder of a record. `record` is always what was last made durable, except that after a failed write the disk
 * may hold either; `failed` says so until a later write succeeds.
 */
export class RecordStore {
  readonly #files: Files;
  readonly #path: string;
  #record: StateRecord;
  #failed: Error | null = null;
  #last: Promise<void> = Promise.resolve();

  constructor(files: Files, path: string, durable: StateRecord) {
    this.#files = files;
    this.#path = path;
    this.#record = durable;
  }

  /** A store whose first record is written now. */
  static async create(files: Files, path: string, record: StateRecord): Promise<RecordStore> {
    await writeRecord(files, path, record);
    return new RecordStore(files, path, record);
  }

  get record(): StateRecord {
    return this.#record;
  }

  get failed(): Error | null {
    return this.#failed;
  }

  /**
   * One after the other; `f` sees what the update before it made. Resolves once durable; rejects, with `record`
   * unchanged, when `f` throws or the disk fails. The same object back means no change, and no write.
   */
  update(f: (r: StateRecord) => StateRecord): Promise<void> {
    const done = this.#last.then(() => this.#updateNow(f));
    // The next update must not be held up by the failure of this one, which its caller hears of.
    this.#last = done.then(undefined, () => undefined);
    return done;
  }

  async #updateNow(f: (r: StateRecord) => StateRecord): Promise<void> {
    const next = f(this.#record);
    if (next === this.#record && this.#failed === null) return;
    const bytes = encodeRecord(next);
    try {
      await replaceFile(this.#files, this.#path, bytes);
    } catch (e: unknown) {
      this.#failed = e instanceof Error ? e : new Error(String(e));
      throw e;
    }
    this.#failed = null;
    this.#record = next;
  }
}
