import { describe, expect, test } from 'vitest';
import { Serves } from '../../../../src/io/portable/serves.ts';
import { Touched } from '../../../../src/io/touched.ts';
import { UNDER_WAY_READ } from '../../../../src/io/serve.ts';
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
    read: (op, leg, offset, length) => {
      writes.push(op);
      said.push(`read ${String(leg)} ${String(offset)} ${String(length)}`);
    },
    reply: (req, h, length) => said.push(h === 0 && length === 0 ? `reply ${String(req)}` : `reply ${String(req)} h${String(h)} ${String(length)}`),
    tell: (conn, req, cmd, offset, length, h) =>
      said.push(`tell ${String(conn)} ${String(req)} ${String(cmd)} ${String(offset)} ${String(length)} h${String(h)}`),
    release: (h) => said.push(`release h${String(h)}`),
    unserved: (op, answered) => said.push(`unserved ${String(op)} ${String(answered)}`),
    heeded: (op, errno) => said.push(`heeded ${String(op)} ${String(errno)}`),
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
  serves.done(writes[0] ?? 0, 0, 0);
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
  serves.done(writes[0] ?? 0, 5, 0);
  expect(said.slice(1)).toEqual(['tell 1 70 1 0 512 h9']);
  expect(serves.answered(1)).toBe(0);
});

test('the end waits for what is under way, and nothing new is taken meanwhile', () => {
  const { serves, said, writes } = setup();
  serves.takes(1, 70, NBD_CMD_WRITE, 0, 0, 512, 8);
  serves.takes(1, 71, NBD_CMD_WRITE, 0, 512, 512, 9);
  serves.end(33, 1);
  expect(serves.takes(1, 72, NBD_CMD_WRITE, 0, 1024, 512, 10)).toBe(false);
  serves.done(writes[1] ?? 0, 0, 0);
  expect(said.at(-1)).toBe('release h9');
  serves.done(writes[0] ?? 0, 0, 0);
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
  serves.done(writes[0] ?? 0, 0, 0);
  expect(() => {
    serves.done(writes[0] ?? 0, 0, 0);
  }).toThrow('which is free');
});

// -------------------------------------------------------------------------------------------------- with marks

interface Marked {
  serves: Serves;
  touched: Touched;
  allowed: Uint32Array;
  underWay: Uint32Array;
  said: string[];
  /** Operations of the leg, in order. */
  ops: number[];
  /** What was touched and under way when each write of the leg began. */
  atWrite: { touched: number[]; underWay: number[] }[];
}

const REGION = 4096;
const REGIONS = 40;

/** Regions 0, 31 and 32 may be written. */
function marked(words = 2): Marked {
  const said: string[] = [];
  const ops: number[] = [];
  const atWrite: Marked['atWrite'] = [];
  const touched = new Touched(REGIONS * REGION, REGION);
  const allowed = Uint32Array.of((1 << 31) | 1, 1);
  const underWay = new Uint32Array(words);
  const serves = new Serves({
    write: (op, _leg, offset, h) => {
      ops.push(op);
      const set = Array.from({ length: REGIONS }, (_x, i) => i).filter((r) => touched.has(r));
      atWrite.push({ touched: set, underWay: [...underWay] });
      said.push(`write ${String(offset)} h${String(h)}`);
    },
    read: (op, leg, offset, length) => {
      ops.push(op);
      said.push(`read ${String(leg)} ${String(offset)} ${String(length)}`);
    },
    reply: (req, h, length) => said.push(`reply ${String(req)} h${String(h)} ${String(length)}`),
    tell: (_conn, req, cmd, offset, length, h) => said.push(`tell ${String(req)} ${String(cmd)} ${String(offset)} ${String(length)} h${String(h)}`),
    release: (h) => said.push(`release h${String(h)}`),
    unserved: (op, answered) => said.push(`unserved ${String(op)} ${String(answered)}`),
    heeded: (op, errno) => said.push(`heeded ${String(op)} ${String(errno)}`),
  });
  serves.begin(1, {
    leg: 5,
    sizeBytes: REGIONS * REGION,
    blockBytes: 512,
    touched: touched.words,
    regionBytes: REGION,
    marks: { allowed, underWay, clients: 1 },
  });
  return { serves, touched, allowed, underWay, said, ops, atWrite };
}

const op = (m: Marked, i: number): number => m.ops[i] ?? 0;
const takesWrite = (m: Marked, offset: number, length = 512, h = 9): boolean => m.serves.takes(1, 70 + h, NBD_CMD_WRITE, 0, offset, length, h);
const takesRead = (m: Marked, req: number, offset: number, length = 512): boolean => m.serves.takes(1, req, NBD_CMD_READ, 0, offset, length, 0);

describe('with marks', () => {
  test('a read is executed, wherever it is, and answered with its data, which is released once', () => {
    const m = marked();
    expect(takesRead(m, 71, 3 * REGION - 512, 1024)).toBe(true);
    m.serves.done(op(m, 0), 0, 33);
    expect(m.said).toEqual(['read 5 11776 1024', 'reply 71 h33 1024', 'release h33']);
    expect(m.serves.answered(1)).toBe(1);
    expect(taken(m.touched)).toEqual([]);
    expect([...m.underWay]).toEqual([0, 0]);
  });

  test('a read that fails is told as it came, and what it has of data is released', () => {
    const m = marked();
    takesRead(m, 71, 512);
    m.serves.done(op(m, 0), 5, 33);
    takesRead(m, 72, 1024);
    m.serves.done(op(m, 1), 12, 0);
    expect(m.said).toEqual(['read 5 512 512', 'release h33', 'tell 71 0 512 512 h0', 'read 5 1024 512', 'tell 72 0 1024 512 h0']);
    expect(m.serves.answered(1)).toBe(0);
  });

  test('no read beyond the end, of part of a block, of nothing or with flags is taken, nor any when its connection is ending', () => {
    const m = marked();
    const end = REGIONS * REGION;
    const refused = [takesRead(m, 1, end), takesRead(m, 2, end - 512, 1024), takesRead(m, 3, 100), takesRead(m, 4, 0, 100), takesRead(m, 5, 0, 0)];
    refused.push(m.serves.takes(1, 6, NBD_CMD_READ, 4, 0, 512, 0));
    m.serves.end(33, 1);
    refused.push(takesRead(m, 7, 0));
    expect(refused).toEqual(refused.map(() => false));
    expect(m.said).toEqual(['unserved 33 0']);
  });

  test('a read has a word while one is free, and is executed nevertheless where none is; the end waits for each', () => {
    const m = marked(2);
    for (let req = 0; req < 4; req += 1) expect(takesRead(m, req, 0)).toBe(true);
    expect([...m.underWay]).toEqual([UNDER_WAY_READ, UNDER_WAY_READ]);
    // A write has to be said to be under way.
    expect(takesWrite(m, 0)).toBe(false);
    expect(taken(m.touched)).toEqual([]);
    m.serves.done(op(m, 3), 0, 103);
    m.serves.done(op(m, 2), 5, 0);
    // Neither had a word.
    expect([...m.underWay]).toEqual([UNDER_WAY_READ, UNDER_WAY_READ]);
    m.serves.done(op(m, 0), 0, 100);
    expect([...m.underWay]).toEqual([0, UNDER_WAY_READ]);
    expect(takesWrite(m, 31 * REGION)).toBe(true);
    expect([...m.underWay]).toEqual([32, UNDER_WAY_READ]);
    expect(takesRead(m, 4, 0)).toBe(true);
    m.serves.end(33, 1);
    expect([...m.underWay]).toEqual([32, UNDER_WAY_READ]);
    m.serves.done(op(m, 1), 0, 101);
    m.serves.done(op(m, 4), 0, 0);
    expect([...m.underWay]).toEqual([0, 0]);
    expect(m.said.some((x) => x.startsWith('unserved'))).toBe(false);
    m.serves.done(op(m, 5), 0, 104);
    expect(m.said.at(-1)).toBe('unserved 33 5');
  });

  test('a read that fails gives its word back', () => {
    const m = marked(1);
    takesRead(m, 1, 0);
    m.serves.done(op(m, 0), 5, 0);
    expect([...m.underWay]).toEqual([0]);
    expect(m.said.at(-1)).toBe('tell 1 0 0 512 h0');
  });

  test('a read of more than 48 KiB is told, as by the native engine', () => {
    const m = marked();
    expect(takesRead(m, 1, 0, 48 * 1024)).toBe(true);
    expect(takesRead(m, 2, 0, 48 * 1024 + 512)).toBe(false);
    expect([...m.underWay]).toEqual([UNDER_WAY_READ, 0]);
    expect(m.said).toEqual(['read 5 0 49152']);
  });

  test.each([0, 31, 32])(
    'a write of region %i, which may be written, is said to be under way before it begins, and until it is touched again',
    (r) => {
      const m = marked();
      expect(takesWrite(m, r * REGION + 512)).toBe(true);
      expect(m.atWrite).toEqual([{ touched: [r], underWay: [r + 1, 0] }]);
      expect(taken(m.touched)).toEqual([r, r]);
      expect([...m.underWay]).toEqual([r + 1, 0]);
      m.serves.done(op(m, 0), 0, 0);
      expect([...m.underWay]).toEqual([0, 0]);
      expect(taken(m.touched)).toEqual([r, r]);
      expect(m.said).toEqual([`write ${String(r * REGION + 512)} h9`, 'reply 79 h0 0', 'release h9']);
    },
  );

  test('a write to a region that may not be written is told, and leaves nothing behind; it is looked at each time', () => {
    const m = marked();
    expect([1, 30, 33, 39].map((r) => takesWrite(m, r * REGION))).toEqual([false, false, false, false]);
    expect(m.said).toEqual([]);
    expect([taken(m.touched), [...m.underWay]]).toEqual([[], [0, 0]]);
    m.allowed[0] = 2;
    expect([takesWrite(m, 0), takesWrite(m, REGION)]).toEqual([false, true]);
    m.allowed[0] = 0;
    expect(takesWrite(m, REGION)).toBe(false);
    m.serves.done(op(m, 0), 0, 0);
    expect(m.said.at(-1)).toBe('release h9');
  });

  test('a write to two regions is told, though both may be written; one of a whole region is not', () => {
    const m = marked();
    expect(takesWrite(m, 32 * REGION - 512, 1024)).toBe(false);
    expect(takesWrite(m, 31 * REGION, 2 * REGION)).toBe(false);
    expect([taken(m.touched), [...m.underWay]]).toEqual([[], [0, 0]]);
    expect(takesWrite(m, 31 * REGION, REGION)).toBe(true);
    expect(m.atWrite).toEqual([{ touched: [31], underWay: [32, 0] }]);
  });

  test('as many writes are executed at a time as there are words, and the next has the word of one that has ended', () => {
    const m = marked(3);
    expect([0, 31, 32, 0].map((r, i) => takesWrite(m, r * REGION, 512, i + 1))).toEqual([true, true, true, false]);
    expect([...m.underWay]).toEqual([1, 32, 33]);
    m.serves.done(op(m, 1), 0, 0);
    expect([...m.underWay]).toEqual([1, 0, 33]);
    expect(takesWrite(m, 0, 512, 5)).toBe(true);
    expect([...m.underWay]).toEqual([1, 1, 33]);
    m.serves.done(op(m, 3), 0, 0);
    // Another of that region is under way still.
    expect([...m.underWay]).toEqual([1, 0, 33]);
    m.serves.done(op(m, 0), 0, 0);
    m.serves.done(op(m, 2), 0, 0);
    expect([...m.underWay]).toEqual([0, 0, 0]);
    expect(m.serves.answered(1)).toBe(4);
  });

  test('a write that fails is told with its bytes, touched, and not under way any more', () => {
    const m = marked();
    takesWrite(m, 0);
    taken(m.touched);
    m.serves.done(op(m, 0), 5, 0);
    expect(m.said).toEqual(['write 0 h9', 'tell 79 1 0 512 h9']);
    expect([taken(m.touched), [...m.underWay]]).toEqual([
      [0, 0],
      [0, 0],
    ]);
    expect(m.serves.answered(1)).toBe(0);
  });

  test('the end waits for a write, whose word stays meanwhile', () => {
    const m = marked();
    takesWrite(m, 32 * REGION);
    m.serves.end(34, 1);
    expect([...m.underWay]).toEqual([33, 0]);
    expect(takesWrite(m, 0)).toBe(false);
    expect([...m.underWay]).toEqual([33, 0]);
    m.serves.done(op(m, 0), 0, 0);
    expect([...m.underWay]).toEqual([0, 0]);
    expect(m.said.at(-1)).toBe('unserved 34 1');
  });
});

test('without marks any region may be written, also two at a time', () => {
  const { serves, said } = setup();
  expect(serves.takes(1, 70, NBD_CMD_WRITE, 0, 4096 - 512, 1024, 9)).toBe(true);
  expect(said).toEqual(['write 5 3584 1024 h9']);
});

describe('the close of a connection, in order,', () => {
  const close = (m: Marked, conn = 1): boolean => m.serves.closesLater(conn, () => m.said.push(`close ${String(conn)}`));

  test('waits for nothing where nothing is under way, or another connection is served', () => {
    const m = marked();
    expect([close(m), close(m, 2)]).toEqual([false, false]);
    takesWrite(m, 0);
    expect(close(m, 2)).toBe(false);
    m.serves.done(op(m, 0), 0, 0);
    expect(close(m)).toBe(false);
    expect(m.said.filter((x) => x.startsWith('close'))).toEqual([]);
  });

  test('comes after the answer to each write and read that was under way, once', () => {
    const m = marked();
    takesWrite(m, 0);
    takesRead(m, 71, 0);
    takesRead(m, 72, 512);
    expect(close(m)).toBe(true);
    m.serves.done(op(m, 1), 0, 101);
    m.serves.done(op(m, 0), 0, 0);
    expect(m.said.at(-1)).toBe('release h9');
    m.serves.done(op(m, 2), 0, 102);
    expect(m.said.slice(-3)).toEqual(['reply 72 h102 512', 'release h102', 'close 1']);
    expect(m.said.filter((x) => x.startsWith('close'))).toHaveLength(1);
  });

  test('comes after one that has failed is told', () => {
    const m = marked();
    takesWrite(m, 0);
    expect(close(m)).toBe(true);
    m.serves.done(op(m, 0), 5, 0);
    expect(m.said.slice(-2)).toEqual(['tell 79 1 0 512 h9', 'close 1']);
  });

  test.each(['before', 'after'])('waits also where the connection is asked to be served no more, %s it', (when) => {
    const m = marked();
    takesWrite(m, 0);
    if (when === 'before') m.serves.end(33, 1);
    expect(close(m)).toBe(true);
    if (when === 'after') m.serves.end(33, 1);
    m.serves.done(op(m, 0), 0, 0);
    expect(m.said.slice(-3)).toEqual(['release h9', 'unserved 33 1', 'close 1']);
  });
});
