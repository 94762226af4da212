import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { FakeDaemon, run } from './fake-daemon.ts';

async function script(shell: string): Promise<string> {
  return (await run(`netraid completion ${shell}`, new FakeDaemon())).out.join('\n');
}

describe('completion', () => {
  it('completes commands, options and choices in a real bash', async () => {
    const ask = (words: string[]): string[] => {
      const list = words.map((w) => JSON.stringify(w)).join(' ');
      const tail = `COMP_WORDS=(${list}); COMP_CWORD=${String(words.length - 1)}; _netraid; printf '%s\\n' "\${COMPREPLY[@]}"`;
      return execFileSync('bash', ['-c', `${text}\n${tail}`], { encoding: 'utf8' })
        .trim()
        .split('\n');
    };
    const text = await script('bash');
    expect(ask(['netraid', 'ex'])).toEqual(['extend', 'explain']);
    expect(ask(['netraid', 'extend', '--as'])).toEqual(['--async']);
    expect(ask(['netraid', 'mount', 'x'])).toEqual(['xfs']);
    expect(ask(['netraid', 'completion', 'z'])).toEqual(['zsh']);
    expect(ask(['netraid', 'pk'])).toEqual(['pki']);
    expect(ask(['netraid', 'pki', 're'])).toEqual(['renew', 'revoke']);
    expect(ask(['netraid', 'pki', 'issue', '/ca', 'server1', '--c'])).toEqual(['--client']);
    expect(ask(['netraid', 'pki', 'nonsense', '--c'])).toEqual(['']);
  });

  it('knows the programs of their own', async () => {
    const text = await script('bash');
    expect(text).toMatch(/^complete .*-W 'pause resume fullresync force .*--yes.*' mirror_action$/m);
    expect(text).toMatch(/^complete .* bitmap$/m);
  });

  it('lets zsh read the same', async () => {
    expect(await script('zsh')).toContain('bashcompinit');
  });
});
