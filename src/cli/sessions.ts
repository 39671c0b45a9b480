/** `pod sessions`: what can be resumed, the newest first. Reads; changes nothing. */
import { resolve } from "node:path";
import { EXIT } from "../base/errors.ts";
import { type Environment, requireSessionsDirectory, resolveBases } from "../base/paths.ts";
import { isReservation } from "../registry/allocation.ts";
import type { Allocations } from "../registry/kinship.ts";
import {
  currentSessions,
  describeProblem,
  listSessions,
  type SessionSummary,
} from "../session/catalog.ts";
import type { Streams } from "./output.ts";
import { oneLine, painterFor, type Style } from "./terminal.ts";
import { openRegistry } from "./tree.ts";

/** State of a session in one word. */
type SessionState =
  /** A live Pod writes it. */
  | "live"
  /** Its Pod ended in order, by a request or a signal. */
  | "stopped"
  | "ended"
  /** Its Pod was killed, while it waited or in the middle of a run. */
  | "killed"
  | "interrupted"
  /** Its beginning cannot be read. */
  | "damaged";

const STATE_STYLE: Record<SessionState, Style> = {
  live: "green",
  stopped: "dim",
  ended: "dim",
  killed: "yellow",
  interrupted: "yellow",
  damaged: "red",
};

/** Characters of what is wrong with a log; its path is told whole. */
const MAX_PROBLEM = 4096 + 200;

/** Options of the command. */
interface SessionsOptions {
  readonly json: boolean;
  readonly store?: string;
}

/** The session directory of a command for people. */
export function sessionsDirectory(
  env: Environment,
  cwd: string,
  store: string | undefined,
): string {
  return resolve(cwd, requireSessionsDirectory(resolveBases(env), store));
}

/** The state of a session, with the live Pods at hand. */
function stateOfSession(summary: SessionSummary, table: Allocations): SessionState {
  if (summary.problem !== undefined) return "damaged";
  if (table.some((entry) => entry.session_id === summary.session && !isReservation(entry))) {
    return "live";
  }
  const words = { "client request": "stopped", signal: "ended", idle: "killed" } as const;
  return summary.rest === "interrupted" ? "interrupted" : words[summary.rest];
}

/** Prints the list, or with `json` an array of objects in the same order. */
export async function printSessions(
  options: SessionsOptions,
  env: Environment,
  cwd: string,
  { out }: Streams,
): Promise<number> {
  const directory = sessionsDirectory(env, cwd, options.store);
  const { table } = await openRegistry(env).reclaim();
  const rows = currentSessions(listSessions(directory))
    .map((summary) => ({
      session: summary.session,
      name: summary.setup?.name ?? null,
      state: stateOfSession(summary, table),
      directory: summary.setup?.cwd ?? null,
      first_line: summary.setup?.title ?? "",
      parent: summary.setup?.parent?.name ?? null,
      changed_ms: summary.changed,
      bytes: summary.bytes,
      path: summary.path,
      ...(summary.problem === undefined ? {} : { problem: summary.problem }),
    }))
    .sort((a, b) => b.changed_ms - a.changed_ms);
  if (options.json) {
    out.write(`${JSON.stringify(rows, null, 2)}\n`);
    return EXIT.done;
  }
  if (rows.length === 0) {
    out.write(`no sessions in ${directory}\n`);
    return EXIT.done;
  }
  const paint = painterFor(out, env);
  const names = rows.map(
    ({ name, parent }) => `${name ?? "?"}${parent === null ? "" : ` < ${parent}`}`,
  );
  const width = Math.max(4, ...names.map((name) => name.length));
  const widest = Math.max(9, ...rows.map(({ directory }) => directory?.length ?? 0));
  const lines = rows.map((row, index) => {
    const word = paint(STATE_STYLE[row.state], row.state.padEnd(11));
    const when = new Date(row.changed_ms).toISOString().slice(0, 16).replace("T", " ");
    const problem = describeProblem(row);
    const text =
      problem === undefined ? oneLine(row.first_line, 60) : oneLine(problem, MAX_PROBLEM);
    return `${(names[index] ?? "").padEnd(width)}  ${word}  ${when}  ${row.session}  ${paint("dim", (row.directory ?? "").padEnd(widest))}  ${text}`;
  });
  const header = `${"NAME".padEnd(width)}  ${"STATE".padEnd(11)}  ${"CHANGED (UTC)".padEnd(16)}  ${"SESSION".padEnd(36)}  ${"DIRECTORY".padEnd(widest)}  FIRST LINE`;
  out.write(`${paint("bold", header)}\n${lines.join("\n")}\n`);
  return EXIT.done;
}
