/**
 * Reads what a bitmap file durably says, by its format (src/bitmap/FORMAT.md) and by none of the product's code, so that a
 * mark that the product only believes to be on disk is found out. It remembers how far it has read a file: a journal grows.
 */
import { crc32 } from 'node:zlib';
import type { DurableFile } from '../../../src/io/simulated/node.ts';

const SECTOR = 512;
const WINDOW = 512;

export interface DurableMarks {
  /** Maps by name: one byte a region. */
  readonly maps: ReadonlyMap<string, Uint8Array>;
}

interface Progress {
  header: number;
  sectors: number;
  maps: Map<string, Uint8Array>;
}

export class BitmapReader {
  #progress: Progress | undefined;
  #stamp: object | undefined;
  #found: DurableMarks | undefined;
  readonly #regions: number;

  constructor(regions: number) {
    this.#regions = regions;
  }

  /** What was read before may not be what is there: all is read again. */
  forget(): void {
    this.#progress = undefined;
    this.#stamp = undefined;
  }

  /** Undefined when there is no such file, or one that is not whole. */
  read(file: DurableFile | undefined): DurableMarks | undefined {
    if (file === undefined) return undefined;
    // Nothing is read again while nothing has changed: this is asked at every write.
    if (file.durableStamp !== this.#stamp) {
      this.#found = this.#readNew(file);
      this.#stamp = file.durableStamp;
    }
    return this.#found;
  }

  #readNew(file: DurableFile): DurableMarks | undefined {
    const from = (this.#progress?.sectors ?? 1) * SECTOR;
    const head = bufferOf(file.readDurable(0, SECTOR));
    if (head.length < SECTOR || !sealed(head) || head.toString('latin1', 0, 8) !== 'NetRAIDb') return undefined;
    const header = head.readUInt32BE(504);
    let p = this.#progress;
    if (p?.header !== header || file.durableSizeBytes < from) p = { header, sectors: 1, maps: new Map() };
    this.#progress = p;
    // A flush counts when its last sector is there; each sector can be applied by itself.
    let pending: Buffer[] = [];
    let at = p.sectors;
    const first = at;
    const rest = bufferOf(file.readDurable(first * SECTOR));
    for (; (at + 1 - first) * SECTOR <= rest.length; at += 1) {
      const s = rest.subarray((at - first) * SECTOR, (at + 1 - first) * SECTOR);
      if (!sealed(s) && s[SECTOR - 1] !== 0) return undefined;
      if (!sealed(s) || s.readUInt32BE(8) !== header || Number(s.readBigUInt64BE(12)) !== at) break;
      pending.push(s.subarray(36, 36 + s.readUInt16BE(6)));
      if (s.readUInt16BE(4) !== 1) continue;
      for (const payload of pending) this.#apply(p.maps, payload);
      pending = [];
      p.sectors = at + 1;
    }
    return p;
  }

  #apply(maps: Map<string, Uint8Array>, payload: Buffer): void {
    let at = 0;
    const byte = (): number => {
      const b = payload[at] ?? 0;
      at += 1;
      return b;
    };
    const number = (): number => {
      let value = 0;
      for (let scale = 1; ; scale *= 128) {
        const b = byte();
        value += (b & 127) * scale;
        if (b < 128) return value;
      }
    };
    let name = '';
    let map: Uint8Array = new Uint8Array(0);
    while (at < payload.length) {
      const kind = byte();
      if (kind === 1) {
        const length = byte();
        name = payload.toString('utf8', at, at + length);
        at += length;
        map = maps.get(name) ?? new Uint8Array(this.#regions);
        maps.set(name, map);
      } else if (kind === 2 || kind === 3) {
        const first = number() * WINDOW;
        map.fill(kind === 2 ? 1 : 0, first, first + number() * WINDOW);
      } else if (kind === 4) {
        let region = number() * WINDOW;
        map.fill(0, region, region + WINDOW);
        for (let runs = byte(); runs > 0; runs -= 1) {
          region += number();
          const end = region + number() + 1;
          map.fill(1, region, end);
          region = end;
        }
      } else if (kind === 5) {
        const first = number() * WINDOW;
        const size = Math.min(WINDOW, this.#regions - first);
        for (let i = 0; i < size; i += 1) map[first + i] = ((payload[at + (i >> 3)] ?? 0) & (0x80 >> (i & 7))) === 0 ? 0 : 1;
        at += Math.ceil(size / 8);
      } else if (kind === 6) {
        maps.delete(name);
      } else {
        at += 16;
      }
    }
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function sealed(s: Buffer): boolean {
  return s.toString('latin1', 508, 512) === '.END' && s.readUInt32BE(504) === crc32(s.subarray(0, 504));
}

/** Whether a region is marked in any of these maps. */
export function isMarked(marks: DurableMarks | undefined, region: number, names: (name: string) => boolean): boolean {
  if (marks === undefined) return false;
  for (const [name, map] of marks.maps) if (names(name) && map[region] === 1) return true;
  return false;
}
