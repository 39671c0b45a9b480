/** Directories for one test, removed when the test ends. */
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A directory of a test. */
export interface TempDirectory extends AsyncDisposable {
  readonly path: string;
  join(...names: string[]): string;
}

/** A fresh private directory (0700, canonical path, short enough for sockets): `await using dir = temp()`. */
export function temp(): TempDirectory {
  const path = realpathSync(mkdtempSync(join(tmpdir(), "pod-")));
  return {
    path,
    join: (...names) => join(path, ...names),
    [Symbol.asyncDispose]: async () => rmSync(path, { recursive: true, force: true }),
  };
}

/** Rejects with `what` after `ms` milliseconds unless `promise` settles first. */
export async function within<Value>(
  promise: Promise<Value>,
  ms: number,
  what: string,
): Promise<Value> {
  const { promise: limit, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`deadline of ${ms} ms: ${what}`)), ms);
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}
