import { expect, it } from 'vitest';
import { type RequestOwner, RequestTable } from '../../../../src/io/portable/requests.ts';

it('reuses records and never an id', () => {
  const table = new RequestTable();
  const conn: RequestOwner = { reply: () => undefined, replyBlockStatus: () => undefined };
  const ids = new Set<number>();
  for (let i = 0; i < 1000; i += 1) {
    const r = table.take(conn);
    expect(ids.has(r.id)).toBe(false);
    ids.add(r.id);
    expect(table.find(r.id)).toBe(r);
    expect(table.at(r.slot)).toBe(r);
    const { id } = r;
    table.give(r);
    expect(table.find(id)).toBeUndefined();
  }
  const [a, b] = [table.take(conn), table.take(conn)];
  expect([a.slot, b.slot]).toEqual([0, 1]);
});

it('finds nothing by an id that was never given', () => {
  const table = new RequestTable();
  for (const id of [0, 1, 2 ** 20, 2 ** 52]) expect(table.find(id)).toBeUndefined();
  expect(() => table.at(0)).toThrow();
});

it('tells requests apart after as many as a number can count', () => {
  const conn: RequestOwner = { reply: () => undefined, replyBlockStatus: () => undefined };
  const table = new RequestTable(2 ** 33 - 2);
  const live = Array.from({ length: 6 }, () => table.take(conn));
  for (const r of live) expect(table.find(r.id)).toBe(r);
  expect(new Set(live.map((r) => r.id)).size).toBe(live.length);
});
