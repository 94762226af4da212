/**
 * How a source's term ends: in order, or at once. Either way it ends in time, also where a disk does not answer (M14): then it is no clean
 * stop, and what is still on its way to the leg is waited for by whoever uses the leg next (M4).
 */
import { Errno, IoError } from '../io/types.ts';
import type { BitmapKeeper } from './bitmap-keeper.ts';
import type { NodeContext } from './context.ts';
import type { Replica } from './replica.ts';
import type { SourceRole } from './source.ts';
import type { NodeName } from './types.ts';
import { endsWithin } from './within.ts';

/** Times failureTimeout that each step of an end waits for the disks. */
const STEP_MAX = 3;
/** As many for links, which may be dialing: they hold up nobody who does not wait for the leg anyhow. */
const LINKS_MAX = 12;

/** Ends sessions in order and leaves nothing unproven; `endTerm` follows. `clean`: the record may say so; `told`: who wrote it down. */
export async function stopClean(s: SourceRole): Promise<{ clean: boolean; told: readonly NodeName[] }> {
  s.endingInOrder = true;
  const { ctx, device, members } = s;
  const stepMs = s.timeoutMs * STEP_MAX;
  const doneInTime = async (p: Promise<boolean>): Promise<boolean> => {
    let well = false;
    const inTime = await s.within(
      p.then((done) => {
        well = done;
      }),
      stepMs,
    );
    return inTime && well;
  };
  // Suspended or waiting for somebody's word, the device may never be idle: then it is no clean stop (M14).
  const idle = await s.within(device.idle(), stepMs);
  const synced = idle && (await doneInTime(s.prover.proveAll()));
  // Who left meanwhile is out once that is settled; before, it would take this end for a clean one.
  const settled = (): boolean => [...s.links.values()].every((l) => l.leg.phase !== 'leaving');
  await s.until(settled, stepMs);
  const proven = synced && settled() && !device.stopped;
  // From here on the sessions' ends are no losses: nothing is unproven, and the record keeps its in-sync set.
  device.stop(Errno.ESHUTDOWN);
  const told = proven ? await members.tellStopping() : [];
  const marked = await doneInTime(s.marks.durable());
  const clean = marked && proven && device.local.state === 'in';
  ctx.env.log.info('stopping as source', { tag: ctx.tag, clean, told });
  if (!clean) {
    const why = !idle
      ? 'requests in hand were not answered'
      : !proven
        ? 'not every leg could be synced'
        : !marked
          ? 'the bitmap file could not be written'
          : 'the own leg has failed';
    ctx.env.log.warn('the mirror does not stop cleanly: what comes next is as after a crash', { tag: ctx.tag, why });
  }
  return { clean, told };
}

/**
 * Stops answering now (M9). True: nothing of the term is on its way any more, no operation of the leg, and no sync that could still fail. False:
 * whoever uses the leg next waits for that (M4), and hears of a sync that failed (M3).
 */
export async function endTerm(s: SourceRole, replica: Replica): Promise<boolean> {
  s.cease();
  s.prover.stop();
  s.changes.notify();
  const links = Promise.all([...s.links.values()].map((l) => l.end())).then(() => undefined);
  const rest = Promise.all([s.prover.idle(), s.inherited, s.device.idle()]).then(() => undefined);
  const quiet = await s.within(rest, s.timeoutMs * STEP_MAX);
  await s.within(links, quiet ? s.timeoutMs * LINKS_MAX : 0);
  if (quiet) return true;
  s.ctx.env.log.error('out of service, and the leg does not answer: nothing else uses it until it does', { tag: s.ctx.tag });
  replica.follow(
    rest.then(() => {
      if (s.device.local.syncFailed) replica.doubtful = true;
    }),
  );
  return false;
}

interface EndingNode extends NodeContext {
  readonly source: SourceRole | undefined;
  readonly replica: Replica;
  readonly keeper: BitmapKeeper;
  leaveService(clean: boolean, dropOwnership: boolean): Promise<void>;
}

/** Out of whatever role, and everything closed. `clean`: in order. Rejects with what a disk did not do, or not in time. */
export async function endNode(n: EndingNode, clean: boolean): Promise<void> {
  const { replica, keeper, store } = n;
  const { failureTimeoutMs } = n.record().definition;
  try {
    if (n.source !== undefined) await n.leaveService(clean, false);
    const wasTarget = replica.session;
    await replica.endWithin(failureTimeoutMs);
    // Also what was written in a session that has ended: nobody may know of it any more.
    const unsynced = (replica.unsynced()?.count ?? 0) > 0;
    // What ended after a sync had failed may be in no map yet (M3).
    if (replica.doubtful && unsynced && !(await endsWithin(n.env.io.clock, keeper.addIntent(replica.unsynced()), failureTimeoutMs)))
      throw new IoError(Errno.EIO, 'what a failed sync may have lost could not be written down in time');
    if (clean && !replica.doubtful && (wasTarget !== undefined || unsynced)) await replica.syncWithin(failureTimeoutMs);
    if (clean && !replica.doubtful && wasTarget !== undefined) {
      await store.update((r) => ({ ...r, session: { role: 'target', clean: true } }));
    }
  } finally {
    await replica.close().finally(async () => {
      if (!(await endsWithin(n.env.io.clock, keeper.close(), failureTimeoutMs)))
        throw new IoError(Errno.EIO, 'the bitmap file could not be closed in time');
    });
  }
}
