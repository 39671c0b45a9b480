/**
 * The base directories themselves: there, ours, closed to others (W9). What is missing is no fault,
 * the first Pod makes it. Reads, changes nothing.
 */
import { accessSync, constants, lstatSync, readdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { errnoCode, messageOf } from "../../base/errors.ts";
import { printable } from "../../base/text.ts";
import { type Finding, type Mend, ok, problem, quoted, warning } from "./finding.ts";

/** A directory as `stat` shows it, links followed; `link` is one that leads nowhere. */
export interface DirectoryFacts {
  readonly path: string;
  readonly state: "missing" | "directory" | "other" | "link" | "unknown";
  /** Owner and permission bits; 0 unless it is there. */
  readonly uid: number;
  readonly mode: number;
  /** Why nothing is known, or why what is missing cannot be made. */
  readonly error: string;
  /** A name in it that is none of ours; undefined when there is none, or it was not looked for. */
  readonly stranger?: string | undefined;
}

/** The facts with the first name in the directory that `isOurs` does not know. Never throws. */
export function withStranger(
  facts: DirectoryFacts,
  isOurs: (name: string) => boolean,
): DirectoryFacts {
  if (facts.state !== "directory") return facts;
  try {
    return { ...facts, stranger: readdirSync(facts.path).find((name) => !isOurs(name)) };
  } catch {
    return facts; // closed to ourselves: then it holds no secret of others either
  }
}

/** Looks at a path; never throws. */
export function directoryFacts(path: string): DirectoryFacts {
  const facts = factsOf(path);
  return facts.state === "missing" ? { ...facts, error: whyNotMade(path) } : facts;
}

function factsOf(path: string): DirectoryFacts {
  const none = { path, uid: 0, mode: 0, error: "" };
  try {
    const info = statSync(path);
    // The sticky bit tells whether others may rename what is not theirs.
    const mode = info.mode & 0o1777;
    return { ...none, state: info.isDirectory() ? "directory" : "other", uid: info.uid, mode };
  } catch (error) {
    if (errnoCode(error) !== "ENOENT")
      return { ...none, state: "unknown", error: messageOf(error) };
  }
  const link = lstatSync(path, { throwIfNoEntry: false });
  return { ...none, state: link === undefined ? "missing" : "link" };
}

/** Why a missing directory cannot be made; empty when it can. */
function whyNotMade(path: string): string {
  const above = nearest(dirname(path), ["missing"]);
  if (above.state === "link") return nowhere(above.path);
  try {
    accessSync(above.path, constants.W_OK | constants.X_OK);
    return "";
  } catch (error) {
    return messageOf(error);
  }
}

const nowhere = (path: string): string => `${path} is a link that leads nowhere`;

/** The nearest directory above `path` that exists. */
export function nearestExisting(path: string): DirectoryFacts {
  return nearest(path, ["missing", "link"]);
}

function nearest(path: string, passed: readonly DirectoryFacts["state"][]): DirectoryFacts {
  for (let above = path; ; above = dirname(above)) {
    const facts = factsOf(above);
    if (!passed.includes(facts.state) || above === dirname(above)) return facts;
  }
}

/** How strict a base is looked at: `private` must be 0700 and ours, `config` only not writable by others. */
type Privacy = "private" | "config";

/** True when a Pod would accept the directory, so that what is in it can be looked at. */
export function isUsable(facts: DirectoryFacts, me: number | undefined): boolean {
  return facts.state === "directory" && (me === undefined || facts.uid === me);
}

const octal = (mode: number): string => (mode & 0o777).toString(8).padStart(4, "0");

/** The finding for one base. `variable` is what would choose another place. */
export function checkDirectory(
  check: string,
  facts: DirectoryFacts,
  options: {
    readonly privacy: Privacy;
    readonly variable: string;
    readonly me?: number | undefined;
  },
): Finding {
  const { path, state, uid, mode } = facts;
  const { privacy, variable, me } = options;
  const elsewhere = `set ${variable} to a directory of your own`;
  if (state === "missing" && privacy === "private" && facts.error !== "") {
    return problem(check, `${path} cannot be made: ${facts.error}`, elsewhere);
  }
  if (state === "missing") {
    const mends: Mend[] = privacy === "private" ? [{ kind: "make-directory", path }] : [];
    return ok(
      check,
      `${path} is not there yet${privacy === "private" ? "" : "; that is fine"}`,
      mends,
    );
  }
  if (state === "unknown") {
    return problem(
      check,
      `${path} cannot be looked at: ${facts.error}`,
      `mend the path or ${elsewhere}`,
    );
  }
  if (state === "link") return problem(check, nowhere(path), `remove it: rm ${quoted(path)}`);
  if (state === "other") {
    return problem(
      check,
      `${path} is not a directory`,
      `move it away: mv ${quoted(path)} ${quoted(`${path}.old`)}`,
    );
  }
  const isOurs = me === undefined || uid === me;
  if (!isOurs && !(privacy === "config" && uid === 0)) {
    return problem(check, `${path} belongs to user ${uid}, not to you (${me})`, elsewhere);
  }
  const own = privacy === "private" ? 0o700 : 0o500;
  const forbidden = privacy === "private" ? 0o077 : 0o022;
  const fits = (mode & own) === own && (mode & forbidden) === 0;
  if (fits || !isOurs) {
    return ok(check, `${path} is ${isOurs ? "yours" : "root's"}, mode ${octal(mode)}`);
  }
  const what = (mode & forbidden) === 0 ? "closed to yourself" : "open to other users";
  const finding = `${path} is ${what} (mode ${octal(mode)})`;
  const isShared = (mode & 0o1000) !== 0;
  // Closing it could shut others out of what is theirs: /tmp, or somebody's home.
  if (privacy === "private" && (isShared || facts.stranger !== undefined)) {
    const why = isShared ? "users share it" : `it holds ${printable(facts.stranger ?? "")} as well`;
    return problem(check, `${finding}, and ${why}`, `${elsewhere}, used for nothing else`);
  }
  const right = privacy === "private" ? 0o700 : (mode | own) & ~forbidden & 0o777;
  return problem(check, finding, `run: chmod ${right.toString(8)} ${quoted(path)}`, [
    { kind: "chmod", path, mode: right, follow: true },
  ]);
}

/** Warns when others can rename the base away: its parent is theirs, or open to all without sticky bit. */
export function checkParent(
  check: string,
  parent: DirectoryFacts,
  me: number | undefined,
): Finding[] {
  const isTrusted = parent.uid === 0 || me === undefined || parent.uid === me;
  const isOpen = (parent.mode & 0o022) !== 0 && (parent.mode & 0o1000) === 0;
  if (parent.state !== "directory" || (isTrusted && !isOpen)) return [];
  return [
    warning(
      check,
      `other users can replace what is in ${parent.path} (user ${parent.uid}, mode ${octal(parent.mode)})`,
      `run: chmod go-w ${quoted(parent.path)}, or use another directory`,
    ),
  ];
}
