import { describe, expect, it } from 'vitest';
import { definesOver, definitionHeard, definitionTold, outranking } from '../../../src/failover/definition.ts';
import type { MirrorDefinition, NodeView, StateRecord } from '../../../src/failover/types.ts';
import { definition, epoch, record, view } from './build.ts';

const THREE = ['server1', 'server2', 'server3'];
const WITHOUT_3 = ['server1', 'server2'];

const at = (revision: number, over: Partial<MirrorDefinition> = {}, nodes = THREE): MirrorDefinition => definition(nodes, { ...over, revision });
/** server3, a target whose last session was of that epoch. */
const target = (d: MirrorDefinition, over: Partial<StateRecord> = {}): StateRecord => record('server3', THREE, { definition: d, ...over });
const removal = (revision: number, over: Partial<StateRecord> = {}, inService = false): NodeView =>
  view('server1', THREE, { inService, record: { definition: at(revision, {}, WITHOUT_3), ...over } });
const in2 = { epochInSync: epoch(2), epochSeen: epoch(2) };

describe('of two definitions', () => {
  const over = (a: StateRecord, b: StateRecord): boolean[] => [definesOver(a, b), definesOver(b, a)];

  it('the higher revision holds where both were given in one epoch', () => {
    expect(over(target(at(6)), target(at(5)))).toEqual([true, false]);
    expect(over(target(at(5)), target(at(5)))).toEqual([false, false]);
  });

  it('that of the later source holds, whatever its revision', () => {
    expect(over(target(at(5), in2), target(at(6)))).toEqual([true, false]);
    expect(over(target(at(5), { sessionIn: epoch(2) }), target(at(6)))).toEqual([true, false]);
    expect(over(target(at(5)), target(at(6), { epochInSync: null }))).toEqual([true, false]);
  });

  it('neither holds where two sources of one number have said them', () => {
    expect(over(target(at(5), in2), target(at(6), { epochInSync: epoch(2, 'server9') }))).toEqual([false, false]);
  });
});

describe('what another node says of itself', () => {
  it('is taken from one in service, or when it says that this node was removed', () => {
    const said = (inService: boolean, d: MirrorDefinition): NodeView => view('server1', THREE, { inService, record: { definition: d } });
    expect(definitionHeard(target(at(5)), said(true, at(6)))).toEqual(at(6));
    expect(definitionHeard(target(at(5)), said(false, at(6)))).toBeNull();
    expect(definitionHeard(target(at(5)), removal(6))).toEqual(at(6, {}, WITHOUT_3));
  });

  it('is not taken from whose last source was an earlier one than ours, joined or not', () => {
    for (const inService of [false, true]) {
      expect(definitionHeard(target(at(5), in2), removal(6, {}, inService))).toBeNull();
      expect(definitionHeard(target(at(5), { sessionIn: epoch(2) }), removal(6, {}, inService))).toBeNull();
    }
  });

  it('is taken at our own revision from whose source was a later one, and never at an earlier revision', () => {
    const later = { epochServed: epoch(2, 'server1'), epochInSync: epoch(2, 'server1') };
    expect(definitionHeard(target(at(6, { failover: 'off' })), removal(6, later, true))).toEqual(at(6, {}, WITHOUT_3));
    expect(definitionHeard(target(at(6)), removal(5, later, true))).toBeNull();
    expect(definitionHeard(target(at(6)), view('server1', THREE, { inService: true, record: { ...later, definition: at(6) } }))).toBeNull();
  });

  it('is not taken where the size is another one, but for that this node was removed: its own size stays', () => {
    const small = at(5, { sizeBytes: 1024 });
    expect(definitionHeard(target(small), view('server1', THREE, { inService: true, record: { definition: at(6) } }))).toBeNull();
    const heard = at(6, { sizeBytes: 1024 }, WITHOUT_3);
    expect(definitionHeard(target(small), removal(6, {}, true))).toEqual(heard);
    // Once: also where its source was a later one.
    expect(definitionHeard(target(heard), removal(6, { epochServed: epoch(2, 'server1'), epochInSync: epoch(2, 'server1') }, true))).toBeNull();
  });
});

describe('what the source of the session says', () => {
  it('is taken from its own revision on, but for the size, which comes with the leg and the marks', () => {
    expect(definitionTold(at(5), at(6, { failover: 'off' }))).toEqual(at(6, { failover: 'off' }));
    expect(definitionTold(at(6, { failover: 'off' }), at(6))).toEqual(at(6));
    expect(definitionTold(at(7), at(6))).toEqual(at(7));
    expect(definitionTold(at(6, { sizeBytes: 1024 }), at(7))).toEqual(at(7, { sizeBytes: 1024 }));
  });
});

describe('a source that meets a definition which its target would keep', () => {
  it('goes above it', () => {
    expect(outranking(at(5), at(6, {}, WITHOUT_3))).toEqual(at(7));
    expect(outranking(at(6), at(6, { failover: 'off' }))).toEqual(at(7));
  });

  it('says nothing new where the target has the same, an earlier one, or another size', () => {
    const { nodes } = at(6);
    const turned = { ...at(6), nodes: Object.fromEntries(Object.entries(nodes).reverse()) };
    expect(outranking(at(6), turned)).toBeNull();
    expect(outranking({ ...at(6), sectorSizeBytes: 4096 }, at(6))).toBeNull();
    expect(outranking(at(6), at(5, { failover: 'off' }))).toBeNull();
    expect(outranking(at(5), at(6, { sizeBytes: 1024 }))).toBeNull();
  });
});
