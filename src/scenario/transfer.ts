/** The steps that move bytes: `write`, `read`, `leg` and `acknowledged`. */
import { parallel } from './parallel.ts';
import { bytesOf, firstDifference } from './bytes.ts';
import type { Devices } from './devices.ts';
import { StepFailure } from './errors.ts';
import type { Acknowledged } from './model.ts';
import type { Action, ScenarioMirror, Seed, WriteAction } from './types.ts';
import type { ScenarioWorld } from './world.ts';
import { IoError } from '../io/types.ts';
import type { NbdClient } from '../nbd-client-js/client.ts';

/** One request of a step; `IN_FLIGHT` of them at a time. */
const PIECE_BYTES = 256 * 1024;
const IN_FLIGHT = 4;
const READ_BACK_BYTES = 1024 * 1024;
const READ_BACK_MS = 30_000;

export interface Piece {
  offset: number;
  length: number;
}

export function pieces(at: number, length: number, bytes = PIECE_BYTES): Piece[] {
  const out: Piece[] = [];
  for (let offset = at; offset < at + length; offset += bytes) out.push({ offset, length: Math.min(bytes, at + length - offset) });
  return out;
}

export interface TransferContext {
  world: ScenarioWorld;
  mirror: ScenarioMirror;
  devices: Devices;
  model: Acknowledged;
}

/** Rejects with StepFailure. */
export async function write(ctx: TransferContext, a: WriteAction): Promise<void> {
  if (a.fails) {
    await writeToFail(ctx, a);
    return;
  }
  const { devices, model } = ctx;
  await parallel(IN_FLIGHT, pieces(a.at, a.length), async (p) => {
    const pending = model.begin(p.offset, p.length, a.seed);
    try {
      await asked(`write of ${where(p)}`, () => devices.send(a, (c) => writeAnywhere(c, p.offset, bytesOf(a.seed, p.offset, p.length))));
      model.acked(pending);
    } finally {
      model.abandoned(pending);
    }
  });
  if (!a.flush) return;
  const began = model.now();
  await asked('flush', () => devices.send(a, (c) => c.flushNow()));
  model.flushed(began);
}

async function writeToFail({ devices, model }: TransferContext, a: WriteAction): Promise<void> {
  const pending = pieces(a.at, a.length).map((p) => model.begin(p.offset, p.length, a.seed));
  try {
    await devices.sendToFail(a, async (c) => {
      await Promise.all(
        pending.map(async (p) => {
          await writeAnywhere(c, p.offset, bytesOf(a.seed, p.offset, p.length));
          model.acked(p);
        }),
      );
      if (a.flush) await c.flushNow();
    });
  } catch (e: unknown) {
    if (e instanceof StepFailure) throw new StepFailure(`a write that must fail: ${e.message}`);
    throw e;
  } finally {
    for (const p of pending) model.abandoned(p);
  }
}

export async function read({ devices }: TransferContext, a: Action & { kind: 'read' }): Promise<void> {
  for (const p of pieces(a.at, a.length)) {
    const found = await asked(`read of ${where(p)}`, () => devices.send(a, (c) => readAnywhere(c, p.offset, p.length)));
    compare(found, p.offset, a.seed, 'the device');
  }
}

export async function leg({ world, mirror }: TransferContext, a: Action & { kind: 'leg' }): Promise<void> {
  for (const p of pieces(a.at, a.length)) {
    compare(await readLeg(world, mirror, a.on, p), p.offset, a.seed, `the leg of ${a.on}`);
  }
}

/** `serving`: whether that node is in service now. Loads must be paused meanwhile. */
export async function acknowledged(ctx: TransferContext, node: string, serving: boolean): Promise<void> {
  const { devices, world, mirror, model } = ctx;
  for (const p of model.ranges(READ_BACK_BYTES, mirror.sizeBytes)) {
    const bytes = serving
      ? await asked(`read of ${where(p)}`, () => devices.send({ on: node, withinMs: READ_BACK_MS }, (c) => c.readBytes(p.offset, p.length)))
      : await readLeg(world, mirror, node, p);
    const wrong = model.check(p.offset, bytes, serving);
    if (wrong === undefined) continue;
    const seen = guess(bytes, p.offset, wrong.offset);
    throw new StepFailure(`what was acknowledged is not ${serving ? `on the device on ${node}` : `on the leg of ${node}`}`, [
      { field: `bytes at ${String(wrong.offset)}`, expected: wrong.admissible.join(' or '), seen },
    ]);
  }
}

/** The smallest range of whole blocks around this one. */
function around(client: NbdClient, offset: number, length: number): { from: number; length: number } {
  const block = client.info.blockSizeMinBytes;
  const from = offset - (offset % block);
  const to = Math.min(Math.ceil((offset + length) / block) * block, client.info.sizeBytes);
  return { from, length: to - from };
}

async function readAnywhere(client: NbdClient, offset: number, length: number): Promise<Uint8Array> {
  const a = around(client, offset, length);
  const bytes = await client.readBytes(a.from, a.length);
  return bytes.subarray(offset - a.from, offset - a.from + length);
}

/** What shares a block with the range is read, and written again. */
async function writeAnywhere(client: NbdClient, offset: number, bytes: Uint8Array): Promise<void> {
  const a = around(client, offset, bytes.length);
  if (a.length === bytes.length) {
    await client.writeBytes(offset, bytes);
    return;
  }
  const whole = await client.readBytes(a.from, a.length);
  whole.set(bytes, offset - a.from);
  await client.writeBytes(a.from, whole);
}

function guess(bytes: Uint8Array, offset: number, at: number): string {
  const sector = bytes.subarray(at - offset, at - offset + 512);
  return sector.every((b) => b === 0) ? 'zeroes' : hex(sector);
}

async function readLeg(world: ScenarioWorld, mirror: ScenarioMirror, node: string, p: Piece): Promise<Uint8Array> {
  const found = await world.read(node, world.legPath(node), p.offset, p.length);
  if (found === undefined) throw new StepFailure(`${node} has no leg of ${mirror.tag}`);
  if (found.length === p.length) return found;
  const whole = new Uint8Array(p.length);
  whole.set(found);
  return whole;
}

async function asked<T>(what: string, f: () => Promise<{ value: T } | undefined>): Promise<T> {
  try {
    const answer = await f();
    if (answer === undefined) throw new StepFailure(`${what}: the scenario ended`);
    return answer.value;
  } catch (e: unknown) {
    if (e instanceof StepFailure) throw new StepFailure(`${what}: ${e.message}`);
    if (e instanceof IoError) throw new StepFailure(`${what} was answered with an error: ${e.message}`);
    throw e;
  }
}

function compare(found: Uint8Array, offset: number, seed: Seed, whose: string): void {
  const expected = bytesOf(seed, offset, found.length);
  const at = firstDifference(expected, found);
  if (at < 0) return;
  const name = seed === 'zero' ? 'zeroes' : `seed ${String(seed)}`;
  throw new StepFailure(`${whose} does not hold the bytes of ${name}`, [
    { field: `bytes at ${String(offset + at)}`, expected: hex(expected.subarray(at)), seen: hex(found.subarray(at)) },
  ]);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, 16)).toString('hex');
}

function where(p: Piece): string {
  return `${String(p.length)} bytes at ${String(p.offset)}`;
}
