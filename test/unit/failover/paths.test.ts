import { describe, expect, it } from 'vitest';
import {
  bitmapPath,
  mirrorPaths,
  nodePaths,
  StateError,
  snapshotPath,
  statePath,
  tagOfExport,
  validateNodeName,
  validateTag,
} from '../../../src/failover/paths.ts';

describe('paths below the root', () => {
  it("are where LifeKeeper's users look for them", () => {
    expect(mirrorPaths('/var/lib/netraid', 'datarep-ext3')).toEqual({
      lastOwner: '/var/lib/netraid/subsys/scsi/resources/netraid/datarep-ext3_last_owner',
      source: '/var/lib/netraid/subsys/scsi/resources/netraid/datarep-ext3_source',
      dataCorrupt: '/var/lib/netraid/subsys/scsi/resources/netraid/datarep-ext3_data_corrupt',
      bitmap: '/var/lib/netraid/bitmap_datarep-ext3',
      state: '/var/lib/netraid/state_datarep-ext3',
    });
    expect(nodePaths('/r')).toEqual({
      tls: '/r/etc/tls',
      hooks: '/r/etc/hooks.d',
      resources: '/r/subsys/scsi/resources/netraid',
      tunables: '/r/etc/default/LifeKeeper',
      snapshots: '/r/snapshots',
      run: '/r/run',
    });
    expect([bitmapPath('/r', 't'), statePath('/r', 't')]).toEqual(['/r/bitmap_t', '/r/state_t']);
    expect(snapshotPath('/r', 't', 's')).toBe('/r/snapshots/t@s');
    expect(['t@s', 't', ''].map(tagOfExport)).toEqual(['t', 't', '']);
  });

  it.each(['', '.', '..', '../x', 'a/b', '-rf', '.hidden', 'a b', 'a\n', 'ä', 'x'.repeat(65), 'constructor', 'toString', 'a\0'])(
    'refuse %j as a name',
    (name) => {
      expect(() => validateTag(name)).toThrow(StateError);
      expect(() => mirrorPaths('/r', name)).toThrow(StateError);
      expect(() => validateNodeName(name)).toThrow(StateError);
    },
  );

  it('take ordinary names, and say what is wrong, where, and what is allowed', () => {
    expect(validateTag('datarep-ext3')).toBe('datarep-ext3');
    expect(validateNodeName('node-1.example.com')).toBe('node-1.example.com');
    expect(() => validateNodeName('a b', 'in /etc/x')).toThrow(/"a b" is not a node name: in \/etc\/x; allowed are 1 to 64 letters/);
    expect(() => validateTag('x.tmp')).toThrow(/may not end in \.tmp/);
  });
});
