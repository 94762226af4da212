/** The world as it is: plain Node. */
import type { LegOpener } from '../leg-file.ts';
import { PortableEngine } from '../portable-engine.ts';
import type { Clock, Files, Io } from '../types.ts';
import { nodeChance } from './chance.ts';
import { nodeClock } from './clock.ts';
import { nodeFiles } from './files.ts';
import { readBootId } from './boot-id.ts';
import { createNodeLegOpener } from './legs.ts';
import { nodeNet } from './net.ts';
import { nodePrograms } from './programs.ts';

export interface NodeIoOptions {
  /** Puts something between the engine and its legs, such as `faultyLegOpener`. */
  wrapLegs?: (inner: LegOpener, files: Files, clock: Clock) => LegOpener;
}

export function createNodeIo(o: NodeIoOptions = {}): Io {
  const plain = createNodeLegOpener();
  const legs = o.wrapLegs === undefined ? plain : o.wrapLegs(plain, nodeFiles, nodeClock);
  return {
    clock: nodeClock,
    chance: nodeChance,
    files: nodeFiles,
    net: nodeNet,
    bootId: readBootId(),
    programs: nodePrograms,
    createEngine: () => new PortableEngine({ clock: nodeClock, legs }),
  };
}
