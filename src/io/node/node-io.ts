/** The world as it is: plain Node, with the portable engine or, where it was asked for and built, the native one. */
import type { LegOpener } from '../leg-file.ts';
import { PortableEngine } from '../portable-engine.ts';
import type { Clock, Engine, Files, Io } from '../types.ts';
import { nodeChance } from './chance.ts';
import { nodeClock } from './clock.ts';
import { nodeFiles } from './files.ts';
import { readBootId } from './boot-id.ts';
import { createNodeLegOpener } from './legs.ts';
import { NativeEngine } from './native-engine.ts';
import { loadNativeEngine } from './native-shim.ts';
import { nodeNet } from './net.ts';
import { nodePrograms } from './programs.ts';

export interface NodeIoOptions {
  /** Puts something between the engine and its legs, such as `faultyLegOpener`. The portable engine alone can. */
  wrapLegs?: (inner: LegOpener, files: Files, clock: Clock) => LegOpener;
  /** By default what the environment asks for. */
  engine?: EngineChoice;
}

export interface EngineChoice {
  engine: 'native' | 'portable';
  /** Why it is not the one asked for; to be said once. */
  instead?: string;
}

/** NETRAID_ENGINE: `portable` (also when unset or empty) or `native`. Throws for any other, naming those. */
export function engineChoice(asked: string | undefined, shim: () => object | undefined = loadNativeEngine): EngineChoice {
  if (asked === undefined || asked === '' || asked === 'portable') return { engine: 'portable' };
  if (asked !== 'native') throw new Error(`NETRAID_ENGINE=${asked}: allowed are native and portable`);
  if (shim() !== undefined) return { engine: 'native' };
  return { engine: 'portable', instead: 'the native shim was not built for this machine; the portable engine serves, more slowly' };
}

export function createNodeIo(o: NodeIoOptions = {}): Io {
  const plain = createNodeLegOpener();
  const legs = o.wrapLegs === undefined ? plain : o.wrapLegs(plain, nodeFiles, nodeClock);
  const { engine } = o.engine ?? engineChoice(process.env['NETRAID_ENGINE']);
  const shim = engine === 'native' && o.wrapLegs === undefined ? loadNativeEngine() : undefined;
  const createEngine = (): Engine => (shim === undefined ? new PortableEngine({ clock: nodeClock, legs }) : new NativeEngine(shim));
  return { clock: nodeClock, chance: nodeChance, files: nodeFiles, net: nodeNet, bootId: readBootId(), programs: nodePrograms, createEngine };
}
