import { describe, expect, it } from 'vitest';
import { FakeDaemon, harmless, mirror, run } from './fake-daemon.ts';

const daemon = (over = {}) =>
  new FakeDaemon({ preview: harmless(['server1 -> server2: overwritten'], over), unextend: () => mirror({ targets: [] }) });
const command = 'netraid unextend datarep-ext3 server2';

describe('before anything is overwritten', () => {
  it('it is shown, then asked', async () => {
    const d = daemon();
    const { code, out, terminal } = await run(command, d, { answers: ['yes'] });
    expect(code).toBe(0);
    expect(out.slice(0, 2)).toEqual(['server1 -> server2: overwritten', '1 KiB will be overwritten']);
    expect(terminal.questions).toEqual(['Remove server2 from datarep-ext3? [yes/no] ']);
    expect(d.changes()).toEqual(['unextend']);
  });

  it.each(['no', '', 'yess', 'maybe', 'n'])('the answer %j changes nothing', async (word) => {
    const d = daemon();
    const { code, errors } = await run(command, d, { answers: [word] });
    expect([code, errors, d.changes()]).toEqual([1, ['netraid unextend: not confirmed; nothing was changed'], []]);
  });

  it('nobody there to answer changes nothing, and names --yes', async () => {
    const d = daemon();
    const { code, errors } = await run(command, d);
    expect([code, d.changes()]).toEqual([2, []]);
    expect(errors[0]).toContain('Remove server2 from datarep-ext3? Nobody is there to answer; --yes says it beforehand');
  });

  it('--yes and -y answer beforehand, and it is shown all the same', async () => {
    for (const flag of ['--yes', '-y']) {
      const d = daemon();
      const { code, out } = await run(`${command} ${flag}`, d);
      expect([code, out[0], d.changes()]).toEqual([0, 'server1 -> server2: overwritten', ['unextend']]);
    }
  });

  it('what the daemon would refuse is refused, without asking', async () => {
    const d = daemon({ refused: 'datarep-ext3 is not in service here' });
    const { code, errors, terminal } = await run(`${command} --yes`, d, { answers: [] });
    expect([code, errors, terminal.questions, d.changes()]).toEqual([1, ['netraid unextend: datarep-ext3 is not in service here'], [], []]);
  });

  it('standard output stays JSON', async () => {
    const { out, errors } = await run(`${command} --yes --json`, daemon());
    expect(errors).toEqual(['server1 -> server2: overwritten', '1 KiB will be overwritten']);
    expect(JSON.parse(out.join('\n'))).toEqual(mirror({ targets: [] }));
  });
});
