/**
 * Randomness that a seed decides. Each part of the world has a stream of its own, named, so that a fault added to one
 * disk does not shift what the network draws.
 */
import type { Chance } from '../types.ts';

/** 32 bits of a text, well mixed (FNV-1a with a final avalanche). */
export function hashText(text: string, start = 0x811c9dc5): number {
  let h = start >>> 0;
  for (let i = 0; i < text.length; i += 1) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** A small fast counter-based generator (sfc32): not for secrets, good enough for every choice a simulator makes. */
export class Stream implements Chance {
  #a: number;
  #b: number;
  #c: number;
  #n = 1;

  constructor(seed: number | string, name: string) {
    const text = `${typeof seed}:${String(seed)}/${name}`;
    this.#a = hashText(text, 0x811c9dc5);
    this.#b = hashText(text, 0x9e3779b9);
    this.#c = hashText(text, 0x243f6a88);
    for (let i = 0; i < 12; i += 1) this.u32();
  }

  u32(): number {
    const t = (this.#a + this.#b + this.#n) | 0;
    this.#n = (this.#n + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + t) | 0;
    return t >>> 0;
  }

  hex64(): string {
    const hex = this.u32().toString(16).padStart(8, '0') + this.u32().toString(16).padStart(8, '0');
    return hex === '0000000000000000' ? '0000000000000001' : hex;
  }

  float(): number {
    return this.u32() / 0x1_0000_0000;
  }

  /** True with this probability. */
  coin(probability: number): boolean {
    return this.float() < probability;
  }

  /** A whole number, `from` and `to` included. */
  between(from: number, to: number): number {
    return from + Math.floor(this.float() * (to - from + 1));
  }

  pick<T>(from: readonly T[]): T {
    const at = this.between(0, from.length - 1);
    const found = from[at];
    if (found === undefined) throw new Error('Stream.pick: nothing to pick from');
    return found;
  }

  /** Milliseconds: mostly within the range, one in twenty much longer unless it is bounded, so that orders differ between seeds. */
  latency(range: LatencyMs): number {
    const ms = range.fromMs + this.float() * (range.toMs - range.fromMs);
    return this.coin(0.05) && range.bounded !== true ? ms * (1 + 9 * this.float()) : ms;
  }
}

export interface LatencyMs {
  fromMs: number;
  toMs: number;
  /** Never longer. */
  bounded?: boolean;
}
