/**
 * The sessions of a directory as people and parents see them: whose they are, where, and how they
 * ended. Reads the first entries and the end of each log, and backwards to its last setup where the end does
 * not say where that is (logs of other programs, of earlier versions, with a long run at their end). Takes no
 * lock and changes nothing.
 */
import { closeSync, fstatSync, lstatSync, readdirSync } from "node:fs";
import { errnoCode, ioError, messageOf } from "../base/errors.ts";
import { readTailOf } from "../base/files.ts";
import { lastSetup } from "./last-setup.ts";
import { logPath, sessionOf } from "./log-names.ts";
import { openForReading, scanLog } from "./scan.ts";
import { type Closing, closedSchema, DOMAIN, isSetup, type Setup } from "./setup.ts";

/** Bytes of a log's end that are looked at. */
const TAIL_BYTES = 64 * 1024;
/** Entries of a log's beginning that are looked at, and bytes that are read at once for them. */
const HEAD_ENTRIES = 8;
const HEAD_CHUNK_BYTES = 16 * 1024;

/** How a session stands when no process writes it. */
export type Rest =
  /** Ended in order, as asked by somebody or by a signal. */
  | Closing
  /** Killed while it waited for input. */
  | "idle"
  /** Killed, paused or cancelled inside a run. */
  | "interrupted";

/** One session. */
export interface SessionSummary {
  readonly session: string;
  readonly path: string;
  /**
   * How the Pod was set up last; undefined for a log of another program, or one damaged there. Where there is
   * a `problem` it may be wrong, and only says whose the log is.
   */
  readonly setup: Setup | undefined;
  readonly rest: Rest;
  /** True when a person made it as a copy of an earlier state of another one. */
  readonly isCopy: boolean;
  /** Milliseconds since the epoch of the last change. */
  readonly changed: number;
  readonly bytes: number;
  /** Why the log or its beginning cannot be read, if so; without its path. */
  readonly problem: string | undefined;
}

/** All sessions of a directory, newest first; none when there is no directory. */
export function listSessions(directory: string): SessionSummary[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return [];
    throw ioError(`cannot read session directory ${directory}`, error);
  }
  const ids = names.map(sessionOf).filter((id) => id !== undefined);
  // A version 7 id begins with its time.
  return ids
    .sort((a, b) => (a < b ? 1 : -1))
    .map((id) => summarize(directory, id))
    .filter((summary) => summary !== undefined);
}

/**
 * The newest session of each Pod: a compaction or fork goes on in a new one, and only that is brought
 * back. Sessions without a setup stand for themselves.
 */
export function currentSessions(all: readonly SessionSummary[]): SessionSummary[] {
  const seen = new Set<string>();
  return all.filter(({ session, setup }) => {
    const key = setup?.lineage ?? session;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** One session, also when it cannot be read; undefined when it is gone. */
export function summarize(directory: string, session: string): SessionSummary | undefined {
  const path = logPath(directory, session);
  try {
    return readSummary(path, session);
  } catch (error) {
    const info = lstatSync(path, { throwIfNoEntry: false });
    if (info === undefined) return undefined;
    return {
      session,
      path,
      setup: undefined,
      rest: "idle",
      isCopy: false,
      changed: Math.round(info.mtimeMs),
      bytes: info.size,
      problem: `cannot be read: ${messageOf(error)}`,
    };
  }
}

/** What is wrong with a log, and where: `FILE:LINE reason`; undefined for one without a problem. */
export function describeProblem({
  path,
  problem,
}: {
  readonly path: string;
  readonly problem?: string | undefined;
}): string | undefined {
  if (problem === undefined) return undefined;
  const [, line, reason] = /^line (\d+) (.*)$/s.exec(problem) ?? [];
  return line === undefined ? `${path} ${problem}` : `${path}:${line} ${reason}`;
}

function readSummary(path: string, session: string): SessionSummary {
  const fd = openForReading(path);
  try {
    const { mtimeMs, size } = fstatSync(fd);
    // An entry longer than the window is an item of a run; ends of runs are short.
    const rest = readEnd(readTailOf(fd, TAIL_BYTES), size > TAIL_BYTES ? "interrupted" : "idle");
    const head = readBeginning(fd);
    // Whose it is must be told of a damaged log as well; nobody starts a Pod from it.
    const setup =
      lastSetup(fd, size) ??
      (head.problem === undefined ? undefined : lastSetup(fd, size, { checked: false }));
    return {
      session,
      path,
      setup,
      rest,
      isCopy: head.isForked && setup?.lineage === session,
      changed: Math.round(mtimeMs),
      bytes: size,
      problem: head.problem,
    };
  } finally {
    closeSync(fd);
  }
}

function readBeginning(fd: number): {
  readonly isForked: boolean;
  readonly problem: string | undefined;
} {
  let isForked = false;
  const end = scanLog(
    fd,
    ({ entry, line }) => {
      if (entry?.kind === "session_start") isForked = entry.forked_from != null;
      return !isSetup(entry) && line < HEAD_ENTRIES;
    },
    HEAD_CHUNK_BYTES,
  );
  return {
    isForked,
    problem: end.kind === "corrupt" ? `line ${end.line} ${end.reason}` : undefined,
  };
}

/** What the last lines of a log say; unreadable ones are passed over. `silent`: when none says anything. */
function readEnd(text: string, silent: Rest): Rest {
  for (const line of text.split("\n").toReversed()) {
    const entry = parseLoosely(line);
    switch (entry?.kind) {
      case "run_completed":
      case "run_errored":
        return entry.interrupted === true ? "interrupted" : "idle";
      case "extension": {
        if (entry.domain === DOMAIN.closed) {
          return closedSchema().safeParse(entry.payload).data?.reason ?? "idle";
        }
        if (entry.domain === DOMAIN.carried) return "idle";
        if (entry.domain !== DOMAIN.setup) break;
        // Written when it was brought back, behind what the end of the last run said.
        const before = readEnd(text.slice(0, text.lastIndexOf(line)), silent);
        return before === "interrupted" ? "interrupted" : "idle";
      }
      case "session_start":
        return "idle";
      case undefined:
      case "turn_end":
      case "llm_usage":
        break;
      default:
        return "interrupted";
    }
  }
  return silent;
}

function parseLoosely(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && "kind" in value
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined; // cut by the window or by a crash
  }
}
