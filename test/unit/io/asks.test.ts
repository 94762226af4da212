import { expect, test } from 'vitest';
import { Asks } from '../../../src/io/asks.ts';

/** Two views of the same words, as the engine's and the device's are. */
function both(first?: number): { engine: Asks; device: Asks; room: number } {
  const { words } = new Asks();
  if (first !== undefined) words.fill(first, 0, 2);
  return { engine: new Asks(words), device: new Asks(words), room: words.length - 2 };
}

function taken(asks: Asks): number[] {
  const regions: number[] = [];
  asks.take(regions);
  return regions;
}

test('what is asked for is taken once, in order', () => {
  const { engine, device } = both();
  expect([engine.ask(7), engine.ask(0), engine.ask(7)]).toEqual([true, true, true]);
  expect(taken(device)).toEqual([7, 0, 7]);
  expect(taken(device)).toEqual([]);
  expect(engine.ask(2 ** 24 - 1)).toBe(true);
  expect(taken(device)).toEqual([2 ** 24 - 1]);
});

test('all is answered when as many answers were given as regions were asked for, however they were told', () => {
  const { engine, device } = both();
  expect(engine.isAnswered).toBe(true);
  for (const region of [1, 2, 3]) engine.ask(region);
  expect(engine.isAnswered).toBe(false);
  taken(device);
  device.answer(1);
  expect(engine.isAnswered).toBe(false);
  device.answer(2);
  expect(engine.isAnswered).toBe(true);
});

test.each([undefined, 2 ** 32 - 3])(
  'no more is asked for than there is room for what was not answered, also when the counts run over (from %s)',
  (first) => {
    const { engine, device, room } = both(first);
    for (let i = 0; i < room; i += 1) expect(engine.ask(i)).toBe(true);
    expect(engine.ask(room)).toBe(false);
    expect(taken(device)).toEqual(Array.from({ length: room }, (_x, i) => i));
    // Taken is not answered.
    expect(engine.ask(room)).toBe(false);
    device.answer(2);
    expect([engine.ask(room), engine.ask(room + 1), engine.ask(room + 2)]).toEqual([true, true, false]);
    expect(taken(device)).toEqual([room, room + 1]);
    expect(engine.isAnswered).toBe(false);
    device.answer(room);
    expect(engine.isAnswered).toBe(true);
  },
);
