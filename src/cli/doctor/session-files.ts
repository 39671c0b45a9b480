/**
 * The files of sessions: logs and mailboxes must be regular files that can be read, and the beginning of
 * a log must say whose it is. Reads what lists of sessions read, changes nothing, takes no lock.
 */
import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describeProblem, listSessions, type SessionSummary } from "../../session/catalog.ts";
import { keptCuts, sessionOf } from "../../session/log-names.ts";
import { type Finding, listed, ok, problem, quoted, warning } from "./finding.ts";

/** What stands in a session directory. */
interface SessionFileFacts {
  readonly directory: string;
  readonly sessions: number;
  /** Paths under the name of a log or mailbox that are no regular files. */
  readonly strange: readonly string[];
  /** Logs that cannot be read, or not from their beginning. */
  readonly damaged: readonly Pick<SessionSummary, "path" | "problem">[];
  /** Ends of logs that a crash left and that were cut off and kept. */
  readonly cuts: readonly string[];
}

/** Reads the directory and a little of each log. Throws what the system says. */
export function sessionFileFacts(directory: string): SessionFileFacts {
  const strange = readdirSync(directory)
    .filter((name) => sessionOf(name.replace(/\.mail$/, ".jsonl")) !== undefined)
    .map((name) => join(directory, name))
    .filter((path) => lstatSync(path, { throwIfNoEntry: false })?.isFile() === false);
  const all = listSessions(directory);
  const damaged = all.filter(
    ({ path, problem }) => problem !== undefined && !strange.includes(path),
  );
  return { directory, sessions: all.length, strange, damaged, cuts: keptCuts(directory) };
}

/** Findings on them; pure. */
export function checkSessionFiles(facts: SessionFileFacts): Finding[] {
  const check = "session-files";
  const { directory, sessions, strange, damaged, cuts } = facts;
  const findings: Finding[] = [];
  const [first] = strange;
  if (first !== undefined) {
    findings.push(
      problem(
        check,
        `not a regular file, where a session's must be: ${listed(strange, 3)}`,
        `move it away: mv ${quoted(first)} ${quoted(`${first}.moved`)}`,
      ),
    );
  }
  const [worst] = damaged;
  if (worst !== undefined) {
    const told = damaged.map((one) => describeProblem(one) ?? one.path);
    findings.push(
      warning(
        check,
        `cannot come back, because damaged or not to be read: ${listed(told, 3)}`,
        `mend it (see: ls -l ${quoted(worst.path)}), or move it away: mv ${quoted(worst.path)} ${quoted(`${worst.path}.moved`)}`,
      ),
    );
  }
  if (findings.length > 0) return findings;
  const kept = cuts.length === 0 ? "" : `; ${cuts.length} cut-off ends of logs are kept there`;
  return [ok(check, `${directory} has ${sessions} sessions, their beginnings are sound${kept}`)];
}
