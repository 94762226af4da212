/**
 * The portable engine, the same that ships, on simulated sockets and legs. Its turns are stretched by the seed, so that
 * its batches hold one event in one history and many in another.
 */
import type { LegOpener } from '../leg-file.ts';
import { PortableEngine } from '../portable-engine.ts';
import type { Clock, Engine } from '../types.ts';
import type { Process } from './process.ts';
import type { Stream } from './seed.ts';

const STRETCH_MS = 0.2;

export function createSimEngine(process: Process, clock: Clock, legs: LegOpener, stream: Stream): Engine {
  const stretched: Clock = {
    now: () => clock.now(),
    wallNow: () => clock.wallNow(),
    after: (ms, f) => clock.after(ms, f),
    soon: (f) => {
      process.post('engine', stream.coin(0.25) ? stream.float() * STRETCH_MS : 0, f);
    },
  };
  return new PortableEngine({ clock: stretched, legs });
}
