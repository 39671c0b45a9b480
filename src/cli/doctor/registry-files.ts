/**
 * The registry's own files: the table, its last good copy, the lock and who holds it. Reads; the lock
 * is taken for an instant, never waited for longer than a limit.
 */
import { lstatSync, type Stats } from "node:fs";
import { errnoCode, isPodError, messageOf } from "../../base/errors.ts";
import { commandOf, type HeldFlock, runStateOf } from "../../base/held-locks.ts";
import { RegistryLock } from "../../registry/lock.ts";
import { type Inspection, inspectTable, tablePaths } from "../../registry/table.ts";
import { type Finding, listed, ok, problem, quoted, warning } from "./finding.ts";

/** How long the doctor tries to get the lock; others need it for about a millisecond each. */
const LOCK_WAIT_MS = 3000;

/** A file as it is, links not followed. */
interface FileFacts {
  readonly path: string;
  readonly state: "missing" | "file" | "directory" | "link" | "other" | "unknown";
  readonly uid: number;
  readonly mode: number;
  readonly error: string;
}

/** Looks at a file; never throws. */
function fileFacts(path: string): FileFacts {
  let info: Stats;
  try {
    info = lstatSync(path);
  } catch (error) {
    const missing = errnoCode(error) === "ENOENT";
    return {
      path,
      state: missing ? "missing" : "unknown",
      uid: 0,
      mode: 0,
      error: missing ? "" : messageOf(error),
    };
  }
  const state = info.isFile()
    ? "file"
    : info.isDirectory()
      ? "directory"
      : info.isSymbolicLink()
        ? "link"
        : "other";
  return { path, state, uid: info.uid, mode: info.mode & 0o777, error: "" };
}

/** A process that holds the registry lock. */
interface LockHolder {
  readonly pid: number;
  readonly command: string;
  /** proc(5): `T` is stopped, `D` waits for a disk. */
  readonly state: string;
  /** It holds a file that was removed or replaced: others no longer wait for it. */
  readonly deleted: boolean;
}

/** What is known about the registry's files. */
export interface RegistryFacts {
  readonly base: string;
  readonly files: readonly FileFacts[];
  readonly table: Inspection;
  readonly backup: Inspection;
  /** How the attempt to lock ended: `free` also when there is no lock file yet. */
  readonly lock: "free" | "held" | { readonly error: string };
  readonly holders: readonly LockHolder[];
  /** How many Pods hold their life lock. */
  readonly living: number;
}

/** Gathers them. `flocks` are the locks held below `base`, asked only when one is needed. */
export async function registryFacts(
  base: string,
  living: number,
  flocks: () => readonly HeldFlock[],
): Promise<RegistryFacts> {
  const paths = tablePaths(base);
  const files = [paths.file, paths.backup, paths.lock].map(fileFacts);
  const lock = await tryRegistryLock(paths.lock, files[2]?.state === "missing");
  const holders = flocks()
    .filter(({ path, deleted }) => path.endsWith("/pods.lock") && (deleted || lock === "held"))
    .map(({ pid, deleted }) => ({ pid, deleted, command: commandOf(pid), state: runStateOf(pid) }));
  return {
    base,
    files,
    table: inspectTable(base),
    backup: inspectTable(base, "backup"),
    lock,
    holders,
    living,
  };
}

async function tryRegistryLock(path: string, missing: boolean): Promise<RegistryFacts["lock"]> {
  if (missing) return "free";
  try {
    await new RegistryLock(path, LOCK_WAIT_MS).hold(() => undefined);
    return "free";
  } catch (error) {
    return isPodError(error, "registry_locked") ? "held" : { error: messageOf(error) };
  }
}

/** Findings on the table, its copy, the lock, and the modes of all three. */
export function checkRegistry(facts: RegistryFacts, me: number | undefined): Finding[] {
  return [checkTable(facts), checkBackup(facts), checkLock(facts), checkModes(facts, me)];
}

function checkTable({ base, table, living }: RegistryFacts): Finding {
  const check = "registry";
  const { file } = tablePaths(base);
  const mends = [{ kind: "registry", base }] as const;
  const rebuild = "run: pod doctor --fix (the next command that uses the registry does the same)";
  switch (table.kind) {
    case "ours":
      return ok(check, `${file} is sound: ${table.allocations.length} allocations`);
    case "missing":
    case "empty":
      if (living === 0) return ok(check, `${file} is not there or empty, and no Pod lives`);
      return problem(check, `${file} is lost while ${living} Pods live`, rebuild, mends);
    case "bad":
      return problem(check, `${file} ${table.why}`, rebuild, mends);
    case "other version":
      return problem(
        check,
        `${file} ${table.why}`,
        "use the program that wrote it, or set INSOMNIA_RUNTIME_DIR to a directory of its own",
      );
    case "unversioned":
      return problem(
        check,
        `${file} ${table.why}`,
        "end its Pods, then run: pod doctor --fix; or set INSOMNIA_RUNTIME_DIR to another directory",
        mends,
      );
    case "unreadable":
      return problem(check, `${file} cannot be read: ${table.why}`, `see: ls -l ${quoted(file)}`);
  }
}

function checkBackup({ base, backup }: RegistryFacts): Finding {
  const check = "registry-backup";
  const { backup: path } = tablePaths(base);
  switch (backup.kind) {
    case "ours":
      return ok(check, `${path} is sound: ${backup.allocations.length} allocations`);
    case "missing":
    case "empty":
      return ok(check, "there is no last good copy yet; the next change makes it");
    default:
      return warning(
        check,
        `${path} cannot be used: ${backup.why}`,
        "the next change of the registry replaces it; until then live Pods are the only copy",
      );
  }
}

function checkLock({ base, lock, holders }: RegistryFacts): Finding {
  const check = "registry-lock";
  const { lock: path } = tablePaths(base);
  const told = holders.map(
    ({ pid, command, state }) => `process ${pid}${stateWord(state)} (${command || "?"})`,
  );
  if (lock === "held") {
    const stopped = holders.filter(({ state }) => /^[Tt]/.test(state));
    const pids = holders.map(({ pid }) => pid).join(" ");
    const advice =
      holders.length === 0
        ? `find it with: fuser -v ${quoted(path)}`
        : stopped.length > 0
          ? `let it go on: kill -CONT ${stopped.map(({ pid }) => pid).join(" ")}; or end it: kill -KILL ${pids}`
          : `wait, or end it: kill ${pids}`;
    const who = told.length === 0 ? "a process that cannot be seen" : listed(told, 4);
    return problem(check, `${path} has been held for over ${LOCK_WAIT_MS} ms by ${who}`, advice);
  }
  if (lock !== "free") return problem(check, lock.error, `see: ls -l ${quoted(path)}`);
  if (holders.length > 0) {
    return warning(
      check,
      `${path} was removed or replaced under ${listed(told, 4)}`,
      "nothing: what it was about to write is refused; do not remove this file",
    );
  }
  return ok(check, `${path} can be taken`);
}

function stateWord(state: string): string {
  if (/^[Tt]/.test(state)) return ", which is stopped";
  return state.startsWith("D") ? ", which waits for a disk" : "";
}

function checkModes({ files }: RegistryFacts, me: number | undefined): Finding {
  const check = "registry-files";
  const odd = files.filter(({ state }) => state !== "file" && state !== "missing");
  const [first] = odd;
  if (first !== undefined) {
    const what = first.state === "unknown" ? first.error : `is a ${first.state}`;
    return problem(
      check,
      `${first.path} ${what}, where a file must be`,
      `move it away: mv ${quoted(first.path)} ${quoted(`${first.path}.moved`)}`,
    );
  }
  const there = files.filter(({ state }) => state === "file");
  const foreign = there.find(({ uid }) => me !== undefined && uid !== me);
  if (foreign !== undefined) {
    return problem(
      check,
      `${foreign.path} belongs to user ${foreign.uid}, not to you (${me})`,
      `as that user or root: chown ${me} ${quoted(foreign.path)}`,
    );
  }
  const wrong = there.filter(({ mode }) => mode !== 0o600);
  if (wrong.length === 0) return ok(check, "all are yours and private");
  const told = wrong.map(({ path, mode }) => `${path} (mode 0${mode.toString(8)})`);
  return problem(
    check,
    `not mode 0600: ${listed(told)}`,
    `run: chmod 600 ${wrong.map(({ path }) => quoted(path)).join(" ")}`,
    wrong.map(({ path }) => ({ kind: "chmod", path, mode: 0o600, follow: false })),
  );
}
