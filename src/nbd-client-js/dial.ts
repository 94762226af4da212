/** One connection to an export, dialled and past its handshake: each step has its deadline, and all have one together. */
import { PullSocket } from '../io/pull-socket.ts';
import { type Address, type Clock, Errno, type Io, IoError, type IoSocket } from '../io/types.ts';
import { type ExportInfo, differs } from './export-info.ts';
import { takeExport } from './handshake-client.ts';
import type { Secure } from './option-haggler.ts';

/** How to reach the server: an address, or a function that dials (through TLS, a relay, a link that is there already). */
export type Reach = { address: Address } | { open: () => Promise<IoSocket | Opened> };

/** A socket somebody else dialled; `early`: bytes of the NBD server that came before it was handed over. */
export interface Opened {
  socket: IoSocket;
  early: Uint8Array;
}

const NOTHING = new Uint8Array(0);

export interface DialOptions {
  io: Pick<Io, 'clock' | 'net'>;
  exportName: string;
  /** Asked for; what the server has is used. */
  extendedHeaders: boolean;
  /** From dialling to the end of the handshake: some six round trips. */
  connectTimeoutMs: number;
  /** For each answer within it, the network's to the dialling included; a function that dials has deadlines of its own. */
  replyTimeoutMs: number;
  /** TLS is to be spoken, by STARTTLS. */
  secure?: Secure | undefined;
}

export interface Dialled {
  pull: PullSocket;
  info: ExportInfo;
}

/** Rejects with IoError or HandshakeError; the socket is then closed. */
export async function dial(reach: Reach, o: DialOptions): Promise<Dialled> {
  const { clock, net } = o.io;
  const deadline = clock.now() + o.connectTimeoutMs;
  const { socket, early } =
    'open' in reach
      ? await openWithin(reach.open, clock, o.connectTimeoutMs)
      : { socket: await net.connect(reach.address, Math.min(o.connectTimeoutMs, o.replyTimeoutMs)), early: NOTHING };
  let pull = new PullSocket(socket, clock, early);
  socket.resume();
  try {
    const limits = {
      clock,
      answerTimeoutMs: o.replyTimeoutMs,
      handshakeTimeoutMs: Math.max(1, deadline - clock.now()),
      ...(o.secure === undefined ? {} : { secure: o.secure }),
      onSecured: (secured: PullSocket): void => {
        pull = secured;
      },
    };
    const info = await takeExport(pull, o.exportName, limits, o.extendedHeaders);
    return { pull, info };
  } catch (e: unknown) {
    pull.destroy();
    throw e;
  }
}

/**
 * One connection, and up to `wanted` when the server announces CAN_MULTI_CONN. A server that grants fewer gets fewer;
 * one that shows another export on a further connection is refused.
 */
export async function dialAll(reach: Reach, wanted: number, o: DialOptions): Promise<{ first: Dialled; further: Dialled[] }> {
  const first = await dial(reach, o);
  const count = first.info.canMultiConn ? Math.max(1, wanted) : 1;
  const attempts = await Promise.allSettled(Array.from({ length: count - 1 }, () => dial(reach, o)));
  const further = attempts.flatMap((a) => (a.status === 'fulfilled' ? [a.value] : []));
  for (const d of further) {
    const difference = differs(first.info, d.info);
    if (difference === undefined) continue;
    for (const each of [first, ...further]) each.pull.destroy();
    throw new IoError(Errno.EINVAL, `NBD server ${d.pull.socket.remote}: its connections show different exports: ${difference}`);
  }
  return { first, further };
}

function openWithin(open: () => Promise<IoSocket | Opened>, clock: Clock, timeoutMs: number): Promise<Opened> {
  return new Promise((resolve, reject) => {
    let late = false;
    const timer = clock.after(timeoutMs, () => {
      late = true;
      reject(new IoError(Errno.ETIMEDOUT, `no connection within ${String(timeoutMs)} ms`));
    });
    open().then(
      (s) => {
        timer.cancel();
        const opened = 'socket' in s ? s : { socket: s, early: NOTHING };
        if (late) opened.socket.destroy();
        else resolve(opened);
      },
      (e: unknown) => {
        timer.cancel();
        reject(e instanceof Error ? e : new IoError(Errno.EIO, String(e)));
      },
    );
  });
}
