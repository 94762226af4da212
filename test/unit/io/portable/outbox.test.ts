import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlockPool, Outbox } from '../../../../src/io/portable/outbox.ts';
import { pattern } from '../engine-rig.ts';
import { HandSocket } from './rig.ts';

function makeOutbox(): { socket: HandSocket; outbox: Outbox; marks: number[]; flushes: () => number } {
  const socket = new HandSocket();
  const marks: number[] = [];
  let flushes = 0;
  const outbox = new Outbox(
    socket,
    new BlockPool(),
    () => {
      flushes += 1;
    },
    (tag) => {
      marks.push(tag);
    },
  );
  return { socket, outbox, marks, flushes: () => flushes };
}

describe('an outbox', () => {
  it('sends headers and payloads in order, and reports marks in order', () => {
    const step = fc.record({ size: fc.constantFrom(1, 28, 500, 4096, 4097, 40_000), mark: fc.boolean(), send: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { socket, outbox, marks } = makeOutbox();
        const expected: Uint8Array[] = [];
        const received: Uint8Array[] = [];
        const marked: number[] = [];
        steps.forEach((s, i) => {
          const at = outbox.reserve(4);
          outbox.view.setUint32(at, i);
          const bytes = pattern(s.size, i);
          expect(outbox.bytes(bytes)).toBe(s.size <= 4096);
          expected.push(new Uint8Array([i >> 24, i >> 16, i >> 8, i]), bytes);
          if (s.mark) {
            outbox.mark(i);
            marked.push(i);
          }
          if (s.send) {
            outbox.flush();
            received.push(socket.takeAll());
            expect(marks).toEqual(marked);
            expect(outbox.unsentBytes).toBe(0);
          }
        });
        outbox.flush();
        received.push(socket.takeAll());
        expect(Buffer.compare(Buffer.concat(received), Buffer.concat(expected))).toBe(0);
        expect(marks).toEqual(marked);
      }),
      { numRuns: 40 },
    );
  });

  it('gathers small things into one write and asks once to be flushed', () => {
    const { socket, outbox, flushes } = makeOutbox();
    for (let i = 0; i < 100; i += 1) outbox.reserve(28);
    expect(socket.written.length).toBe(0);
    expect(flushes()).toBe(1);
    outbox.flush();
    expect(socket.written.map((w) => w.bytes.length)).toEqual([2800]);
    outbox.reserve(28);
    expect(flushes()).toBe(2);
  });

  it('reports nothing after it was dropped', () => {
    const { socket, outbox, marks } = makeOutbox();
    outbox.reserve(10);
    outbox.mark(1);
    outbox.flush();
    outbox.drop();
    socket.takeAll();
    outbox.flush();
    expect(marks).toEqual([]);
    expect(outbox.unsentBytes).toBe(0);
  });

  it('reports a mark at once when all has left', () => {
    const { socket, outbox, marks } = makeOutbox();
    outbox.reserve(10);
    outbox.flush();
    socket.takeAll();
    outbox.mark(5);
    expect(marks).toEqual([5]);
  });
});
