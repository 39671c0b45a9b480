/**
 * Who a process is and how it is ended. A pid alone is never trusted: identity is pid, start time,
 * boot and pid namespace together (W4, W6), so that no stranger is judged or signalled.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { errnoCode } from "./errors.ts";
import { carriedName } from "./loader-variables.ts";
import type { Environment } from "./paths.ts";

/** Identity of one run of one process. Parts that the platform cannot tell are null. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Start time in clock ticks after boot (proc(5), `/proc/<pid>/stat` field 22). */
  readonly start: string | null;
  readonly boot: string | null;
  readonly pidNamespace: string | null;
  readonly machine: string | null;
}

/** What is known about a process: running, gone (zombies count as gone), or not ours to judge. */
type ProcessState = "alive" | "dead" | "unknown";

function readTrimmed(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim() || null;
  } catch {
    return null;
  }
}

function readPidNamespace(): string | null {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return null;
  }
}

/** What the kernel says of a process (proc(5), `stat`). */
interface ProcessStat {
  readonly start: string;
  readonly group: number;
  readonly session: number;
  /** No thread of it runs any more. */
  readonly ended: boolean;
}

/** Reads `/proc/<pid>/stat`; null when there is no such process, or no /proc. */
export function readStat(pid: number): ProcessStat | null {
  const text = readTrimmed(`/proc/${pid}/stat`);
  if (text === null) return null;
  // The command name is in parentheses and may itself contain blanks and parentheses.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [state, , group, session] = fields; // fields 3, 5 and 6 of the file
  const threads = fields[17];
  const start = fields[19];
  if (state === undefined || start === undefined) return null;
  // A killed process whose first thread is a zombie while others are not still holds its files and
  // locks, and a write under way may yet come to its end.
  const ended = state === "X" || (state === "Z" && threads === "1");
  return { start, group: Number(group), session: Number(session), ended };
}

/**
 * True when a process can never again gain privileges (prctl(2), `PR_SET_NO_NEW_PRIVS`): it and all
 * that it starts stay marked so for life. Undefined when there is no such process, or no /proc.
 */
export function hasNoNewPrivileges(pid: number | "self"): boolean | undefined {
  const text = readTrimmed(`/proc/${pid}/status`);
  return text === null ? undefined : /^NoNewPrivs:\s*1$/m.test(text);
}

let host: Omit<ProcessIdentity, "pid" | "start"> | undefined;

function hostIdentity(): Omit<ProcessIdentity, "pid" | "start"> {
  host ??= {
    boot: readTrimmed("/proc/sys/kernel/random/boot_id"),
    pidNamespace: readPidNamespace(),
    machine: readTrimmed("/etc/machine-id"),
  };
  return host;
}

/** What tells this start of the machine from others (proc(5)); null when the platform cannot say. */
export function bootId(): string | null {
  return hostIdentity().boot;
}

/** Identity of process `pid` as it is now. */
export function identityOf(pid: number): ProcessIdentity {
  return { pid, start: readStat(pid)?.start ?? null, ...hostIdentity() };
}

/**
 * Judges an identity that was recorded earlier. Another boot of this machine means dead; another
 * machine or pid namespace means unknown, because its pids say nothing here.
 */
export function stateOf(identity: ProcessIdentity): ProcessState {
  const here = hostIdentity();
  if (identity.pid <= 0) return "dead";
  if (identity.machine !== here.machine) return "unknown";
  if (identity.boot !== here.boot) return "dead";
  if (identity.pidNamespace !== here.pidNamespace) return "unknown";
  try {
    process.kill(identity.pid, 0);
  } catch (error) {
    if (errnoCode(error) === "ESRCH") return "dead";
  }
  const stat = readStat(identity.pid);
  if (stat === null) return identity.start === null ? "alive" : "dead";
  if (stat.ended) return "dead";
  return identity.start !== null && stat.start !== identity.start ? "dead" : "alive";
}

/**
 * Signals the process group led by `leader` (kill(2) with a negative pid). Only for groups known to
 * be ours: the leader's identity was checked, or it is our own child. A group that is gone is fine.
 */
export function signalGroup(leader: number, signal: NodeJS.Signals): void {
  if (leader <= 1) return; // 0 and -1 would mean our own group, or everybody
  try {
    process.kill(-leader, signal);
  } catch (error) {
    if (errnoCode(error) !== "ESRCH" && errnoCode(error) !== "EPERM") throw error;
  }
}

/** True when a process group of that number exists; zombies that nobody has reaped yet count. */
export function groupExists(leader: number): boolean {
  try {
    process.kill(-leader, 0);
    return true;
  } catch (error) {
    return errnoCode(error) !== "ESRCH";
  }
}

/**
 * Members of the group and session led by `leader` that can still run; zombies cannot. Reads all of
 * /proc, so ask `groupExists` first.
 */
export function livingMembers(leader: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const stat = readStat(pid);
      return stat?.group === leader && stat.session === leader && !stat.ended;
    });
}

/** Resolves to true when `promise` settles within `ms` milliseconds, else to false. */
export async function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const { promise: limit, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(() => resolve(false), ms);
  try {
    return await Promise.race([
      promise.then(
        () => true as const,
        () => true as const,
      ),
      limit,
    ]);
  } finally {
    clearTimeout(timer);
  }
}

/** Pauses between looks: the first one and the longest, in milliseconds; each is twice the one before. */
export interface LookPauses {
  readonly firstMs?: number;
  readonly maxMs?: number;
  /** Whether the pauses keep this process alive. */
  readonly keepsAlive?: boolean;
}

/**
 * For what the kernel does not report: looks at once and then ever less often until `check` holds
 * (true), or does not at the first look after `ms` milliseconds (false).
 */
export async function looksUntil(
  check: () => boolean,
  ms: number,
  { firstMs = 1, maxMs = 50, keepsAlive = true }: LookPauses = {},
): Promise<boolean> {
  const deadline = performance.now() + ms;
  for (let pause = firstMs; !check(); pause = Math.min(pause * 2, maxMs)) {
    if (performance.now() >= deadline) return false;
    await (keepsAlive ? Bun.sleep(pause) : idle(pause));
  }
  return true;
}

/** A pause, in milliseconds, that keeps no process alive. */
export async function idle(ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, ms).unref();
  await promise;
}

/** The kernel's link to the file that a process runs, whatever its name leads to by now (proc(5)). */
const RUNNING_FILE = "/proc/self/exe";

/** Where the source of this program is when it runs from source, else undefined. */
export function sourceTree(): string | undefined {
  const compiled = Bun.main.startsWith("/$bunfs/") || Bun.main.includes("~BUN");
  return compiled ? undefined : join(import.meta.dir, "../..");
}

/**
 * The command that starts this program again: the file that runs now, never what stands under its name,
 * where a command of a Pod may have put something else. From source it is Bun with our entry file, and
 * without the settings that it would take from the working directory.
 */
export function selfCommand(): string[] {
  const program = existsSync(RUNNING_FILE) ? RUNNING_FILE : process.execPath;
  const tree = sourceTree();
  if (tree === undefined) return [program];
  const settings = `--tsconfig-override=${join(tree, "tsconfig.json")}`;
  return [program, "--no-env-file", "--config=/dev/null", settings, Bun.main];
}

/** For `Bun.spawn`: a program that is started by the kernel's link is listed by its name all the same. */
export function listedAs(program: string): { readonly argv0?: string } {
  return program === RUNNING_FILE ? { argv0: process.execPath } : {};
}

/**
 * Environment for a child: everything but Bun's own switches, which would take over a compiled binary;
 * what speaks to the loader goes under another name.
 */
export function childEnvironment(env: Environment): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && !name.startsWith("BUN_")) result[carriedName(name)] = value;
  }
  return result;
}
