/** The flag files of one node, together with what the record must remember of them. */
import type { Log } from '../io/log.ts';
import { isHigher } from './epoch.ts';
import type { FlagFiles } from './flags.ts';
import type { RecordStore } from './record.ts';
import type { Decision, Epoch, NodeName } from './types.ts';

export class OwnFlags {
  readonly #files: FlagFiles;
  readonly #store: RecordStore;
  #changing: Promise<void> = Promise.resolve();

  constructor(files: FlagFiles, store: RecordStore) {
    this.#files = files;
    this.#store = store;
  }

  setLastOwner(on: boolean): Promise<void> {
    return this.#files.setLastOwner(on);
  }

  setSource(node: NodeName | null): Promise<void> {
    return this.#files.setSource(node);
  }

  /** What a decision orders. `onCorrupt`: the data must not be used from now on. */
  async apply(d: Pick<Decision, 'setFlags' | 'epochSeen'>, onCorrupt: () => void): Promise<void> {
    try {
      if (d.epochSeen !== undefined) await this.seen(d.epochSeen);
    } finally {
      const { dataCorrupt, lastOwner } = d.setFlags ?? {};
      if (dataCorrupt !== undefined && dataCorrupt !== this.#files.flags.dataCorrupt) {
        await this.setDataCorrupt(dataCorrupt);
        if (dataCorrupt) onCorrupt();
      }
      if (lastOwner !== undefined && lastOwner !== this.#files.flags.lastOwner) await this.setLastOwner(lastOwner);
    }
  }

  /** Somebody has served in it: its owner is asked for from now on, also after a restart. */
  seen(epoch: Epoch): Promise<void> {
    return this.#store.update((r) => (isHigher(epoch, r.epochSeen) ? { ...r, epochSeen: epoch } : r));
  }

  /** The same, not behind what comes next, which may take as long as a leg takes. Where the disk refuses, the next look writes it down. */
  seenSoon(epoch: Epoch, log: Log): void {
    this.seen(epoch).catch((e: unknown) => {
      log.error('the epoch of another source could not be written down', { epoch: epoch.number, owner: epoch.owner, error: String(e) });
    });
  }

  /** The record remembers that the flag is ours: one that is gone without us was deleted by an operator. */
  setDataCorrupt(on: boolean): Promise<void> {
    const done = this.#setDataCorrupt(on);
    // Whoever waits for it to be over hears nothing of how it ended: its caller does.
    this.#changing = done.then(
      () => undefined,
      () => undefined,
    );
    return done;
  }

  /** Resolves when flag and record agree again: in between, a flag that an operator deletes looks as if it had never been set. */
  settled(): Promise<void> {
    return this.#changing;
  }

  async #setDataCorrupt(on: boolean): Promise<void> {
    if (on) {
      await this.#files.setDataCorrupt(true);
      await this.#store.update((r) => ({ ...r, dataCorruptSet: true }));
    } else {
      await this.#store.update((r) => ({ ...r, dataCorruptSet: false }));
      await this.#files.setDataCorrupt(false);
    }
  }
}
