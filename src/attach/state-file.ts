/**
 * What an attachment is made of, in `RUN/TAG.attach.json`, so that any process can undo it. It is written before the
 * first step: a run that is killed half way leaves a record, and each part is named after the tag, so that even without
 * the record it is found.
 */
import { link, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { AttachError, isErrno } from './errors.ts';

const stateSchema = z.object({
  version: z.literal(1),
  tag: z.string(),
  method: z.enum(['nbd', 'fuse']),
  socketPath: z.string(),
  exportName: z.string(),
  /** Of the FUSE method: the folder that nbdfuse is mounted on. */
  mountDir: z.string().nullable(),
  /** Null until it is attached; of the nbd method chosen before. */
  device: z.string().nullable(),
  /** The helper program, nbdfuse or nbd-client; for people: it is found by its mark. */
  pid: z.number().int().nullable(),
  /** `attaching` is what a killed attach leaves. */
  phase: z.enum(['attaching', 'attached']),
  /** The process that attaches, as `identityOf` names it: while it lives, `attaching` is under way and no leftover. */
  attacher: z.string(),
});
export type AttachState = z.infer<typeof stateSchema>;

/** Names below the run folder; `runDir` without symbolic links, as the kernel's tables show paths. */
export interface AttachPaths {
  runDir: string;
  tag: string;
  statePath: string;
  mountDir: string;
  logPath: string;
}

const stateEnding = '.attach.json';
const folderEnding = '.attach';

export function pathsOf(runDir: string, tag: string): AttachPaths {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(tag)) {
    throw new AttachError(
      'invalid',
      `tag '${tag}': letters, digits, dot, dash and underscore are allowed, at most 128, not starting with a dot or dash`,
    );
  }
  const at = (ending: string): string => path.join(runDir, tag + ending);
  return { runDir, tag, statePath: at(stateEnding), mountDir: at(folderEnding), logPath: at('.attach.log') };
}

/** Tags that have a state file or a mount folder in the run folder, sorted. */
export async function knownTags(runDir: string): Promise<string[]> {
  const tags = new Set<string>();
  for (const name of await readdir(runDir)) {
    for (const ending of [stateEnding, folderEnding]) {
      if (name.endsWith(ending)) tags.add(name.slice(0, -ending.length));
    }
  }
  return [...tags].sort();
}

/** `none` when there is no file; `damaged` when it is not what this version writes. */
export async function readState(p: AttachPaths): Promise<AttachState | 'none' | 'damaged'> {
  let text: string;
  try {
    text = await readFile(p.statePath, 'utf8');
  } catch (e: unknown) {
    if (isErrno(e, 'ENOENT')) return 'none';
    throw e;
  }
  try {
    return stateSchema.parse(JSON.parse(text));
  } catch (e: unknown) {
    if (e instanceof SyntaxError || e instanceof z.ZodError) return 'damaged';
    throw e;
  }
}

/** Atomically and durably; with `exclusive` refused when there is one already, so that two attaches of a tag cannot race. */
export async function writeState(p: AttachPaths, state: AttachState, o: { exclusive: boolean }): Promise<void> {
  const temporary = `${p.statePath}.${String(process.pid)}.tmp`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(`${JSON.stringify(state, null, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    if (o.exclusive) await link(temporary, p.statePath);
    else await rename(temporary, p.statePath);
  } catch (e: unknown) {
    if (isErrno(e, 'EEXIST')) throw new AttachError('refused', `${p.tag}: another attach is under way (${p.statePath} exists)`);
    throw e;
  } finally {
    await rm(temporary, { force: true });
  }
  await syncFolder(p.runDir);
}

/** Forgets the attachment; fine when there is nothing to forget. */
export async function removeState(p: AttachPaths): Promise<void> {
  await rm(p.logPath, { force: true });
  await rm(p.statePath, { force: true });
  await syncFolder(p.runDir);
}

async function syncFolder(dir: string): Promise<void> {
  const folder = await open(dir, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
