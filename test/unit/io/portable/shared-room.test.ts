import { beforeEach, describe, expect, it } from 'vitest';
import { SharedRoom, type Waiting } from '../../../../src/io/portable/shared-room.ts';

const LIMITS = { ownBytes: 10, allBytesMax: 100 };

/** A connection with requests of these lengths to come, which takes them as the room lets it. */
class Client implements Waiting {
  heldBytes = 0;
  readonly #wants: number[];
  readonly name: string;

  constructor(name: string, wants: number[]) {
    this.name = name;
    this.#wants = wants;
  }

  readOn(): void {
    for (let next = this.#wants[0]; next !== undefined; next = this.#wants[0]) {
      if (!room.fits(this, LIMITS, this.heldBytes, next)) {
        room.wait(this);
        return;
      }
      room.forget(this);
      room.hold(next);
      this.heldBytes += next;
      this.#wants.shift();
      admitted.push(`${this.name} ${String(next)}`);
    }
  }

  give(bytes: number): void {
    this.heldBytes -= bytes;
    room.give(bytes);
  }
}

let soon: (() => void)[];
let room: SharedRoom;
let admitted: string[];

function turn(): void {
  for (const f of soon.splice(0)) f();
}

beforeEach(() => {
  soon = [];
  admitted = [];
  room = new SharedRoom({ soon: (f) => soon.push(f) });
});

function start(name: string, ...wants: number[]): Client {
  const c = new Client(name, wants);
  c.readOn();
  return c;
}

describe('the room that connections share', () => {
  it('lets all in while there is room, and each within its own part always', () => {
    start('a', 60, 40);
    start('b', 10);
    start('c', 4, 6, 1);
    expect(admitted).toEqual(['a 60', 'a 40', 'b 10', 'c 4', 'c 6']);
    expect(room.heldBytes).toBe(120);
  });

  it('admits those that wait in their order, and nobody past them', () => {
    const a = start('a', 90);
    const b = start('b', 50);
    const c = start('c', 20);
    expect(admitted).toEqual(['a 90']);
    a.give(60);
    turn();
    // c would have fitted before b, and had to wait behind it.
    expect(admitted).toEqual(['a 90', 'b 50', 'c 20']);
    start('d', 11);
    expect(admitted).toHaveLength(3);
    b.give(50);
    c.give(20);
    turn();
    expect(admitted.at(-1)).toBe('d 11');
  });

  it('admits one that is larger than the room when nothing is held', () => {
    const a = start('a', 50);
    const b = start('b', 1000);
    const c = start('c', 30);
    expect(admitted).toEqual(['a 50']);
    a.give(50);
    turn();
    expect(admitted).toEqual(['a 50', 'b 1000']);
    b.give(1000);
    turn();
    expect(admitted.at(-1)).toBe('c 30');
    c.give(30);
    expect(room.heldBytes).toBe(0);
  });

  it('goes on to the next when the first in line has gone', () => {
    const a = start('a', 90);
    const b = start('b', 95);
    start('c', 15);
    a.give(40);
    turn();
    expect(admitted).toEqual(['a 90']);
    room.forget(b);
    turn();
    expect(admitted).toEqual(['a 90', 'c 15']);
  });

  it('one that is admitted and wants more goes behind those that wait, who are looked at in the same turn', () => {
    const a = start('a', 95);
    start('b', 20, 90);
    start('c', 30);
    expect(admitted).toEqual(['a 95']);
    a.give(95);
    turn();
    expect(admitted).toEqual(['a 95', 'b 20', 'c 30']);
  });

  it('what takes no room waits for none', () => {
    start('a', 100);
    start('b', 50);
    start('c', 0, 0);
    expect(admitted).toEqual(['a 100', 'c 0', 'c 0']);
  });
});
