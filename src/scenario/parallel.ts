/** Several at a time, in order; the first failure ends it, and is thrown when those under way have ended. */
export async function parallel<T>(atATime: number, items: readonly T[], f: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  let failure: { error: unknown } | undefined;
  const worker = async (): Promise<void> => {
    while (failure === undefined && next < items.length) {
      const item = items[next];
      next += 1;
      if (item === undefined) continue;
      try {
        await f(item);
      } catch (e: unknown) {
        failure ??= { error: e };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atATime, items.length) }, worker));
  if (failure !== undefined) throw failure.error;
}
