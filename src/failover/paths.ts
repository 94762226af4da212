/** Where things lie below a node's root, and which names may become part of a path. */
import { join } from 'node:path';
import type { NodeName } from './types.ts';

/** Something on disk or in a name is not what it must be: what, where, and what is allowed. */
export class StateError extends Error {
  constructor(what: string, where: string, allowed: string) {
    super(`${what}: ${where}; ${allowed}`);
    this.name = 'StateError';
  }
}

export interface NodePaths {
  /** LifeKeeper's folder of flag files. */
  resources: string;
  /** Tunables, `KEY=VALUE` lines. */
  tunables: string;
  /** Certificates and keys. */
  tls: string;
  /** Programs of the operator, told what happens; may be absent. */
  hooks: string;
  /** Files of snapshots, called as their exports; of no use to a later start of the daemon, which removes them. */
  snapshots: string;
  /** Sockets and process ids; may be emptied at any start of the machine. */
  run: string;
}

export interface MirrorPaths {
  lastOwner: string;
  source: string;
  dataCorrupt: string;
  bitmap: string;
  state: string;
}

export function nodePaths(root: string): NodePaths {
  return {
    resources: join(root, 'subsys/scsi/resources/netraid'),
    tunables: join(root, 'etc/default/LifeKeeper'),
    tls: join(root, 'etc/tls'),
    hooks: join(root, 'etc/hooks.d'),
    snapshots: join(root, 'snapshots'),
    run: join(root, 'run'),
  };
}

/** Throws StateError when `tag` could not be part of a path. */
export function mirrorPaths(root: string, tag: string): MirrorPaths {
  const t = validateTag(tag);
  const { resources } = nodePaths(root);
  return {
    lastOwner: join(resources, `${t}_last_owner`),
    source: join(resources, `${t}_source`),
    dataCorrupt: join(resources, `${t}_data_corrupt`),
    bitmap: join(root, `bitmap_${t}`),
    state: join(root, `state_${t}`),
  };
}

export function bitmapPath(root: string, tag: string): string {
  return mirrorPaths(root, tag).bitmap;
}

export function statePath(root: string, tag: string): string {
  return mirrorPaths(root, tag).state;
}

/** What a snapshot's export and its file are called: no tag has an @. */
export function snapshotName(tag: string, name: string): string {
  return `${tag}@${name}`;
}

/** The mirror that an export belongs to: the export of a snapshot is that of its mirror, as far as who may use it goes. */
export function tagOfExport(name: string): string {
  return name.split('@', 1)[0] ?? name;
}

export function snapshotPath(root: string, tag: string, name: string): string {
  return join(nodePaths(root).snapshots, snapshotName(validateTag(tag), validateSnapshotName(name)));
}

/** Says that legs of this node are in doubt (src/control/legs-in-doubt.ts). */
export function legsInDoubtPath(root: string): string {
  return join(root, 'legs_in_doubt');
}

/** What `netraid attach` keeps of a block device made of this mirror (src/attach/state-file.ts). */
export function attachRecordPath(root: string, tag: string): string {
  return join(nodePaths(root).run, `${validateTag(tag)}.attach.json`);
}

const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const ALLOWED = 'allowed are 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or a digit';

/** Names become keys of plain objects: one that every object has already would be found where nobody put it. */
export function isName(name: string): boolean {
  return NAME_PATTERN.test(name) && !(name in Object.prototype);
}

const shown = (name: string): string => JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}…` : name);

export function validateTag(tag: string, where = 'as the name of a mirror'): string {
  if (!isName(tag)) throw new StateError(`${shown(tag)} is not a tag`, where, ALLOWED);
  // The files of an atomic replacement end so.
  if (tag.endsWith('.tmp')) throw new StateError(`${shown(tag)} is not a tag`, where, 'a tag may not end in .tmp');
  return tag;
}

export function validateSnapshotName(name: string, where = 'as the name of a snapshot'): string {
  if (!isName(name)) throw new StateError(`${shown(name)} is not a name`, where, ALLOWED);
  return name;
}

export function validateCheckpointName(name: string): string {
  if (!isName(name)) throw new StateError(`${shown(name)} is not a checkpoint name`, 'as the name of a checkpoint', ALLOWED);
  return name;
}

export function validateNodeName(node: string, where = 'as the name of a node'): NodeName {
  if (!isName(node)) throw new StateError(`${shown(node)} is not a node name`, where, ALLOWED);
  return node;
}
