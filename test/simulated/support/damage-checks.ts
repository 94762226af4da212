/** M13: damage is noticed when a daemon starts on it, nothing serves on it, and nothing but an operator's word replaces it. */
import type { Daemon } from '../../../src/control/daemon.ts';
import type { Cluster, Machine } from './cluster.ts';
import { PATHS, TAG } from './plan.ts';

export class DamageChecks {
  readonly #c: Cluster;
  /** What the damaged state record of a node holds, byte for byte. */
  readonly #records = new Map<Machine, Uint8Array>();
  readonly #bitmaps = new Set<Machine>();
  /** Nodes whose daemon has said since its start that its bitmap is damaged. */
  readonly #said = new Set<Machine>();

  constructor(c: Cluster) {
    this.#c = c;
  }

  /** The file at `path` of `m`, which is stopped, has just been damaged. */
  done(m: Machine, path: string): void {
    const bytes = m.sim.peek(path);
    if (bytes === undefined) return;
    if (path === PATHS.state) this.#records.set(m, Uint8Array.from(bytes));
    else if (path === PATHS.bitmap) this.#bitmaps.add(m);
  }

  /** The state record of a node is damaged now. */
  get hasRecord(): boolean {
    return this.#records.size > 0;
  }

  booted(m: Machine, daemon: Daemon): void {
    this.#said.delete(m);
    daemon.onEvent((e) => {
      if (e.kind === 'bitmap-damaged') this.#said.add(m);
    });
  }

  /** Its daemon has started on what the disk has. */
  started(m: Machine, daemon: Daemon): void {
    if (this.#records.has(m)) {
      this.#c.checked('M13 (state record)');
      if (!daemon.broken.has(TAG)) this.#c.violated('M13', `${m.name} has started on a damaged state record, and takes the mirror for usable`);
      return;
    }
    if (!this.#bitmaps.delete(m)) return;
    // What can't be read for another reason is looked at when that is mended.
    if (daemon.broken.has(TAG)) {
      this.#bitmaps.add(m);
      return;
    }
    this.#c.checked('M13 (bitmap)');
    if (!this.#said.has(m)) this.#c.violated('M13', `${m.name} has started on a damaged bitmap and does not say so`);
  }

  look(): void {
    for (const [m, bytes] of this.#records) {
      if (!m.up || m.daemon === undefined) continue;
      // An operator has deleted it since: nothing else makes an end of it.
      if (!m.daemon.broken.has(TAG)) {
        this.#records.delete(m);
        continue;
      }
      const now = m.sim.peek(PATHS.state);
      // An operator is deleting it: judged when his command has ended.
      if (now === undefined && this.#c.all.some((x) => x.commanded)) continue;
      this.#c.checked('M13 (left as it is)');
      if (now === undefined || Buffer.compare(now, bytes) !== 0)
        this.#c.violated('M13', `the damaged state record of ${m.name} is not what it was, and nobody has said so`);
    }
  }
}
