/** The axes of scripts/bench-scale, their points, and what is required of them. Pure. */
import { DEVICE_MAX_BYTES } from '../../src/bitmap/regions.ts';
import { formatSize } from '../../src/control/units.ts';
import type { Axis, Point, ScaleRequirement } from './scale-types.ts';

const KiB = 1024;
const MiB = 1024 ** 2;
const GiB = 1024 ** 3;
const TiB = 1024 ** 4;
/** Points of axes other than the device's size are on one that is neither small nor extreme. */
const USUAL_DEVICE_BYTES = 64 * GiB;

const usual = { deviceBytes: USUAL_DEVICE_BYTES, dirtyRegions: 0, targets: 1, writeBytes: 4 * KiB, spread: false };
const sizeLabel = (bytes: number): string => formatSize(bytes).replace(' ', '');

function points(xs: readonly number[], quick: readonly number[], label: (x: number) => string, of: (x: number) => Partial<Point>): Point[] {
  return xs.map((x) => ({ ...usual, ...of(x), label: label(x), x, quick: quick.includes(x) }));
}

const size: Axis = {
  name: 'size',
  title: 'Size of the device, one target in sync',
  unit: 'device',
  log: true,
  points: points([GiB, 8 * GiB, 64 * GiB, 512 * GiB, 4 * TiB, DEVICE_MAX_BYTES], [GiB, DEVICE_MAX_BYTES], sizeLabel, (deviceBytes) => ({
    deviceBytes,
    spread: true,
  })),
};

const dirty: Axis = {
  name: 'dirty',
  title: 'Dirty regions, all over a device of 64 TiB, for one target that is away',
  unit: 'dirty regions',
  log: true,
  points: points([10, 100, 1000, 10_000, 100_000, 1_000_000], [10, 100_000, 1_000_000], String, (dirtyRegions) => ({
    deviceBytes: DEVICE_MAX_BYTES,
    targets: 0,
    dirtyRegions,
  })),
};

const targets: Axis = {
  name: 'targets',
  title: 'Targets in sync, device of 64 GiB',
  unit: 'targets',
  log: false,
  points: points([0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 7], String, (n) => ({ targets: n })),
};

const write: Axis = {
  name: 'write',
  title: 'Size of a write, device of 64 GiB, one target in sync',
  unit: 'write',
  log: true,
  points: points([4 * KiB, 16 * KiB, 64 * KiB, 256 * KiB, MiB], [4 * KiB, 64 * KiB, MiB], sizeLabel, (writeBytes) => ({ writeBytes })),
};

export const allAxes: readonly Axis[] = [size, dirty, targets, write];

export const scaleRequirements: readonly ScaleRequirement[] = [
  {
    figure: 'memory at rest, nothing dirty, at most one target',
    metric: 'restBytes',
    atMost: 90 * MiB,
    of: (p) => p.dirtyRegions === 0 && p.targets <= 1,
  },
  {
    figure: 'memory with 64 TiB and 100,000 dirty regions, at its highest',
    metric: 'peakBytes',
    atMost: 200 * MiB,
    of: (p) => p.deviceBytes === DEVICE_MAX_BYTES && p.dirtyRegions === 100_000,
  },
  { figure: 'bitmap file for 64 TiB opens', metric: 'openMs', atMost: 1000, of: (p) => p.deviceBytes === DEVICE_MAX_BYTES },
  { figure: 'start to in service', metric: 'startMs', atMost: 500, of: () => true },
];
