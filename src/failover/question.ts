/**
 * The question whether this node shall go in service, from the moment that it is first asked until it is settled: the lost
 * source returns, somebody is in service, or another question takes its place. Kept in memory alone: after a start
 * of the daemon a node that lost its source does not take over in any case, and one that is asked again is asked anew.
 */
import type { Asked, Confirm, Decision, Facts, NodeName } from './types.ts';

export class Question {
  #asked: { asks: Asked; sinceMs: number; word: Confirm['word'] } | undefined;

  /** What `decide` is told of it now. */
  facts(nowMs: number, heard: Pick<Facts, 'peers' | 'failureTimeoutMs'>, inService: boolean): Confirm | undefined {
    const fresh = (n: NodeName): boolean => {
      const peer = Object.hasOwn(heard.peers, n) ? heard.peers[n] : undefined;
      return peer !== undefined && peer.silentForMs < heard.failureTimeoutMs;
    };
    const asked = this.#asked;
    if (asked === undefined) return undefined;
    const { lost } = asked.asks;
    const served = inService || Object.entries(heard.peers).some(([n, p]) => p.view.inService && fresh(n));
    if (served || (lost !== null && fresh(lost))) {
      this.#asked = undefined;
      return undefined;
    }
    return { about: asked.asks.about, askedForMs: nowMs - asked.sinceMs, word: asked.word };
  }

  /** What was decided. True: it asks something that was not asked before. */
  decided(d: Pick<Decision, 'asks'>, nowMs: number): boolean {
    if (d.asks === undefined || d.asks.about === this.#asked?.asks.about) return false;
    this.#asked = { asks: d.asks, sinceMs: nowMs, word: null };
    return true;
  }

  /** False: nothing is asked. The last word counts. */
  answer(word: 'yes' | 'no'): boolean {
    if (this.#asked === undefined) return false;
    this.#asked.word = word;
    return true;
  }
}
