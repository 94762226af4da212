/**
 * Rules about the text of a file that the linter does not hold, or that a comment could switch off.
 * The patterns are put together from halves, so that this file does not break its own rules.
 */
import { factsOf, type Source } from './sources.ts';

export const linesMax = 400;

interface TextRule {
  name: string;
  pattern: RegExp;
}

const rules: readonly TextRule[] = [
  {
    name: 'switches a checker off',
    pattern: new RegExp(['ts-' + 'ignore', 'ts-' + 'expect-error', 'ts-' + 'nocheck', 'eslint-' + 'disable', 'biome-' + 'ignore'].join('|')),
  },
  { name: 'leaves work behind', pattern: new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX', 'HA' + 'CK'].join('|')})\\b`) },
  { name: 'switches a test off', pattern: new RegExp(`\\b(it|test|describe)\\.(${'on' + 'ly'}|${'sk' + 'ip'}|${'to' + 'do'})\\(`) },
  {
    name: 'swallows an error',
    pattern: new RegExp('catch\\s*(\\([^)]*\\))?\\s*\\{\\s*\\}|\\.catch\\(\\s*\\(?\\w*\\)?\\s*=>\\s*(\\{\\s*\\}|undefined)\\s*\\)'),
  },
];

/** One line for each breach, `path:line what`. */
export function textBreaches(source: Source): string[] {
  const found: string[] = [];
  source.text.split('\n').forEach((line, i) => {
    for (const rule of rules) {
      if (rule.pattern.test(line)) found.push(`${source.path}:${String(i + 1)} ${rule.name}: ${line.trim()}`);
    }
  });
  for (const line of factsOf(source).anyLines) found.push(`${source.path}:${String(line)} gives up types`);
  return found;
}

export function lineCount(source: Source): number {
  return source.text.split('\n').length - (source.text.endsWith('\n') ? 1 : 0);
}
