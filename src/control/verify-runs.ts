/** Comparisons of all legs that people have started: one a mirror at a time, its last result kept. */
import type { MirrorNode } from '../failover/node.ts';
import type { SourceRole } from '../failover/source.ts';
import { Verify } from '../mirror/verify.ts';
import { type Actions, ControlError, type Progress } from './types.ts';

interface VerifyRun {
  verify: Verify;
  running: boolean;
  problem: string;
}

export class VerifyRuns {
  readonly #runs = new Map<string, VerifyRun>();

  /** False: one is running already. Throws ControlError when there is nothing to compare. */
  start({ m, s }: { m: MirrorNode; s: SourceRole }): boolean {
    if (this.#runs.get(m.tag)?.running === true) return false;
    if (![...s.links.values()].some((l) => l.leg.phase === 'in-sync')) {
      throw new ControlError('refused', `no target of ${m.tag} is in sync: there is nothing to compare with the leg of ${m.env.self}`);
    }
    const run: VerifyRun = { verify: new Verify(s.device), running: true, problem: '' };
    this.#runs.set(m.tag, run);
    void this.#run(m, run);
    return true;
  }

  async #run(m: MirrorNode, run: VerifyRun): Promise<void> {
    try {
      await run.verify.run();
    } catch (e: unknown) {
      run.problem = e instanceof Error ? e.message : String(e);
    }
    run.running = false;
    const { differingBytes, comparedBytes } = run.verify.report;
    const done = `verify compared ${String(comparedBytes)} bytes; ${String(differingBytes)} differ`;
    m.env.emit(m.tag, 'verify-done', run.problem === '' ? done : `verify failed: ${run.problem}`, { differingBytes, comparedBytes });
  }

  progress(m: MirrorNode): Progress | null {
    const run = this.#runs.get(m.tag);
    if (run?.running !== true) return null;
    const totalBytes = m.record().definition.sizeBytes;
    const doneBytes = run.verify.report.comparedBytes;
    const seconds = (m.env.io.clock.now() - run.verify.startedAt) / 1000;
    const bytesPerSec = seconds > 0 ? doneBytes / seconds : 0;
    return { kind: 'verify', totalBytes, doneBytes, bytesPerSec, secondsLeft: bytesPerSec > 0 ? (totalBytes - doneBytes) / bytesPerSec : null };
  }

  result(tag: string): Actions['verify-result']['result'] {
    const run = this.#runs.get(tag);
    if (run === undefined) return null;
    if (run.problem !== '') throw new ControlError('io', `verify failed: ${run.problem}`);
    return { running: run.running, ...run.verify.report };
  }
}
