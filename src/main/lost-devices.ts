/**
 * Takes away the block device of a mirror that has left service here: nothing behind it answers any more.
 *
 *   out of service, or the daemon starts --> does the device still answer? --no--> unmounted, detached --> told in the log
 *                                                     \--- in use, or silent: looked at again, and left in the end
 *
 * A filesystem that is in use is never torn away: its folder would be an empty one below what is written there.
 */
import { detach } from '../attach/attach.ts';
import { AttachError, reasonOf } from '../attach/errors.ts';
import { type AttachStatus, status } from '../attach/status.ts';
import type { Log } from '../io/log.ts';
import type { Clock, Timer } from '../io/types.ts';

const AGAIN_MS = 2000;
const LOOKS_MAX = 15;

/** What it needs of the machine; replaced in tests. */
export interface Devices {
  /** Undefined: nothing of the tag is attached. */
  look(tag: string): Promise<AttachStatus | undefined>;
  all(): Promise<string[]>;
  takeAway(tag: string): Promise<void>;
}

export function devicesBelow(runDir: string): Devices {
  return {
    look: async (tag) => (await status({ runDir, tag }))[0],
    all: async () => (await status({ runDir })).filter((a) => a.condition === 'broken').map((a) => a.tag),
    takeAway: async (tag) => {
      await detach({ runDir, tag, unmount: true });
    },
  };
}

export class LostDevices {
  readonly #devices: Devices;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #waiting = new Map<string, Timer | undefined>();
  #stopped = false;

  constructor(devices: Devices, clock: Clock, log: Log) {
    this.#devices = devices;
    this.#clock = clock;
    this.#log = log;
  }

  /** What an earlier life of the daemon has left. */
  async sweep(): Promise<void> {
    try {
      for (const tag of await this.#devices.all()) this.left(tag);
    } catch (e: unknown) {
      this.#log.warn('it is not known which block devices are attached', { why: reasonOf(e) });
    }
  }

  /** The mirror has left service here. */
  left(tag: string): void {
    if (this.#stopped || this.#waiting.has(tag)) return;
    this.#waiting.set(tag, undefined);
    void this.#try(tag, LOOKS_MAX);
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#waiting.values()) timer?.cancel();
  }

  async #try(tag: string, looksLeft: number): Promise<void> {
    const why = await this.#takeAway(tag);
    if (this.#stopped) return;
    if (why === undefined) {
      this.#waiting.delete(tag);
    } else if (looksLeft > 1) {
      const timer = this.#clock.after(AGAIN_MS, () => {
        void this.#try(tag, looksLeft - 1);
      });
      this.#waiting.set(tag, timer);
    } else {
      this.#waiting.delete(tag);
      this.#log.warn('the block device of a mirror that left service stays, and answers errors', {
        tag,
        why,
        command: `netraid detach ${tag} --unmount`,
      });
    }
  }

  /** Why it is still there; undefined: nothing to do is left. */
  async #takeAway(tag: string): Promise<string | undefined> {
    try {
      const found = await this.#devices.look(tag);
      if (found === undefined || found.condition === 'attached') return undefined;
      if (found.condition !== 'broken') return found.why;
      await this.#devices.takeAway(tag);
      this.#log.info('the block device of a mirror that left service was taken away', { tag, devices: found.devices, mounted: found.mountPoints });
      return undefined;
    } catch (e: unknown) {
      if (!(e instanceof AttachError)) this.#log.error('a block device could not be looked at', { tag, why: reasonOf(e) });
      return reasonOf(e);
    }
  }
}
