import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/cli/exit.ts';
import { parse } from '../../src/cli/parse.ts';
import { commandOf, commandsOfNetraid, isProgram, programs } from '../../src/cli/registry.ts';
import { type CommandSpec } from '../../src/cli/spec.ts';
import { parseConfig } from '../../src/control/config.ts';
import { tunableNames } from '../../src/control/tunables.ts';
import { mirrorPaths, nodePaths } from '../../src/failover/paths.ts';
import { rootDir } from './sources.ts';

const text = readFileSync(path.join(rootDir, 'README.md'), 'utf8');

/** Fenced blocks of one language. */
function blocks(language: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, 'gm'))].map((m) => m[1] ?? '');
}

/** What follows a prompt: `# `, `$ ` or `server1# `. */
const shown = blocks('console').flatMap((b) => [...b.matchAll(/^(?:server\d)?[#$] (.*)$/gm)].map((m) => m[1] ?? ''));
/** In a sentence or a table, when it is a whole command line. */
const quoted = [...text.replace(/^```[^]*?^```$/gm, '').matchAll(/`([^`\n]+)`/g)].map((m) => m[1] ?? '');

const splitWords = (line: string): string[] => [...line.matchAll(/"([^"]*)"|(\S+)/g)].map((m) => m[1] ?? m[2] ?? '');

function specOf(words: readonly string[]): { spec: CommandSpec; label: string; rest: string[] } | undefined {
  const [program = '', ...command] = words;
  if (isProgram(program)) return { spec: programs[program], label: program, rest: words.slice(1) };
  const spec = program === 'netraid' ? commandOf(command) : undefined;
  return spec === undefined ? undefined : { spec, label: `netraid ${spec.name}`, rest: command.slice(spec.name.split(' ').length) };
}

const fieldsOfConfig = (): string[] => {
  try {
    parseConfig('version: 1\ncluster: c\nnode: n\nno-such-field: 1\n', 'f');
  } catch (e: unknown) {
    if (!(e instanceof Error)) throw e;
    return (/allowed: (.*)$/.exec(e.message)?.[1] ?? '').split(', ');
  }
  throw new Error('the configuration takes any field');
};

describe('README.md', () => {
  it('shows commands that their own parsers take', async () => {
    const ours = shown.filter((l) => /^(netraid|mirror_\w+|bitmap) /.test(l) && l !== 'netraid --version');
    expect(ours.length).toBeGreaterThan(30);
    for (const line of ours) {
      const found = specOf(splitWords(line));
      expect(found, line).toBeDefined();
      if (found === undefined) continue;
      expect((await parse(found.spec, found.label, found.rest, 100)).kind, line).toBe('args');
    }
  });

  it('names in its sentences only commands and options that there are', () => {
    for (const line of quoted.filter((l) => /^(netraid|mirror_\w+|bitmap) /.test(l))) {
      const words = splitWords(line);
      if (words[1] === 'COMMAND') continue;
      const found = specOf(words);
      expect(found, line).toBeDefined();
      for (const o of words.filter((w) => w.startsWith('--')))
        expect([line, found?.spec.options.map((x) => `--${x.name}`)]).toEqual([line, expect.arrayContaining([o])]);
    }
  });

  it('has a row for each command and program', () => {
    const rows = [...text.matchAll(/^\| `([^`]+)` \|/gm)].map((m) => m[1] ?? '');
    const has = (label: string) => rows.some((r) => r === label || r.startsWith(`${label} `));
    const missing = [...commandsOfNetraid.map((c) => `netraid ${c.name}`), ...Object.keys(programs), 'netraidd'].filter((l) => !has(l));
    expect(missing).toEqual([]);
  });

  it('has a row for each exit code, field of the configuration and tunable, and for no other', () => {
    const rows = (pattern: string): string[] => [...text.matchAll(new RegExp(`^\\| (?:\`)?(${pattern})(?:\`)? \\|`, 'gm'))].map((m) => m[1] ?? '');
    expect(rows('\\d')).toEqual(expect.arrayContaining(Object.values(ExitCode).map(String)));
    expect(rows('LKDR_\\w+').sort()).toEqual([...tunableNames].sort());
    const section = /^## Configuration$([^]*?)^Tunables/m.exec(text)?.[1] ?? '';
    expect([...section.matchAll(/^\| `(\w+)` \|/gm)].map((m) => m[1]).sort()).toEqual(fieldsOfConfig().sort());
  });

  it('shows configurations that the daemon takes', () => {
    expect(blocks('yaml').map((b) => parseConfig(b, 'README.md').node)).toEqual(['server1', 'server2']);
  });

  it('names the files as they are', () => {
    const names = [...Object.values<string>({ ...nodePaths('ROOT') }), ...Object.values<string>({ ...mirrorPaths('ROOT', 'TAG') })].filter(
      (p) => p !== nodePaths('ROOT').resources,
    );
    expect(names.filter((n) => !text.includes(`\`${n}\``))).toEqual([]);
  });

  it('links to sections and files that there are', () => {
    const sections = new Set(
      [...text.matchAll(/^#+ (.*)$/gm)].map((m) =>
        (m[1] ?? '')
          .toLowerCase()
          .replace(/[^a-z0-9 -]/g, '')
          .replaceAll(' ', '-'),
      ),
    );
    const links = [...text.matchAll(/\]\(([^)]+)\)/g)].map((m) => m[1] ?? '');
    expect(links.length).toBeGreaterThan(10);
    expect(links.filter((l) => (l.startsWith('#') ? !sections.has(l.slice(1)) : !existsSync(path.join(rootDir, l))))).toEqual([]);
  });
});
