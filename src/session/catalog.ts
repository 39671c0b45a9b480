/**
 * The sessions of a directory as people and parents see them: whose they are, where, and how they
 * ended. Reads the first entries and the end of each log, never the whole of it, takes no lock and
 * changes nothing.
 */
import { closeSync, fstatSync, readdirSync } from "node:fs";
import { errnoCode, ioError, messageOf } from "../base/errors.ts";
import { readTailOf } from "../base/files.ts";
import { logPath, sessionOf } from "./log.ts";
import { openForReading, scanLog } from "./scan.ts";
import { type Closing, closedSchema, DOMAIN, type Setup, setupSchema } from "./setup.ts";

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
  /** How the Pod is set up; undefined for a log of another program, or without a good beginning. */
  readonly setup: Setup | undefined;
  readonly rest: Rest;
  /** True when a person made it as a copy of an earlier state of another one. */
  readonly isCopy: boolean;
  /** Milliseconds since the epoch of the last change. */
  readonly changed: number;
  readonly bytes: number;
  /** Why the beginning cannot be read, if so. */
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

/** One session; undefined when it is gone. */
export function summarize(directory: string, session: string): SessionSummary | undefined {
  const path = logPath(directory, session);
  let fd: number;
  try {
    fd = openForReading(path, session);
  } catch (error) {
    const problem = messageOf(error);
    const nothing = {
      setup: undefined,
      rest: "idle",
      isCopy: false,
      changed: 0,
      bytes: 0,
    } as const;
    return { session, path, ...nothing, problem };
  }
  try {
    const { mtimeMs, size } = fstatSync(fd);
    // An entry longer than the window is an item of a run; ends of runs are short.
    const tail = readEnd(readTailOf(fd, TAIL_BYTES), size > TAIL_BYTES ? "interrupted" : "idle");
    const head = readBeginning(fd);
    const setup = tail.setup ?? head.setup;
    return {
      session,
      path,
      setup,
      rest: tail.rest,
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
  readonly setup: Setup | undefined;
  readonly isForked: boolean;
  readonly problem: string | undefined;
} {
  let setup: Setup | undefined;
  let isForked = false;
  const end = scanLog(
    fd,
    ({ entry, line }) => {
      if (entry?.kind === "session_start") isForked = entry.forked_from != null;
      if (entry?.kind === "extension" && entry.domain === DOMAIN.setup) {
        setup = setupSchema().safeParse(entry.payload).data;
        return false;
      }
      return line < HEAD_ENTRIES;
    },
    HEAD_CHUNK_BYTES,
  );
  const problem =
    setup === undefined && end.kind === "corrupt" ? `line ${end.line} ${end.reason}` : undefined;
  return { setup, isForked, problem };
}

/** What the last lines of a log say; unreadable ones are passed over. `silent`: when none says anything. */
function readEnd(
  text: string,
  silent: Rest,
): { readonly rest: Rest; readonly setup: Setup | undefined } {
  for (const line of text.split("\n").toReversed()) {
    const entry = parseLoosely(line);
    switch (entry?.kind) {
      case "run_completed":
      case "run_errored":
        return { rest: entry.interrupted === true ? "interrupted" : "idle", setup: undefined };
      case "extension": {
        if (entry.domain === DOMAIN.closed) {
          const closed = closedSchema().safeParse(entry.payload);
          return { rest: closed.data?.reason ?? "idle", setup: undefined };
        }
        if (entry.domain === DOMAIN.carried) return { rest: "idle", setup: undefined };
        if (entry.domain !== DOMAIN.setup) break;
        // Written when it was brought back, behind what the end of the last run said.
        const before = readEnd(text.slice(0, text.lastIndexOf(line)), silent);
        const rest = before.rest === "interrupted" ? "interrupted" : "idle";
        return { rest, setup: setupSchema().safeParse(entry.payload).data };
      }
      case "session_start":
        return { rest: "idle", setup: undefined };
      case undefined:
      case "turn_end":
      case "llm_usage":
        break;
      default:
        return { rest: "interrupted", setup: undefined };
    }
  }
  return { rest: silent, setup: undefined };
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
