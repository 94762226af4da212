/**
 * The three flag files of LifeKeeper's users, durable both ways: set is content, fsync, rename, fsync of the folder; clear
 * is unlink and fsync of the folder. They are real inputs: an operator's `rm` or `touch` counts, so they are read again
 * (`refresh`) before each decision.
 */
import { dirname } from 'node:path';
import { replaceFile } from '../io/atomic-file.ts';
import { Errno, type Files, IoError } from '../io/types.ts';
import { FLAG_MAX_BYTES } from './limits.ts';
import { type MirrorPaths, mirrorPaths, nodePaths, StateError, validateNodeName } from './paths.ts';
import type { Flags, NodeName } from './types.ts';

/** Makes the folders below `root`, each durable in the one above it. Rejects with IoError. */
export async function makeFolders(files: Files, root: string): Promise<void> {
  const { resources, tunables, run } = nodePaths(root);
  for (const folder of [resources, dirname(tunables), run]) {
    await files.mkdir(folder);
    for (let at = dirname(folder); at.startsWith(root) && at !== dirname(at); at = dirname(at)) await files.syncDirectory(at);
  }
}

export class FlagFiles {
  readonly #files: Files;
  readonly #paths: MirrorPaths;
  readonly #folder: string;
  #flags: Flags = { lastOwner: false, source: null, dataCorrupt: false };
  /** One change after the other: a replacement needs its file for itself. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(files: Files, root: string, tag: string) {
    this.#files = files;
    this.#paths = mirrorPaths(root, tag);
    this.#folder = nodePaths(root).resources;
  }

  /** As last read from the disk, or changed by this object since. */
  get flags(): Flags {
    return this.#flags;
  }

  /** Reads all three. Rejects with IoError, and with StateError when TAG_source does not hold the name of a node. */
  refresh(): Promise<Flags> {
    return this.#inTurn(() => this.#readAll());
  }

  setLastOwner(on: boolean): Promise<void> {
    return this.#change(this.#paths.lastOwner, on ? '' : null, { lastOwner: on });
  }

  setDataCorrupt(on: boolean): Promise<void> {
    return this.#change(this.#paths.dataCorrupt, on ? '' : null, { dataCorrupt: on });
  }

  /** null: no file. Rejects with StateError for what is not a node's name. */
  setSource(source: NodeName | null): Promise<void> {
    return this.#change(this.#paths.source, source === null ? null : `${source}\n`, { source });
  }

  /** All three away, when the mirror is deleted. */
  async removeAll(): Promise<void> {
    await this.setLastOwner(false);
    await this.setSource(null);
    await this.setDataCorrupt(false);
  }

  #change(path: string, content: string | null, after: Partial<Flags>): Promise<void> {
    return this.#inTurn(async () => {
      if (typeof after.source === 'string') validateNodeName(after.source, path);
      await this.#changeNow(path, content);
      this.#flags = { ...this.#flags, ...after };
    });
  }

  #inTurn<T>(f: () => Promise<T>): Promise<T> {
    const done = this.#last.then(f);
    // The next one must not be held up by the failure of this one, which its caller hears of.
    this.#last = done.then(
      () => undefined,
      () => undefined,
    );
    return done;
  }

  async #readAll(): Promise<Flags> {
    this.#flags = {
      lastOwner: await this.#isThere(this.#paths.lastOwner),
      source: await this.#readSource(),
      dataCorrupt: await this.#isThere(this.#paths.dataCorrupt),
    };
    return this.#flags;
  }

  async #changeNow(path: string, content: string | null): Promise<void> {
    if (content !== null) {
      await this.#files.mkdir(this.#folder);
      await replaceFile(this.#files, path, new TextEncoder().encode(content));
      return;
    }
    try {
      await this.#files.unlink(path);
    } catch (e: unknown) {
      if (!isErrno(e, Errno.ENOENT)) throw e;
    }
    // Also when it was gone already: an earlier removal may not have become durable.
    try {
      await this.#files.syncDirectory(this.#folder);
    } catch (e: unknown) {
      if (!isErrno(e, Errno.ENOENT)) throw e;
    }
  }

  async #isThere(path: string): Promise<boolean> {
    try {
      const { kind } = await this.#files.stat(path);
      if (kind !== 'file') throw new StateError(`a flag is a ${kind}`, path, 'it must be a regular file or absent');
      return true;
    } catch (e: unknown) {
      if (isErrno(e, Errno.ENOENT)) return false;
      throw e;
    }
  }

  async #readSource(): Promise<NodeName | null> {
    const path = this.#paths.source;
    try {
      const bytes = await this.#files.readFile(path, FLAG_MAX_BYTES);
      return validateNodeName(new TextDecoder().decode(bytes).replace(/\r?\n$/, ''), path);
    } catch (e: unknown) {
      if (isErrno(e, Errno.ENOENT)) return null;
      if (isErrno(e, Errno.EFBIG)) throw new StateError('more than a node name', path, `at most ${String(FLAG_MAX_BYTES)} bytes are read`);
      throw e;
    }
  }
}

function isErrno(e: unknown, errno: number): boolean {
  return e instanceof IoError && e.errno === errno;
}
