/** The cells that rows are put together from; sizes and depths are those of the method in `scripts/bench --help`. */
import type { Cell } from './types.ts';

const KiB = 1024;
const name = (bytes: number): string => `${String(bytes / KiB)}k`;

function cell(word: string, kind: Cell['kind'], blockBytes: number, depth: number): Cell {
  return {
    id: `${word}-${name(blockBytes)}-qd${String(depth)}`,
    kind,
    blockBytes,
    depth,
    connections: 1,
    flushEach: false,
    durable: false,
    inBytes: blockBytes >= 64 * KiB,
  };
}

export const write4kQd1: Cell = cell('write', 'randwrite', 4 * KiB, 1);
export const write4kQd32: Cell = cell('write', 'randwrite', 4 * KiB, 32);
export const read4kQd32: Cell = cell('read', 'randread', 4 * KiB, 32);
export const write256kQd8: Cell = cell('write', 'write', 256 * KiB, 8);
export const read256kQd8: Cell = cell('read', 'read', 256 * KiB, 8);
export const basicCells: readonly Cell[] = [write4kQd1, write4kQd32, read4kQd32, write256kQd8, read256kQd8];

/** The same over two connections. */
export function twice(c: Cell): Cell {
  return { ...c, id: `${c.id}-2c`, connections: 2 };
}

export const flushEach4k: Cell = { ...write4kQd1, id: 'flush-4k-qd1', flushEach: true };
export const fua4kQd32: Cell = { ...write4kQd32, id: 'fua-4k-qd32', durable: true };
export const fullCopy: Cell = { ...cell('copy', 'copy', 256 * KiB, 8), id: 'copy' };
