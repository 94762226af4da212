/**
 * Checkpoints under everything that strikes: operators make and delete them, and take incremental backups. What the leg held when a
 * checkpoint came to be is kept here; wherever the source shows the checkpoint, copying what it shows as written since onto that must
 * give what the leg holds now, byte for byte. Who was void once is never shown again.
 */
import type { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import type { Daemon } from '../../../src/control/daemon.ts';
import { Stream } from '../../../src/io/simulated/seed.ts';
import type { Clock } from '../../../src/io/types.ts';
import { checkpointContext } from '../../../src/mirror/dirty-contexts.ts';
import type { Cluster, Machine } from './cluster.ts';
import { TAG } from './plan.ts';

const NAMES = ['monday', 'tuesday', 'wednesday'];

interface Kept {
  map: DirtyBitmap;
  base: Uint8Array;
  /** Its node has found it void. */
  void: boolean;
}

interface Making {
  machine: Machine;
  daemon: Daemon;
  name: string;
}

export class Checkpoints {
  readonly #c: Cluster;
  readonly #s: Stream;
  readonly #clock: Clock;
  readonly #making = new Set<Making>();
  /** By machine and name. */
  readonly #kept = new Map<string, Kept>();
  #over = false;

  constructor(c: Cluster) {
    this.#c = c;
    this.#s = new Stream(c.plan.seed, 'checkpoints');
    this.#clock = c.world.harnessClock('checkpoints');
  }

  /** Until `end`. */
  async run(): Promise<void> {
    for (;;) {
      await new Promise<void>((resolve) => {
        this.#clock.after(this.#s.between(20, 250), resolve);
      });
      if (this.#isOver()) return;
      this.#judge();
      const serving = this.#c.serving;
      if (serving.length > 0 && this.#s.coin(0.6)) this.#act(this.#s.pick(serving));
    }
  }

  /** It may have become so while we waited. */
  #isOver(): boolean {
    return this.#over || this.#c.violation !== undefined;
  }

  end(): void {
    this.#over = true;
    this.#judge();
  }

  /** Between any two events: one that has just come to be begins with what the leg holds now. */
  look(): void {
    for (const { machine, daemon, name } of this.#making) {
      if (machine.daemon !== daemon) continue;
      const map = machine.mirror?.source?.marks.checkpoint(name);
      const key = keyOf(machine, name);
      if (map === undefined || this.#kept.get(key)?.map === map) continue;
      this.#kept.set(key, { map, base: this.#c.legOf(machine), void: false });
    }
  }

  #act(machine: Machine): void {
    const { daemon, control } = machine;
    const record = machine.mirror?.record();
    if (daemon === undefined || control === undefined || record === undefined) return;
    const there = (record.checkpoints ?? []).map((c) => c.name);
    const name = this.#s.pick(NAMES);
    if (there.includes(name)) {
      // A good one is kept for some time: it is to meet more than one failure.
      if (this.#s.coin(this.#kept.get(keyOf(machine, name))?.void === true ? 0.8 : 0.1)) this.#delete(machine, name);
      return;
    }
    const making = { machine, daemon, name };
    this.#making.add(making);
    const ended = (how: string): void => {
      this.#making.delete(making);
      this.#c.count(`checkpoints ${how}`);
    };
    control.call('checkpoint-create', { tag: TAG, name }).then(
      () => {
        ended('made');
      },
      (e: unknown) => {
        // Whether its record has it is not known where a disk failed: then it counts where it is seen.
        ended('not made');
        this.#c.say(`--- checkpoint ${name} on ${machine.name}: ${String(e)}`);
      },
    );
  }

  #delete(machine: Machine, name: string): void {
    machine.control?.call('checkpoint-delete', { tag: TAG, name }).then(
      () => {
        this.#kept.delete(keyOf(machine, name));
        this.#c.count('checkpoints deleted');
      },
      (e: unknown) => {
        this.#c.say(`--- delete of checkpoint ${name} on ${machine.name}: ${String(e)}`);
      },
    );
  }

  #judge(): void {
    for (const m of this.#c.serving) {
      const source = m.mirror?.source;
      const record = m.mirror?.record();
      if (source === undefined || record === undefined || source.device.stopped) continue;
      const contexts = source.export.metaContexts();
      for (const { name, void: found } of record.checkpoints ?? []) {
        const kept = this.#kept.get(keyOf(m, name));
        const context = contexts.find((x) => x.name === checkpointContext(name));
        if (kept === undefined) continue;
        if (found !== null) {
          if (!kept.void) this.#c.count(`checkpoints void: ${found.rule}`);
          kept.void = true;
        }
        if (context === undefined) continue;
        if (kept.void) this.#c.violated('checkpoint', `${m.name} shows checkpoint ${name}, which was void`);
        else this.#backUp(m, name, kept, [...(context.extents(0, this.#c.plan.sizeBytes) ?? [])]);
      }
    }
  }

  /** What is not shown as written since must be as it was. */
  #backUp(m: Machine, name: string, { base }: Kept, extents: readonly { length: number; flags: number }[]): void {
    if (extents.length === 0) return;
    this.#c.checked('checkpoints');
    const now = this.#c.legOf(m);
    let at = 0;
    for (const e of extents) {
      const end = at + e.length;
      if (e.flags === 0 && Buffer.compare(base.subarray(at, end), now.subarray(at, end)) !== 0) {
        const first = base.subarray(at, end).findIndex((x, i) => x !== now[at + i]) + at;
        const region = Math.floor(first / this.#c.plan.regionBytes);
        this.#c.violated('checkpoint', `region ${String(region)} of ${m.name} has changed since checkpoint ${name} was made, which does not say so`);
        return;
      }
      at = end;
    }
    if (at !== this.#c.plan.sizeBytes) this.#c.violated('checkpoint', `${m.name} says nothing of checkpoint ${name} from byte ${String(at)} on`);
  }
}

function keyOf(m: Machine, name: string): string {
  return `${m.name} ${name}`;
}
