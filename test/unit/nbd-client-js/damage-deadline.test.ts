/** What comes damaged again and again is not waited for longer than what does not come: with each engine that there is. */
import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { EngineHub } from '../../../src/io/hub.ts';
import { createNodeIo, type EngineChoice } from '../../../src/io/node/node-io.ts';
import { PullSocket } from '../../../src/io/pull-socket.ts';
import type { IoSocket } from '../../../src/io/types.ts';
import { Errno } from '../../../src/io/types.ts';
import { Mismatches } from '../../../src/nbd-client-js/mismatches.ts';
import { Pipeline } from '../../../src/nbd-client-js/pipeline.ts';
import { CHECKSUM_BYTES } from '../../../src/nbd/wire/checksums.ts';
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../../../src/nbd/wire/constants.ts';
import { REQUEST, SIMPLE_REPLY, viewOf } from '../../../src/nbd/wire/layout.ts';
import { encodeSimpleReply } from '../../../src/nbd/wire/transmission.ts';

const NONE = new Uint8Array(0);
const BYTES = 512;
const REPLY_MS = 900;
/** Each answer comes in time, and two of them do not. */
const ANSWER_MS = 550;
const WAIT_MS = 5000;

function sealed(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length + CHECKSUM_BYTES);
  out.set(bytes);
  viewOf(out).setUint32(bytes.length, crc32(bytes), false);
  return out;
}

/** An answer: to a write that its payload came damaged, to a read its data, in which a bit is wrong. */
function damaged(head: Uint8Array, cmd: number): Uint8Array {
  const reply = new Uint8Array(SIMPLE_REPLY.SIZE);
  encodeSimpleReply(viewOf(reply), 0, cmd === NBD_CMD_WRITE ? Errno.EBADMSG : 0, 0, 0);
  reply.set(head.subarray(8, 16), SIMPLE_REPLY.cookie);
  if (cmd === NBD_CMD_WRITE) return sealed(reply);
  const data = sealed(new Uint8Array(BYTES));
  data[7] = 1;
  return Buffer.concat([sealed(reply), data]);
}

describe.each<EngineChoice['engine']>(['native', 'portable'])('with the %s engine', (engine) => {
  it.each([
    ['write', NBD_CMD_WRITE],
    ['read', NBD_CMD_READ],
  ])('a %s is given up one reply deadline after it was sent first', async (_what, cmd) => {
    const io = createNodeIo({ engine: { engine } });
    const hub = new EngineHub(io.createEngine());
    const accepted: IoSocket[] = [];
    const listener = await io.net.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, (s) => accepted.push(s));
    const near = await io.net.connect(listener.address, WAIT_MS);
    await expect.poll(() => accepted.length).toBe(1);
    let told = 0;
    const pipeline = new Pipeline({
      hub,
      clock: io.clock,
      remote: 'the peer',
      requestsMax: 8,
      bytesMax: 1 << 20,
      queueMax: 8,
      replyTimeoutMs: REPLY_MS,
      baseAllocationContextId: undefined,
      mismatches: new Mismatches(() => {
        told += 1;
      }),
    });
    const wire = { structuredReplies: false, extendedHeaders: false, payloadMaxBytes: 1 << 20, checksums: true };
    pipeline.addConnection(hub.engine.adopt(near, 'client', wire, { requestsMax: 8, bytesMax: 1 << 20 }, NONE));
    const far = new PullSocket(accepted[0] ?? near, io.clock);
    far.socket.resume();
    let sent = 0;
    const serving = (async () => {
      for (;;) {
        const head = await far.read(REQUEST.SIZE + CHECKSUM_BYTES, WAIT_MS);
        if (cmd === NBD_CMD_WRITE) await far.read(BYTES + CHECKSUM_BYTES, WAIT_MS);
        sent += 1;
        io.clock.after(ANSWER_MS, () => {
          far.write(damaged(head, cmd));
        });
      }
    })();
    const begun = io.clock.now();
    const h = hub.engine.allocate(BYTES);
    const errno = await new Promise<number>((resolve) => {
      const owner = {
        onDone: (_tag: number, e: number) => {
          resolve(e);
        },
      };
      pipeline.submit(owner, 0, cmd, 0, 0, BYTES, cmd === NBD_CMD_WRITE ? h : 0, 0, 1 << 20, false);
    });
    hub.engine.release(h);
    const tookMs = io.clock.now() - begun;
    expect(tookMs).toBeGreaterThanOrEqual(REPLY_MS - 5);
    expect({ errno, sent, told, why: pipeline.lost?.reason }).toEqual({
      errno: Errno.ETIMEDOUT,
      sent: 2,
      told: 1,
      why: `the peer: no reply within ${String(REPLY_MS)} ms`,
    });
    await expect(serving).rejects.toThrow();
    expect(hub.engine.usage()).toMatchObject({ handles: 0, operations: 0 });
    await hub.engine.shutdown();
    await listener.close();
  });
});
