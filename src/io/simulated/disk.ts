/**
 * The disk of one node: folders and files, what is there now and what a power failure leaves. It outlives every process.
 *
 *   folder   entries  what a lookup finds now
 *            durable  what is on disk for certain
 *   journal  the creations, renames and removals between the two, in order
 *
 * Invariants:
 * - only an fsync of the folder makes an operation in it durable (a rename: of the folder it moves into); an fsync of a
 *   file does not, and an fsync of a folder also brings the creation of that folder and its parents
 * - after a power failure any subset of the journal has happened in which nothing is there without what it was built on;
 *   an operation is there wholly or not at all
 * - every call is immediate; latencies, faults and processes are the caller's business
 */
import { Errno, type FileStat, IoError } from '../types.ts';
import type { Counters } from './counters.ts';
import { FileContent } from './file-content.ts';
import { SECTOR_BYTES } from './sectors.ts';
import type { Stream } from './seed.ts';

export interface FileNode {
  kind: 'file' | 'block';
  /** Of a device: only whole ones are read and written when it is larger than 512, as with direct I/O on such a disk. */
  sectorBytes: number;
  content: FileContent;
  /** The open description that holds the advisory lock. */
  lock: { held(): boolean } | undefined;
}

export interface FolderNode {
  kind: 'directory';
  entries: Map<string, DiskNode>;
  durable: Map<string, DiskNode>;
  parent: FolderNode | undefined;
}

export type DiskNode = FileNode | FolderNode;

interface Change {
  folder: FolderNode;
  name: string;
  node: DiskNode | undefined;
}

interface JournalEntry {
  number: number;
  what: 'create' | 'rename' | 'unlink';
  changes: Change[];
  /** The folder whose fsync makes it durable. */
  folder: FolderNode;
}

/** Unsynced pages of a file beyond which the kernel writes back by itself (64 MiB). */
const WRITEBACK_PAGES = 16384;
/** Folder operations that nobody synced beyond which the file system commits the older half by itself. */
const JOURNAL_MAX = 512;

function folderNode(parent: FolderNode | undefined): FolderNode {
  return { kind: 'directory', entries: new Map(), durable: new Map(), parent };
}

export class Disk {
  readonly #counters: Counters;
  readonly #root = folderNode(undefined);
  #journal: JournalEntry[] = [];
  #number = 0;

  constructor(counters: Counters) {
    this.#counters = counters;
  }

  get journalNumber(): number {
    return this.#number;
  }

  open(path: string, o: { create: boolean; exclusive: boolean; mayAllocate: boolean }): FileNode {
    const { folder, name } = this.#place(path);
    const found = folder.entries.get(name);
    if (found !== undefined) {
      if (found.kind === 'directory') throw new IoError(Errno.EISDIR, `${path} is a folder`);
      if (o.create && o.exclusive) throw new IoError(Errno.EEXIST, `${path} exists`);
      return found;
    }
    if (!o.create) throw new IoError(Errno.ENOENT, `${path} does not exist`);
    if (!o.mayAllocate) throw new IoError(Errno.ENOSPC, `${path}: the disk is full`);
    const node: FileNode = { kind: 'file', sectorBytes: SECTOR_BYTES, content: new FileContent(), lock: undefined };
    this.#log('create', folder, [{ folder, name, node }]);
    return node;
  }

  find(path: string): DiskNode | undefined {
    let at: DiskNode = this.#root;
    for (const part of split(path)) {
      const next: DiskNode | undefined = at.kind === 'directory' ? at.entries.get(part) : undefined;
      if (next === undefined) return undefined;
      at = next;
    }
    return at;
  }

  /** What the platter has under this name: a creation, rename or removal that no fsync of the folder covered has not happened. */
  findDurable(path: string): DiskNode | undefined {
    let at: DiskNode = this.#root;
    for (const part of split(path)) {
      const next: DiskNode | undefined = at.kind === 'directory' ? at.durable.get(part) : undefined;
      if (next === undefined) return undefined;
      at = next;
    }
    return at;
  }

  file(path: string): FileNode {
    const node = this.find(path);
    if (node === undefined) throw new IoError(Errno.ENOENT, `${path} does not exist`);
    if (node.kind === 'directory') throw new IoError(Errno.EISDIR, `${path} is a folder`);
    return node;
  }

  folder(path: string): FolderNode {
    return asFolder(this.find(path), path);
  }

  stat(path: string): FileStat {
    const node = this.find(path);
    if (node === undefined) throw new IoError(Errno.ENOENT, `${path} does not exist`);
    return node.kind === 'directory' ? { kind: 'directory', sizeBytes: 0 } : { kind: node.kind, sizeBytes: node.content.sizeBytes };
  }

  list(path: string): string[] {
    return [...this.folder(path).entries.keys()].sort();
  }

  mkdir(path: string): void {
    let at = this.#root;
    for (const name of split(path)) {
      let next = at.entries.get(name);
      if (next === undefined) {
        next = folderNode(at);
        this.#log('create', at, [{ folder: at, name, node: next }]);
      }
      if (next.kind !== 'directory') throw new IoError(Errno.ENOTDIR, `${path}: ${name} is not a folder`);
      at = next;
    }
  }

  rename(from: string, to: string): void {
    const source = this.#place(from);
    const target = this.#place(to);
    const node = source.folder.entries.get(source.name);
    if (node === undefined) throw new IoError(Errno.ENOENT, `${from} does not exist`);
    const replaced = target.folder.entries.get(target.name);
    if (replaced === node) return;
    if (replaced?.kind === 'directory') throw new IoError(Errno.EISDIR, `${to} is a folder`);
    if (node.kind === 'directory') node.parent = target.folder;
    this.#log('rename', target.folder, [
      { folder: source.folder, name: source.name, node: undefined },
      { folder: target.folder, name: target.name, node },
    ]);
  }

  unlink(path: string): void {
    const { folder, name } = this.#place(path);
    const node = folder.entries.get(name);
    if (node === undefined) throw new IoError(Errno.ENOENT, `${path} does not exist`);
    if (node.kind === 'directory') throw new IoError(Errno.EISDIR, `${path} is a folder`);
    this.#log('unlink', folder, [{ folder, name, node: undefined }]);
  }

  /** What had happened in the folder when its fsync began (`through`, a journal number) becomes durable. */
  syncFolder(folder: FolderNode, through: number): void {
    const wanted = this.#journal.filter((e) => e.number <= through && e.folder === folder);
    for (let at: FolderNode | undefined = folder; at !== undefined; at = at.parent) {
      const created = this.#journal.find((e) => e.changes.some((c) => c.node === at));
      if (created !== undefined) wanted.push(created);
    }
    this.#commit(this.#withFoundations(wanted));
  }

  /** The kernel writes back files that have gathered too much; called after writes. */
  writeBack(file: FileNode): void {
    if (file.content.unsyncedPages <= WRITEBACK_PAGES) return;
    file.content.commit(file.content.number);
    this.#counters.add('writebacks');
  }

  powerFail(stream: Stream): void {
    const kept = this.#survivors(stream);
    const lost = this.#journal.filter((e) => !kept.has(e));
    this.#commit(kept);
    this.#journal = [];
    this.#counters.add('folderOperationsKept', kept.size);
    for (const entry of lost) {
      this.#counters.add(entry.what === 'create' ? 'createsLost' : entry.what === 'rename' ? 'renamesLost' : 'unlinksLost');
    }
    this.#settle(this.#root, stream);
  }

  /** Harness: a durable file, with its folders, at once. */
  create(path: string, sizeBytes: number, kind: 'file' | 'block', sectorBytes = SECTOR_BYTES): FileNode {
    this.mkdir(`/${split(path).slice(0, -1).join('/')}`);
    const { folder, name } = this.#place(path);
    const node: FileNode = { kind, sectorBytes, content: new FileContent(sizeBytes), lock: undefined };
    this.#log('create', folder, [{ folder, name, node }]);
    this.syncFolder(folder, this.#number);
    return node;
  }

  #place(path: string): { folder: FolderNode; name: string } {
    const parts = split(path);
    const name = parts.at(-1);
    if (name === undefined) throw new IoError(Errno.EISDIR, `${path} is a folder`);
    let at: DiskNode | undefined = this.#root;
    for (let i = 0; i < parts.length - 1 && at !== undefined; i += 1) at = at.kind === 'directory' ? at.entries.get(parts[i] ?? '') : undefined;
    return { folder: asFolder(at, `the folder of ${path}`), name };
  }

  #log(what: JournalEntry['what'], folder: FolderNode, changes: Change[]): void {
    this.#number += 1;
    this.#journal.push({ number: this.#number, what, changes, folder });
    for (const c of changes) put(c.folder.entries, c);
    if (this.#journal.length > JOURNAL_MAX) this.#commit(new Set(this.#journal.slice(0, JOURNAL_MAX / 2)));
  }

  /** With every earlier entry that touched one of the same names: a rename is not there without the file it moved. */
  #withFoundations(wanted: Iterable<JournalEntry>): Set<JournalEntry> {
    const out = new Set(wanted);
    for (let i = this.#journal.length - 1; i >= 0; i -= 1) {
      const entry = this.#journal[i];
      if (entry === undefined || out.has(entry)) continue;
      for (const later of out) {
        if (later.number > entry.number && overlap(later, entry)) {
          out.add(entry);
          break;
        }
      }
    }
    return out;
  }

  #commit(entries: ReadonlySet<JournalEntry>): void {
    for (const entry of this.#journal) {
      if (entries.has(entry)) for (const c of entry.changes) put(c.folder.durable, c);
    }
    this.#journal = this.#journal.filter((e) => !entries.has(e));
  }

  #survivors(stream: Stream): Set<JournalEntry> {
    const draw = stream.float();
    if (draw < 0.3) return new Set();
    if (draw < 0.45) return new Set(this.#journal);
    const out = new Set<JournalEntry>();
    if (draw < 0.65) {
      const until = stream.between(0, this.#journal.length);
      for (const entry of this.#journal.slice(0, until)) out.add(entry);
      return out;
    }
    for (const entry of this.#journal) {
      const whole = this.#journal.every((e) => e.number >= entry.number || out.has(e) || !overlap(e, entry));
      if (whole && stream.coin(0.5)) out.add(entry);
    }
    return out;
  }

  /** What is reachable on the platter becomes what is there; each file loses what it must. */
  #settle(folder: FolderNode, stream: Stream): void {
    folder.entries = new Map(folder.durable);
    for (const node of folder.entries.values()) {
      if (node.kind === 'directory') {
        node.parent = folder;
        this.#settle(node, stream);
      } else {
        const result = node.content.powerFail(stream);
        this.#counters.add('sectorsKept', result.sectorsKept);
        this.#counters.add('sectorsLost', result.sectorsLost);
        this.#counters.add('pagesTorn', result.pagesTorn);
      }
    }
  }
}

function asFolder(node: DiskNode | undefined, path: string): FolderNode {
  if (node === undefined) throw new IoError(Errno.ENOENT, `${path} does not exist`);
  if (node.kind !== 'directory') throw new IoError(Errno.ENOTDIR, `${path} is not a folder`);
  return node;
}

function put(entries: Map<string, DiskNode>, change: Change): void {
  if (change.node === undefined) entries.delete(change.name);
  else entries.set(change.name, change.node);
}

function overlap(a: JournalEntry, b: JournalEntry): boolean {
  return a.changes.some((x) => b.changes.some((y) => x.folder === y.folder && x.name === y.name));
}

/** Paths that were taken apart before: a daemon asks for the same few again and again. */
const splitBefore = new Map<string, readonly string[]>();
const SPLIT_MAX = 1000;

/** Names of an absolute path; `.` and `..` as usual. */
export function split(path: string): readonly string[] {
  const known = splitBefore.get(path);
  if (known !== undefined) return known;
  const out: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') out.pop();
    else if (part !== '' && part !== '.') out.push(part);
  }
  if (splitBefore.size >= SPLIT_MAX) splitBefore.clear();
  splitBefore.set(path, out);
  return out;
}
