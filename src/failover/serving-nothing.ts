/** What needs every write to be told: a session that begins, and what is of one moment (src/mirror/served.ts). */
import { ClusterError } from '../cluster/errors.ts';
import type { MirrorDevice } from '../mirror/device.ts';
import { DRAIN_MAX } from './within.ts';

export interface Serving {
  readonly device: Pick<MirrorDevice, 'served'>;
  readonly timeoutMs: number;
  /** Whether it has resolved within that time. */
  within(p: Promise<void>, ms: number): Promise<boolean>;
}

/** Rejects with ClusterError `refused` when writes under way do not end in time. */
export async function writesEnd(s: Serving): Promise<void> {
  if (!(await s.within(s.device.served.quiet(), s.timeoutMs * DRAIN_MAX)))
    throw new ClusterError('refused', 'the requests in hand were not answered in time');
}

/** Rejects so, too. */
export async function whileServingNothing<T>(s: Serving, f: () => Promise<T>): Promise<T> {
  const unbar = s.device.served.bar();
  try {
    await writesEnd(s);
    return await f();
  } finally {
    unbar();
  }
}
