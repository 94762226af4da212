/**
 * A schema that judges the same value once. A heartbeat carries the whole record of its sender, which hardly ever changes
 * from one to the next, and to judge it costs far more than to see that it is the same.
 *
 * Only for values out of JSON, which are the same when their text is: what is remembered is the text, and what the schema
 * made of it, which is shared and therefore not to be changed. What is refused is judged again each time.
 */
import { z } from 'zod';

const TEXTS_MAX = 32;
const TEXT_MAX_CHARACTERS = 16_384;

export function remembered<T>(schema: z.ZodType<T>): z.ZodType<T> {
  const known = new Map<string, T>();
  return z.unknown().transform((value, context): T => {
    const text = JSON.stringify(value) as string | undefined;
    const before = text === undefined ? undefined : known.get(text);
    if (before !== undefined) return before;
    const judged = schema.safeParse(value);
    if (!judged.success) {
      for (const issue of judged.error.issues) context.issues.push({ ...issue, code: 'custom', input: value });
      return z.NEVER;
    }
    if (text === undefined || text.length > TEXT_MAX_CHARACTERS) return judged.data;
    // The oldest goes: those that are in use come again and again, and are kept anew at little cost.
    if (known.size >= TEXTS_MAX) for (const oldest of [...known.keys()].slice(0, 1)) known.delete(oldest);
    known.set(text, judged.data);
    return judged.data;
  });
}
