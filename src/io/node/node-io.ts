/** The world as it is: plain Node, with the native engine, or the portable one where that was asked for or no other was built. */
import { PortableEngine } from '../portable-engine.ts';
import type { Clock, Engine, Files, Io } from '../types.ts';
import { nodeChance } from './chance.ts';
import { nodeClock } from './clock.ts';
import { loadDoors } from './door.ts';
import { nodeFiles } from './files.ts';
import { readBootId } from './boot-id.ts';
import { createNodeLegOpener } from './legs.ts';
import { NativeEngine } from './native-engine.ts';
import { memoryShield } from './memory-shield.ts';
import { loadNativeEngine, whyNoShim, type NativeEngineShim } from './native-shim.ts';
import { createNodeNet } from './net.ts';
import { nodePrograms } from './programs.ts';

export interface NodeIoOptions {
  /** Puts something between an engine and its users, such as `FaultEngine`. */
  wrapEngine?: (inner: Engine, files: Files, clock: Clock) => Engine;
  /** By default what the environment asks for. */
  engine?: EngineChoice;
}

export interface EngineChoice {
  engine: 'native' | 'portable';
  /** Why it is not the one asked for; to be said once. */
  instead?: string;
}

/** NETRAID_ENGINE: `native` (also when unset or empty) or `portable`. Throws for any other, naming those. */
export function engineChoice(
  asked: string | undefined,
  shim: () => object | undefined = loadNativeEngine,
  why: () => string | undefined = whyNoShim,
): EngineChoice {
  if (asked === 'portable') return { engine: 'portable' };
  if (asked !== undefined && asked !== '' && asked !== 'native') throw new Error(`NETRAID_ENGINE=${asked}: allowed are native and portable`);
  if (shim() !== undefined) return { engine: 'native' };
  return {
    engine: 'portable',
    instead: `${why() ?? 'the native shim has no engine'}; the portable engine serves, more slowly`,
  };
}

/** The process's shield hears whether the memory of an engine could be locked. */
function telling(shim: NativeEngineShim): NativeEngineShim {
  return {
    createEngine: (...args) => {
      const calls = shim.createEngine(...args);
      memoryShield().engineMade(calls.keepErrno);
      return calls;
    },
  };
}

export function createNodeIo(o: NodeIoOptions = {}): Io {
  const { engine } = o.engine ?? engineChoice(process.env['NETRAID_ENGINE']);
  const shim = engine === 'native' ? loadNativeEngine() : undefined;
  const legs = createNodeLegOpener();
  const bare = (): Engine => (shim === undefined ? new PortableEngine({ clock: nodeClock, legs }) : new NativeEngine(telling(shim)));
  const { wrapEngine } = o;
  const createEngine = wrapEngine === undefined ? bare : (): Engine => wrapEngine(bare(), nodeFiles, nodeClock);
  const net = createNodeNet(shim === undefined ? { lends: true } : { doors: loadDoors() });
  return { clock: nodeClock, chance: nodeChance, files: nodeFiles, net, bootId: readBootId(), programs: nodePrograms, createEngine };
}
