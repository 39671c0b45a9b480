/**
 * Names of the files of a session directory: which is the log of which session, and what was cut off a log
 * or set aside. Looks at names only.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { errnoCode, ioError, PodError } from "../base/errors.ts";

const SUFFIX = ".jsonl";
const SESSION_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** True for a session id as we write it. */
export function isSessionId(text: string): boolean {
  return SESSION_ID.test(text);
}

/** Path of a session's log; throws `invalid_argument` for what is not a session id. */
export function logPath(directory: string, id: string): string {
  if (isSessionId(id)) return join(directory, id + SUFFIX);
  throw new PodError(
    "invalid_argument",
    `not a session id: ${id.slice(0, 80)} (expected a UUID; see: pod sessions)`,
  );
}

/** The session whose log has this file name; undefined for every other file. */
export function sessionOf(fileName: string): string | undefined {
  if (!fileName.endsWith(SUFFIX)) return undefined;
  const stem = fileName.slice(0, -SUFFIX.length);
  return isSessionId(stem) ? stem : undefined;
}

/**
 * Paths of the ends that were cut off the logs of a directory and kept, and of damaged logs that were set
 * aside, oldest first; none when there is no directory. One that was not there before a Pod was brought
 * back tells what that Pod has cut.
 */
export function keptCuts(directory: string): string[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return [];
    throw ioError(`cannot read ${directory}`, error);
  }
  return names
    .flatMap((name) => {
      const [, log = "", time] = /^(.*)\.(\d+)\.corrupt$/.exec(name) ?? [];
      return sessionOf(log) === undefined
        ? []
        : [{ path: join(directory, name), time: Number(time) }];
    })
    .sort((a, b) => a.time - b.time)
    .map(({ path }) => path);
}
