import { parseDocument } from 'yaml';
import { describe, expect, it } from 'vitest';
import { faultOf } from '../../../src/scenario/yaml-fault.ts';

function told(source: string): string {
  const [fault] = parseDocument(source, { prettyErrors: false }).errors;
  if (fault === undefined) return '';
  const { field, what } = faultOf(source, fault);
  return `${field}: ${what}`;
}

const unquoted = (field: string, text: string) => `${field}: text with ": " in it stands without quotes; allowed: in quotes, as "${text}"`;
const comparison = (text: string) => `bytes: a comparison stands without quotes; allowed: in quotes, as "${text}"`;

describe('text that is no YAML', () => {
  it.each([
    ['scenario: three nodes: the source dies', unquoted('scenario', 'three nodes: the source dies')],
    ['- run: x\n  prints: Status: Target # why', unquoted('prints', 'Status: Target')],
    ['- {run: x, prints: Status: Target}', unquoted('prints', 'Status: Target')],
    ['x: {bytes: > 2MiB}', comparison('> 2MiB')],
    ['x: {bytes: >= 2MiB, kind: full}', comparison('>= 2MiB')],
    ['x:\n  bytes: > 2MiB', comparison('> 2MiB')],
    ['x:\n  bytes: >= 2MiB\n', comparison('>= 2MiB')],
    ['x:\n  bytes: >2MiB\n', comparison('>2MiB')],
    ['x: `a', 'x: text that begins with ` stands without quotes; allowed: in quotes, as "`a"'],
    ['prints: "\\d"', ': Invalid escape sequence \\d; allowed: \\d with its backslash twice, or the text in single quotes'],
    ['a:\n\tb: 1', ': Tabs are not allowed as indentation; allowed: spaces'],
    ['a: 1\n---\na: 2', ': a second document begins here; allowed: one scenario in a file'],
  ])('%#: is refused in plain words', (source, message) => {
    expect(told(source)).toBe(message);
  });

  it('is refused where it has no end', () => {
    expect(told('['.repeat(3000))).toBe(': lists and fields stand too deep in each other; allowed: as deep as a scenario needs');
    expect(told(`a: b: ${'x'.repeat(3000)}`).length).toBeLessThan(200);
  });

  it('gets no advice that does not fit: a line indented by mistake is not text for quotes', () => {
    expect(told('a: b\n c: d')).toBe('a: Nested mappings are not allowed in compact mappings');
    expect(told('a: "x": y')).not.toContain('in quotes');
  });
});
