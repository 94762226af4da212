import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Fifo } from '../../../../src/io/portable/fifo.ts';

it('does what an array does', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('push', 'shift', 'unshift', 'clear', 'burst'), { maxLength: 60 }), (steps) => {
      const fifo = new Fifo<number>();
      const model: number[] = [];
      steps.forEach((s, i) => {
        if (s === 'push') {
          fifo.push(i);
          model.push(i);
        } else if (s === 'unshift') {
          fifo.unshift(i);
          model.unshift(i);
        } else if (s === 'burst') {
          for (let k = 0; k < 1500; k += 1) {
            fifo.push(k);
            model.push(k);
          }
          for (let k = 0; k < 1200; k += 1) expect(fifo.shift()).toBe(model.shift());
        } else if (s === 'shift') expect(fifo.shift()).toBe(model.shift());
        else if (i % 7 === 0) {
          fifo.clear();
          model.length = 0;
        }
        expect(fifo.length).toBe(model.length);
        expect(fifo.peek()).toBe(model[0]);
        expect(fifo.last()).toBe(model.at(-1));
      });
    }),
    { numRuns: 60 },
  );
});
