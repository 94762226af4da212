/** A command line as words, with quotes as a shell has them: '…' as it stands, "…" with \" and \\, and \ before any character. */

/** Undefined when a quote is not closed. */
export function splitWords(line: string): string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let i = 0; i < line.length; i += 1) {
    const c = line.charAt(i);
    const next = line.charAt(i + 1);
    if (quote === '' && /\s/.test(c)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (quote === '' && (c === "'" || c === '"')) {
      quote = c;
      word ??= '';
    } else if (c === quote) {
      quote = '';
    } else if (c === '\\' && next !== '' && (quote === '' || (quote === '"' && (next === '"' || next === '\\')))) {
      word = (word ?? '') + next;
      i += 1;
    } else {
      word = (word ?? '') + c;
    }
  }
  if (quote !== '') return undefined;
  return word === undefined ? words : [...words, word];
}
