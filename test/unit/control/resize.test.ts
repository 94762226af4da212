/** Making a mirror smaller, and the filesystem on it. */
import { describe, expect, it } from 'vitest';
import { whyNotCut } from '../../../src/control/resize.ts';
import { MIB, Sim } from './sim.ts';

const SMALLER = MIB / 2;

/** An xfs of that size is on the leg of a node, as far as its superblock says. */
async function putXfs(sim: Sim, node: string, sizeBytes: number): Promise<void> {
  const v = new DataView(new ArrayBuffer(512));
  v.setUint32(0, 0x58465342);
  v.setUint32(4, 4096);
  v.setBigUint64(8, BigInt(sizeBytes / 4096));
  v.setUint32(84, sizeBytes / 4096);
  v.setUint32(88, 1);
  v.setUint16(102, 512);
  const c = await sim.client(node);
  await c.writeBytes(0, new Uint8Array(v.buffer));
  await c.flushNow();
  await c.disconnect();
}

/** A mirror that holds an xfs of that size, out of service. */
async function held(sim: Sim, sizeBytes: number): Promise<void> {
  await sim.mirror();
  await putXfs(sim, 'server1', sizeBytes);
  await sim.call('server1', 'out-of-service', { tag: 't' });
}

const wish = (force: boolean) => ({ tag: 't', sizeBytes: SMALLER, force });
const asked = (force: boolean) => ({
  tag: 't',
  action: 'resize' as const,
  nodes: [],
  source: null,
  resize: { sizeBytes: SMALLER, force },
});

describe('a smaller size', () => {
  it('is refused where it would cut a filesystem, and the preview says the same', async () => {
    await Sim.run({}, async (sim) => {
      await held(sim, MIB);
      const why =
        't holds an xfs filesystem of 1 MiB (1048576 bytes), which does not fit into 512 KiB (524288 bytes): shrink the filesystem first; --force cuts it';
      await sim.refuses('server1', 'resize', wish(false), 'refused', new RegExp(`^${why.replace(/[()]/g, '\\$&')}$`));
      const before = sim.onDisk();
      const p = await sim.call('server1', 'preview', asked(false));
      expect(p.refused).toBe(why);
      expect(p.lines.at(-1)).toBe('t holds an xfs filesystem of 1 MiB (1048576 bytes): 512 KiB (524288 bytes) cut it, and it will be damaged');
      expect(await sim.call('server1', 'preview', asked(true))).toMatchObject({ lines: p.lines, refused: null });
      expect(sim.onDisk()).toEqual(before);
      expect(await sim.call('server1', 'resize', wish(true))).toMatchObject({ sizeBytes: SMALLER });
    });
  });

  it('needs no force where the filesystem ends before the cut, down to the last byte', async () => {
    await Sim.run({}, async (sim) => {
      await held(sim, SMALLER);
      expect(await sim.call('server1', 'preview', asked(false))).toMatchObject({
        refused: null,
        lines: [expect.anything(), 't holds an xfs filesystem of 512 KiB (524288 bytes): it fits into 512 KiB (524288 bytes)'],
      });
      await sim.refuses('server1', 'resize', { ...wish(false), sizeBytes: SMALLER - 512 }, 'refused', /does not fit into/);
      expect(await sim.call('server1', 'resize', wish(false))).toMatchObject({ sizeBytes: SMALLER });
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.inSync('server1', 'server2');
    });
  });

  it('needs force where no filesystem is recognised', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'out-of-service', { tag: 't' });
      const { refused } = await sim.call('server1', 'preview', asked(false));
      expect(refused).toMatch(
        /^making t smaller cuts off 524288 bytes at its end, and no filesystem .* is recognised .*: what lies there is lost; say --force/,
      );
      expect(await sim.call('server1', 'preview', asked(true))).toMatchObject({ refused: null });
    });
  });

  it('looks at a leg that was not open, and lets go of it again', async () => {
    await Sim.run({}, async (sim) => {
      await held(sim, MIB);
      await sim.stop('server1');
      await sim.start('server1');
      expect((await sim.status('server1')).localLeg).toBe('closed');
      expect((await sim.call('server1', 'preview', asked(false))).refused).toMatch(/an xfs filesystem of 1 MiB/);
      expect((await sim.status('server1')).localLeg).toBe('closed');
    });
  });

  it('is refused with one line while somebody else has the leg', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      await held(sim, MIB);
      await sim.stop('server1');
      await sim.start('server1');
      const other = await sim.world.client('server1').files.open('/leg', { write: true });
      expect(await other.tryLock()).toBe(true);
      await sim.refuses('server1', 'resize', wish(false), 'io', /\/leg.*/);
      await sim.refuses('server1', 'preview', asked(false), 'io', /\/leg.*/);
      expect((await sim.call('server1', 'preview', asked(true))).lines.at(-1)).toMatch(/what filesystem t holds can not be read: .*\/leg/);
      await other.close();
    });
  });

  it('is refused in service, whatever is on it', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await putXfs(sim, 'server1', SMALLER);
      await sim.refuses('server1', 'resize', wish(false), 'refused', /in service: it can grow now, and shrink only out of service/);
    });
  });
});

describe('a target whose source has opened a session since it was asked who serves', () => {
  const wanted = (sim: Sim) => {
    const m = sim.daemon('server2').mirrors.get('t');
    if (m === undefined) throw new Error('server2 has no mirror');
    return { m, resized: m.resize(SMALLER, () => Promise.resolve()) };
  };

  it('is not resized under that session', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      const { m, resized } = wanted(sim);
      await expect(resized).rejects.toThrow('t is in service on server1, which writes to this leg; run this there');
      expect(m.record().definition.sizeBytes).toBe(MIB);
      await sim.write('server1', MIB - 4096, 4096, 7);
      expect(await sim.targetState('server1', 'server2')).toBe('Target');
    });
  });

  it('ends what is left of the session where that source is silent', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'set', { tag: 't', failover: 'off' });
      sim.world.cut('server1', 'server2');
      await sim.world.sleep(3000);
      const { m, resized } = wanted(sim);
      expect(m.replica.session).toBeDefined();
      await resized;
      expect(m.replica.session).toBeUndefined();
      expect(m.record().definition.sizeBytes).toBe(SMALLER);
    });
  });
});

describe('whyNotCut', () => {
  it.each([
    [{ kind: 'btrfs', sizeBytes: 8193 }, /^t holds a btrfs filesystem of 8\.0 KiB \(8193 bytes\), which does not fit into 8 KiB \(8192 bytes\)/],
    [{ kind: 'ext4', sizeBytes: 8192 }, null],
    [null, /cuts off 8192 bytes/],
  ] as const)('%j', (found, says) => {
    const why = whyNotCut('t', found, { from: 16_384, to: 8192 });
    if (says === null) expect(why).toBeNull();
    else expect(why).toMatch(says);
  });
});
