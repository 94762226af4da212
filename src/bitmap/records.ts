/**
 * Records: what the sectors of a bitmap file say; record-writer.ts writes them. A sector is understood by itself: it names each map that it
 * speaks of before it does, and each record gives the whole state of its windows of 512 regions, not a difference.
 *
 *   select(name)   the map that the following records are about; it exists from now on
 *   fill(first, n) n windows are all set            empty(first, n)   n windows are all clear
 *   runs(window)   the window's runs, else clear    bits(window)      the window's 64 bytes, bit 0 is 0x80
 *   drop           the map is gone                  generation(hex)   the file's generation
 *
 * A flush whose sectors are all there is applied as it is. Of one that was torn only additions are taken: what it was to
 * clear stays marked, so that whatever sectors were lost, no acknowledged mark is.
 */
import { DirtyBitmap, WINDOW_REGIONS } from './dirty-bitmap.ts';
import { RegionRangeError } from './regions.ts';
import { isId } from './sector.ts';
import { ByteReader, CodecError } from './varint.ts';

export const MAP_NAME_MAX_BYTES = 128;
export const MAPS_MAX = 64;
/** Numbers are never reused. 0 ends a payload. */
export const Kind = { SELECT: 1, FILL: 2, EMPTY: 3, RUNS: 4, BITS: 5, DROP: 6, GENERATION: 7 } as const;

/** What a file says: built up by applying its sectors in order. */
export class Content {
  readonly maps = new Map<string, DirtyBitmap>();
  readonly #regionCount: number;
  readonly #windowCount: number;
  generation: string;

  constructor(regionCount: number, generation: string) {
    this.#regionCount = regionCount;
    this.#windowCount = Math.ceil(regionCount / WINDOW_REGIONS);
    this.generation = generation;
  }

  /** `additionsOnly`: the flush was torn. CodecError when a payload is not what was ever written. */
  apply(payload: Uint8Array, additionsOnly: boolean): void {
    const reader = new ByteReader(payload);
    let name = '';
    try {
      while (reader.left > 0) {
        const kind = reader.byte();
        if (kind === Kind.SELECT) {
          name = readName(reader.take(reader.byte()));
          this.#map(name);
        } else if (kind === Kind.GENERATION) {
          const hex = Buffer.from(reader.take(16)).toString('latin1');
          if (!isId(hex)) throw new CodecError('a generation is not 16 hex digits');
          if (!additionsOnly) this.generation = hex;
        } else if (kind === Kind.DROP) {
          if (!additionsOnly) this.maps.delete(name);
        } else {
          this.#windows(kind, reader, this.#map(name), additionsOnly);
        }
      }
    } catch (e: unknown) {
      if (e instanceof RegionRangeError) throw new CodecError(e.message);
      throw e;
    }
  }

  #map(name: string): DirtyBitmap {
    const known = this.maps.get(name);
    if (known !== undefined) return known;
    // Twice as many: a torn flush may have made maps, and the drops before them do not count.
    if (name === '' || this.maps.size >= 2 * MAPS_MAX) throw new CodecError(name === '' ? 'a record names no map' : 'there are too many maps');
    const map = new DirtyBitmap(this.#regionCount, { trackChanges: true });
    this.maps.set(name, map);
    return map;
  }

  #windows(kind: number, reader: ByteReader, map: DirtyBitmap, additionsOnly: boolean): void {
    const window = reader.varint();
    const count = kind === Kind.FILL || kind === Kind.EMPTY ? reader.varint() : 1;
    const end = window + count;
    if (count === 0 || end > this.#windowCount) throw new CodecError(`windows ${String(window)}+${String(count)} do not exist`);
    const first = window * WINDOW_REGIONS;
    const last = Math.min(end * WINDOW_REGIONS, this.#regionCount) - 1;
    if (kind === Kind.FILL) {
      map.setRange(first, last);
      return;
    }
    if (!additionsOnly) map.clearRange(first, last);
    if (kind === Kind.EMPTY) return;
    if (kind === Kind.BITS) {
      map.orWindowBytes(window, reader.take(Math.ceil((last - first + 1) / 8)));
    } else if (kind === Kind.RUNS) {
      let at = first;
      for (let n = reader.byte(); n > 0; n -= 1) {
        const from = at + reader.varint();
        at = from + 1 + reader.varint();
        if (at > last + 1) throw new CodecError(`a run leaves window ${String(window)}`);
        map.setRange(from, at - 1);
      }
    } else {
      throw new CodecError(`record kind ${String(kind)} is not known`);
    }
  }
}

function readName(utf8: Uint8Array): string {
  const name = Buffer.from(utf8).toString('utf8');
  if (!isMapName(name) || !Buffer.from(name, 'utf8').equals(utf8)) throw new CodecError('a map has an impossible name');
  return name;
}

export function isMapName(name: string): boolean {
  return name !== '' && Buffer.byteLength(name, 'utf8') <= MAP_NAME_MAX_BYTES && !name.includes('\0');
}
