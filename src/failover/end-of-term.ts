/**
 * How a source's term ends: in order, or at once. Either way it ends in time, also where a disk does not answer (M14): then it is no clean
 * stop, and what is still on its way to the leg is waited for by whoever uses the leg next (M4).
 */
import { Errno } from '../io/types.ts';
import type { SourceRole } from './source.ts';
import type { NodeName } from './types.ts';

/** Times failureTimeout that each step of an end waits for the disks. */
const STEP_MAX = 3;
/** As many for links, which may be dialing: they hold up nobody who does not wait for the leg anyhow. */
const LINKS_MAX = 12;

export interface TermEnd {
  /** Nothing of the term is on its way any more: no operation of a leg, and no sync that could still fail. */
  quiet: boolean;
  /** Until it is. */
  rest: Promise<void>;
}

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

/** Stops answering now (M9). */
export async function endTerm(s: SourceRole): Promise<TermEnd> {
  s.cease();
  s.prover.stop();
  s.changes.notify();
  const links = Promise.all([...s.links.values()].map((l) => l.end())).then(() => undefined);
  // A sync of the own leg that fails now is still to be heard of.
  const rest = Promise.all([s.prover.idle(), s.inherited, s.device.idle()]).then(() => undefined);
  const quiet = await s.within(rest, s.timeoutMs * STEP_MAX);
  await s.within(links, quiet ? s.timeoutMs * LINKS_MAX : 0);
  return { quiet, rest };
}
