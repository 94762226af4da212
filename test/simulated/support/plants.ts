/** Faults that the simulator must find, each as text to be replaced; see scripts/plant-faults.ts. */

export interface Plant {
  name: string;
  /** Kinds of faults that show it; absent: as the seeds have it. */
  only?: string;
  /** Histories with so many nodes alone. */
  nodes?: number;
  edits: { file: string; find: string; replace: string }[];
}

export const PLANTS: readonly Plant[] = [
  {
    name: 'a damaged payload is taken for a good one',
    only: 'flip,slow',
    edits: [
      {
        file: 'src/io/portable/checksum.ts',
        find: 'return decodeChecksum(this.#view, 0) === crc32(payload);',
        replace: 'return decodeChecksum(this.#view, 0) !== crc32(payload) || payload.length > 0;',
      },
    ],
  },
  {
    name: 'a damaged header is taken for a good one',
    only: 'flip,slow',
    edits: [
      {
        file: 'src/io/portable/checksum.ts',
        find: 'return decodeChecksum(view, length) === crc32(bytes.subarray(0, length));',
        replace: 'return decodeChecksum(view, length) !== crc32(bytes.subarray(0, length)) || length > 0;',
      },
    ],
  },
  {
    name: 'damaged data of a read is taken for good',
    only: 'flip,disk,crash',
    edits: [
      {
        file: 'src/io/portable/reply-parser.ts',
        find: 'if (decodeChecksum(this.#scratchView, 0) !== crc32(this.#data, this.#crc) && r.errno === 0) r.errno = CHECKSUM_EBADMSG;',
        replace: 'if (decodeChecksum(this.#scratchView, 0) !== crc32(this.#data, this.#crc) && r.errno !== 0) r.errno = CHECKSUM_EBADMSG;',
      },
    ],
  },
  {
    name: 'no bitmap flush before data',
    edits: [
      {
        file: 'src/mirror/device.ts',
        find: 'if (this.begin(m.first, m.last)) this.marks.whenDurable(this, m.index);',
        replace: 'if (this.begin(m.first, m.last)) this.#queue.enter(m);',
      },
    ],
  },
  {
    name: "a mark cleared without the target's sync",
    only: 'crash,slow,stop',
    edits: [
      {
        file: 'src/mirror/resync-proofs.ts',
        find: 'const [here, there] = await Promise.all([own, flushOn(client)]);',
        replace: 'const [here, there] = await Promise.all([own, copied.length > 0 ? Promise.resolve(0) : flushOn(client)]);',
      },
    ],
  },
  {
    name: 'a mark cleared without the local sync',
    only: 'crash,slow',
    edits: [
      {
        file: 'src/mirror/resync-proofs.ts',
        find: 'const [here, there] = await Promise.all([own, flushOn(client)]);',
        replace: 'void own;\n    const [here, there] = await Promise.all([Promise.resolve({ errno: 0 }), flushOn(client)]);',
      },
      {
        file: 'src/mirror/resync-proofs.ts',
        find: "      local.state === 'in'\n        ? hub.run(",
        replace: "      local.state === 'never'\n        ? hub.run(",
      },
      // What is not synced here is under intent as well, and that mark is dropped on the same proof (M5).
      {
        file: 'src/mirror/prover.ts',
        find: "if (d.local.state === 'in') {\n      const own",
        replace: "if (d.local.state === 'never') {\n      const own",
      },
    ],
  },
  {
    name: 'a hole is made again on a leg in doubt when its mark has gone',
    only: 'cuts,crash',
    nodes: 3,
    edits: [
      {
        file: 'src/mirror/resync-proofs.ts',
        find: '    await punchAgain(',
        replace: '    for (const c of copied) this.#o.marks().clearRange(c.first, c.last);\n    await punchAgain(',
      },
    ],
  },
  {
    name: 'a mark cleared over a broken session',
    only: 'crash,power,slow,sync',
    edits: [
      {
        file: 'src/mirror/resync-proofs.ts',
        find: 'const [here, there] = await Promise.all([own, flushOn(client)]);',
        replace:
          'const [here, there] = await Promise.all([own, flushOn(client)]);\n    for (const c of copied) this.#o.marks().clearRange(c.first, c.last);',
      },
    ],
  },
  {
    name: 'no range lock',
    edits: [
      {
        file: 'src/mirror/device.ts',
        find: 'const slot = this.lock.acquire(m.offset, m.offset + m.length, this, m.index);\n      if (slot !== WAITING) this.onLocked(m.index, slot);',
        replace: 'if (m.index !== WAITING) this.onLocked(m.index, -1);',
      },
    ],
  },
  {
    name: 'a snapshot is read without the range lock',
    only: 'snapshot,crash,stop,slow',
    edits: [
      {
        file: 'src/mirror/snapshots.ts',
        find: 'const slot = await this.#locked(offset, offset + length);',
        replace: 'const slot = await Promise.resolve(WAITING);',
      },
      {
        file: 'src/mirror/snapshots.ts',
        find: "if (r !== 'again') return r;\n      } finally {\n        this.#d.lock.release(slot);",
        replace: "if (r !== 'again') return r;\n      } finally {\n        await Promise.resolve(slot);",
      },
    ],
  },
  {
    name: 'what a snapshot lacks is copied after the write',
    only: 'snapshot,crash,stop',
    edits: [
      {
        file: 'src/mirror/snapshots.ts',
        find: 'm.lockSlot = -1;\n    void this.#keepFor(m);\n    this.#d.lock.release(slot);\n    return true;',
        replace: 'void this.#keep(m.offset, m.length);\n    return slot < 0;',
      },
    ],
  },
  {
    name: 'no fsync of the folder after a rename',
    edits: [
      { file: 'src/io/atomic-file.ts', find: 'await files.syncDirectory(dirname(path));', replace: 'dirname(path);' },
      { file: 'src/bitmap/file-steps.ts', find: 'await files.syncDirectory(dirname(path));', replace: 'dirname(path);' },
    ],
  },
  {
    name: 'a reply before the dirty mark is durable',
    edits: [{ file: 'src/mirror/losses.ts', find: 'while (!(await this.#owner.marks.durable())) {', replace: 'while (this.marksFailed) {' }],
  },
  {
    name: 'a reply before the target confirmed that it is out',
    edits: [
      {
        file: 'src/failover/source.ts',
        find: 'const confirmed = await this.#toldOrSilent(node, reason, foreign);',
        replace: 'const confirmed = false;\n    this.#toldOrSilent(node, reason, foreign).then(() => undefined, () => undefined);',
      },
    ],
  },
  {
    // Seldom without flipped bits: whoever is heard can also be told, and confirms it.
    name: 'a target that is heard, and does not confirm that it is out, is taken for silent',
    only: 'flip,slow',
    edits: [
      {
        file: 'src/failover/source.ts',
        find: 'this.ctx.mirrorSilentForMs(node) >= this.timeoutMs ||',
        replace: 'this.ctx.mirrorSilentForMs(node) >= 0 ||',
      },
    ],
  },
  {
    name: 'equal blocks skipped after a failed sync',
    only: 'crash,sync,operator',
    edits: [{ file: 'src/mirror/resync.ts', find: ' || this.#t.rewriteAll) return false;', replace: ') return false;' }],
  },
  {
    name: 'checkpoints that take over no intent marks',
    only: 'crash,power,checkpoints',
    edits: [
      {
        file: 'src/bitmap/map-names.ts',
        find: "file.map(checkpointMap(name)).or(file.map('intent'));",
        replace: 'file.map(checkpointMap(name)).or(file.map(checkpointMap(name)));',
      },
    ],
  },
  {
    name: 'a region that is under intent already is not marked in checkpoints',
    only: 'stop,checkpoints',
    edits: [
      {
        file: 'src/mirror/marks.ts',
        find: 'for (let i = 0; i < this.#written.length; i += 1)',
        replace: 'for (let i = 0; i < this.#written.length && !this.intent.isDurable(first, last); i += 1)',
      },
    ],
  },
  {
    name: 'a majority that nobody asks',
    only: 'cuts,crash',
    nodes: 3,
    edits: [
      { file: 'src/failover/arbiter.ts', find: '= { none, majority };', replace: '= { none, majority: majority === none ? majority : none };' },
      {
        file: 'src/failover/decide.ts',
        find: "if (s.definition.arbiter !== 'none' && rule",
        replace: "if (s.asked && s.definition.arbiter !== 'none' && rule",
      },
    ],
  },
  {
    name: 'the engine goes on by itself when there is a target',
    only: 'crash',
    edits: [
      { file: 'src/mirror/device.ts', find: '      this.targets.size === 0 &&\n', replace: '' },
      {
        file: 'src/mirror/sessions.ts',
        find: 'if (this.#owner.served.underWay) throw',
        replace: 'if (this.#owner.served.underWay && t.session < 0) throw',
      },
      { file: 'src/mirror/served.ts', find: '    this.#conns.pause();\n    if (!this.underWay)', replace: '    if (this.#bars >= 0)' },
    ],
  },
  {
    name: 'the engine goes on by itself under a snapshot',
    only: 'snapshot',
    edits: [
      { file: 'src/mirror/device.ts', find: '      this.keeper === undefined &&\n', replace: '' },
      {
        file: 'src/mirror/served.ts',
        find: 'return this.#bars === 0 && all',
        replace: 'return this.#bars >= 0 && all',
      },
      { file: 'src/mirror/served.ts', find: '    this.#conns.pause();\n    if (!this.underWay)', replace: '    if (this.#bars > 0)' },
    ],
  },
  {
    name: 'the engine goes on by itself under a checkpoint, and nobody is told',
    only: 'stop,checkpoints',
    edits: [
      { file: 'src/mirror/device.ts', find: '      !this.marks.hasCheckpoints\n', replace: '      this.marks.regions.regionBytes > 0\n' },
      { file: 'src/mirror/marks.ts', find: 'this.#sharer?.take(this.#told);', replace: 'this.#sharer?.take(() => undefined);' },
    ],
  },
];
