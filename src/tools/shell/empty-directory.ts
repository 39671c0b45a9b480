/**
 * Removes what commands left in a directory, whatever they made of it: ten thousand directories in each
 * other, a hundred thousand files, directories that are closed to their owner, names that are no text.
 * Each step is small, and the event loop goes on between them.
 */
import { chmodSync, readdirSync, renameSync, rmdirSync, unlinkSync } from "node:fs";
import { errnoCode } from "../../base/errors.ts";
import { isDirectory } from "../../base/files.ts";

/** Steps, of some microseconds each, between two turns of the event loop. */
const STEPS = 128;

/**
 * Empties the directory but for the entry `keep`. Directories are first moved to the top, one level after
 * the other: so no path gets long and nothing is walked twice. Nobody else may work in there meanwhile.
 * Rejects with the first of what could not be removed, after the rest is gone, and with the reason of
 * `signal` when that aborts.
 */
export async function emptyDirectory(
  directory: string,
  keep: string,
  signal?: AbortSignal,
): Promise<void> {
  const root = Buffer.from(directory);
  // Of its own: one that was cut off has left some.
  const prefix = `.moved-${crypto.randomUUID()}-`;
  let moved = 0;
  let steps = 0;
  const step = async (failures: unknown[], act: () => void): Promise<void> => {
    signal?.throwIfAborted();
    try {
      act();
    } catch (error) {
      if (errnoCode(error) !== "ENOENT") failures.push(error);
    }
    steps += 1;
    if (steps % STEPS === 0) await new Promise(setImmediate);
  };
  for (;;) {
    const failures: unknown[] = [];
    const top = namesIn(root).filter((name) => name.toString() !== keep);
    if (top.length === 0) return;
    for (const path of top.map((name) => below(root, name))) {
      if (!isDirectory(path)) {
        await step(failures, () => unlinkSync(path));
        continue;
      }
      let names: readonly Buffer[] = [];
      await step(failures, () => {
        chmodSync(path, 0o700);
        names = namesIn(path);
      });
      for (const inner of names.map((name) => below(path, name))) {
        await step(failures, () => {
          if (!isDirectory(inner)) return unlinkSync(inner);
          chmodSync(inner, 0o700); // moving one needs the right to write it
          renameSync(inner, below(root, Buffer.from(`${prefix}${(moved += 1)}`)));
        });
      }
      await step(failures, () => rmdirSync(path));
    }
    if (failures.length > 0) throw failures[0];
  }
}

function namesIn(directory: Buffer): Buffer[] {
  return readdirSync(directory, { encoding: "buffer" });
}

function below(directory: Buffer, name: Buffer): Buffer {
  return Buffer.concat([directory, Buffer.from("/"), name]);
}
