import { expect, test } from 'vitest';
import { Serves } from '../../../../src/io/portable/serves.ts';
import { Touched } from '../../../../src/io/touched.ts';
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../../../../src/nbd/wire/constants.ts';

function setup(): { serves: Serves; touched: Touched; said: string[]; writes: number[] } {
  const said: string[] = [];
  const writes: number[] = [];
  const touched = new Touched(8192, 4096);
  const serves = new Serves({
    write: (op, leg, offset, h, length) => {
      writes.push(op);
      said.push(`write ${String(leg)} ${String(offset)} ${String(length)} h${String(h)}`);
    },
    reply: (req) => said.push(`reply ${String(req)}`),
    tell: (conn, req, offset, length, h) => said.push(`tell ${String(conn)} ${String(req)} ${String(offset)} ${String(length)} h${String(h)}`),
    release: (h) => said.push(`release h${String(h)}`),
    unserved: (op, answered) => said.push(`unserved ${String(op)} ${String(answered)}`),
  });
  serves.begin(1, { leg: 5, sizeBytes: 8192, blockBytes: 512, touched: touched.words, regionBytes: 4096 });
  return { serves, touched, said, writes };
}

function taken(t: Touched): number[] {
  const all: number[] = [];
  t.take((first, last) => all.push(first, last));
  return all;
}

test('a plain write is marked, written, marked again, and answered', () => {
  const { serves, touched, said, writes } = setup();
  expect(serves.takes(1, 70, NBD_CMD_WRITE, 0, 4096, 512, 9)).toBe(true);
  expect(taken(touched)).toEqual([1, 1]);
  serves.done(writes[0] ?? 0, 0);
  expect(taken(touched)).toEqual([1, 1]);
  expect(said).toEqual(['write 5 4096 512 h9', 'reply 70', 'release h9']);
  expect(serves.answered(1)).toBe(1);
});

test('what is no plain write within the rules, or of another connection, is not taken', () => {
  const { serves, said } = setup();
  const refused = [
    serves.takes(2, 70, NBD_CMD_WRITE, 0, 0, 512, 9),
    serves.takes(1, 70, NBD_CMD_READ, 0, 0, 512, 0),
    serves.takes(1, 70, NBD_CMD_WRITE, 1, 0, 512, 9),
    serves.takes(1, 70, NBD_CMD_WRITE, 0, 0, 0, 9),
    serves.takes(1, 70, NBD_CMD_WRITE, 0, 0, 512, 0),
    serves.takes(1, 70, NBD_CMD_WRITE, 0, 8192 - 512, 1024, 9),
    serves.takes(1, 70, NBD_CMD_WRITE, 0, 100, 512, 9),
    serves.takes(1, 70, NBD_CMD_WRITE, 0, 0, 100, 9),
  ];
  expect(refused).toEqual(refused.map(() => false));
  expect(said).toEqual([]);
});

test('one that fails is told with its bytes', () => {
  const { serves, said, writes } = setup();
  serves.takes(1, 70, NBD_CMD_WRITE, 0, 0, 512, 9);
  serves.done(writes[0] ?? 0, 5);
  expect(said.slice(1)).toEqual(['tell 1 70 0 512 h9']);
  expect(serves.answered(1)).toBe(0);
});

test('the end waits for what is under way, and nothing new is taken meanwhile', () => {
  const { serves, said, writes } = setup();
  serves.takes(1, 70, NBD_CMD_WRITE, 0, 0, 512, 8);
  serves.takes(1, 71, NBD_CMD_WRITE, 0, 512, 512, 9);
  serves.end(33, 1);
  expect(serves.takes(1, 72, NBD_CMD_WRITE, 0, 1024, 512, 10)).toBe(false);
  serves.done(writes[1] ?? 0, 0);
  expect(said.at(-1)).toBe('release h9');
  serves.done(writes[0] ?? 0, 0);
  expect(said.at(-1)).toBe('unserved 33 2');
  serves.end(34, 1);
  expect(said.at(-1)).toBe('unserved 34 0');
});

test('a connection is served once at a time, and a write ends once', () => {
  const { serves, touched, writes } = setup();
  expect(() => {
    serves.begin(1, { leg: 5, sizeBytes: 8192, blockBytes: 512, touched: touched.words, regionBytes: 4096 });
  }).toThrow('served already');
  serves.takes(1, 70, NBD_CMD_WRITE, 0, 0, 512, 8);
  serves.done(writes[0] ?? 0, 0);
  expect(() => {
    serves.done(writes[0] ?? 0, 0);
  }).toThrow('which is free');
});
