/** A control group that limits memory, of either kind that Linux has; programs started within it stay in it. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cleanup } from './cleanup.ts';

const V1 = '/sys/fs/cgroup/memory';
const V2 = '/sys/fs/cgroup';
const REMOVE_MAX_MS = 10_000;

type Kind = 'v1' | 'v2';

export function memoryGroupKind(): Kind | undefined {
  if (existsSync(path.join(V1, 'memory.limit_in_bytes'))) return 'v1';
  const offered = path.join(V2, 'cgroup.subtree_control');
  return existsSync(offered) && readFileSync(offered, 'utf8').split(/\s+/).includes('memory') ? 'v2' : undefined;
}

/** Undefined: nothing. */
export function lackingForMemoryGroups(): string | undefined {
  return memoryGroupKind() === undefined ? `a memory control group (neither ${V1} nor memory in ${V2}/cgroup.subtree_control)` : undefined;
}

export class MemoryGroup {
  readonly kind: Kind;
  readonly #folder: string;

  private constructor(kind: Kind, folder: string) {
    this.kind = kind;
    this.#folder = folder;
  }

  /** Removed by `cleanup`, once its programs have ended. */
  static make(name: string, cleanup: Cleanup): MemoryGroup {
    const kind = memoryGroupKind();
    if (kind === undefined) throw new Error('no memory control group');
    const folder = path.join(kind === 'v1' ? V1 : V2, `netraid-${name}-${String(process.pid)}`);
    mkdirSync(folder);
    cleanup.add(`rmdir ${folder}`, async () => {
      const end = performance.now() + REMOVE_MAX_MS;
      while (performance.now() < end && readFileSync(path.join(folder, 'cgroup.procs'), 'utf8') !== '') await sleep(20);
      rmdirSync(folder);
    });
    return new MemoryGroup(kind, folder);
  }

  limit(bytes: number): void {
    this.#write(this.kind === 'v1' ? 'memory.limit_in_bytes' : 'memory.max', String(bytes));
  }

  /** Where a program joins, by writing its process id. */
  get door(): string {
    return path.join(this.#folder, 'cgroup.procs');
  }

  /** What `f` starts is in the group. So is this process meanwhile: not for when memory is short. */
  async within<T>(f: () => Promise<T>): Promise<T> {
    const before = this.#current();
    writeFileSync(this.door, String(process.pid));
    try {
      return await f();
    } finally {
      writeFileSync(path.join(before, 'cgroup.procs'), String(process.pid));
    }
  }

  /** How often a program had to wait until room was made for it, and how many were killed for want of it. */
  counts(): { waited: number; killed: number } {
    if (this.kind === 'v1') return { waited: Number(this.#read('memory.failcnt')), killed: this.#field('memory.oom_control', 'oom_kill') };
    return { waited: this.#field('memory.events', 'max'), killed: this.#field('memory.events', 'oom_kill') };
  }

  /** The folder of the group that this process is in. */
  #current(): string {
    const own = readFileSync('/proc/self/cgroup', 'utf8');
    const group = (this.kind === 'v1' ? /^\d+:(?:.*,)?memory(?:,.*)?:(.*)$/m : /^0::(.*)$/m).exec(own)?.[1];
    if (group === undefined) throw new Error(`/proc/self/cgroup names no memory group: ${own}`);
    return path.join(this.kind === 'v1' ? V1 : V2, group);
  }

  #field(file: string, name: string): number {
    const value = new RegExp(`^${name} (\\d+)$`, 'm').exec(this.#read(file))?.[1];
    if (value === undefined) throw new Error(`${this.#folder}/${file} has no ${name}`);
    return Number(value);
  }

  #read(file: string): string {
    return readFileSync(path.join(this.#folder, file), 'utf8');
  }

  #write(file: string, text: string): void {
    writeFileSync(path.join(this.#folder, file), text);
  }
}
