import { expect, it } from 'vitest';
import { behindDoor } from '../../../src/io/door.ts';
import type { IoSocket } from '../../../src/io/types.ts';
import { socketPair } from '../../support/socket-pair.ts';

it('who may not enter is closed at once, and nobody hears of it', () => {
  const come: IoSocket[] = [];
  const door = behindDoor(
    (s) => come.push(s),
    (remote) => remote === 'good:1',
  );
  const [good] = socketPair({ remote: 'good:1' });
  const [bad] = socketPair({ remote: 'bad:1' });
  door(bad);
  door(good);
  expect([bad.closedBy, good.closedBy]).toEqual(['destroy', undefined]);
  expect(come).toEqual([good]);
});

it('where nobody judges, all come in', () => {
  const come: IoSocket[] = [];
  const [any] = socketPair({ remote: 'any:1' });
  behindDoor((s) => come.push(s), undefined)(any);
  expect(come).toEqual([any]);
});
